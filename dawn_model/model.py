"""All networks of a DAWN model, built from its configuration."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from .box_encoder import BoxEncoder
from .config import DawnConfig
from .denoiser import UNet3D
from .flow_autoencoder import FlowAutoencoder
from .pose_blink import PoseBlinkDecoder


def build_networks(
    config: DawnConfig, operations: ModuleType = nn, dtype=None, device=None
) -> dict[str, nn.Module]:
    """Network name → uninitialised module; the names are those of the model files."""
    factory = {"dtype": dtype, "device": device}
    return {
        "denoiser": UNet3D(config.denoiser, operations, **factory),
        "autoencoder": FlowAutoencoder(config.autoencoder, operations, **factory),
        "box_encoder": BoxEncoder(
            config.denoiser.box_channels, config.autoencoder.downscale, operations, **factory
        ),
        **{
            f"motion.{index}": PoseBlinkDecoder(motion, operations, **factory)
            for index, motion in enumerate(config.motion)
        },
    }
