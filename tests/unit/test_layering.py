"""What may import and call what, read from the source: the rules that keep this plugin a good guest."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = {
    "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras",
    "execution", "folder_paths", "latent_preview", "nodes", "server", "utils",
}  # fmt: skip
IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml"}

MODEL_FILES = sorted((ROOT / "dawn_model").rglob("*.py"))
NODE_FILES = sorted((ROOT / "nodes").rglob("*.py"))
PLUGIN_FILES = [ROOT / "__init__.py", *MODEL_FILES, *NODE_FILES]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def absolute_imports(tree: ast.AST) -> set[str]:
    """Top-level packages that are imported by name, wherever in the file: inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def requirements() -> set[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.split(r"[<>=!~;\[ ]", line)[0] for line in lines if line and not line.startswith("#")]
    return {IMPORT_NAMES.get(name, name) for name in names}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call by its dotted name: ("torch.load", node), (".cuda", node) for a method of an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def test_the_rules_see_the_plugin():
    assert len(MODEL_FILES) > 20 and len(NODE_FILES) > 8
    assert {"torch", "scipy", "yaml", "soxr"} <= set.union(
        *(absolute_imports(tree_of(f)) for f in MODEL_FILES)
    )


def imports_beyond(files: list[Path], allowed: set[str]) -> dict[str, set[str]]:
    extra = {relative(path): absolute_imports(tree_of(path)) - allowed for path in files}
    return {path: names for path, names in extra.items() if names}


def test_the_model_knows_no_comfyui():
    allowed = {"torch", *requirements(), *sys.stdlib_module_names} - COMFYUI
    assert imports_beyond(MODEL_FILES, allowed) == {}


def test_nodes_import_only_what_comfyui_and_the_model_bring():
    """ComfyUI's own requirements: PyAV makes its VIDEO type, aiohttp with yarl its server."""
    allowed = {"torch", "av", "aiohttp", "yarl", *requirements(), *sys.stdlib_module_names, *COMFYUI} - {
        "nodes",
        "utils",
    }
    assert imports_beyond(NODE_FILES, allowed) == {}


FLOORS = [
    {"nodes"},
    {"convert"},
    {"checkpoints"},
    {"pipeline", "memory", "model", "motion_file", "frame_range"},
    {"denoiser", "head_motion", "paste_back"},
    {"audio", "face", "flow_autoencoder"},
    {"official_keys", "diffusion", "layers"},
    {"config", "structures", "whole_file", "hardware", "drawing"},
]
"""Packages and single modules of dawn_model, the highest floor first. docs/architecture.md draws them."""


