"""The timeline of DAWN Edit Pose & Blink by mouse, in both node designs; its text as Python reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from comfy_harness.browser import open_api, open_page, press_run, use_nodes_2
from test_browser import browser, page  # noqa: F401  fixtures

from dawn_model.head_motion.keyframes import parse_keyframes

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = os.environ.get("DAWN_SCREENSHOTS")
TYPED = "# what she does\n1.5s yaw=10 blink=1; 60f pitch = -5 # down\nlater yaw=3\n"
"""With a line that is not understood: it stays, and the server says what is wrong with it."""
TEXTS = [
    "", "1.5s yaw=10 blink=1; 3s yaw=0", "40f roll=-3,eyes=0.5", ";;0f blink=1;", "# only 1s yaw=3",
    "1 yaw = 2\r\n2.5 pitch=+.5 # one; 3s yaw=9",
]  # fmt: skip


def module(page: Any, call: str, *arguments: Any) -> Any:  # noqa: F811
    """What a function of web/keyframe_text.js gives."""
    return page.evaluate(
        f"async (given) => (await import('/extensions/{ROOT.name}/keyframe_text.js')).{call}(...given)",
        list(arguments),
    )


@pytest.mark.parametrize("text", TEXTS)
def test_the_browser_reads_what_the_node_reads(page, text):  # noqa: F811
    read = [
        (entry["seconds"], {each["axis"]: each["value"] for each in entry["settings"]})
        for entry in module(page, "readKeyframes", text)
    ]
    assert read == [(key.time, key.values) for key in parse_keyframes(text, 1000)]


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("setKeyframe", (TYPED, 2.0, "roll", 4), TYPED.replace("60f", "2s roll=4; 60f")),
        ("setKeyframe", (TYPED, 1.5, "yaw", -2.5), TYPED.replace("yaw=10", "yaw=-2.5")),
        ("setKeyframe", (TYPED, 1.5, "roll", 4), TYPED.replace("blink=1", "blink=1 roll=4")),
        ("setKeyframe", (TYPED, 3.0, "eyes", 0), TYPED.replace("-5", "-5; 3s eyes=0")),
        ("setKeyframe", ("", 0.04, "yaw", 1), "0.04s yaw=1"),
        ("setKeyframe", ("# later\n", 1, "yaw", 1), "# later\n1s yaw=1"),
        ("moveKeyframe", (TYPED, 1, "pitch", 3.0, 7, 8), TYPED.replace("60f pitch = -5", "75f pitch = 7")),
        ("moveKeyframe", (TYPED, 0, "yaw", 9.0, 10, 8), TYPED.replace("1.5s", "2.36s")),
        ("moveKeyframe", (TYPED, 1, "pitch", 9.0, -5, 8), TYPED.replace("60f", "200f")),
        ("removeKeyframe", (TYPED, 0, "blink"), TYPED.replace(" blink=1", "")),
        ("removeKeyframe", (TYPED, 0, "yaw"), TYPED.replace(" yaw=10", "")),
        ("removeKeyframe", (TYPED, 1, "pitch"), TYPED.replace("; 60f pitch = -5", "")),
        ("removeKeyframe", ("1s yaw=1; 2s yaw=2", 0, "yaw"), "2s yaw=2"),
    ],
)
def test_the_rest_of_the_text_stays_as_it_was_typed(page, call, arguments, expected):  # noqa: F811
    assert module(page, call, *arguments) == expected


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "Nodes 2.0"])
def test_keyframes_are_written_and_moved_by_mouse(browser, comfy_server, nodes2):  # noqa: F811
    page = open_page(browser, comfy_server)  # noqa: F811
    use_nodes_2(page, nodes2)
    open_api(page, edited_speech())
    press_run(page)
    canvas = page.locator(".dawn-timeline canvas")
    page.get_by_text("Click: keyframe").wait_for()
    show_node(page, 5)
    page.wait_for_function(
        "document.querySelector('.dawn-timeline canvas').getBoundingClientRect().width > 250"
    )
    wait_for_waveform(page)
    area = resting_place(page, canvas)

    def at(seconds: float, height: float) -> tuple[float, float]:
        return area["x"] + area["width"] * seconds / 2, area["y"] + area["height"] * height

    page.mouse.click(*at(1.0, 0.33))
    (first,) = keyframes(page)
    assert abs(first.time - 1.0) <= 0.04 and 5 < first.values["yaw"] < 22

    page.mouse.click(*at(0.5, 0.84))  # the lane of the eyes
    blink, first = keyframes(page)
    assert abs(blink.time - 0.5) <= 0.04 and blink.values == {"blink": 1}

    page.mouse.move(*at(1.0, 0.33))
    page.mouse.down()
    page.mouse.move(*at(1.2, 0.45), steps=3)
    page.mouse.move(*at(1.4, 0.6), steps=3)
    page.mouse.up()
    _, moved = keyframes(page)
    assert abs(moved.time - 1.4) <= 0.04 and -22 < moved.values["yaw"] < -2
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/timeline-{'nodes2' if nodes2 else 'classic'}.png")

    page.locator(".dawn-timeline button").first.click()
    page.wait_for_timeout(600)
    assert page.locator(".dawn-timeline button").first.inner_text() == "❚❚"
    page.locator(".dawn-timeline button").first.click()

    text = page.evaluate("window.app.graphToPrompt()")["output"]["5"]["inputs"]
    assert parse_keyframes(text["keyframes"], 50) == tuple(keyframes(page)) and "timeline" not in text
    press_run(page)  # and the node takes them
    page.wait_for_function(
        "(text) => fetch('/history?max_items=1').then((answer) => answer.json()).then((entries) => "
        "Object.values(entries).some((entry) => entry.prompt[2]['5'].inputs.keyframes === text "
        "&& entry.status.status_str === 'success'))",
        arg=text["keyframes"],
    )
    use_nodes_2(page, False)
    page.close()


def edited_speech() -> dict[str, Any]:
    """Two seconds of the example up to the edited pose."""
    api = json.loads((ROOT / "workflows" / "api" / "dawn_edited_pose.json").read_text(encoding="utf-8"))
    settings = {kind["class_type"]: kind["inputs"] for kind in api.values()}
    edit = {key: value for key, value in settings["DawnEditPoseBlink"].items() if not isinstance(value, list)}
    return {
        "1": {
            "class_type": "DawnExample",
            "inputs": {
                "portrait": "astronaut.png", "speech": "sense_and_sensibility.wav", "video": "head_turns.mp4",
            },
        },
        "2": {"class_type": "DawnLoadModel", "inputs": {"model": "dawn-nano (built in)", "dtype": "auto"}},
        "3": {
            "class_type": "DawnPreparePortrait",
            "inputs": {
                "image": ["1", 0], "face_order": "size", "face_index": 0, "margin": 0.55, "threshold": 0.5,
            },
        },
        "4": {
            "class_type": "DawnEncodeAudio",
            "inputs": {"model": ["2", 0], "audio": ["1", 1], "start": 1.0, "duration": 2.0},
        },
        "6": {
            "class_type": "DawnGeneratePoseBlink",
            "inputs": {"model": ["2", 0], "portrait": ["3", 0], "speech": ["4", 0], "seed": 1},
        },
        "5": {
            "class_type": "DawnEditPoseBlink",
            "inputs": {**edit, "pose": ["6", 0], "portrait": ["3", 0], "keyframes": ""},
        },
        "7": {"class_type": "DawnSavePoseBlink", "inputs": {"pose": ["5", 0], "filename_prefix": "timeline"}},
    }  # fmt: skip


def keyframes(page: Any) -> tuple:  # noqa: F811
    text = page.evaluate("window.app.graph.getNodeById(5).widgets.find((w) => w.name === 'keyframes').value")
    return parse_keyframes(text, 50)


def show_node(page: Any, node: int) -> None:  # noqa: F811
    """The end of the node well above the end of the screen, where messages lie, as a user scrolls to it."""
    page.evaluate(
        """(id) => {
            const node = window.app.graph.getNodeById(id)
            const { ds, canvas } = window.app.canvas
            ds.scale = 0.8
            const [width, height] = [canvas.clientWidth || 1600, canvas.clientHeight || 900]
            ds.offset = [width / 1.6 - node.pos[0] - node.size[0] / 2, height - node.pos[1] - node.size[1]]
            window.app.canvas.setDirty(true, true)
        }""",
        node,
    )
    page.wait_for_timeout(1000)


def resting_place(page: Any, element: Any) -> dict[str, float]:  # noqa: F811
    """Where it lies once it has stopped moving: nodes grow as their results arrive."""
    area = element.bounding_box()
    for _ in range(20):
        page.wait_for_timeout(250)
        before, area = area, element.bounding_box()
        if before == area:
            return area
    raise AssertionError("the node does not come to rest")


def wait_for_waveform(page: Any) -> None:  # noqa: F811
    """Something in the color of the waveform in the topmost lane."""
    page.wait_for_function(
        """() => {
            const canvas = document.querySelector('.dawn-timeline canvas')
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height / 5)
            let found = 0
            for (let i = 0; i < data.length; i += 4) found += data[i] === 0x78 && data[i + 2] === 0xa0
            return found > 50
        }"""
    )
