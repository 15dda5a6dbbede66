"""Schedules, samplers and the noise they start from: functions that know no network.

Start with `sampler.py`; `noise.py` says why the same seed gives the same clip on every machine.
"""
