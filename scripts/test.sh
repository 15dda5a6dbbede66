#!/usr/bin/env bash
# Sets up (see setup_env.sh for what you may choose) and runs all tests in a real ComfyUI.
#
#   bash scripts/test.sh [pytest arguments]        e.g. bash scripts/test.sh -k attention -x
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

# The tests' tensors are small: more threads than this make them slower.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"

cd "$DAWN_ROOT"
exec "$DAWN_PYTHON" -m pytest "$@"
