"""Sizes of every network, as frozen dataclasses that travel in a checkpoint's metadata.

A configuration says everything that tensor shapes cannot, so loading never guesses.
`DawnConfig.to_json` and `from_json` are the only serialisation.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

_MOST = {
    "layers": 64, "blocks": 16, "down_blocks": 8, "bottleneck_blocks": 64, "image_size": 4096,
    "train_timesteps": 100_000, "sampling_steps": 1000,
}  # fmt: skip
_MOST_OTHERS, _MOST_LEVELS = 65536, 16
_MOST_DIGITS = 20


def _whole(digits: str) -> int:
    """Python takes long over very many digits, or refuses them in words for programmers."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"not a DAWN configuration: it has a number of {len(digits)} digits")
    return int(digits)


def _check_sizes(fields: dict) -> None:
    """Raises ValueError for sizes that no model has: a file that asks for thousands of layers would keep the computer
    busy before anybody sees that its weights are missing."""
    for name, value in fields.items():
        most = _MOST.get(name, _MOST_OTHERS)
        parts = value if isinstance(value, (list, tuple)) else [value]
        if len(parts) > _MOST_LEVELS:
            raise ValueError(f"{name} lists {len(parts)} numbers, and {_MOST_LEVELS} are the most")
        for part in parts:
            if isinstance(part, dict):
                _check_sizes(part)
            elif isinstance(part, (int, float)) and not 0 <= part <= most:
                raise ValueError(f"{name} is {part}; possible are 0 to {most}")


@dataclass(frozen=True)
class DenoiserConfig:
    """The noise predictor (arXiv 2410.13726, section 3.3; docs/model.md, "Denoiser")."""

    base_width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    heads: int = 8
    head_dim: int = 32
    cross_heads: int = 8
    cross_head_dim: int = 8
    groups: int = 8
    feature_channels: int = 256
    box_channels: int = 16
    audio_dim: int = 1024
    pose_dim: int = 6
    blink_dim: int = 2
    bias_buckets: int = 32
    bias_max_distance: int = 32
    window: int = 40
    train_timesteps: int = 1000
    sampling_steps: int = 20
    """Denoising steps that are enough."""

    @property
    def condition_dim(self) -> int:
        return self.audio_dim + self.pose_dim + self.blink_dim

    @property
    def size_multiple(self) -> int:
        """Latent height and width must be multiples of this."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class CompactConfig:
    """The denoiser of the embedded model (`denoiser/compact.py`).

    head_fields, face_fields: how many motion fields a portrait gets for the turning head and for the face on it
    spatial_widths: channels of the network over space at full, half, quarter … size
    point_width: of the network that then sees every cell by itself
    width, layers: of the network over time
    audio_dim: numbers that say what the mouth does (`audio/articulation.py`)
    expression_dim: numbers that say in training what brows, gaze and smile do; otherwise they are sampled
    sampling_steps: denoising steps that are enough
    flow_range: its flow latents are how far the sampling grid departs from standing still, in units of this
        (half the picture is 1); the authors' are the grid itself
    mouth_scale, class_scale, pose_scale, blink_scale: what gap and width, shares of classes, the six pose and the two
        blink differences are multiplied with, so that they are near 1
    blink_gain: how much further lids are sent than the condition says; calibrated after training
        (training/evaluation/calibrate.py), for a small network closes eyes less far than it was shown
    expression_gain: deviation of the noise that sampling begins with; from noise as in training, in a few steps, brows
        and gaze would move half as far as real ones
    """

    head_fields: int = 12
    face_fields: int = 36
    spatial_widths: tuple[int, ...] = (24, 40, 64, 96)
    point_width: int = 96
    width: int = 128
    layers: int = 3
    heads: int = 4
    head_dim: int = 32
    groups: int = 8
    audio_dim: int = 19
    pose_dim: int = 6
    blink_dim: int = 2
    expression_dim: int = 7
    bias_buckets: int = 32
    bias_max_distance: int = 32
    window: int = 12
    train_timesteps: int = 1000
    sampling_steps: int = 4
    flow_range: float = 0.1
    mouth_scale: float = 5.0
    class_scale: float = 1.0
    pose_scale: tuple[float, ...] = (0.1, 0.1, 0.1, 0.0, 0.0, 0.0)
    blink_scale: float = 5.0
    blink_gain: float = 3.2
    expression_gain: float = 2.7

    @property
    def condition_dim(self) -> int:
        return self.audio_dim + self.pose_dim + self.blink_dim

    @property
    def scales(self) -> tuple[float, ...]:
        """One for each number of a condition row."""
        mouth = (self.mouth_scale,) * 2 + (self.class_scale,) * (self.audio_dim - 2)
        return (*mouth, *self.pose_scale, *(self.blink_scale * self.blink_gain,) * self.blink_dim)

    @property
    def fields(self) -> int:
        return self.head_fields + self.face_fields

    @property
    def size_multiple(self) -> int:
        """Latent height and width must be multiples of this."""
        return 2 ** (len(self.spatial_widths) - 1)


@dataclass(frozen=True)
class FlowAutoencoderConfig:
    """The latent flow generator (arXiv 2410.13726, section 3.2; docs/model.md, "Flow autoencoder").

    sharper_edges: what is hidden has edges finer than a cell of the motion latents. In a picture n times finer,
        visibility changes 1 + sharper_edges · (n - 1) times as steeply as interpolated; 0 as the authors' does.
    """

    width: int = 64
    max_width: int = 512
    down_blocks: int = 2
    bottleneck_blocks: int = 6
    sharper_edges: float = 0.0

    @property
    def feature_channels(self) -> int:
        return min(self.max_width, self.width * 2**self.down_blocks)

    @property
    def downscale(self) -> int:
        """Picture pixels per motion-latent cell, along each side."""
        return 2**self.down_blocks


@dataclass(frozen=True)
class MotionEstimatorConfig:
    """Region, background and flow predictors, needed only to auto-encode a video."""

    regions: int = 10
    region_width: int = 32
    background_width: int = 32
    flow_width: int = 64
    max_width: int = 1024
    blocks: int = 5
    temperature: float = 0.1
    downscale: int = 4


@dataclass(frozen=True)
class WhisperConfig:
    """The speech encoder of the embedded model (`audio/speech_encoder.py`): the first layers of Whisper's encoder
    (arXiv 2212.04356, section 2.2; the sizes are those of tiny.en) and a readout."""

    mel_bands: int = 80
    width: int = 384
    heads: int = 6
    layers: int = 3
    readout_width: int = 128
    features: int = 19


@dataclass(frozen=True)
class PoseBlinkConfig:
    """One pose and/or blink decoder (arXiv 2410.13726, section 3.4; docs/model.md, "Pose and blink").

    `window`, `init_attention` and the two rotary widths are what tells the authors'
    variants reemb5, reemb6 and reemb8 apart.
    """

    pose_dim: int = 6
    blink_dim: int = 0
    audio_dim: int = 1024
    audio_embed_dim: int = 256
    latent_dim: int = 64
    z_dim: int = 256
    layers: int = 2
    heads: int = 4
    head_dim: int = 32
    ff_dim: int = 128
    bias_buckets: int = 128
    bias_max_distance: int = 128
    window: int = 100
    init_attention: bool = True
    layer_rotary_dim: int = 4

    @property
    def output_dim(self) -> int:
        return self.pose_dim + self.blink_dim


def _with_tuples(kind: type, fields: dict):
    """JSON knows lists only."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def _known(motion: dict) -> dict:
    """Without what files of before December 2026 say although no network needs it."""
    return {key: value for key, value in motion.items() if key != "init_rotary_dim"}


