"""DAWN Encode Audio."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..dawn_model.audio import SPEECH_RATE, align_waveform, frame_count, to_speech, to_video_rate
from ..dawn_model.structures import AudioFeatures
from . import host
from .audio_encoder import hidden_states
from .load_model import LoadedModel
from .sockets import CATEGORY, DawnAudio, DawnModel, Speech

log = logging.getLogger(__name__)

HEARING_BYTES_PER_FRAME = 64 * 1024
"""What the embedded model's own encoder needs, generously."""


class DawnEncodeAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DawnEncodeAudio",
            display_name="DAWN Encode Audio",
            category=CATEGORY,
            description=(
                "Turns speech into features at 25 frames a second. Any sample rate and number of channels; the "
                "whole audio is used unless you cut it here. The video will have exactly `frames` frames, and the "
                "audio output is cut to the same length."
            ),
            inputs=[
                DawnModel.Input("model", tooltip="The model that will speak. dawn-nano hears by itself."),
                io.Audio.Input("audio", tooltip="The speech, at best without music or noise."),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.04,
                    tooltip="Where to start in the audio, in seconds.",
                ),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.04,
                    tooltip="How much of the audio to use, in seconds. 0 means all of it.",
                ),
                io.AudioEncoder.Input(
                    "audio_encoder",
                    optional=True,
                    tooltip="Only for the authors' models: HuBERT-large from DAWN Load Audio Encoder, or core's "
                    "Load Audio Encoder.",
                ),
            ],
            outputs=[
                DawnAudio.Output(display_name="speech"),
                io.Audio.Output(display_name="audio"),
                io.Int.Output(display_name="frames"),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedModel, audio: dict | None, start: float, duration: float, audio_encoder: Any = None
    ) -> io.NodeOutput:
        waveform, rate = _single_clip(audio)
        waveform = _cut(waveform, rate, start, duration)
        try:
            frames = frame_count(waveform.shape[-1], rate)
            # Whole frames, so that every row lies exactly at its frame's time.
            speech = align_waveform(to_speech(waveform, rate), SPEECH_RATE, frames)
        except ValueError as error:
            raise ValueError(f"audio: {error}. Load a sound file with speech in it") from error

        mm.throw_exception_if_processing_interrupted()
        features = AudioFeatures(_hear(model, audio_encoder, speech, frames).to(host.result_device()))
        aligned = {"waveform": align_waveform(waveform, rate, frames)[None], "sample_rate": rate}
        return io.NodeOutput(Speech(features, aligned), aligned, frames)


def _hear(model: LoadedModel, audio_encoder: Any, speech: Tensor, frames: int) -> Tensor:
    """Speech [T] at 16 kHz → one row of the model's features per frame, [frames, D]."""
    if model.hears:
        if audio_encoder is not None:
            log.info("DAWN: %s hears by itself, the audio encoder is not used", model.config.name)
        device = host.load([model.patchers["audio_encoder"]], HEARING_BYTES_PER_FRAME * frames)
        return model.network("audio_encoder").encode(speech.to(device), frames)
    if audio_encoder is None:
        raise ValueError(
            f"audio_encoder: {model.config.name} needs HuBERT-large to hear. Connect DAWN Load Audio Encoder, or "
            "choose dawn-nano in DAWN Load Model, which hears by itself"
        )
    progress = None

    def on_clip(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or host.Progress(total)
        progress.update(done)

    return to_video_rate(hidden_states(audio_encoder, speech, on_clip), frames)


def _single_clip(audio: dict | None) -> tuple[Tensor, int]:
    """AUDIO → waveform [C, T] and its rate."""
    if audio is None:
        raise ValueError("audio: nothing arrived. The file may have no sound track; load one that has")
    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if waveform.shape[0] != 1:
        raise ValueError(
            f"audio: a batch of {waveform.shape[0]} sounds arrived; DAWN speaks one at a time. Send them one by one"
        )
    return waveform[0], rate


def _cut(waveform: Tensor, rate: int, start: float, duration: float) -> Tensor:
    seconds = waveform.shape[-1] / rate if rate > 0 else 0.0
    first = round(start * rate)
    if start > 0 and first >= waveform.shape[-1]:
        raise ValueError(f"start: {start:g} s is beyond the end of the audio, which lasts {seconds:.2f} s")
    last = first + round(duration * rate) if duration > 0 else waveform.shape[-1]
    return waveform[:, first : min(last, waveform.shape[-1])]
