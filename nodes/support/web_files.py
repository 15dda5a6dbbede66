"""Templates, scripts and help pages, from a plugin folder whose name has to be quoted in an address.

ComfyUI serves each plugin's files with aiohttp's static routes. Those compare the quoted name of the folder with the
name as it was asked for, unquoted, and so find nothing in a folder called "talking head" or "会说话". Names in a
pattern are compared unquoted.
"""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web
from server import PromptServer
from yarl import URL

PLUGIN = Path(__file__).absolute().parents[2]


def register() -> None:
    """Before ComfyUI adds its own routes, which is after all plugins have loaded; without a server nothing is done."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    for address, folder in addresses(PLUGIN).items():
        server.routes.get(address)(_files_of(folder))


def addresses(plugin: Path) -> dict[str, Path]:
    """Route → the folder that it serves; `/api` stands before the templates' as before all of ComfyUI's."""
    name, found = plugin.name, {}
    if URL.build(path=f"/{name}").raw_path != f"/{name}":
        found[f"/workflow_templates/{{folder:{re.escape(name)}}}/{{file:.+}}"] = plugin / "workflows"
        found[f"/extensions/{{folder:{re.escape(name)}}}/{{file:.+}}"] = plugin / "web"
    if "." in name:
        # The page takes "custom_nodes.dawn.nodes" for a plugin called "dawn" when it asks for help.
        before_the_dot = re.escape(name.split(".")[0])
        found[f"/extensions/{{folder:{before_the_dot}}}/docs/{{file:Dawn.+}}"] = plugin / "web" / "docs"
    return found


def _files_of(folder: Path):
    async def send(request: web.Request) -> web.FileResponse:
        file = (folder / request.match_info["file"]).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file)

    return send
