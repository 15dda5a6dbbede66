"""Lays out the templates in workflows/ in place: titled groups in rows, and a note that says what to change first.

    python scripts/lay_out_workflows.py [NAME]...

Groups follow the way of a clip. Room is left below each node, because the newer node design draws it taller.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from workflow_names import template_file

GROUPS = {
    "Who speaks, and what": r"DawnExample|RecordAudio|Load(Image|Audio|Video)$|DawnLoad(Model|AudioEncoder)",
    "The face and the speech": r"DawnPreparePortrait|DawnEncodeAudio|MaskPreview|PreviewImage",
    "How head and eyes move": r"Dawn.*PoseBlink|DawnAuditions",
    "Motion and frames": r"DawnSampleMotion|DawnRenderFrames|Dawn(Save|Load)Motion|DawnTalkingHead",
    "The video": r"DawnPasteBack|Upscale|ImageUpscale|CreateVideo|SaveVideo|AudioMerge|Preview|Note",
}
ROW_WIDTHS = range(1200, 3600, 100)
GAP, PADDING, TITLE, GROUP_TITLE = 70, 30, 34, 60
SCREEN = 1450, 760  # pixels that ComfyUI leaves of 1600 x 900
TALLER = 1.3  # nodes in the newer design, against the sizes that were saved
GROWN = {"DawnEditPoseBlink": 870, "DawnPreparePortrait": 640, "DawnTalkingHead": 680, "DawnAuditions": 570}
"""Heights of nodes that show something below their inputs, at once or when they have run, in the taller design."""
NOTES = {
    "dawn_simple": "Press Run. Then put Load Image and Load Audio in place of DAWN Example for your own portrait and "
    "voice, and try head_motion and another seed.",
    "dawn_say_it_yourself": "Press the button of Record Audio, say something, press it again, then Run. The browser "
    "asks for the microphone, and gives it only to pages of this computer or over https.",
    "dawn_talking_head": "The stages of DAWN Talking Head one by one. Change first: the seed of Generate Pose & Blink "
    "(another head motion) and silence_threshold of Encode Audio (where the mouth rests).",
    "dawn_auditions": "Nine performances of the same words side by side. Look which one you like, and give its seed to "
    "DAWN Talking Head. Change first: first_seed for nine others, seconds for longer ones.",
    "dawn_edited_pose": "Change first: preset and keyframes of DAWN Edit Pose & Blink, and compare the plots before "
    "and after.",
    "dawn_pose_from_video": "Head and eyes follow the video, the lips follow the speech. Put Load Video in place of "
    "the video output of DAWN Example for your own; reference says what its pose is measured against.",
    "dawn_full_picture": "Change first: region and detail of DAWN Paste Back. The two nodes of the upscaler are "
    "switched off until you have a model for them.",
    "dawn_several_faces": "One branch for each face: face_index says which, counted from the left. Give each branch a "
    "sound of its own.",
    "dawn_long_audio": "For minutes of speech: the motion is saved, so that rendering and pasting can be repeated "
    "without sampling. DAWN Load Motion reads it again.",
    "dawn_authors_models": "The authors publish their weights without a license, for research. Put into models/dawn: "
    "DAWN_128.pth, LFG_128_1000ep.pth and the folder pbnet (pose and blink, an opt.yaml in each), all from "
    "Hanbo-Cheng/DAWN on Hugging Face. Put into models/audio_encoders: pytorch_model.bin or model.safetensors of "
    "facebook/hubert-large-ls960-ft. Then press R and choose them in both loaders.",
}
NOTE_TITLE = "Start here"

Node = dict[str, Any]


def group_of(node: Node) -> str:
    return next(title for title, pattern in GROUPS.items() if re.match(pattern, node["type"]))


def depths(nodes: list[Node], links: list[list]) -> dict[int, int]:
    """Node id → how many wires, within these nodes, lie before it."""
    ids = {node["id"] for node in nodes}
    inner = [(link[1], link[3]) for link in links if link[1] in ids and link[3] in ids]
    depth = dict.fromkeys(ids, 0)
    for _ in nodes:
        for source, target in inner:
            depth[target] = max(depth[target], depth[source] + 1)
    return depth


def place_group(nodes: list[Node], links: list[list], x: float, y: float) -> list[float]:
    """Columns by depth, nodes below each other; returns the group's [x, y, width, height]."""
    depth = depths(nodes, links)
    left, bottom = x + PADDING, y
    for column in range(max(depth.values()) + 1):
        members = sorted((node for node in nodes if depth[node["id"]] == column), key=lambda node: node["id"])
        top = y + GROUP_TITLE
        for node in members:
            node["pos"] = [left, top + TITLE]
            top += TITLE + max(node["size"][1] * TALLER, GROWN.get(node["type"], 0)) + PADDING
        left += max(node["size"][0] for node in members) + GAP
        bottom = max(bottom, top)
    return [x, y, left - GAP + PADDING - x, bottom - y]


