"""Whether a device pastes sooner than the CPU."""

from __future__ import annotations

from dawn_model.paste_back.device_speed import device_is_sooner


def test_where_it_is_sooner():
    assert device_is_sooner(upright=True, threads=2) and not device_is_sooner(upright=True, threads=8)
    assert device_is_sooner(upright=False, threads=8) and not device_is_sooner(upright=False, threads=16)
