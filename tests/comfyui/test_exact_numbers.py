"""Where the user chose fp32, nodes compute without TF32; elsewhere, and afterwards, as the host has set it."""

from __future__ import annotations

import pytest
import torch
from comfy_harness import NodeFailed
from talking_head import change


@pytest.mark.parametrize(("dtype", "tf32"), [("fp32", False), ("bf16", True)])
def test_tf32_within_the_nodes(comfy, head, monkeypatch, dtype, tf32):
    prompt = change(head, "model", dtype=dtype)
    model, seen = comfy.run(prompt).output("model"), []
    networks = {type(model.network(name)) for name in ("denoiser", "autoencoder", "motion.0")}
    for network in networks:
        forward = network.__call__

        def noting(self, *args, forward=forward, **given):
            seen.append((type(self).__name__, torch.backends.cudnn.allow_tf32))
            return forward(self, *args, **given)

        monkeypatch.setattr(network, "__call__", noting)
    monkeypatch.setattr(
        type(model.network("autoencoder")),
        "encode",
        lambda *_: seen.append(("encode", torch.backends.cudnn.allow_tf32)) or 1 / 0,
    )
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(NodeFailed, match="zero"):
        comfy.run(change(prompt, "pose", seed=7))
    assert before and torch.backends.cudnn.allow_tf32 is before
    assert len({name for name, _ in seen}) == 2 and {on for _, on in seen} == {tf32}
