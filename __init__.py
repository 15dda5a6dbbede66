"""DAWN for ComfyUI: a portrait and speech in, a talking head out."""

WEB_DIRECTORY = "./web"
"""Its docs/ holds a help page for each node."""


async def comfy_entrypoint():
    # Imported here so that tools can look at this package without a ComfyUI.
    from .nodes.extension import DawnExtension

    return DawnExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
