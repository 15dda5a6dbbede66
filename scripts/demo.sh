#!/usr/bin/env bash
# From a clean clone to a talking head: sets up (see setup_env.sh for what you may choose), starts a headless
# ComfyUI, runs workflows/api/dawn_talking_head.json in it and writes an MP4 with sound.
#
#   bash scripts/demo.sh [--image FILE] [--audio FILE] [--output FOLDER] [--models FOLDER] [--set NODE.input=value]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
exec "$DAWN_PYTHON" "$DAWN_ROOT/scripts/demo.py" "$@"
