#!/usr/bin/env bash
# Stages 3 to 7 in one go, sized for half an hour on a GPU with 16 CPU cores; see training/README.md.
# Stages 1 and 2 (head.npz, speech.npz) must have been made before. Resumes where it was stopped.
#   training/run_all.sh [device] [clips] [minutes of motion training]
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda} clips=${2:-1500} minutes=${3:-13}
python=${PYTHON:-python3}
work=${DAWN_TRAINING:-.dawn/training}
export DAWN_TRAINING=$work OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
mkdir -p "$work"
half=$([ "$device" = cuda ] && echo --bfloat16 || true)
batch=$([ "$device" = cuda ] && echo 16 || echo 2)

"$python" -m training.make_dataset --clips "$clips" 2>&1 | tee -a "$work/dataset.log"
"$python" -m training.make_dataset --clips 24 --first-seed 1000000 --out "$work/validation" 2>&1 | tee -a "$work/dataset.log"
"$python" -m training.train_picture --device "$device" --minutes 1.5 --batch "$batch" \
    --out "$work/encoder.pt" 2>&1 | tee -a "$work/encoder.log"
"$python" -m training.train_picture --device "$device" --minutes "$minutes" --batch "$batch" \
    --encoder "$work/encoder.pt" --out "$work/picture.pt" >> "$work/picture.log" 2>&1 &
painting=$!
"$python" -m training.train_motion --device "$device" --minutes "$minutes" --batch "$batch" --window 16 $half \
    --picture "$work/encoder.pt" --validation "$work/validation" --out "$work/motion.pt" 2>&1 | tee -a "$work/motion.log"
"$python" -m training.train_pose_blink --device "$device" --minutes 1.5 2>&1 | tee -a "$work/pose_blink.log"
wait $painting
"$python" -m training.export --out "${MODEL:-$work/dawn_nano.safetensors}" \
    --note "run_all.sh $device $clips clips, $minutes min of motion training"
