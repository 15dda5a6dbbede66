"""Folders and names made to lead elsewhere or to keep ComfyUI busy, in a real ComfyUI."""

from __future__ import annotations

import os
import sys
import time

import pytest
from comfy_harness import NodeFailed, PromptRejected
from talking_head import show

SAVERS = {
    "DawnSaveMotion": ("motion", {"precision": "fp32"}),
    "DawnSavePoseBlink": ("pose", {"format": "csv"}),
}


LOADERS = {
    "DawnLoadMotion": ("motion", {"model": ["model", 0]}),
    "DawnLoadModel": ("model", {"dtype": "fp32"}),
    "DawnLoadAudioEncoder": ("audio_encoder", {"dtype": "fp32"}),
    "DawnLoadPoseBlink": ("file", {"speech": ["speech", 0], "reference": "absolute", "length": "hold"}),
}


def test_a_folder_of_a_hundred_thousand_files_does_not_hold_up_the_list_of_nodes(
    comfy, tmp_path, monkeypatch, caplog
):
    """ComfyUI asks every node for its inputs whenever a browser opens."""
    import folder_paths

    for number in range(100_000):
        os.mknod(tmp_path / f"{number}.motion.safetensors")
    for name in ("input", "output"):
        monkeypatch.setattr(folder_paths, f"get_{name}_directory", lambda: str(tmp_path))
    begun = time.process_time()
    ours = {name: node for name, node in comfy.nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("Dawn")}
    for node in ours.values():
        node.define_schema()
    seconds = time.process_time() - begun
    sys.stdout.write(f"{len(ours)} nodes in {seconds:.2f} s\n")
    assert seconds < 1
    assert len(ours) > 15 and "files of" in caplog.text


@pytest.mark.parametrize("saver", SAVERS)
def test_a_linked_folder_leads_no_saver_out_of_the_output_folder(comfy, head, tmp_path, saver):
    import folder_paths

    link = f"linked {saver}"
    os.symlink(tmp_path, os.path.join(folder_paths.get_output_directory(), link), target_is_directory=True)
    source, options = SAVERS[saver]
    inputs = {source: [source, 0], "filename_prefix": f"{link}/clip", **options}
    begun = time.process_time()
    with pytest.raises(NodeFailed, match=r"filename_prefix: .* is no place in the output folder"):
        comfy.run({**show(head, source), "save": {"class_type": saver, "inputs": inputs}})
    assert list(tmp_path.iterdir()) == [] and time.process_time() - begun < 30  # the graph before it included


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    "name",
    ["a\0b.safetensors", "a\0b [output]", "x" * 5000, "../" * 2000 + "etc/passwd"],
    ids=["0", "1", "2", "3"],
)
def test_a_name_that_is_none_is_no_files_name(comfy, head, loader, name):
    entry, inputs = LOADERS[loader]
    prompt = show({**head, "load": {"class_type": loader, "inputs": {**inputs, entry: name}}}, "load")
    comfy.run(show(head, "speech"))
    begun = time.process_time()
    with pytest.raises((NodeFailed, PromptRejected), match=entry) as told:
        comfy.run(prompt)
    assert time.process_time() - begun < 1
    assert len(str(told.value)) < 1000, "nobody reads this"
