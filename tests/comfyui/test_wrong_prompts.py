"""A small sample of tests/wrong_prompts.py, which sends thousands."""

from __future__ import annotations

import wrong_prompts


def test_wrong_values_end_in_words_and_the_next_jobs_run(comfy_server):
    ended, found = wrong_prompts.attack(comfy_server, 5000, 25)
    assert not found, "\n".join(found)
    assert ended["told"] and ended["refused"] and ended["good ones between"]