@dataclass(frozen=True)
class DawnConfig:
    """A complete model: what one of our safetensors files holds.

    `motion` lists one joint pose/blink network, or a pose and a blink network.
    """

    name: str = "dawn-128"
    image_size: int = 128
    audio_encoder: str = "hubert-large"
    denoiser: DenoiserConfig | CompactConfig = DenoiserConfig()
    autoencoder: FlowAutoencoderConfig = FlowAutoencoderConfig()
    motion: tuple[PoseBlinkConfig, ...] = (
        PoseBlinkConfig(pose_dim=6, blink_dim=0, window=100),
        PoseBlinkConfig(pose_dim=0, blink_dim=2, window=200),
    )
    whisper: WhisperConfig | None = None
    """The speech encoder, when it is part of the model (`audio_encoder` is then "whisper")."""

    @property
    def latent_size(self) -> int:
        return self.image_size // self.autoencoder.downscale

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DawnConfig:
        """Raises ValueError when `text` is not a configuration this version understands."""
        try:
            fields = json.loads(text, parse_int=_whole)
            _check_sizes(fields)
            denoiser = fields.pop("denoiser")
            if fields.pop("mel", None):
                raise ValueError(
                    "it is a dawn-nano of before December 2026, whose speech encoder is gone. Use the one that comes "
                    "with the plugin"
                )
            whisper = fields.pop("whisper", None)
            return cls(
                denoiser=_with_tuples(
                    CompactConfig if "face_fields" in denoiser else DenoiserConfig, denoiser
                ),
                autoencoder=FlowAutoencoderConfig(**fields.pop("autoencoder")),
                motion=tuple(PoseBlinkConfig(**_known(motion)) for motion in fields.pop("motion")),
                whisper=WhisperConfig(**whisper) if whisper else None,
                **fields,
            )
        except (TypeError, KeyError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(
                f"not a DAWN configuration: {error}. Was it made by a newer version of the plugin?"
            ) from error


DAWN_NANO = DawnConfig(
    name="dawn-nano",
    image_size=256,
    audio_encoder="whisper",
    denoiser=CompactConfig(),
    autoencoder=FlowAutoencoderConfig(width=16, down_blocks=2, bottleneck_blocks=3, sharper_edges=2 / 3),
    motion=(
        PoseBlinkConfig(
            pose_dim=6,
            blink_dim=2,
            audio_dim=19,
            audio_embed_dim=64,
            latent_dim=64,
            z_dim=16,
            heads=2,
            head_dim=16,
            window=50,
        ),
    ),
    whisper=WhisperConfig(),
)
"""The embedded model. The head's translation is not steered (its condition scale is 0): in the 3DDFA
convention the crop follows the face, so it says little."""
