"""ComfyUI's page in a Chromium without a window, and what a person does there with a mouse.

Needs Chromium (CHROMIUM=/path, default /usr/bin/chromium) and PyPI's playwright, which brings the driver.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_names import TITLES

from .server import ServerComfy

MICROPHONE = Path(__file__).resolve().parents[2] / "media" / "speech" / "sense_and_sensibility.wav"
"""What the browser hears, over and over."""
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PATIENCE = 45_000
"""Milliseconds; two slow cores render in software."""
READY = "window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100"
NODES = "window.app.graph._nodes.map((node) => [node.id, node.type, ...node.pos, ...node.size])"
COUNT_CLICKS = """
    window.clicks = 0
    window.addEventListener('pointerdown', (event) => { window.clicks += event.isTrusted }, true)
"""


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={MICROPHONE}",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


def open_page(browser: Any, comfy: ServerComfy, *, newcomer: bool = False, bypass_csp: bool = False) -> Any:
    """ComfyUI's page; it remembers no other page. To a newcomer it shows its template dialog by itself.

    bypass_csp: without the content policy of --disable-api-nodes, which forbids ComfyUI's own recordings too
    """
    comfy.post("/settings/Comfy.TutorialCompleted", not newcomer)
    page = browser.new_page(viewport={"width": 1600, "height": 900}, bypass_csp=bypass_csp)
    page.set_default_timeout(PATIENCE)
    page.add_init_script(COUNT_CLICKS)
    page.goto(comfy.url, wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.wait_for_timeout(1500)  # the page still opens its first, empty workflow
    if not newcomer:
        page.keyboard.press("Escape")
    return page


def use_nodes_2(page: Any, on: bool) -> None:
    """Draw nodes in the newer design, or in the classic one."""
    page.evaluate("(on) => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", on)


def open_templates(page: Any, plugin: str) -> Any:
    """The template dialog with this plugin chosen."""
    page.evaluate("window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    return choose_plugin(page, plugin)


def choose_plugin(page: Any, plugin: str) -> Any:
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(plugin, exact=True).first.click()
    template_card(dialog, TITLES["dawn_simple"]).wait_for()
    return dialog


def template_card(dialog: Any, title: str) -> Any:
    return dialog.get_by_test_id(f"template-workflow-{title}")


def click_template(page: Any, title: str) -> None:
    """In the dialog; then its nodes are on the canvas."""
    dialog = page.get_by_role("dialog")
    page.evaluate("window.app.graph.clear()")
    template_card(dialog, title).click()
    page.wait_for_function("window.app.graph._nodes.length > 0")
    dialog.wait_for(state="hidden")
    page.wait_for_timeout(300)  # scripts add elements to nodes


def open_api(page: Any, prompt: dict[str, Any]) -> None:
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'test')", prompt)
    page.wait_for_function(f"window.app.graph._nodes.length >= {len(prompt)}")


def press_run(page: Any) -> None:
    page.get_by_test_id("queue-button").or_(page.get_by_role("button", name="Run", exact=True)).first.click()


def make_and_play_a_video(page: Any, title: str, after: Callable[[str], None] = lambda step: None) -> tuple:
    """From this plugin's templates in the dialog: a click on one, on Run, and on the video in the node.

    `after` is told of each step. Returns width, height and seconds of the video, which has played half a second.
    """
    click_template(page, title)
    after("template")
    press_run(page)
    after("run")
    video = page.locator("video").first
    video.wait_for(timeout=4 * PATIENCE)
    page.wait_for_function("(video) => video.readyState >= 2", arg=video.element_handle())
    after("video")
    video.click()
    page.wait_for_function("(video) => video.currentTime > 0.5", arg=video.element_handle())
    after("play")
    return tuple(video.evaluate("(video) => [video.videoWidth, video.videoHeight, video.duration]"))
