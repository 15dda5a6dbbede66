#!/usr/bin/env bash
# Stages 3 to 7 in one go; see training/README.md. Stages 1 and 2 (head.npz, speech.npz) must have been made before.
# Resumes where it was stopped: every training continues from its checkpoint.
#   training/run_all.sh [device] [clips] [steps of motion training] [steps of picture training]
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cpu} clips=${2:-700} motion_steps=${3:-5000} picture_steps=${4:-3000}
python=${PYTHON:-python3}
work=${DAWN_TRAINING:-.dawn/training}
export DAWN_TRAINING=$work OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
mkdir -p "$work"

"$python" -m training.clips.make_dataset --clips 24 --first-seed 1000000 --out "$work/validation" 2>&1 | tee -a "$work/dataset.log"
"$python" -m training.clips.make_dataset --clips "$clips" 2>&1 | tee -a "$work/dataset.log"
# The two large trainings do not need each other.
"$python" -m training.stages.train_picture --device "$device" --steps "$picture_steps" >>"$work/picture.log" 2>&1 &
painting=$!
"$python" -m training.stages.train_motion --device "$device" --steps "$motion_steps" \
    --validation "$work/validation" 2>&1 | tee -a "$work/motion.log"
"$python" -m training.stages.train_hearing --steps 2500 2>&1 | tee -a "$work/hearing.log"
"$python" -m training.stages.train_pose_blink --device "$device" --steps 1500 --rate 2e-3 2>&1 | tee -a "$work/pose_blink.log"
wait $painting
"$python" -m training.stages.export --note "run_all.sh $device $clips $motion_steps $picture_steps"
