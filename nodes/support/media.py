"""The pictures, sounds and videos that come with this plugin, as ComfyUI's IMAGE, AUDIO and VIDEO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from comfy_api.latest import InputImpl
from PIL import Image, ImageOps
from torch import Tensor

MEDIA = Path(__file__).resolve().parents[2] / "media"
PORTRAITS, SPEECH, VIDEOS = MEDIA / "portraits", MEDIA / "speech", MEDIA / "videos"
_SUFFIXES = {PORTRAITS: (".png", ".jpg"), SPEECH: (".wav", ".flac"), VIDEOS: (".mp4",)}


def names(folder: Path) -> list[str]:
    """The files of one kind, in the order of their names."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in _SUFFIXES[folder])


def path_of(folder: Path, name: str, field: str) -> Path:
    """Raises ValueError that lists the choices when `name` is none of them."""
    if name not in names(folder):
        raise ValueError(
            f"{field}: {name!r} does not come with this plugin; choose one of {', '.join(names(folder))}. "
            "For a file of your own use Load Image and Load Audio"
        )
    return folder / name


def load_image(path: Path) -> Tensor:
    """IMAGE [1, H, W, 3] in 0..1."""
    with Image.open(path) as picture:
        pixels = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    return torch.from_numpy(pixels)[None].float() / 255


def load_audio(path: Path) -> dict[str, Any]:
    """AUDIO with waveform [1, channels, samples] in -1..1, at the rate of the file."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", rate=stream.rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        return {"waveform": torch.from_numpy(samples)[None], "sample_rate": stream.rate}


def load_video(path: Path) -> Any:
    """VIDEO that is read where the file lies."""
    return InputImpl.VideoFromFile(str(path))
