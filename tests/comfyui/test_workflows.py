"""The workflows that are shipped: they fit the nodes, both formats say the same, and a video comes out."""

from __future__ import annotations

import io
import json
import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from comfy_harness import NodeFailed
from PIL import Image
from talking_head import change, write_tiny_models
from workflow_names import TITLES, api_file, template_file

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "media" / "portraits" / "astronaut.png"
SPEECH = ROOT / "media" / "speech" / "sense_and_sensibility.wav"

API_FILES = sorted((ROOT / "workflows" / "api").glob("*.json"))
UI_FILES = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINT = ROOT / "subgraphs" / "DAWN Talking Head (stages).json"
BYPASSED = 4
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def workflows(files: list[Path]):
    return pytest.mark.parametrize("path", files, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def object_info(comfy_server) -> dict[str, Any]:
    return comfy_server.get("/object_info")


def all_inputs(info: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Input name → (type, options), in the order of the node; a list of choices counts as COMBO."""
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {
        name: ("COMBO" if isinstance(spec[0], list) else spec[0], spec[1] if len(spec) > 1 else {})
        for name, spec in specs.items()
    }


def test_every_workflow_is_there_in_both_formats():
    assert sorted(map(api_file, TITLES)) == API_FILES
    assert sorted(map(template_file, TITLES)) == UI_FILES


def test_the_template_dialog_shows_names_that_a_person_reads():
    """It shows the file names as they are and puts them into addresses; sorted, the simplest is the first."""
    assert min(TITLES.values()) == TITLES["dawn_simple"]
    for title in TITLES.values():
        assert re.fullmatch(r"DAWN - [A-Z][A-Za-z ]+", title)


# --- API format ---


@workflows(API_FILES)
def test_api_workflow_fits_the_nodes(object_info, path):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    for name, node in prompt.items():
        info = object_info[node["class_type"]]
        known, place = all_inputs(info), f"node {name} ({node['class_type']})"
        assert set(node["inputs"]) <= set(known), place
        assert set(info["input"].get("required", {})) <= set(node["inputs"]), place
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                source, slot = value
                offered = object_info[prompt[source]["class_type"]]["output"][slot]
                taken = known[key][0].split(",")  # an input may take several types
                assert offered in taken or taken == ["*"], (
                    f"{place}: {key} takes {known[key][0]}, gets {offered}"
                )


# --- UI format, as the browser saves it ---


@workflows(UI_FILES)
def test_ui_workflow_is_consistent_in_itself(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) <= workflow["last_node_id"]
    links = {link[0]: link for link in workflow["links"]}
    assert len(links) == len(workflow["links"]) and max(links) <= workflow["last_link_id"]

    for number, source, slot, target, target_slot, kind in workflow["links"]:
        output, entry = nodes[source]["outputs"][slot], nodes[target]["inputs"][target_slot]
        assert number in output["links"] and entry["link"] == number
        assert kind == entry["type"]  # several types, or any, where an input takes them
        assert kind == "*" or output["type"] in kind.split(",")
    for node in workflow["nodes"]:
        outgoing = [number for output in node.get("outputs", []) for number in output.get("links") or []]
        incoming = [entry["link"] for entry in node.get("inputs", []) if entry.get("link") is not None]
        assert set(outgoing) | set(incoming) <= set(links)


@workflows(UI_FILES)
def test_ui_workflow_fits_the_nodes(object_info, path):
    """Wires end where the nodes have sockets. Core's nodes grow from version to version, ours match exactly."""
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if node["type"] == "Note":  # the browser's own
            continue
        info = object_info[node["type"]]
        known, place = all_inputs(info), f"node {node['id']} ({node['type']})"
        entries, outputs = node.get("inputs", []), [output["type"] for output in node.get("outputs", [])]
        for entry in entries:
            if is_linked(entry):
                assert entry["type"] in (known[entry["name"]][0], "*"), f"{place}: {entry['name']}"
        assert outputs == info["output"][: len(outputs)], place
        if node["type"].startswith("Dawn"):
            # The browser puts sockets before widgets.
            assert sorted(entry["name"] for entry in entries) == sorted(known), place
            assert len(outputs) == len(info["output"]), place
            assert len(node.get("widgets_values") or []) == len(widget_names(known)), place


@pytest.mark.parametrize("name", TITLES)
def test_both_formats_say_the_same(object_info, name):
    api = json.loads(api_file(name).read_text(encoding="utf-8"))
    workflow = json.loads(template_file(name).read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] != "Note"}
    links = {link[0]: link for link in workflow["links"]}

    def source(number: int) -> list[Any]:
        """Where a wire comes from; a bypassed node hands on what it gets of that type."""
        _, node, slot, _, _, kind = links[number]
        if nodes[node]["mode"] != BYPASSED:
            return [str(node), slot]
        (entry,) = [entry for entry in nodes[node]["inputs"] if entry["type"] == kind]
        return source(entry["link"])

    api = with_example_node(api)
    used = {str(name): node for name, node in nodes.items() if node["mode"] != BYPASSED}
    assert {name: node["type"] for name, node in used.items()} == {
        name: node["class_type"] for name, node in api.items()
    }
    for name, node in used.items():
        place, inputs = f"node {name} ({node['type']})", api[name]["inputs"]
        wires = {key: value for key, value in inputs.items() if isinstance(value, list)}
        settings = {key: value for key, value in inputs.items() if key not in wires}
        assert wires == {
            entry["name"]: source(entry["link"]) for entry in node.get("inputs", []) if is_linked(entry)
        }, place
        if node["type"].startswith("Dawn"):
            assert_settings(node, settings, object_info)
        else:  # behind the settings stand buttons and, with wires, values that are not used
            values = node.get("widgets_values") or []
            assert values[: len(settings)] == list(settings.values()), place


EXAMPLE_OUTPUTS = {"LoadImage": 0, "LoadAudio": 1, "LoadVideo": 2}


def with_example_node(api: dict[str, Any]) -> dict[str, Any]:
    """The API files load the user's files from ComfyUI's input folder; in the browser DAWN Example, which needs
    no file there, stands for all that load. What Record Audio takes there is yet to be said."""
    loaders = {name: node for name, node in api.items() if node["class_type"] in EXAMPLE_OUTPUTS}
    first = min(loaders, key=int)
    settings = {
        {"image": "portrait", "audio": "speech", "file": "video"}[key]: value
        for node in loaders.values()
        for key, value in node["inputs"].items()
    }

    def rewired(value: Any) -> Any:
        if isinstance(value, list) and value[0] in loaders:
            return [first, EXAMPLE_OUTPUTS[loaders[value[0]]["class_type"]]]
        return value

    def inputs_of(node: dict[str, Any]) -> dict[str, Any]:
        if node["class_type"] == "RecordAudio":
            return {"audio": ""}
        return {key: rewired(value) for key, value in node["inputs"].items()}

    return {first: {"class_type": "DawnExample", "inputs": settings}} | {
        name: {**node, "inputs": inputs_of(node)} for name, node in api.items() if name not in loaders
    }


@workflows(UI_FILES)
def test_a_template_needs_no_file_of_the_user_and_fits_the_view(path):
    """In a fresh install the input folder is empty, and a saved view fits only the window it was saved in."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert not {node["type"] for node in workflow["nodes"]} & set(EXAMPLE_OUTPUTS)
    assert "ds" not in workflow["extra"]


@workflows(UI_FILES)
def test_a_template_is_laid_out_in_titled_groups_that_do_not_overlap(path):
    """Every node lies inside one group, also where the newer design draws it taller; a note says where to start."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    boxes = [group["bounding"] for group in workflow["groups"]]
    assert [group["title"][:4] for group in workflow["groups"]] == [f"{n + 1} · " for n in range(len(boxes))]
    for index, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[index + 1 :]:
            apart = x + width <= other_x or other_x + other_width <= x
            assert apart or y + height <= other_y or other_y + other_height <= y
    for node in workflow["nodes"]:
        (left, top), (width, height) = node["pos"], node["size"]
        inside = [
            x <= left and left + width <= x + across and y <= top - 30 and top + 1.3 * height <= y + down
            for x, y, across, down in boxes
        ]
        assert sum(inside) == 1, node["type"]
    assert "Start here" in {node.get("title") for node in workflow["nodes"]}


@pytest.fixture
def simple_example() -> dict[str, Any]:
    """What the browser queues for dawn_simple, on the shipped media."""
    return with_example_node(json.loads(api_file("dawn_simple").read_text("utf-8")))


def test_the_first_template_makes_a_video_without_any_file(comfy_server, simple_example):
    for file in (PORTRAIT, SPEECH):
        (comfy_server.base / "input" / file.name).unlink(missing_ok=True)
    run = comfy_server.run(change(simple_example, node_of(simple_example, "DawnTalkingHead"), size=128))
    (file,) = run.ui[node_of(simple_example, "SaveVideo")]["images"]
    with av.open(io.BytesIO(download(comfy_server, file))) as video:
        assert sum(1 for _ in video.decode(video.streams.video[0])) == 207


def assert_settings(node: dict[str, Any], settings: dict[str, Any], object_info: dict[str, Any]) -> None:
    """The node's widgets hold these settings, and the others their defaults."""
    known = all_inputs(object_info[node["type"]])
    named = dict(zip(widget_names(known), node.get("widgets_values") or [], strict=True))
    named.pop("control_after_generate", None)
    defaults = {name: known[name][1].get("default") for name in named if name not in settings}
    assert named == {**defaults, **settings}, node["type"]


def test_the_full_picture_has_room_for_an_upscale_model():
    """Bypassed, so it needs no model; its wires are those of the nodes as they are."""
    nodes = json.loads(template_file("dawn_full_picture").read_text(encoding="utf-8"))["nodes"]
    bypassed = {node["type"] for node in nodes if node["mode"] == BYPASSED}
    assert bypassed == {"UpscaleModelLoader", "ImageUpscaleWithModel"}


# --- templates, as the browser's template dialog asks for them ---


def test_every_template_opens(comfy_server):
    """ComfyUI lists a plugin's workflows and serves them from the first folder that it takes for one."""
    templates = comfy_server.get("/workflow_templates")
    (listed,) = [names for plugin, names in templates.items() if plugin == ROOT.name]
    assert sorted(listed) == sorted(TITLES.values())
    for name in listed:
        address = f"/api/workflow_templates/{urllib.parse.quote(ROOT.name)}/{urllib.parse.quote(name)}.json"
        assert comfy_server.get(address) == json.loads(
            (ROOT / "workflows" / f"{name}.json").read_text("utf-8")
        )


# --- the blueprint: the staged workflow as one node that can be opened ---


def test_the_blueprint_is_the_staged_workflow(object_info):
    """Node by node and wire by wire, without what loads, saves and shows."""
    blueprint = json.loads(BLUEPRINT.read_text(encoding="utf-8"))
    (graph,), (outside,) = blueprint["definitions"]["subgraphs"], blueprint["nodes"]
    assert outside["type"] == graph["id"] and graph["name"] == BLUEPRINT.stem
    api = json.loads(api_file("dawn_talking_head").read_text(encoding="utf-8"))
    staged = {name: node for name, node in api.items() if re.match(r"Dawn|CreateVideo", node["class_type"])}
    kinds = {node["id"]: node["type"] for node in graph["nodes"]}
    assert sorted(kinds.values()) == sorted(node["class_type"] for node in staged.values())

    nodes = {node["id"]: node for node in graph["nodes"]}
    inside = {
        (kinds[link["target_id"]], nodes[link["target_id"]]["inputs"][link["target_slot"]]["name"]): (
            kinds[link["origin_id"]],
            link["origin_slot"],
        )
        for link in graph["links"]
        if link["origin_id"] in nodes and link["target_id"] in nodes
    }
    assert inside == {
        (node["class_type"], key): (staged[value[0]]["class_type"], value[1])
        for node in staged.values()
        for key, value in node["inputs"].items()
        if isinstance(value, list) and value[0] in staged
    }
    for node in graph["nodes"]:
        if node["type"].startswith("Dawn"):
            (settings,) = [each["inputs"] for each in staged.values() if each["class_type"] == node["type"]]
            settings = {key: value for key, value in settings.items() if not isinstance(value, list)}
            assert_settings(node, settings, object_info)
    assert [each["name"] for each in graph["inputs"]] == ["image", "audio", "model", "head_seed", "face_seed"]
    assert {each["name"]: each["type"] for each in graph["outputs"]} == {
        "overlay": "IMAGE", "images": "IMAGE", "audio": "AUDIO", "fps": "FLOAT", "VIDEO": "VIDEO",
    }  # fmt: skip


def test_comfyui_offers_the_blueprint(comfy_server):
    offered = comfy_server.get("/global_subgraphs")
    (name,) = [name for name, entry in offered.items() if entry["name"] == BLUEPRINT.stem]
    entry = comfy_server.get(f"/global_subgraphs/{name}")
    assert json.loads(entry["data"]) == json.loads(BLUEPRINT.read_text(encoding="utf-8"))


def is_linked(entry: dict[str, Any]) -> bool:
    return entry.get("link") is not None


def widget_names(known: dict[str, tuple[str, dict]]) -> list[str]:
    """The widgets of a node in the order of `widgets_values`."""
    names: list[str] = []
    for name, (kind, options) in known.items():
        if kind in WIDGETS and not options.get("forceInput"):
            names += [name, "control_after_generate"] if options.get("control_after_generate") else [name]
    return names


# --- the main job, over a server ---


@pytest.fixture(scope="module")
def main_job(comfy_server) -> dict[str, Any]:
    """The API workflow with small models and two steps, on 20 frames of the example."""
    write_tiny_models(comfy_server.base / "models")
    for file in (PORTRAIT, SPEECH):
        shutil.copy(file, comfy_server.base / "input")
    prompt = json.loads(api_file("dawn_authors_models").read_text(encoding="utf-8"))
    ids = {node["class_type"]: name for name, node in prompt.items()}
    for node, inputs in {
        "LoadImage": {"image": PORTRAIT.name},
        "LoadAudio": {"audio": SPEECH.name},
        "DawnLoadModel": {"model": "tiny-128.safetensors"},
        "DawnLoadAudioEncoder": {"audio_encoder": "tiny-hubert.safetensors"},
        "DawnEncodeAudio": {"start": 1.0, "duration": 0.8},
        "DawnSampleMotion": {"steps": 2},
    }.items():
        prompt = change(prompt, ids[node], **inputs)
    return prompt


def node_of(prompt: dict[str, Any], class_type: str) -> str:
    (name,) = [name for name, node in prompt.items() if node["class_type"] == class_type]
    return name


def download(comfy_server, file: dict[str, str]) -> bytes:
    query = urllib.parse.urlencode({key: file[key] for key in ("filename", "subfolder", "type")})
    with urllib.request.urlopen(f"{comfy_server.url}/view?{query}", timeout=30) as response:
        return response.read()


def test_the_api_workflow_makes_a_video(comfy_server, main_job):
    run = comfy_server.run(main_job)
    (file,) = run.ui[node_of(main_job, "SaveVideo")]["images"]
    with av.open(io.BytesIO(download(comfy_server, file))) as video:
        (pictures,) = video.streams.video
        assert pictures.average_rate == 25
        assert (pictures.width, pictures.height) == (128, 128)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(pictures)])
    with av.open(io.BytesIO(download(comfy_server, file))) as video:
        (sound,) = video.streams.audio
        heard = np.concatenate([frame.to_ndarray().mean(axis=0) for frame in video.decode(sound)])
        seconds = len(heard) / sound.rate

    assert frames.shape == (20, 128, 128, 3)
    assert frames.std() > 5, "the pictures are blank"
    assert (np.abs(np.diff(frames.astype(int), axis=0)).max(axis=(1, 2, 3)) > 5).all(), "a frame stands still"
    assert abs(seconds - 20 / 25) <= 1 / 25, f"{seconds} s of sound for 0.8 s of video"
    assert np.abs(heard).max() > 0.01, "the speech is silent"


def test_the_overlay_is_shown(comfy_server, main_job):
    """The picture as it was loaded, with the measurements drawn on it."""
    run = comfy_server.run(change(main_job, node_of(main_job, "DawnPreparePortrait"), margin=0.6))
    (file,) = run.ui[node_of(main_job, "PreviewImage")]["images"]
    overlay = Image.open(io.BytesIO(download(comfy_server, file))).convert("RGB")
    portrait = Image.open(PORTRAIT).convert("RGB")
    assert overlay.size == portrait.size
    drawn = np.abs(np.array(overlay).astype(int) - np.array(portrait)).max(axis=-1) > 25
    assert 0.002 < drawn.mean() < 0.5


def test_a_failed_job_leaves_the_server_running(comfy_server, main_job):
    portrait, encoder = node_of(main_job, "DawnPreparePortrait"), node_of(main_job, "DawnEncodeAudio")
    with pytest.raises(NodeFailed, match=r"Face 3 was asked for, but only 1 found"):
        comfy_server.run(change(main_job, portrait, face_index=3))
    again = comfy_server.run(change(main_job, encoder, duration=0.2))
    assert again.ui[node_of(main_job, "SaveVideo")]["images"]
