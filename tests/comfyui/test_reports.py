"""What people reported of other packs and models of this kind, tried on this one: owner/repository#number of each. More
of them are in test_strangers.py."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_harness import NodeFailed
from talking_head import change, saved_video, show, sound, spoken

NANO = "dawn-nano (built in)"


def seconds_of(path: Path) -> tuple[float, float]:
    """Of pictures and of sound, as decoded."""
    with av.open(str(path)) as video:
        frames = sum(1 for _ in video.decode(video=0))
        rate = float(video.streams.video[0].average_rate)
    with av.open(str(path)) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
        return frames / rate, samples / video.streams.audio[0].rate


@pytest.mark.parametrize("seconds", [0.2, 7.3])
def test_all_of_the_sound_is_spoken(comfy, head, given, seconds):
    """Two or five seconds came of fifteen, or of minutes, or the number of frames had to be worked out by hand
    (SamKhoze/ComfyUI-DeepFuze#46, smthemex/ComfyUI_EchoMimic#5, smthemex/ComfyUI_Sonic#18 and #28)."""
    pictures, heard = seconds_of(saved_video(comfy, {**head, "sound": given.audio(sound(seconds))}))
    assert pictures == pytest.approx(seconds, abs=0.04)
    assert heard == pytest.approx(seconds, abs=0.12)


def test_lips_do_not_drift_in_a_long_sound(comfy, head, given):
    """The longer the sound, the further lips and sound came apart (kijai/ComfyUI-WanVideoWrapper#508). Embedded model,
    the same words at the beginning and after three minutes."""
    words = spoken(2.0)
    pause = torch.zeros(1, 16000)
    later = 184 * 25
    silence = torch.zeros(1, later * 640 - words.shape[1] - 2 * pause.shape[1])
    long = torch.cat([pause, words, pause, silence, words, pause], dim=1)
    nano = change(head, "model", model=NANO)
    speech = comfy.run(show({**nano, "sound": given.audio(long)}, "speech")).output("speech")
    gaps = speech.features.features[:, 0]
    first, last = gaps[25:75], gaps[later:][:50]
    assert first.std() > 0.02

    def difference(shift: int) -> float:
        return float((gaps[later + shift :][:50] - first).abs().mean())

    assert min(range(-5, 6), key=difference) == 0
    assert torch.corrcoef(torch.stack([first, last]))[0, 1] > 0.98


def test_no_program_is_called(comfy, head, monkeypatch):
    """ffmpeg was called, and where it is not installed the job ended with "file not found"
    (smthemex/ComfyUI_EchoMimic#87, #99, #113)."""
    monkeypatch.setenv("PATH", "")
    pictures, heard = seconds_of(saved_video(comfy, change(head, "motion", seed=77)))
    assert pictures == pytest.approx(0.4, abs=0.04) and heard == pytest.approx(0.4, abs=0.12)


@pytest.mark.parametrize("size", [(2400, 700), (700, 2400)], ids=["tall", "wide"])
def test_a_face_in_a_tall_or_wide_picture(comfy, head, given, astronaut, size):
    """A film taken upright showed no face, one taken across did (Rudrabha/Wav2Lip#229)."""
    plain = comfy.run(show(head, "portrait")).output("portrait").points[:, :2]
    picture = torch.full((1, *size, 3), 0.5)
    top, left = size[0] // 2 - 200, size[1] // 2 - 250
    picture[:, top : top + 512, left : left + 512] = astronaut[:, : size[0] - top, : size[1] - left]
    found = (
        comfy.run(show({**head, "image": given.image(picture)}, "portrait")).output("portrait").points[:, :2]
    )
    assert (found - plain - torch.tensor([left, top])).norm(dim=1).mean() < 10


def test_each_of_four_people(comfy, head, given, astronaut):
    """With four people nobody spoke, with two they did (kijai/ComfyUI-WanVideoWrapper#1944); others in the picture
    changed (MeiGen-AI/InfiniteTalk#156)."""
    row = torch.cat([astronaut, astronaut.flip(2)], dim=2)
    group = torch.cat([row, row], dim=1)
    prompt = {**head, "image": given.image(group)}
    paste = {
        "class_type": "DawnPasteBack",
        "inputs": {
            "portrait": ["portrait", 0], "images": ["frames", 0], "motion": ["motion", 0], "region": "square",
            "feather": 0.08, "colour_match": 1.0, "detail": 1.0, "result": "picture", "longest_side": 0,
        },
    }  # fmt: skip
    speakers = []
    for index in range(4):
        chosen = change(prompt, "portrait", face_order="left-to-right", face_index=index)
        images = comfy.run(show({**chosen, "paste": paste}, "paste")).output("paste")
        moved = (images - group).abs().amax(dim=(0, 3))
        quarters = [part.amax().item() for rows in moved.chunk(2, 0) for part in rows.chunk(2, 1)]
        speakers.append(int(np.argmax(quarters)))
        assert sorted(quarters)[-1] > 0.02, "nobody moves"
        assert sorted(quarters)[2] < 1 / 255, "somebody else moves"
    assert sorted(speakers) == [0, 1, 2, 3]


def test_a_sound_that_must_be_called_first(comfy, head, given):
    """Older loaders put a function on the wire: "'dict' object is not callable" when the packs' ages differed
    (SamKhoze/ComfyUI-DeepFuze#26)."""
    with pytest.raises(NodeFailed, match="audio: expected a sound, and a function arrived"):
        comfy.run(show({**head, "sound": given.raw_audio(lambda: b"RIFF")}, "speech"))
