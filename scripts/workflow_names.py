"""The workflows: short names in workflows/api/, and for each the title of its template in workflows/.

ComfyUI's template dialog shows the names of files, so those are what a person reads. They sort with the simplest first,
are ASCII and hold nothing that an address would take for its own.
"""

from __future__ import annotations

from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"
TITLES = {
    "dawn_simple": "DAWN - A portrait talks",
    "dawn_talking_head": "DAWN - A portrait talks in stages",
    "dawn_auditions": "DAWN - Choose from nine auditions",
    "dawn_edited_pose": "DAWN - Edit head and eyes",
    "dawn_pose_from_video": "DAWN - Head and eyes from a video",
    "dawn_long_audio": "DAWN - Minutes of speech",
    "dawn_say_it_yourself": "DAWN - Say it yourself",
    "dawn_full_picture": "DAWN - The face back in its picture",
    "dawn_several_faces": "DAWN - Two people talk",
    "dawn_authors_models": "DAWN - With the original models",
}


def api_file(name: str) -> Path:
    return WORKFLOWS / "api" / f"{name}.json"


def template_file(name: str, ending: str = ".json") -> Path:
    """The workflow as the browser saves it, or with the ending .jpg its picture in the dialog."""
    return WORKFLOWS / f"{TITLES[name]}{ending}"
