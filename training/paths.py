"""Where training keeps what is too large for git: `.dawn/training` unless DAWN_TRAINING names another folder."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("DAWN_TRAINING", REPOSITORY / ".dawn" / "training"))

HEAD = WORK / "head.npz"
REAL_SPEECH = Path(os.environ.get("DAWN_REAL_SPEECH", REPOSITORY.parent / "shared" / "data" / "real-speech"))
"""Recordings with phones.tsv and transcripts.tsv beside them; see README.md."""
NATURAL_SPEECH = WORK / "natural"
"""Synthetic speech of natural voices, made by `speech.natural_voices`; the same form."""
WHISPER = WORK / "whisper.pt"
CLIPS = WORK / "clips"
VALIDATION = WORK / "validation"
SHEETS = WORK / "sheets"
MODEL = REPOSITORY / "dawn_model" / "assets" / "dawn_nano.safetensors"
