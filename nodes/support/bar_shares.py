"""Which part of one progress bar belongs to each stage, for nodes that run others inside."""

from __future__ import annotations

SHARES = {
    "DawnTalkingHead": {
        "DawnPreparePortrait": (0.0, 0.05),
        "DawnEncodeAudio": (0.05, 0.15),
        "DawnSampleMotion": (0.15, 0.5),
        "DawnRenderFrames": (0.5, 0.8),
        "DawnPasteBack": (0.8, 1.0),
    }
}
"""Node → stage → from where to where, 0..1, roughly as long as they take; head motion, in between, takes no time."""
