"""Videos of neighbouring ranges → one video: pictures are copied as they were encoded, sound is encoded once."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
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
    opened = [av.open(io.BytesIO(part)) for part in parts]
    try:
        streams = [video.streams.video[0] for video in opened]
        rate = Fraction(streams[0].average_rate)
        packets = [
            [packet for packet in video.demux(stream) if packet.pts is not None]
            for video, stream in zip(opened, streams, strict=True)
        ]
        for number, (stream, found, count) in enumerate(zip(streams, packets, frames, strict=True), 1):
            if len(found) != count:
                raise WorkflowError(f"range {number} has {len(found)} frames instead of {count}")
            if stream.codec_context.extradata != streams[0].codec_context.extradata:
                raise WorkflowError(
                    f"range {number} was encoded otherwise than the first; all workers need the same ComfyUI"
                )
        target = io.BytesIO()
        with av.open(target, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as output:
            output.metadata.update(metadata)
            pictures = output.add_stream_from_template(streams[0])
            voice = None
            if sound is not None:
                layout = "mono" if len(sound.waveform) == 1 else "stereo"
                voice = output.add_stream("aac", rate=sound.rate, layout=layout)
            for packet in _in_one_time(packets, rate):
                packet.stream = pictures
                output.mux(packet)
            if sound is not None:
                _encode(output, voice, sound, math.ceil(sound.rate / rate * sum(frames)))
        return target.getvalue()
    finally:
        for video in opened:
            video.close()


def _in_one_time(parts: list[list[av.Packet]], rate: Fraction) -> Iterator[av.Packet]:
    """The packets of all parts, each to be shown after those of the part before.

    Packets come in the order of decoding. How far that is ahead of showing differs with the length of a part, so the
    times of decoding are made anew, with the largest distance of all.
    """
    shown = [[round(packet.pts * packet.time_base * rate) for packet in part] for part in parts]
    ahead = max(order - at for part in shown for order, at in enumerate(part))
    before = 0
    for part, places in zip(parts, shown, strict=True):
        for order, (packet, place) in enumerate(zip(part, places, strict=True)):
            frame = 1 / rate / packet.time_base
            packet.pts, packet.dts = round((before + place) * frame), round((before + order - ahead) * frame)
            packet.duration = round(frame)
            yield packet
        before += len(part)


def _encode(output, voice, sound: Sound, samples: int) -> None:
    waveform = sound.waveform[:, :samples].astype(np.float32)
    for begin in range(0, waveform.shape[1], _SAMPLES):
        part = np.ascontiguousarray(waveform[:, begin : begin + _SAMPLES])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=voice.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = sound.rate, Fraction(1, sound.rate), begin
        output.mux(voice.encode(frame))
    output.mux(voice.encode(None))
