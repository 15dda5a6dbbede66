"""The authors' files as downloaded, read safely and strictly (docs/model.md, "Files")."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import DawnConfig, DenoiserConfig, FlowAutoencoderConfig, MotionEstimatorConfig, PoseBlinkConfig
from ..denoiser.box_encoder import authors_box_encoder
from ..flow_autoencoder.motion_estimator import MotionEstimator
from ..hardware.out_of_memory import NO_ROOM, is_out_of_memory
from ..official_keys import KeyTable, apply_table
from ..official_keys.denoiser import DENOISER_KEYS
from ..official_keys.flow_autoencoder import FLOW_AUTOENCODER, MOTION_ESTIMATOR
from ..official_keys.fusing import fuse
from ..official_keys.options import read_options
from ..official_keys.pose_blink import pose_blink_config, pose_blink_keys
from .checkpoint import (
    Checkpoint,
    CheckpointError,
    Source,
    Tensors,
    find_problems,
    first_line,
    listed,
    verify,
)
from .official_files import OfficialFiles


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in one of the authors' files, its tensors mapped rather than copied.

    Only tensors and plain data are ever constructed; a file that asks for more is refused.
    Raises CheckpointError for anything that is not such a dictionary.
    """
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # written by torch < 1.6
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} is refused: it holds more than tensors and plain data, or is not a "
            f"PyTorch file. Download it again from its authors. ({first_line(error)})"
        ) from error
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        if is_out_of_memory(error):
            raise CheckpointError(NO_ROOM.format(path.name)) from error
        raise CheckpointError(
            f"{path.name} can not be read: the file is damaged or its download was cut short. "
            f"Download it again. ({first_line(error)})"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}, expected named tensors")
    return content


def kind_of(content: Mapping[str, Any]) -> str:
    """What an official file is: "denoiser", "autoencoder", "pose-blink" or "unknown"."""
    if "diffusion" in content:
        return "denoiser"
    if {"generator", "region_predictor", "bg_predictor"} & content.keys():
        return "autoencoder"
    return "pose-blink" if any(key.startswith("decoder.") for key in content) else "unknown"


_KIND_NAMES = {
    "denoiser": "a DAWN denoiser (DAWN_128.pth or DAWN_256.pth)",
    "autoencoder": "a flow autoencoder (LFG_*.pth)",
    "pose-blink": "a pose or blink network (checkpoint_*.pth.tar)",
    "unknown": "none of the DAWN files",
}


def _read_kind(path: Path, kind: str) -> dict[str, Any]:
    content = read_pickle(path)
    found = kind_of(content)
    if found != kind:
        entries = ", ".join(list(content)[:4]) or "nothing"
        raise CheckpointError(
            f"{path.name} is {_KIND_NAMES[found]}, expected {_KIND_NAMES[kind]}. It holds: {entries}"
        )
    return content


def _entry(content: Mapping[str, Any], entry: str, path: Path) -> Tensors:
    """The tensors below a top-level entry, under their full names."""
    tensors = content.get(entry)
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path.name}: entry {entry!r} is missing or holds no named tensors")
    return _tensors({f"{entry}.{key}": value for key, value in tensors.items()}, path)


def _tensors(state: Mapping[str, Any], path: Path) -> Tensors:
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path.name}: expected tensors, but these are none: {listed(others)}")
    return dict(state)


def _rename(
    state: Tensors, table: KeyTable, path: Path, prefix: str = ""
) -> tuple[Tensors, dict[str, str], Source]:
    """Our tensors, the key in the file behind each, and how to speak of them in an error.

    prefix: of the keys in the file, which the table does not know
    """
    try:
        short = {key.removeprefix(prefix): value for key, value in state.items()}
        tensors, origin, unknown = apply_table(short, table)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    if unknown:
        strangers = listed([prefix + key for key in unknown])
        raise CheckpointError(f"{path.name} has keys that do not belong to it: {strangers}")

    def key_in_file(key: str) -> str:
        return prefix + origin[key] if key in origin else f"{key} (our name)"

    shapes = {key: value.shape for key, value in state.items()}
    return tensors, origin, Source(path.name, key_in_file, shapes)


def read_denoiser(path: Path) -> tuple[Tensors, Source]:
    content = _read_kind(path, "denoiser")
    tensors, _, source = _rename(_entry(content, "diffusion", path), DENOISER_KEYS, path, "diffusion.")
    return tensors, source


def read_autoencoder(path: Path) -> tuple[Tensors, Source]:
    content = _read_kind(path, "autoencoder")
    tensors, origin, source = _rename(_entry(content, "generator", path), FLOW_AUTOENCODER, path)
    try:
        return fuse(tensors, origin), source
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error


def read_motion_estimator(
    path: Path, config: MotionEstimatorConfig | None = None, operations=nn
) -> MotionEstimator:
    """The predictors in LFG_*.pth that auto-encode a video; generating a talking head does not need them.

    Raises CheckpointError naming the file and the missing, unknown or misshapen tensors.
    """
    content = _read_kind(path, "autoencoder")
    entries = ("generator", "region_predictor", "bg_predictor")
    state = {key: value for entry in entries for key, value in _entry(content, entry, path).items()}
    tensors, _, source = _rename(state, MOTION_ESTIMATOR, path)
    with torch.device("meta"):
        estimator = MotionEstimator(config or MotionEstimatorConfig(), operations)
    problems = find_problems(tensors, estimator.state_dict(), source)
    if problems:
        raise CheckpointError(f"{source.file} does not fit the motion estimator: {listed(problems)}")
    estimator.load_state_dict(tensors, assign=True)
    return estimator.eval().requires_grad_(False)


def read_pose_blink(path: Path) -> tuple[PoseBlinkConfig, Tensors, Source]:
    name = f"{path.parent.name}/{path.name}"
    state = _tensors(_read_kind(path, "pose-blink"), path)
    try:
        config = pose_blink_config(read_options(path.parent / "opt.yaml"), state)
    except (ValueError, FileNotFoundError) as error:
        raise CheckpointError(f"{name}: {error}") from error
    tensors, _, source = _rename(state, pose_blink_keys(config), path)
    return config, tensors, dataclasses.replace(source, file=name)


def read_official(
    files: OfficialFiles,
    denoiser: DenoiserConfig | None = None,
    autoencoder: FlowAutoencoderConfig | None = None,
) -> Checkpoint:
    """Read the authors' files as downloaded. The sizes are the released ones unless given.

    Raises CheckpointError naming the file and the missing, unknown or misshapen tensors.
    """
    # Their files lack the box encoder; box_encoder.py says where this one comes from.
    tensors: dict[str, Tensors] = {"box_encoder": authors_box_encoder()}
    sources = {"box_encoder": Source("the plugin's box encoder")}
    motion_configs = []
    for index, path in enumerate(files.motion):
        motion, tensors[f"motion.{index}"], sources[f"motion.{index}"] = read_pose_blink(path)
        motion_configs.append(motion)
    tensors["denoiser"], sources["denoiser"] = read_denoiser(files.denoiser)
    tensors["autoencoder"], sources["autoencoder"] = read_autoencoder(files.autoencoder)
    config = DawnConfig(
        name=f"dawn-{files.image_size}",
        image_size=files.image_size,
        denoiser=denoiser or DenoiserConfig(),
        autoencoder=autoencoder or FlowAutoencoderConfig(),
        motion=tuple(motion_configs),
    )
    checkpoint = Checkpoint(config, tensors)
    verify(checkpoint, sources.__getitem__)
    return checkpoint