def add_note(workflow: dict[str, Any], text: str) -> None:
    workflow["last_node_id"] += 1
    note = {
        "id": workflow["last_node_id"], "type": "Note", "pos": [0, 0], "size": [380, 60 + 24 * (len(text) // 42 + 1)],
        "flags": {}, "order": 0, "mode": 0, "inputs": [], "outputs": [], "title": NOTE_TITLE, "properties": {},
        "widgets_values": [text], "color": "#432", "bgcolor": "#653",
    }  # fmt: skip
    workflow["nodes"].append(note)


def place_groups(workflow: dict[str, Any], row_width: float) -> tuple[float, float]:
    """Groups in rows no wider than this, each right below what is above it; returns width and height of all."""
    x, above, row, workflow["groups"] = 0.0, [], [], []
    for title in GROUPS:
        nodes = [
            node for node in workflow["nodes"] if group_of(node) == title and node.get("title") != NOTE_TITLE
        ]
        if title == next(iter(GROUPS)):
            nodes = [workflow["nodes"][-1], *nodes]
        if not nodes:
            continue
        width = place_group(nodes, workflow["links"], x, 0.0)[2]
        if row and x + width > row_width:
            x, above, row = 0.0, above + row, []
        below = [
            up + height + GAP for left, up, across, height in above if left < x + width and x < left + across
        ]
        box = place_group(nodes, workflow["links"], x, max(below, default=0.0))
        row.append(box)
        x = box[0] + box[2] + GAP
        number = len(workflow["groups"]) + 1
        workflow["groups"].append(
            {
                "id": number, "title": f"{number} · {title}", "bounding": box,
                "color": "#3f789e", "font_size": 24, "flags": {},
            }
        )  # fmt: skip
    boxes = [group["bounding"] for group in workflow["groups"]]
    return max(x + width for x, _, width, _ in boxes), max(y + height for _, y, _, height in boxes)


def lay_out(workflow: dict[str, Any], text: str) -> float:
    """The rows that a screen shows largest; returns how large, 1 for nodes in their own size."""
    workflow["nodes"] = [node for node in workflow["nodes"] if node.get("title") != NOTE_TITLE]
    workflow["last_node_id"] = max(node["id"] for node in workflow["nodes"])
    add_note(workflow, text)

    def zoom(row_width: float) -> float:
        width, height = place_groups(workflow, row_width)
        return min(SCREEN[0] / width, SCREEN[1] / height)

    best = max(ROW_WIDTHS, key=zoom)
    return zoom(best)


def main() -> None:
    for name in sys.argv[1:] or sorted(NOTES):
        path = template_file(name)
        workflow = json.loads(path.read_text(encoding="utf-8"))
        print(f"{name}: shown at {lay_out(workflow, NOTES[name]):.0%}")
        path.write_text(json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
