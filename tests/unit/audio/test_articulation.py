"""What speech features mean for a mouth."""

import torch

from dawn_model.audio.articulation import ARTICULATION_DIM, PHONE_CLASSES, closed, mouth_of


def shares(*numbers):
    rows = torch.zeros(len(numbers), len(PHONE_CLASSES))
    rows[torch.arange(len(numbers)), torch.tensor(numbers)] = 1.0
    return rows


def test_closures_shut_at_once():
    assert closed(shares(*[14] * 5, 0, *[14] * 5)).tolist() == [0.0] * 5 + [1.0] + [0.0] * 5


def test_only_lasting_silence_shuts():
    silence = len(PHONE_CLASSES) - 1
    assert not closed(shares(*[14] * 10, *[silence] * 8, *[14] * 10)).any()
    shut = closed(shares(*[14] * 10, *[silence] * 25, *[14] * 10))
    assert shut[12:33].all() and not shut[:10].any() and not shut[35:].any()


def test_a_clip_shorter_than_a_pause():
    assert closed(shares(16, 16)).tolist() == [1.0, 1.0]


def test_shares_sum_to_one_and_the_gap_is_no_less_than_nothing():
    gap, width, found = mouth_of(torch.randn(40, ARTICULATION_DIM))
    assert gap.min() >= 0 and width.shape == (40,)
    assert torch.allclose(found.sum(1), torch.ones(40), atol=1e-4)
