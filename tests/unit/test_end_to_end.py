"""A whole clip, from portrait and speech features to frames, against the golden tensors."""

from __future__ import annotations

import pytest
import recipe
import torch
from golden_clip import STEPS, make_clip

from dawn_model.checkpoints.checkpoint import load_networks
from dawn_model.checkpoints.official import read_official
from dawn_model.checkpoints.official_files import find_official

TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def networks(downloads):
    """From the authors' files. Their tensors are the same for 128 and 256 pixels under the recipe."""
    assert recipe.manifest("dawn_128") == recipe.manifest("dawn_256")
    assert recipe.manifest("lfg_128") == recipe.manifest("lfg_256")
    with torch.inference_mode():
        networks = load_networks(read_official(find_official(downloads / "DAWN_128.pth", [])))
        # The golden frames were made with a box encoder by the recipe, not with the shipped one.
        box_encoder = networks["box_encoder"]
        box_encoder.load_state_dict(
            {
                key: recipe.weight(f"face_loc_emb.{key}", tensor.shape)
                for key, tensor in box_encoder.state_dict().items()
            }
        )
    return networks


@pytest.fixture(scope="module", params=STEPS)
def clip(request, golden, networks):
    """(reference, latents, frames) of one resolution, from the golden inputs."""
    reference = golden(f"e2e{request.param}")
    with torch.inference_mode():
        return reference, *make_clip(networks, reference, request.param)


def test_sampled_flow_and_occlusion(clip):
    reference, latents, _ = clip
    flow = reference["sample_vid_grid"][0].permute(1, 2, 3, 0)  # [F, h, w, 2]
    occlusion = reference["sample_vid_conf"][0].transpose(0, 1)  # [F, 1, h, w]
    assert latents.flow.shape == flow.shape and latents.occlusion.shape == occlusion.shape
    assert (latents.flow - flow).abs().max() <= TOLERANCE
    assert (latents.occlusion - occlusion).abs().max() <= TOLERANCE


def test_decoded_frames(clip):
    reference, _, frames = clip
    pictures = frames.movedim(-1, 0)[None]  # as the authors': [1, 3, F, S, S]
    # At 256 pixels the reference keeps one whole frame, and every second pixel of all.
    compared = 0
    for key, part in {
        "sample_out_vid": lambda video: video,
        "sample_out_vid[:, :, 1]": lambda video: video[:, :, 1],
        "sample_out_vid[:, :, :, ::2, ::2]": lambda video: video[:, :, :, ::2, ::2],
    }.items():
        if key in reference:
            expected = reference[key].clamp(0, 1)
            assert part(pictures).shape == expected.shape
            assert (part(pictures) - expected).abs().max() <= TOLERANCE
            compared += expected.numel()
    assert compared >= 3 * len(frames) * 128 * 128


def test_written_frames(clip):
    reference, _, frames = clip
    video = (frames * 255).to(torch.uint8)
    if "frames_rgb_u8" in reference:
        expected = reference["frames_rgb_u8"]
    else:
        expected = (reference["sample_out_vid[:, :, :, ::2, ::2]"].clamp(0, 1) * 255).to(torch.uint8)[0]
        expected, video = expected.movedim(0, -1), video[:, ::2, ::2]
    difference = (video.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.001