def floor_of(room: str) -> int:
    (floor,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


def room_of(module: list[str]) -> str:
    """["dawn_model", "face", "crop"] → "face"; whatever lies in nodes/ → "nodes"."""
    return "nodes" if module[0] == "nodes" else module[1]


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a file of dawn_model or nodes imports relatively, with the line."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            modules = [node.module.split(".")] if node.module else [[alias.name] for alias in node.names]
            for module in modules:
                yield room_of([*base, *module]), node.lineno


def test_no_room_imports_one_on_a_floor_above():
    """Nor one on its own floor: what two rooms of a floor share lies below them."""
    climbing = [
        f"{relative(path)}:{line}: {room} imports {other}"
        for path in [*MODEL_FILES, *NODE_FILES]
        if path != ROOT / "dawn_model" / "__init__.py"
        for room in [room_of(list(path.relative_to(ROOT).with_suffix("").parts))]
        for other, line in imported_rooms(path)
        if other != room and floor_of(other) <= floor_of(room)
    ]
    assert climbing == []


def test_every_room_stands_on_a_floor_and_has_a_signpost():
    rooms = {path.name if path.is_dir() else path.stem for path in (ROOT / "dawn_model").iterdir()}
    rooms -= {"__init__", "__pycache__", "assets"}
    assert {"nodes", *rooms} == set.union(*FLOORS)
    for folder in {path.parent for path in [*MODEL_FILES, *NODE_FILES]}:
        signpost = ast.get_docstring(tree_of(folder / "__init__.py"))
        assert signpost, f"{relative(folder)}/__init__.py says nothing"


FORBIDDEN_IMPORTS = {
    "ctypes", "ftplib", "http", "marshal", "pip", "requests", "shelve", "smtplib", "socket", "subprocess",
    "telnetlib", "urllib",
}  # fmt: skip


def test_no_network_no_subprocess_no_installer():
    for path in PLUGIN_FILES:
        assert not absolute_imports(tree_of(path)) & FORBIDDEN_IMPORTS, relative(path)


FORBIDDEN_CALLS = re.compile(
    r"""(print | eval | exec | compile | __import__ | input
      | (.*\.)?os\.(system | popen | exec\w+ | spawn\w+) | pickle\.loads? | pickle\.Unpickler
      | yaml\.(unsafe_load | full_load | load_all)
      | .*\.(cuda | set_default_device | set_default_dtype | rmtree) | torch\.manual_seed)""",
    re.VERBOSE,
)


def test_nothing_dangerous_or_impolite_is_called():
    """No code from text, no global state of torch, no output that is not a log, no device but the host's."""
    found = [
        f"{relative(path)}:{node.lineno}: {name}"
        for path in PLUGIN_FILES
        for name, node in calls(tree_of(path))
        if FORBIDDEN_CALLS.fullmatch(name)
    ]
    assert found == []


def test_pickles_and_options_are_read_as_data():
    seen = set()
    for path in PLUGIN_FILES:
        for name, node in calls(tree_of(path)):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", f"{relative(path)}:{node.lineno}"
                seen.add(name)
            assert not re.fullmatch(r"yaml\.\w*load\w*", name), f"{relative(path)}:{node.lineno}"
            if name == "_DataLoader":  # a yaml.SafeLoader, see below
                seen.add(name)
    assert seen == {"torch.load", "_DataLoader"}
    loader = next(
        node
        for node in ast.walk(tree_of(ROOT / "dawn_model/official_keys/options.py"))
        if isinstance(node, ast.ClassDef)
    )
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


def test_the_process_is_left_alone():
    for path in PLUGIN_FILES:
        names = {dotted(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
        assert not names & {"sys.path", "sys.modules", "os.environ", "os.chdir"}, relative(path)


def test_no_exception_is_swallowed():
    """A bare `except:` would catch ComfyUI's cancelling; a broad one may only add words and raise again."""
    for path in PLUGIN_FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                place = f"{relative(path)}:{node.lineno}"
                assert node.type is not None, f"{place}: bare except"
                if dotted(node.type) in ("Exception", "BaseException"):
                    assert any(isinstance(inner, ast.Raise) for inner in ast.walk(node)), place


def test_no_device_is_named():
    for path in PLUGIN_FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.fullmatch(r"(cuda|mps|xpu)(:\d+)?", node.value)
                assert not named, f"{relative(path)}:{node.lineno}: {node.value}"


def test_nodes_translate_and_do_not_compute():
    """Layers and functions over tensors belong to dawn_model; nodes may name nn.Module as a type."""
    for path in NODE_FILES:
        tree = tree_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = [dotted(base) for base in node.bases]
                assert not [base for base in bases if "Module" in base], f"{relative(path)}: {node.name}"
        layers = [name for name, _ in calls(tree) if re.match(r"(torch\.)?(nn|F)\.", name)]
        assert layers == [], relative(path)


def test_only_host_knows_the_versions_of_comfyui():
    """Asking what this ComfyUI has, by `getattr` on its modules, stays in one file."""
    for path in NODE_FILES:
        asked = [
            dotted(node.args[0])
            for name, node in calls(tree_of(path))
            if name in ("getattr", "hasattr") and re.match(r"(mm|comfy|io)\b", dotted(node.args[0]))
        ]
        assert bool(asked) == (path.name == "host.py"), f"{relative(path)}: {asked}"


def test_tests_are_no_package():
    """With an __init__.py pytest would import the plugin's own root package, and with it ComfyUI."""
    assert [
        name for name in (".", "unit", "comfyui") if (ROOT / "tests" / name / "__init__.py").exists()
    ] == []


def test_the_plugin_has_one_registration_style():
    tree = tree_of(ROOT / "__init__.py")
    assert [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)] == ["comfy_entrypoint"]
    assert "NODE_CLASS_MAPPINGS" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_requirements_pin_nothing_and_leave_torch_to_the_host():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and re.search(r"==|<|~=", line)] == []
    assert not {"torch", "torchvision", "torchaudio"} & requirements()


def test_a_broken_package_of_another_pack_takes_no_node_with_it():
    """OpenCV without its system libraries and a numba that does not fit numpy are common; we need neither."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODEL_FILES]
    code = "import sys, importlib\n"
    code += "sys.modules.update(dict.fromkeys(['cv2', 'numba', 'librosa', 'soxr', 'transformers']))\n"
    code += (
        f"[importlib.import_module(name) for name in {[m for m in modules if not m.endswith('__init__')]}]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
