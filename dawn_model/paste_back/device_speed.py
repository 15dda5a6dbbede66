"""Whether a device pastes sooner than the CPU, when the frames are to lie in the computer's own memory."""

from __future__ import annotations

_UPRIGHT, _TURNED = 11.0, 30.0
"""Nanoseconds that one thread of an EPYC takes for a pixel of the part, on an upright square and on a turned one:
`benchmarks/gpu.py --device cpu --only paste`, less what lies round the part."""

_FETCHED = 3.0
"""Nanoseconds in which the 12 bytes of a pixel come from a device and into their frame, at 6 GB/s. Estimated: no GPU
was at hand. `benchmarks/gpu.py --only paste` measures both sides."""


def device_is_sooner(upright: bool, threads: int) -> bool:
    """What lies round the part is written by the CPU in either case, and a device computes faster than it sends."""
    return (_UPRIGHT if upright else _TURNED) / threads > _FETCHED
