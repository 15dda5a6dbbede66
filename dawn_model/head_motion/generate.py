"""From speech features to an absolute head pose and blink per frame (docs/model.md, "Pose and blink")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..structures import AudioFeatures, FaceState, HeadMotion
from .pose_blink import PoseBlinkDecoder

POSE_LOW = (-90.0, -90.0, -90.0, 0.0, 0.0, 0.0)
POSE_HIGH = (90.0, 90.0, 90.0, 1.0, 720.0, 1080.0)
"""Yaw, pitch, roll, scale and translations that the networks see as 0 and 1."""

POSE_DIM = len(POSE_LOW)
BLINK_DIM = 2


def normalise_pose(pose: Tensor) -> Tensor:
    """Pose [..., 6] in the units of FaceState → the networks' 0..1."""
    low, high = pose.new_tensor(POSE_LOW), pose.new_tensor(POSE_HIGH)
    return (pose - low) / (high - low)


def denormalise_pose(pose: Tensor) -> Tensor:
    """Inverse of `normalise_pose`."""
    low, high = pose.new_tensor(POSE_LOW), pose.new_tensor(POSE_HIGH)
    return pose * (high - low) + low


def generate_head_motion(
    networks: Sequence[PoseBlinkDecoder], audio: AudioFeatures, face: FaceState, z: Sequence[Tensor]
) -> HeadMotion:
    """Let the speech move the head and the eyes, starting from the portrait's own state.

    networks: one joint network, or one for the pose and one for the blink, in any order
    z: for each network its noise [F, z_dim], drawn per frame so that longer audio leaves
       the noise of the first frames as it is (upstream's depends on the length)

    The result lies on the device of the features, in float32. Blink is used as it is;
    pose is normalised for the networks and restored.

    Raises ValueError when the networks do not make pose and blink exactly once, or when
    noise, features and networks do not fit together.
    """
    made = [(network.config.pose_dim, network.config.blink_dim) for network in networks]
    if sorted(made) not in ([(POSE_DIM, BLINK_DIM)], [(0, BLINK_DIM), (POSE_DIM, 0)]):
        raise ValueError(
            f"expected one network for pose ({POSE_DIM} values) and blink ({BLINK_DIM}), or one for each; "
            f"these make (pose, blink) = {made}"
        )
    if len(z) != len(networks):
        raise ValueError(f"{len(networks)} networks need as many noise tensors, got {len(z)}")
    features = audio.features
    first = torch.cat([normalise_pose(face.pose.to(features)), face.blink.to(features)])

    absolute = first.repeat(len(audio), 1)
    for network, noise in zip(networks, z, strict=True):
        config = network.config
        if features.shape[1] != config.audio_dim:
            raise ValueError(
                f"the pose and blink network expects {config.audio_dim} audio features per frame, "
                f"got {features.shape[1]}: the audio encoder does not fit this model"
            )
        if noise.shape != (len(audio), config.z_dim):
            raise ValueError(f"expected noise [{len(audio)}, {config.z_dim}], got {list(noise.shape)}")
        columns = slice(0 if config.pose_dim else POSE_DIM, POSE_DIM + config.blink_dim)
        absolute[:, columns] += network(features[None], first[None, columns], noise.to(features)[None])[0]
    absolute = absolute.float()
    return HeadMotion(pose=denormalise_pose(absolute[:, :POSE_DIM]), blink=absolute[:, POSE_DIM:])
