"""What can be known of a portrait before anything is animated: why the result may disappoint, and what helps."""

from __future__ import annotations

import math

from .mouth import mouth_opening
from .portrait import Portrait
from .state import face_state

SMALL_FACE = 80
"""Pixels from brows to chin below which the picture holds less than dawn-nano paints."""
LEANING, ASIDE = 35.0, 35.0
"""Degrees of roll and of yaw or pitch; the training heads stayed within about 25."""
SHUT_EYES, OPEN_MOUTH = 0.17, 0.1
"""Eye-aspect ratio (open eyes have about .3) and lip gap in iris distances (lips that just part: .03)."""
_BORDER = 0.01


def portrait_advice(portrait: Portrait) -> list[str]:
    """Sentences to show, none for a good portrait."""
    height, width = portrait.picture.shape[:2]
    state = face_state(portrait.points, height, width)
    yaw, pitch, roll = state.pose[:3].tolist()
    roll += math.degrees(float(portrait.crop.region.angle))  # what align_roll has turned
    left, top, right, bottom = state.box.tolist()
    tall = bottom - top
    advice = []
    if tall < SMALL_FACE:
        advice.append(
            f"The face is {tall:.0f} pixels high, so the result is soft. Use a larger picture of it."
        )
    if abs(roll) > LEANING:
        advice.append(f"The head leans by {abs(roll):.0f}°. Switch on align_roll.")
    if abs(yaw) > ASIDE or abs(pitch) > ASIDE:
        advice.append(
            f"The head looks {max(abs(yaw), abs(pitch)):.0f}° aside. A face seen from the front works best."
        )
    if float(state.blink.mean()) < SHUT_EYES:
        advice.append("The eyes are half shut and stay so. Open eyes can blink.")
    if float(mouth_opening(portrait.points)[0]) > OPEN_MOUTH:
        advice.append("The mouth is open. With closed lips, it talks more naturally.")
    margin = _BORDER * tall
    if left < margin or top < margin or right > width - margin or bottom > height - margin:
        advice.append("The face reaches the picture's border. Leave room around it.")
    return advice
