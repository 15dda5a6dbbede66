"""The plugin as a user clicks it, in a Chromium without a window: see comfy_harness/browser.py."""

from __future__ import annotations

import itertools
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from comfy_harness.browser import (
    CHROMIUM,
    NODES,
    PATIENCE,
    READY,
    chromium,
    click_template,
    make_and_play_a_video,
    open_api,
    open_page,
    open_templates,
    press_run,
    template_card,
    use_nodes_2,
)
from workflow_names import TITLES, template_file

ROOT = Path(__file__).resolve().parents[2]
TITLE_HEIGHT = 30
RECORD = """() => {
    const { graph, canvas } = window.app
    const node = graph._nodes.find(({ type }) => type === 'RecordAudio')
    const button = node.widgets.at(-1)
    const { left, top } = canvas.canvas.getBoundingClientRect()
    const { scale, offset } = canvas.ds
    return [left + (node.pos[0] + node.size[0] / 2 + offset[0]) * scale,
            top + (node.pos[1] + button.last_y + 10 + offset[1]) * scale]
}"""
"""Where the button of Record Audio lies on the screen."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is not installed (pip install playwright)")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; install one or set CHROMIUM")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, comfy_server) -> Any:
    return open_page(browser, comfy_server)


def open_template(page: Any, name: str) -> list[list]:
    """Click a template; the nodes on the canvas afterwards."""
    open_templates(page, ROOT.name)
    click_template(page, TITLES[name])
    return page.evaluate(NODES)


def test_every_template_has_a_picture_of_its_own(page, comfy_server):
    dialog = open_templates(page, ROOT.name)
    for title in TITLES.values():
        card = template_card(dialog, title)
        card.scroll_into_view_if_needed()  # pictures load when they are seen
        picture = card.locator("img").first
        page.wait_for_function(
            "(image) => image.complete && image.naturalWidth > 0", arg=picture.element_handle()
        )
        width = picture.evaluate("(image) => image.naturalWidth")
        assert width == 448, "ComfyUI's placeholder is shown"
        address = f"{comfy_server.url}/api/workflow_templates/{ROOT.name}/{urllib.parse.quote(title)}.jpg"
        assert len(urllib.request.urlopen(address).read()) <= 200_000
    page.reload(wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.wait_for_timeout(1500)


@pytest.mark.parametrize("name", TITLES)
def test_a_click_on_a_template_shows_its_nodes(page, name):
    nodes = open_template(page, name)
    saved = json.loads(template_file(name).read_text(encoding="utf-8"))["nodes"]
    assert sorted(kind for _, kind, *_ in nodes) == sorted(node["type"] for node in saved)
    assert page.get_by_text("Missing Node", exact=False).count() == 0
    assert overlapping(nodes) == []


@pytest.mark.parametrize("name", ["dawn_edited_pose", "dawn_talking_head"])
def test_nodes_2_0_keeps_nodes_in_their_groups_and_apart(browser, comfy_server, name):
    page = open_page(browser, comfy_server)
    use_nodes_2(page, True)
    open_template(page, name)
    page.locator(".dawn-timeline").wait_for()
    page.wait_for_timeout(1500)  # nodes grow as their elements are laid out
    assert overlapping(page.evaluate(NODES)) == []
    assert out_of_their_groups(page) == []
    use_nodes_2(page, False)
    page.close()


def out_of_their_groups(page: Any) -> list[str]:
    """Nodes that lie in no group, or reach out of it below."""
    groups = page.evaluate("window.app.graph.groups.map((group) => [...group.pos, ...group.size])")
    return [
        kind
        for _, kind, left, top, width, height in page.evaluate(NODES)
        if not any(
            x <= left and left + width <= x + across and y <= top and top + height <= y + down
            for x, y, across, down in groups
        )
    ]


def overlapping(nodes: list[list]) -> list[tuple[str, str]]:
    """Pairs of nodes that cover one another, their title bars included."""
    return [
        (one[1], other[1])
        for one, other in itertools.combinations(nodes, 2)
        if all(
            one[axis] - above < other[axis] + other[axis + 2]
            and other[axis] - above < one[axis] + one[axis + 2]
            for axis, above in ((2, 0), (3, TITLE_HEIGHT))
        )
    ]


def test_three_clicks_make_a_video(page, comfy_server):
    """A template, Run, play; no file copied."""
    open_templates(page, ROOT.name)
    before = page.evaluate("window.clicks")
    width, height, seconds = make_and_play_a_video(page, TITLES["dawn_simple"])
    assert (width, height) == (512, 512) and abs(seconds - 207 / 25) < 0.05
    assert page.evaluate("window.clicks") - before == 3
    (entry,) = comfy_server.get("/history?max_items=1").values()
    assert entry["status"]["status_str"] == "success"
    assert out_of_their_groups(page) == []


def test_what_is_said_into_the_microphone_is_spoken(browser, comfy_server):
    """In the classic design, where Record Audio's button is drawn on the canvas."""
    page = open_page(browser, comfy_server, bypass_csp=True)
    open_template(page, "dawn_say_it_yourself")
    page.wait_for_timeout(1500)  # where widgets lie is known when they were drawn
    page.mouse.click(*page.evaluate(RECORD))
    page.wait_for_timeout(3000)
    page.mouse.click(*page.evaluate(RECORD))
    page.wait_for_function(
        "[...document.querySelectorAll('audio')].some(({ src }) => src.startsWith('blob:'))"
    )
    press_run(page)
    page.locator("video").first.wait_for(state="attached", timeout=4 * PATIENCE)
    (entry,) = comfy_server.get("/history?max_items=1").values()
    files = [file for output in entry["outputs"].values() for file in output.get("images", [])]
    (file,) = (file for file in files if file["filename"].endswith(".mp4"))
    with av.open(str(comfy_server.base / "output" / file["subfolder"] / file["filename"])) as film:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in film.decode(audio=0)])
        seconds = float(film.duration / av.time_base)
    assert 2 < seconds < 6
    assert np.sqrt((heard.astype(np.float64) ** 2).mean()) > 0.005, "the film is silent"
    page.close()


