"""What a user sees of every node before and beside its result: menu, search, refusals and errors."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import node_texts
import pytest
from comfy_harness import PromptRejected

ROOT = Path(__file__).resolve().parents[2]
SIMPLE = {
    "example": {
        "class_type": "DawnExample",
        "inputs": {"portrait": "astronaut.png", "speech": "sense_and_sensibility.wav"},
    },
    "model": {"class_type": "DawnLoadModel", "inputs": {"model": "dawn-nano (built in)", "dtype": "auto"}},
    "grey": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 8421504}},
}  # fmt: skip
LANGUAGES = sorted(path.name for path in (ROOT / "locales").iterdir() if (path / "nodeDefs.json").is_file())
TEXT_EVENT = 3  # of ComfyUI's binary messages


@pytest.fixture(scope="module")
def nodes(comfy_server) -> dict[str, dict[str, Any]]:
    everything = comfy_server.get("/object_info")
    return {name: info for name, info in everything.items() if name.startswith("Dawn")}


def test_the_menu_has_sub_categories_and_the_main_node_on_the_first_level(nodes):
    assert nodes["DawnTalkingHead"]["category"] == nodes["DawnExample"]["category"] == "DAWN"
    assert {info["category"] for info in nodes.values()} == {
        "DAWN", "DAWN/loaders", "DAWN/stages", "DAWN/pose", "DAWN/motion",
    }  # fmt: skip


def test_the_search_knows_what_people_type(comfy_server, nodes):
    """Versions of ComfyUI that know search aliases send them for every node."""
    if "search_aliases" not in comfy_server.get("/object_info/KSampler")["KSampler"]:
        pytest.skip("this ComfyUI has no search aliases")
    words = " ".join(nodes["DawnTalkingHead"]["search_aliases"])
    for word in ("lip sync", "avatar", "talking", "speech", "face", "portrait animation"):
        assert word in words
    assert all(info["search_aliases"] for info in nodes.values())


@pytest.mark.parametrize(
    ("node", "field", "message"),
    [
        (
            "DawnLoadModel",
            "model",
            r"model: DAWN_128.pth is not there\. Put DAWN_128.pth .* into .*models.dawn",
        ),
        ("DawnLoadAudioEncoder", "audio_encoder", r"audio_encoder: DAWN_128.pth is not there\. Download "),
    ],
)
def test_a_missing_model_is_refused_with_where_to_put_it(comfy_server, node, field, message):
    prompt = {
        "1": {"class_type": node, "inputs": {field: "DAWN_128.pth", "dtype": "auto"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    with pytest.raises(PromptRejected, match=message):
        comfy_server.queue(prompt)


def test_the_models_folder_is_made_at_start(comfy_server):
    assert (comfy_server.base / "models" / "dawn").is_dir()


async def texts_on_nodes(
    url: str, prompt: dict[str, Any], bars: list[float] | None = None
) -> list[tuple[str, str]]:
    """(node, text) of each text that the page would show on a node while the prompt runs to its end.

    bars: receives where the progress bar stands, 0..1, each time that a node moves it
    """
    shown = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId=face") as socket:
        await session.post(f"{url}/prompt", json={"prompt": prompt, "client_id": "face"})
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                (event,) = struct.unpack(">I", message.data[:4])
                if event == TEXT_EVENT:
                    (length,) = struct.unpack(">I", message.data[4:8])
                    shown.append((message.data[8 : 8 + length].decode(), message.data[8 + length :].decode()))
                continue
            event = json.loads(message.data)
            if event["type"] == "progress" and bars is not None:
                bars.append(event["data"]["value"] / event["data"]["max"])
            if event["type"] in ("execution_error", "execution_success"):
                return shown
    raise ConnectionError("the server closed the connection")


@pytest.mark.parametrize("node", ["DawnPreparePortrait", "DawnTalkingHead"])
def test_an_error_is_shown_on_the_node_that_the_user_sees(comfy_server, nodes, node):
    """Of DAWN Talking Head that is the node itself, not the stage inside."""
    wires = {"image": ["grey", 0]}
    if node == "DawnTalkingHead":
        wires |= {"model": ["model", 0], "audio": ["example", 1]}
    required = nodes[node]["input"]["required"]
    defaults = {
        name: spec[1]["default"] for name, spec in required.items() if "default" in (spec[1:] or [{}])[0]
    }
    prompt = {
        **SIMPLE,
        "7": {"class_type": node, "inputs": {**defaults, **wires}},
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["7", 0]}},
    }
    shown = asyncio.run(asyncio.wait_for(texts_on_nodes(comfy_server.url, prompt), 120))
    assert shown[-1][0] == "7" and "No face found in the picture (64×64)" in shown[-1][1]


def test_the_talking_head_has_one_bar_that_only_grows_and_says_in_words_what_it_does(comfy_server):
    prompt = {
        **SIMPLE,
        "7": {
            "class_type": "DawnTalkingHead",
            "inputs": {"model": ["model", 0], "image": ["example", 0], "audio": ["example", 1], "size": 128},
        },
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["7", 0]}},
    }
    bars: list[float] = []
    shown = asyncio.run(asyncio.wait_for(texts_on_nodes(comfy_server.url, prompt, bars), 240))
    # ComfyUI 0.33 sends ten messages a second at most, and a fast machine samples within three of them.
    utilities = comfy_server.server.comfyui / "comfy" / "utils.py"
    throttled = "PROGRESS_THROTTLE" in utilities.read_text(encoding="utf-8")
    least, jump = (15, 0.35) if throttled else (50, 0.15)
    assert len(bars) > least and bars == sorted(bars), "the bar goes back"
    assert bars[0] <= 0.05 and bars[-1] == 1.0
    assert max(after - before for before, after in itertools.pairwise(bars)) < jump, "it jumps"
    texts = [text for node, text in shown if node == "7"]
    for words in ("finding the face 1/1", "sampling 4/4", "rendering 207/207", "pasting 207/207"):
        assert words in texts


def test_widgets_that_beginners_need_not_see_are_folded_away(nodes):
    inputs = nodes["DawnSampleMotion"]["input"]
    hidden = {
        name
        for group in inputs.values()
        for name, spec in group.items()
        if spec[1:] and spec[1].get("advanced")
    }
    assert hidden == {"eta", "guidance", "window", "sampler", "frames_per_slice"}


def test_a_prompt_may_leave_out_the_widgets_of_the_talking_head(nodes):
    assert set(nodes["DawnTalkingHead"]["input"]["required"]) == {"model", "image", "audio"}


def test_what_may_disappoint_is_said_on_the_nodes(comfy_server):
    """The example smiles; the portrait's node shows what was found in it."""
    prompt = {
        **{name: SIMPLE[name] for name in ("example", "model")},
        "portrait": {
            "class_type": "DawnPreparePortrait",
            "inputs": {
                "image": ["example", 0], "face_order": "size", "face_index": 0, "margin": 0.55, "threshold": 0.5,
            },
        },
        "silence": {"class_type": "EmptyAudio", "inputs": {"duration": 1.0, "sample_rate": 16000, "channels": 1}},
        "speech": {
            "class_type": "DawnEncodeAudio",
            "inputs": {"model": ["model", 0], "audio": ["silence", 0], "start": 0.0, "duration": 0.0},
        },
        "a": {"class_type": "PreviewAny", "inputs": {"source": ["portrait", 0]}},
        "b": {"class_type": "PreviewAny", "inputs": {"source": ["speech", 0]}},
    }  # fmt: skip
    shown = asyncio.run(texts_on_nodes(comfy_server.url, prompt))
    assert any(node == "portrait" and "The mouth is open" in text for node, text in shown)
    assert any(node == "speech" and "The sound is silent" in text for node, text in shown)
    deadline = time.monotonic() + 20  # the history is written a moment after the last event
    while True:
        outputs = [entry["outputs"] for entry in comfy_server.get("/history").values()]
        pictures = [each["portrait"]["images"] for each in outputs if "portrait" in each]
        if pictures or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert pictures and pictures[-1][0]["type"] == "temp"


