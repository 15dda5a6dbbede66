"""Stage 8: measures a model file on held-out material alone and writes contact sheets.

    python -m training.evaluation.evaluate --shared ../shared/data

Held out: rendered people and sentences that training never saw, spoken by a voice it never heard; the
astronaut and the photographs of `photos-for-evaluation` with the LibriVox clips (looked at and measured only).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from dawn_model.audio.waveform import to_speech
from dawn_model.structures import FaceState, HeadMotion

from ..paths import HELD_OUT_SPEECH, MODEL, SHEETS
from ..people.head import HeadMesh, random_person
from ..people.renderer import View, draw, rotation
from ..speech.visemes import UNITS, mouth_curves
from . import metrics
from .animate import Animator, held
from .contact_sheet import evenly, write_sheet

FIRST_PERSON = 10**6
AMPLITUDES = {"yaw": 12.0, "pitch": 8.0, "roll": 8.0}
SHUT = 0.06
_MARGIN = 25  # frames between blinks


def rendered_portrait(mesh: HeadMesh, seed: int) -> Tensor:
    """An unseen person before grey, mouth closed, [512, 512, 3]."""
    rng = np.random.default_rng([seed, 7])
    person = random_person(mesh, rng)
    drawing = draw(mesh, person, {}, rotation(*rng.normal(0, (5, 3, 2))), View(), 512)
    return torch.from_numpy(drawing.picture + rng.uniform(0.3, 0.7) * ~drawing.cover[..., None]).float()


def held_out_speech(count: int):
    """Waveforms [T] at 16 kHz and their phones."""
    packed = np.load(HELD_OUT_SPEECH)
    for number in range(count):
        speech = torch.from_numpy(packed[f"speech_{number}"]).float() / 32767
        times = packed[f"times_{number}"].tolist()
        yield speech, [(str(n), *t) for n, t in zip(packed[f"phones_{number}"], times, strict=True)]


def photographs(shared: Path) -> dict[str, Tensor]:
    paths = [
        *(shared / "portraits").glob("*.png"),
        *sorted((shared / "photos-for-evaluation").glob("*.jp*g")),
    ]
    return {p.stem: torch.from_numpy(np.array(Image.open(p).convert("RGB"))).float() / 255 for p in paths}


def recordings(shared: Path) -> list[Tensor]:
    read = [
        soundfile.read(path, dtype="float32", always_2d=True)
        for path in sorted((shared / "speech").glob("*.wav"))
    ]
    return [to_speech(torch.from_numpy(samples.T.copy()), rate) for samples, rate in read]


class Evaluation:
    """Collects the table of the issue: name → (value, wanted)."""

    def __init__(self, model: Path, shared: Path):
        self.animator, self.shared = Animator.load(model), shared
        self.table: dict[str, tuple[str, str]] = {}
        self.size = self.animator.config.image_size

    def note(self, name: str, value: str, wanted: str) -> None:
        self.table[name] = (value, wanted)
        print(f"| {name} | {value} | {wanted} |", flush=True)

    def talk(self, picture: Tensor, face: FaceState, speech: Tensor, motion: HeadMotion | None = None):
        """Frames, and the points of the face in them; the head held unless a motion is given."""
        audio = self.animator.hear(speech)
        frames = self.animator.film(picture, face, audio, motion or held(face, len(audio)))
        return frames, metrics.track(self.animator.landmarker, frames)

    def rendered(self, clips: int) -> None:
        mesh, gaps, sounds, against_jaw, rows = HeadMesh(), [], [], [], []
        for number, (speech, phones) in enumerate(held_out_speech(clips)):
            picture, face = self.animator.portrait(rendered_portrait(mesh, FIRST_PERSON + number))
            frames, points = self.talk(picture, face, speech)
            jaw = mouth_curves(phones, len(frames))[:, UNITS.index("jawOpen")]
            gaps.append(metrics.lip_gap(points))
            sounds.append(metrics.envelope(speech))
            against_jaw.append(metrics.correlation(gaps[-1], jaw))
            rows.append(evenly(frames[10:60], 12))
        write_sheet(rows, SHEETS / "rendered.png")
        reach = float(np.mean([np.quantile(g, 0.95) - np.quantile(g, 0.05) for g in gaps]))
        env, lag = metrics.synchrony(gaps, sounds)
        self.note("rendered: lip gap against true jaw", f"{np.mean(against_jaw):.2f}", "0.70")
        self.note("rendered: lip gap range (5 to 95 %, iris distances)", f"{reach:.3f}", "0.10")
        self.note("rendered: env matched minus mismatched; best lag", f"{env:.2f}; {lag:+d}", "0.25; ±1")

    def photographed(self, clips: int) -> None:
        speeches, gaps, sounds, rows = recordings(self.shared)[:clips], [], [], []
        for name, photograph in photographs(self.shared).items():
            picture, face = self.animator.portrait(photograph)
            for number, speech in enumerate(speeches):
                frames, points = self.talk(picture, face, speech)
                gaps.append(metrics.lip_gap(points))
                sounds.append(metrics.envelope(speech))
                if number == 0:
                    rows.append(torch.cat([picture[0].movedim(0, -1)[None], evenly(frames[10:60], 12)]))
                    if name == "astronaut":
                        self._stillness(picture, face, frames, gaps[-1])
        write_sheet(rows, SHEETS / "photographs.png")
        reach = float(np.mean([np.quantile(g, 0.95) - np.quantile(g, 0.05) for g in gaps]))
        env, lag = metrics.synchrony(gaps, sounds)
        self.note("photographs: lip gap range", f"{reach:.3f}", "0.10")
        self.note("photographs: env matched minus mismatched; best lag", f"{env:.2f}; {lag:+d}", "0.20; ±2")

    def _stillness(self, picture: Tensor, face: FaceState, talking: Tensor, speech_gap: np.ndarray) -> None:
        source = picture[0].movedim(0, -1)
        points = self.animator.landmarker(source)[0].points
        keep = metrics.outside_mouth_and_eyes(points, self.size)
        self.note(
            "held head: PSNR outside mouth and eyes", f"{metrics.psnr(talking, source, keep):.1f} dB", "32 dB"
        )
        _, silent_points = self.talk(picture, face, torch.zeros(16000 * 4))
        ratio = metrics.lip_gap(silent_points).std() / max(1e-6, speech_gap.std())
        self.note("silence: lip-gap deviation relative to speech", f"{ratio:.2f}", "at most 0.20")
        _, ratios = metrics.states(silent_points, self.size)
        self.note("false blinks, lids held", str(metrics.blinks_seen(ratios.mean(1), [])[1]), "0")

    def steered(self) -> None:
        """Pose and blink given to the astronaut, against what is tracked."""
        picture, face = self.animator.portrait(photographs(self.shared)["astronaut"])
        frames, rows = 75, []
        silence = torch.zeros(16000 * frames // 25)
        for column, (name, degrees) in enumerate(AMPLITUDES.items()):
            motion = held(face, frames)
            given = degrees * np.sin(2 * np.pi * np.arange(frames) / frames)
            motion.pose[:, column] += torch.from_numpy(given).float()
            shown, points = self.talk(picture, face, silence, motion)
            tracked = metrics.states(points, self.size)[0][:, column]
            slope = float(np.polyfit(given, tracked, 1)[0])
            self.note(
                f"{name} ±{degrees:.0f}°: correlation (slope)",
                f"{metrics.correlation(given, tracked):.2f} ({slope:.2f})",
                "0.90",
            )
            rows.append(evenly(shown, 13))
        moments = [_MARGIN * (1 + k) for k in range(10)]
        motion = held(face, _MARGIN * 11)
        for moment in moments:
            motion.blink[moment - 2 : moment + 3] = SHUT
        shown, points = self.talk(picture, face, torch.zeros(16000 * len(motion) // 25), motion)
        ratios = metrics.states(points, self.size)[1].mean(1)
        hits, false = metrics.blinks_seen(ratios, moments)
        self.note("blinks: hits of 10, false", f"{hits}, {false}", "9, 0")
        self.note(
            "blinks: least openness relative to open",
            f"{ratios.min() / np.quantile(ratios, 0.8):.2f}",
            "0.50",
        )
        rows.append(shown[moments[0] - 6 : moments[0] + 7])
        write_sheet(rows, SHEETS / "steered.png")

    def drift_and_speed(self) -> None:
        """Thirty seconds with the head held, which end with the words they begin with (cheeks move with the
        words, and that is no drift); and ten seconds timed from sound to frames."""
        picture, face = self.animator.portrait(photographs(self.shared)["astronaut"])
        speech = torch.cat(recordings(self.shared))
        speech = speech.repeat(-(-30 * 16000 // len(speech)))[: 30 * 16000]
        speech[-16000:] = speech[:16000]
        audio = self.animator.hear(speech)
        frames = self.animator.film(picture, face, audio, held(face, len(audio)))
        source = picture[0].movedim(0, -1)
        keep = metrics.outside_mouth_and_eyes(
            self.animator.landmarker(source)[0].points, self.size, face_only=True
        )
        fall = metrics.psnr(frames[:25], source, keep) - metrics.psnr(frames[-25:], source, keep)
        self.note("drift over 30 s: fall of PSNR", f"{fall:.2f} dB", "at most 0.5 dB")
        begun = time.perf_counter()
        audio = self.animator.hear(speech[: 10 * 16000])
        motion = self.animator.head_motion(audio, face)
        frames = self.animator.film(picture, face, audio, motion)
        rate = len(frames) / (time.perf_counter() - begun)
        write_sheet([evenly(part, 12) for part in frames[:144].chunk(6)], SHEETS / "astronaut.png")
        self.note("frames a second, 10 s clip", f"{rate:.1f}", "8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rendered-clips", type=int, default=8)
    parser.add_argument("--recordings", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    evaluation = Evaluation(options.model, options.shared)
    begun = time.time()
    print("| what | measured | wanted |\n|---|---|---|")
    evaluation.rendered(options.rendered_clips)
    evaluation.photographed(options.recordings)
    evaluation.steered()
    evaluation.drift_and_speed()
    print(f"\n{options.model.name}, {time.time() - begun:.0f} s; contact sheets in {SHEETS}")


if __name__ == "__main__":
    main()
