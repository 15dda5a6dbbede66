"""DAWN Encode Audio."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management as mm
from comfy_api.latest import io, ui
from torch import Tensor

from ..dawn_model.audio import silence
from ..dawn_model.audio.advice import speech_advice
from ..dawn_model.audio.silence import SilenceGate
from ..dawn_model.audio.sound import for_video, to_sound
from ..dawn_model.audio.waveform import SPEECH_RATE, align_waveform, frame_count, to_speech, to_video_rate
from ..dawn_model.structures import AudioFeatures
from .load_model import LoadedModel
from .support import feedback, host
from .support.audio_encoder import hidden_states
from .support.node import STAGES, DawnNode, schema
from .support.preview import preview
from .support.sockets import MODEL, SPEECH, Speech
from .support.widgets import decimal, switch

log = logging.getLogger(__name__)

HEARING_BYTES_PER_FRAME = 64 * 1024
"""What the embedded model's own encoder needs, generously."""


class DawnEncodeAudio(DawnNode):
    """Turns speech into features at 25 frames a second. Any sample rate and number of channels; the whole audio
    is used unless you cut it here. The video will have exactly `frames` frames, and the audio output is cut to
    the same length."""

    title, category = "DAWN Encode Audio", STAGES
    aliases = ("speech features", "voice", "lip sync audio", "silence gate")
    advanced = ("silence_attack", "silence_hold", "level")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                MODEL.input("The model that will speak. dawn-nano brings its own audio encoder."),
                io.Audio.Input("audio", tooltip="The speech, at best without music or noise."),
                decimal("start", 0.0, (0.0, 86400.0), 0.04, "Where to start in the audio, in seconds."),
                decimal(
                    "duration",
                    0.0,
                    (0.0, 86400.0),
                    0.04,
                    "How much of the audio to use, in seconds. 0 means all of it. When there is less, the "
                    "video is as long as the audio, and the log says so.",
                ),
                decimal(
                    "tail",
                    0.0,
                    (0.0, 600.0),
                    0.04,
                    "Seconds of silence to add at the end, so that the mouth closes before the video ends.",
                    optional=True,
                ),
                decimal(
                    "silence_threshold",
                    0.0,
                    (0.0, 80.0),
                    1.0,
                    "Lets the mouth rest in pauses: what is so many dB below the loud parts reaches the "
                    "model as silence. 30 suits most recordings, more for very clean ones. 0 is off, as in the "
                    "paper. The sound you hear stays as it is.",
                    optional=True,
                ),
                decimal(
                    "silence_attack",
                    0.05,
                    (0.0, 5.0),
                    0.01,
                    "How long before speech begins a pause ends, in seconds. Longer keeps soft beginnings.",
                    optional=True,
                ),
                decimal(
                    "silence_hold",
                    0.2,
                    (0.0, 5.0),
                    0.01,
                    "How long after speech a pause begins, in seconds. Longer keeps soft endings and short "
                    "pauses between words.",
                    optional=True,
                ),
                switch(
                    "level",
                    False,
                    "Brings whispered and shouted recordings to the same loudness for the model. The sound "
                    "you hear stays as it is.",
                    optional=True,
                ),
                io.AudioEncoder.Input(
                    "audio_encoder",
                    optional=True,
                    tooltip="Only for the authors' models: HuBERT-large from DAWN Load Audio Encoder, or core's "
                    "Load Audio Encoder.",
                ),
            ],
            outputs=[
                SPEECH.output(),
                io.Audio.Output(
                    display_name="audio", tooltip="The sound, cut to exactly the video's length."
                ),
                io.Int.Output(display_name="frames", tooltip="How many the video will have, 25 a second."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: LoadedModel,
        audio: dict | None,
        start: float,
        duration: float,
        tail: float = 0.0,
        silence_threshold: float = 0.0,
        silence_attack: float = 0.05,
        silence_hold: float = 0.2,
        level: bool = False,
        audio_encoder: Any = None,
    ) -> io.NodeOutput:
        given = to_sound(audio)
        waveform, rate = given.waveform, given.rate
        waveform = _cut(waveform, rate, start, duration)
        gate = SilenceGate(silence_threshold, silence_attack, silence_hold)
        try:
            frames = frame_count(waveform.shape[-1] + round(tail * rate), rate)
            speech = heard = to_speech(waveform, rate)
            if level:
                speech = silence.level(speech)
            if gate.threshold > 0:
                speech = gate(speech)
            # Whole frames, so that every row lies exactly at its frame's time.
            speech = align_waveform(speech, SPEECH_RATE, frames)
        except ValueError as error:
            raise ValueError(f"audio: {error}. Load a sound file with speech in it") from error

        mm.throw_exception_if_processing_interrupted()
        features = AudioFeatures(_encode(model, audio_encoder, speech, frames).to(host.result_device()))
        feedback.advise(speech_advice(heard, features.features if model.has_audio_encoder else None), "audio")
        waveform, rate = for_video(waveform, rate)
        aligned = {"waveform": align_waveform(waveform, rate, frames)[None], "sample_rate": rate}
        sound = align_waveform(heard, SPEECH_RATE, frames)
        return io.NodeOutput(Speech(features, aligned), aligned, frames, ui=_for_timeline(sound))


def _encode(model: LoadedModel, audio_encoder: Any, speech: Tensor, frames: int) -> Tensor:
    """Speech [T] at 16 kHz → one row of the model's features per frame, [frames, D]."""
    if model.has_audio_encoder:
        if audio_encoder is not None:
            log.info(
                "DAWN: %s brings its own audio encoder, the one that is connected is not used",
                model.config.name,
            )
        device = host.load([model.patchers["audio_encoder"]], HEARING_BYTES_PER_FRAME * frames)
        return model.network("audio_encoder").encode(speech.to(device), frames)
    if audio_encoder is None:
        raise ValueError(
            f"audio_encoder: {model.config.name} needs HuBERT-large. Connect DAWN Load Audio Encoder, or "
            "choose dawn-nano in DAWN Load Model, which brings its own"
        )
    progress = None

    def on_clip(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or feedback.Progress(total, "encoding speech")
        progress.update(done)

    return to_video_rate(hidden_states(audio_encoder, speech, on_clip), frames)


def _for_timeline(sound: Tensor) -> dict[str, Any] | None:
    """Speech [T] at 16 kHz as a file that web/speech_sound.js reads; not inside another node, which has no timeline."""
    if feedback.outer_node() is not None:
        return None
    audio = {"waveform": sound.cpu()[None, None].clamp(-1, 1), "sample_rate": SPEECH_RATE}
    return preview(lambda: {"dawn_sound": ui.PreviewAudio(audio).as_dict()["audio"]})


def _cut(waveform: Tensor, rate: int, start: float, duration: float) -> Tensor:
    samples = waveform.shape[-1]
    seconds = samples / rate if rate > 0 else 0.0
    first = round(start * rate)
    if start > 0 and first >= samples:
        raise ValueError(f"start: {start:g} s is beyond the end of the audio, which lasts {seconds:.2f} s")
    wanted = round(duration * rate)
    if duration > 0 and wanted == 0:
        raise ValueError(f"duration: {duration:g} s is less than one sample of the audio; 0 means all of it")
    if first + wanted > samples > 0:
        log.warning(
            "DAWN: %g s of audio were asked for, from %g s on there are %.2f s: the video gets as long as that. "
            "Use tail for silence at the end",
            duration,
            start,
            (samples - first) / rate,
        )
    return waveform[:, first : first + wanted] if wanted else waveform[:, first:]