# --- help and languages ---


def test_every_node_has_a_help_page_of_today(comfy_server, nodes):
    """As the help panel asks for it."""
    for name, info in nodes.items():
        with urllib.request.urlopen(f"{comfy_server.url}/extensions/{ROOT.name}/docs/{name}.md") as answer:
            page = answer.read().decode()
        texts = node_texts.texts_of(info)
        assert page.startswith(f"# {texts['display_name']}\n")
        assert node_texts.help_page(page, texts) == page, "run python scripts/node_texts.py --update"
        for heading in ("## Inputs", "## Outputs", "## Wiring", "## When something goes wrong"):
            assert page.count(heading) == 1, f"{name}: {heading}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_and_none_is_orphaned(comfy_server, nodes, language):
    answer = comfy_server.get("/i18n")[language]["nodeDefs"]
    translated = {name: texts for name, texts in answer.items() if name.startswith("Dawn")}

    def leaves(texts: Any, path: tuple = ()) -> dict[tuple, str]:
        if not isinstance(texts, dict):
            return {path: texts}
        found = {}
        for key, value in texts.items():
            found |= leaves(value, (*path, key))
        return found

    english = leaves({name: node_texts.texts_of(info) for name, info in nodes.items()})
    other = leaves(translated)
    assert set(other) == set(english)
    for path, text in other.items():
        assert text.strip(), path
        if path[-1] in ("tooltip", "description"):
            assert text != english[path], f"{path} is still English"


def test_every_socket_has_a_tooltip(nodes):
    for name, info in nodes.items():
        texts = node_texts.texts_of(info)
        for socket in (*texts["inputs"].values(), *texts["outputs"].values()):
            assert socket["tooltip"], f"{name}: {socket['name']}"
