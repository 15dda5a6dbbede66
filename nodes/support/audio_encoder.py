"""HuBERT under the host's memory management, usable wherever core's AUDIO_ENCODER is."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor

from ...dawn_model.audio.hubert import HubertEncoder, OnClip, encode_speech
from ...dawn_model.audio.waveform import normalise, to_speech
from . import host


class DawnAudioEncoder:
    """What core's audio encoder nodes call (`encode_audio`), and what DAWN needs (`hidden_states`)."""

    model_sample_rate = 16000

    def __init__(self, encoder: HubertEncoder, dtype: torch.dtype):
        self.dtype = dtype
        self.load_device = mm.text_encoder_device()
        self.model = encoder.to(dtype)
        self.patcher = host.patcher_for(self.model, self.load_device, mm.text_encoder_offload_device())

    def hidden_states(self, speech: Tensor, on_clip: OnClip | None = None) -> Tensor:
        """16 kHz [samples] → [T, D], 20 seconds at a time as DAWN was trained."""
        host.load([self.patcher], 0, whole=True)
        return self.model.encode(speech.to(self.load_device), on_clip).float().cpu()

    def encode_audio(self, audio: Tensor, sample_rate: int) -> dict[str, Any]:
        """Core's contract: waveform [B, C, T] → hidden states at 50 Hz in core's dictionary."""
        host.load([self.patcher], 0, whole=True)
        speech = torch.stack([to_speech(waveform, sample_rate) for waveform in audio]).to(self.load_device)
        layers = self.model.all_layers(torch.stack([normalise(signal) for signal in speech]))
        return {
            "encoded_audio": layers[-1],
            "encoded_audio_all_layers": layers,
            "audio_samples": speech.shape[-1],
        }


def hidden_states(encoder: Any, speech: Tensor, on_clip: OnClip | None = None) -> Tensor:
    """Hidden states [T, D] of a 16 kHz signal from our encoder or from one of core's.

    Core's own `encode_audio` takes the whole sound in one pass, which DAWN was not trained on and
    which needs memory with the square of the length; so its network is run clip by clip.
    Raises ValueError for an encoder of another kind (Whisper, for one).
    """
    if isinstance(encoder, DawnAudioEncoder):
        return encoder.hidden_states(speech, on_clip)
    network = getattr(encoder, "model", None)
    if not hasattr(network, "feature_projection"):
        raise ValueError(
            "audio_encoder: this is not a HuBERT or wav2vec2 encoder. Load HuBERT-large with DAWN Load Audio Encoder"
        )
    mm.load_models_gpu([encoder.patcher])

    def encode_clip(signal: Tensor) -> Tensor:
        return network.encoder(network.feature_projection(network.feature_extractor(signal)))[0]

    return encode_speech(encode_clip, speech.to(encoder.load_device), on_clip).float().cpu()
