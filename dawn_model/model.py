"""All networks of a DAWN model, built from its configuration."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from .audio.speech_encoder import SpeechEncoder
from .config import CompactConfig, DawnConfig
from .denoiser.box_encoder import BoxEncoder
from .denoiser.compact import CompactDenoiser
from .denoiser.unet3d import UNet3D
from .flow_autoencoder.autoencoder import FlowAutoencoder
from .head_motion.pose_blink import PoseBlinkDecoder


def build_networks(
    config: DawnConfig, operations: ModuleType = nn, dtype=None, device=None
) -> dict[str, nn.Module]:
    """Network name → uninitialised module; the names are those of the model files."""
    factory = {"dtype": dtype, "device": device}
    networks: dict[str, nn.Module] = {}
    if config.whisper:
        networks["audio_encoder"] = SpeechEncoder(config.whisper, operations, **factory)
    if isinstance(config.denoiser, CompactConfig):
        networks["denoiser"] = CompactDenoiser(config.denoiser, operations, **factory)
    else:
        networks["denoiser"] = UNet3D(config.denoiser, operations, **factory)
        networks["box_encoder"] = BoxEncoder(
            config.denoiser.box_channels, config.autoencoder.downscale, operations, **factory
        )
    networks["autoencoder"] = FlowAutoencoder(config.autoencoder, operations, **factory)
    for index, motion in enumerate(config.motion):
        networks[f"motion.{index}"] = PoseBlinkDecoder(motion, operations, **factory)
    return networks
