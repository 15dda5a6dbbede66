#!/usr/bin/env bash
# Six clips of the examples from a clean clone: sets up (see setup_env.sh for what you may choose), starts as many
# headless ComfyUIs as this machine has GPUs, or cores for, and runs the rows of workflows/fleet/jobs.csv.
#
#   bash scripts/fleet_demo.sh [arguments of fleet.py]        results: .dawn/fleet
#
# A second run finds everything done; change a row and only that one runs again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
"$DAWN_PYTHON" -m pip install -qq --disable-pip-version-check -r "$DAWN_ROOT/requirements-fleet.txt"
exec "$DAWN_PYTHON" "$DAWN_ROOT/scripts/fleet.py" "$DAWN_ROOT/workflows/api/dawn_talking_head.json" \
    "$DAWN_ROOT/workflows/fleet/jobs.csv" --output "$DAWN_ROOT/.dawn/fleet" "$@"
