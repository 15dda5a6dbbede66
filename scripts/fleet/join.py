"""Videos of neighbouring ranges → one video: pictures are copied as they were encoded, sound is encoded once."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from comfy_client import WorkflowError

_SAMPLES = 1 << 16  # encoded at once


@dataclass(frozen=True)
class Sound:
    """waveform: [channels, samples] in float32; rate: samples a second."""

    waveform: np.ndarray
    rate: int


def join_videos(
    parts: Sequence[bytes], frames: Sequence[int], sound: Sound | None, metadata: Mapping[str, str]
) -> bytes:
    """Every part begins with a key frame, so that its packets can follow those of the part before.

    Args:
        parts:    files without sound, all from one encoder
        frames:   how many each must have
        sound:    of the whole; cut to the length of the pictures
        metadata: of the new file

    Raises WorkflowError when a part lacks frames or comes from another encoder.
    """
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as output:
        output.metadata.update(metadata)
        pictures = voice = None
        before = 0
        for number, (part, count) in enumerate(zip(parts, frames, strict=True), 1):
            with av.open(io.BytesIO(part)) as video:
                stream = video.streams.video[0]
                if pictures is None:
                    first, rate = stream.codec_context.extradata, Fraction(stream.average_rate)
                    pictures = output.add_stream_from_template(stream)
                    pictures.time_base = stream.time_base
                    if sound is not None:
                        layout = "mono" if len(sound.waveform) == 1 else "stereo"
                        voice = output.add_stream("aac", rate=sound.rate, layout=layout)
                elif stream.codec_context.extradata != first:
                    raise WorkflowError(
                        f"range {number} was encoded otherwise than the first; all workers need the same ComfyUI"
                    )
                found = 0
                for packet in video.demux(stream):
                    if packet.dts is None:
                        continue
                    shift = round(before / rate / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = pictures
                    output.mux(packet)
                    found += 1
                if found != count:
                    raise WorkflowError(f"range {number} has {found} frames instead of {count}")
                before += found
        if voice is not None:
            _encode(output, voice, sound, math.ceil(sound.rate / rate * before))
    return target.getvalue()


def _encode(output, voice, sound: Sound, samples: int) -> None:
    waveform = sound.waveform[:, :samples].astype(np.float32)
    for begin in range(0, waveform.shape[1], _SAMPLES):
        part = np.ascontiguousarray(waveform[:, begin : begin + _SAMPLES])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=voice.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = sound.rate, Fraction(1, sound.rate), begin
        output.mux(voice.encode(frame))
    output.mux(voice.encode(None))
