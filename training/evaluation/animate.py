"""Portrait and speech → frames, through the plugin's own stages, for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dawn_model.audio.waveform import frame_count
from dawn_model.checkpoints.checkpoint import load_networks, read_checkpoint
from dawn_model.denoiser.conditioning import denoiser_condition
from dawn_model.diffusion.noise import FrameNoise
from dawn_model.diffusion.sampler import latent_noise
from dawn_model.face.crop import crop_face
from dawn_model.face.landmarker import FaceLandmarker, choose_face
from dawn_model.face.mouth import inner_lips
from dawn_model.face.portrait import Portrait
from dawn_model.flow_autoencoder.autoencoder import SourceFeatures
from dawn_model.flow_autoencoder.render import render_frames
from dawn_model.head_motion.generate import generate_head_motion
from dawn_model.pipeline import SamplingOptions, denoiser_source, sample_motion
from dawn_model.structures import AudioFeatures, FaceState, HeadMotion, MotionLatents

STEPS = 4


@dataclass(frozen=True)
class Animator:
    """A model file ready for use on the CPU."""

    config: object
    networks: dict
    landmarker: FaceLandmarker

    @classmethod
    def load(cls, path: Path) -> Animator:
        checkpoint = read_checkpoint(path)
        return cls(checkpoint.config, load_networks(checkpoint, dtype=torch.float32), FaceLandmarker.load())

    def portrait(self, picture: Tensor) -> tuple[Tensor, FaceState]:
        """[H, W, 3] in 0..1 → the square [1, 3, S, S] and the state of its face."""
        height, width = picture.shape[:2]
        face = choose_face(self.landmarker(picture), height, width)
        crop = crop_face(face.points, height, width, self.config.image_size)
        return Portrait(picture, face.points, crop).at(self.config.image_size)

    @torch.no_grad()
    def encode(self, speech: Tensor) -> AudioFeatures:
        """Speech [T] at 16 kHz."""
        return AudioFeatures(self.networks["audio_encoder"].encode(speech, frame_count(len(speech), 16000)))

    @torch.no_grad()
    def head_motion(self, audio: AudioFeatures, face: FaceState, seed: int = 0) -> HeadMotion:
        networks = [net for name, net in self.networks.items() if name.startswith("motion.")]
        noise = FrameNoise(seed, "pose-blink")
        z = [noise(i, len(audio), net.config.z_dim) for i, net in enumerate(networks)]
        return generate_head_motion(networks, audio, face, z)

    @torch.no_grad()
    def film(
        self,
        picture: Tensor,
        face: FaceState,
        audio: AudioFeatures,
        motion: HeadMotion,
        seed: int = 0,
        steps: int = STEPS,
        mouth: float = 1.0,
        expression: float = 1.0,
    ) -> Tensor:
        """Frames [F, S, S, 3] in 0..1."""
        autoencoder = self.networks["autoencoder"]
        features = autoencoder.encode(picture, lips=inner_lips(face.points, picture.shape[-1]))
        options = SamplingOptions(steps=steps, expression=expression)
        latents = self.sample(features, face, audio, motion, seed, options, mouth)
        return render_frames(autoencoder, features, latents, frames_per_slice=8)

    @torch.no_grad()
    def sample(
        self,
        features: SourceFeatures,
        face: FaceState,
        audio: AudioFeatures,
        motion: HeadMotion,
        seed: int,
        options: SamplingOptions,
        mouth: float = 1.0,
    ) -> MotionLatents:
        size = self.config.latent_size
        return sample_motion(
            self.networks["denoiser"],
            denoiser_source(features, face, self.networks.get("box_encoder")),
            denoiser_condition(self.config.denoiser, audio.features, motion, face, mouth),
            latent_noise(FrameNoise(seed, "motion"), len(audio), size, size, torch.zeros(())),
            options,
        )


def held(face: FaceState, frames: int) -> HeadMotion:
    """Head and lids as the portrait holds them."""
    return HeadMotion(face.pose.repeat(frames, 1), face.blink.repeat(frames, 1))
