"""The staged graph in a real ComfyUI, on the CPU and then on the shadow GPU; its findings as JSON on the last line.

    python tests/shadow_device/run_graph.py SHARE_OF_WEIGHTS_LOADED fp32|fp16 [gpu-only] [planted] [threads=8]

A process of its own, because ComfyUI's device functions are replaced. `planted` makes Paste Back leave its mask on the
CPU while the rest is on the GPU, a fault that this must find.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / part) for part in (".", "scripts", "tests", "tests/comfyui", "tests/shadow_device")
]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy_harness import NodeFailed  # noqa: E402
from comfy_harness.in_process import InProcessComfy  # noqa: E402
from PIL import Image  # noqa: E402
from shadow_gpu import GPU, shadow_gpu  # noqa: E402
from talking_head import Given, sound, write_tiny_models  # noqa: E402

GIGABYTE = 1 << 30
MODELS = (("dawn-nano (built in)", None), ("tiny-128.safetensors", "tiny-hubert.safetensors"))


def use_shadow_gpu(share: float, gpu_only: bool) -> None:
    """ComfyUI finds a GPU of 8 GB and loads so much of each model's weights onto it."""
    import comfy.model_management as mm
    import comfy.model_patcher as patcher

    def about(original):
        def answer(device=None, torch_free_too=False, torch_total_too=False):
            both = torch_free_too or torch_total_too
            there = device is None or torch.device(device).type == GPU.type
            return ((8 * GIGABYTE,) * 2 if both else 8 * GIGABYTE) if there else original(device, both)

        return answer

    mm.get_free_memory, mm.get_total_memory = about(mm.get_free_memory), about(mm.get_total_memory)
    mm.get_torch_device = mm.text_encoder_device = lambda: GPU
    mm.unet_offload_device = mm.text_encoder_offload_device = lambda: torch.device("cpu")
    mm.vram_state, mm.cpu_state = mm.VRAMState.NORMAL_VRAM, mm.CPUState.GPU
    mm.should_use_fp16 = lambda *args, **kwargs: True
    mm.soft_empty_cache = lambda *args, **kwargs: None
    mm.NUM_STREAMS = 0
    if gpu_only:
        mm.intermediate_device = lambda: GPU
    load_models, load_part = mm.load_models_gpu, patcher.ModelPatcher.partially_load
    whole = [False]

    def load(models, *args, force_full_load=False, **kwargs):
        whole[0] = force_full_load
        return load_models(models, *args, force_full_load=force_full_load, **kwargs)

    def partially(self, device, extra_memory=0, force_patch_weights=False):
        if share < 1 and not whole[0]:
            extra_memory = max(1, int(self.model_size() * share))
        return load_part(self, device, extra_memory=extra_memory, force_patch_weights=force_patch_weights)

    mm.load_models_gpu, patcher.ModelPatcher.partially_load = load, partially


def graph(given: Given, picture: torch.Tensor, model: str, encoder: str | None, dtype: str) -> dict[str, Any]:
    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    model_wire, portrait, speech = ["model", 0], ["portrait", 0], ["speech", 0]
    nodes = {
        "image": given.image(picture),
        "sound": given.audio(sound(0.4)),
        "model": node("DawnLoadModel", model=model, dtype=dtype),
        "portrait": node(
            "DawnPreparePortrait", image=["image", 0], face_order="size", face_index=0, margin=0.55, threshold=0.5
        ),
        "speech": node("DawnEncodeAudio", model=model_wire, audio=["sound", 0], start=0.0, duration=0.0),
        "pose": node("DawnGeneratePoseBlink", model=model_wire, portrait=portrait, speech=speech, seed=1),
        "motion": node(
            "DawnSampleMotion", model=model_wire, portrait=portrait, speech=speech, pose=["pose", 0], seed=1, steps=2,
            eta=1.0, guidance=1.5, window=40,
        ),
        "frames": node("DawnRenderFrames", model=model_wire, portrait=portrait, motion=["motion", 0]),
        "paste": node(
            "DawnPasteBack", portrait=portrait, images=["frames", 0], motion=["motion", 0], region="face", feather=0.15,
            colour_match=1.0, detail=1.0, result="picture", longest_side=512,
        ),
        "show": node("PreviewAny", source=["paste", 0]),
    }  # fmt: skip
    if encoder:
        nodes["encoder"] = node("DawnLoadAudioEncoder", audio_encoder=encoder, dtype=dtype)
        nodes["speech"]["inputs"]["audio_encoder"] = ["encoder", 0]
    return nodes


def watched_paste_back(comfy: InProcessComfy, planted: bool) -> list[str]:
    """Collects the device of every paster; `planted` leaves its mask on the CPU."""
    paste = sys.modules[f"{comfy.plugin.__name__}.dawn_model.paste_back.paste"]
    make, devices = paste.PasteBack.__init__, []

    def watched(self, *args: Any) -> None:
        make(self, *args)
        devices.append(self.device.type)
        if planted:
            self._bands = [(band, under, alpha.cpu()) for band, under, alpha in self._bands]

    paste.PasteBack.__init__ = watched
    return devices


def main(share: float, dtype: str, *options: str) -> dict[str, Any]:
    gpu_only = "gpu-only" in options
    for option in options:
        if option.startswith("threads="):
            torch.set_num_threads(int(option.removeprefix("threads=")))
    # The shadow's tensors are made in Python, which inference mode does not allow.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode is True else mode
    comfy = InProcessComfy(Path(os.environ["COMFYUI_PATH"]), Path(tempfile.mkdtemp()))
    comfy.plugin = comfy.load_plugin(ROOT)
    logging.getLogger().setLevel(logging.ERROR)
    given = Given()
    comfy.nodes.NODE_CLASS_MAPPINGS.update(given.classes())
    write_tiny_models(comfy.base / "models")
    with Image.open(ROOT / "media" / "portraits" / "astronaut.png") as image:
        picture = torch.from_numpy(np.array(image.convert("RGB")))[None].float() / 255
    expected = {}
    for model, encoder in MODELS:
        run = comfy.run(graph(given, picture, model, encoder, "fp32"))
        expected[model] = run.output("frames").clone(), run.output("paste").clone()
        comfy.forget()
    use_shadow_gpu(share, gpu_only)
    pasted_on = watched_paste_back(comfy, planted="planted" in options)
    found = {}
    for model, encoder in MODELS:
        with shadow_gpu() as counts:
            there = picture.to(GPU) if gpu_only else picture
            try:
                run = comfy.run(graph(given, there, model, encoder, dtype))
            except NodeFailed as error:
                return {"failed": f"{error.node}: {error}"}
            results = run.output("frames"), run.output("paste")
            found[model] = {
                "devices": [str(result.device.type) for result in results],
                "pasted_on": pasted_on.pop(),
                "synchronisations": counts.synchronisations,
                "apart": [
                    float((result.float().cpu() - wanted).abs().mean())
                    for result, wanted in zip(results, expected[model], strict=True)
                ],
            }
        comfy.forget()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(float(sys.argv[1]), *sys.argv[2:])) + "\n")