@pytest.mark.parametrize("name", ["dawn_talking_head", "dawn_auditions"])
def test_what_a_run_shows_stays_within_its_group(page, name):
    open_template(page, name)
    press_run(page)
    page.locator("video").first.wait_for(state="attached", timeout=4 * PATIENCE)  # far off, some are hidden
    page.wait_for_timeout(3000)  # nodes grow as pictures load
    assert overlapping(page.evaluate(NODES)) == []
    assert out_of_their_groups(page) == []


def test_an_error_is_read_on_the_node(page):
    open_api(
        page,
        {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
            "2": {
                "class_type": "DawnPreparePortrait",
                "inputs": {"image": ["1", 0], "face_order": "size", "face_index": 0, "margin": 0.55, "threshold": 0.5},
            },
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 1]}},
        },
    )  # fmt: skip
    press_run(page)
    said = "window.app.graph.getNodeById(2).widgets.some((widget) => String(widget.value).includes('No face found'))"
    page.wait_for_function(said)


def test_help_opens_on_the_node(page):
    open_api(
        page,
        {"1": {"class_type": "DawnLoadModel", "inputs": {"model": "dawn-nano (built in)", "dtype": "auto"}}},
    )
    page.keyboard.press("Escape")
    page.evaluate("window.app.canvas.selectNodes([window.app.graph._nodes[0]])")
    page.get_by_test_id("info-button").dispatch_event("click")  # the bar of tabs may lie over it
    page.get_by_text("When something goes wrong").first.wait_for()


def two_people(prepare: str, margin: float) -> dict[str, Any]:
    """A picture of two people, in DAWN Prepare Portrait with this id."""
    return {
        "1": {
            "class_type": "DawnExample",
            "inputs": {"portrait": "two_people.jpg", "speech": "sense_and_sensibility.wav", "video": "head_turns.mp4"},
        },
        prepare: {
            "class_type": "DawnPreparePortrait",
            "inputs": {
                "image": ["1", 0], "face_order": "left-to-right", "face_index": 0, "margin": margin, "threshold": 0.5,
            },
        },
        "3": {"class_type": "PreviewImage", "inputs": {"images": [prepare, 1]}},
    }  # fmt: skip


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "Nodes 2.0"])
def test_a_face_is_chosen_by_a_click_and_a_box_drawn_by_a_drag(browser, comfy_server, nodes2):
    page = open_page(browser, comfy_server)
    use_nodes_2(page, nodes2)
    # Each its own: ComfyUI does not show again what it has in its cache, and Nodes 2.0 of 0.3.75 leaves the element of
    # a node on the next one with its id.
    node = 20 + nodes2
    widget = f"window.app.graph.getNodeById({node}).widgets.find((widget) => widget.name === '{{}}').value"
    open_api(page, two_people(str(node), 0.5 + 0.1 * nodes2))
    press_run(page)
    canvas = page.locator(".dawn-faces canvas")
    canvas.wait_for()
    settled = None
    while settled != (settled := canvas.bounding_box()):
        page.wait_for_timeout(700)
    faces = page.evaluate(f"window.app.nodeOutputs['{node}'].dawn_faces[0]")
    assert len(faces["faces"]) == 2 and faces["index"] == 0

    def at(x: float, y: float) -> tuple[float, float]:
        """Where a place of the picture, in shares of it, lies on the screen."""
        area = canvas.bounding_box()
        scale = min(area["width"] / faces["width"], area["height"] / faces["height"])
        left = area["x"] + (area["width"] - faces["width"] * scale) / 2
        top = area["y"] + (area["height"] - faces["height"] * scale) / 2
        return left + x * faces["width"] * scale, top + y * faces["height"] * scale

    x, y, width, height = faces["faces"][1]["box"]
    page.mouse.click(*at(x + width / 2, y + height / 2))
    page.wait_for_function(f"{widget.format('face_index')} === 1")

    page.mouse.move(*at(x, y))
    page.mouse.down()
    page.mouse.move(*at(x + width / 2, y + height / 2))
    page.mouse.move(*at(x + width, y + height))
    page.mouse.up()
    page.wait_for_function(f"{widget.format('box')} !== ''")
    box = [int(number) for number in page.evaluate(widget.format("box")).split(",")]
    pixels = [x * faces["width"], y * faces["height"], width * faces["width"], height * faces["height"]]
    assert all(abs(a - b) < 0.02 * faces["width"] for a, b in zip(box, pixels, strict=True))
    page.locator(".dawn-faces button").click()
    page.wait_for_function(f"{widget.format('box')} === ''")
    pictures = [page.locator(f"[data-node-id='{each}'] img").count() for each in (node, 3)]
    assert pictures == [0, int(nodes2)], "of ComfyUI's own previews, only Preview Image's is shown"
    assert not page.evaluate(f"window.app.graph.getNodeById({node}).imgs?.length"), (
        "and in the classic design"
    )
    use_nodes_2(page, False)
    page.close()
