"""DAWN Load Model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch
from comfy_api.latest import io

from ..dawn_model.checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..dawn_model.checkpoints.official import read_official
from ..dawn_model.checkpoints.official_files import find_official
from ..dawn_model.config import CompactConfig, DawnConfig
from ..dawn_model.model import build_networks
from .support import host, model_folders
from .support.node import LOADERS, DawnNode, schema
from .support.sockets import MODEL, Speech
from .support.widgets import choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """DAWN_MODEL: every network under the host's memory management.

    patchers: network name → patcher (names as in dawn_model/model.py)
    dtype: of the large networks; the small ones stay in fp32
    estimator_file: the authors' flow autoencoder, which holds what sees motion in a video; None where there is none
    """

    config: DawnConfig
    dtype: torch.dtype
    patchers: dict[str, Any]
    estimator_file: Path | None = None

    def network(self, name: str):
        return self.patchers[name].model

    @property
    def has_audio_encoder(self) -> bool:
        """Whether the model brings its own speech encoder."""
        return "audio_encoder" in self.patchers

    @property
    def motion_patchers(self) -> list[Any]:
        return [self.patchers[f"motion.{index}"] for index in range(len(self.config.motion))]

    def require_features(self, speech: Speech) -> None:
        """Raises ValueError when the speech was heard by an encoder that this model does not know."""
        found, wanted = speech.features.features.shape[1], self.config.denoiser.audio_dim
        if found != wanted:
            raise ValueError(
                f"speech: its features have {found} numbers per frame, {self.config.name} takes {wanted}. "
                "Choose the audio encoder that belongs to the model"
            )


class DawnLoadModel(DawnNode):
    """Loads a DAWN model. dawn-nano is small, comes with this plugin and needs nothing else. The authors'
    models are better; use one converted .safetensors file, or their own files as downloaded: choose
    DAWN_128.pth or DAWN_256.pth, and the flow autoencoder (LFG) of the same resolution and the pose and blink
    networks (pbnet) are found beside it."""

    title, category = "DAWN Load Model", LOADERS
    aliases = ("load dawn", "talking head model", "lip sync model")
    advanced = ("dtype",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                choice(
                    "model",
                    model_folders.model_names(),
                    model_folders.EMBEDDED,
                    "The built-in model, or a file in models/dawn. Of the authors' models, which have no "
                    "license, 256 is sharper than 128 pixels and takes four times as long.",
                ),
                choice(
                    "dtype",
                    host.DTYPE_CHOICES,
                    "auto",
                    "Precision of the large networks. auto: half precision where the GPU or CPU is faster "
                    "at it (no visible difference), fp32 elsewhere. fp32 is the most exact (without TF32, "
                    "on newer NVIDIA cards too) and needs twice the memory.",
                ),
            ],
            outputs=[MODEL.output()],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        """Says where a missing file belongs; ComfyUI's own check of the list would only call it unknown."""
        return model_folders.missing(model_folders.model_path, model) or True

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str) -> str:
        path = model_folders.model_path(model)
        files = (path,) if _is_converted(path) else find_official(path, model_folders.model_roots()).all
        return " ".join(model_folders.modified(file) for file in files)

    @classmethod
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        path = model_folders.model_path(model)
        compute_dtype = host.choose_dtype(dtype, mm.get_torch_device())
        checkpoint = _read(path)
        networks = build_networks(checkpoint.config, host.OPERATIONS, device=mm.unet_offload_device())
        patchers = {}
        for name, module in networks.items():
            network_dtype = torch.float32 if _is_small(name, checkpoint.config) else compute_dtype
            patchers[name] = host.adopt(module.to(network_dtype), checkpoint.tensors[name], network_dtype)
        log.info("DAWN: loaded %s (%s) from %s", checkpoint.config.name, compute_dtype, path.name)
        estimator = (
            None if _is_converted(path) else find_official(path, model_folders.model_roots()).autoencoder
        )
        return io.NodeOutput(LoadedModel(checkpoint.config, compute_dtype, patchers, estimator))


def _is_small(network: str, config: DawnConfig) -> bool:
    """Networks that gain nothing from half precision."""
    compact = isinstance(config.denoiser, CompactConfig)
    return network.startswith("motion") or network == "audio_encoder" or (compact and network == "denoiser")


def _is_converted(path: Path) -> bool:
    return path.suffix in (".safetensors", ".sft")


def _read(path: Path) -> Checkpoint:
    if _is_converted(path):
        return read_checkpoint(path)
    return read_official(find_official(path, model_folders.model_roots()))
