"""DAWN for ComfyUI: a portrait and speech in, a talking head out."""


async def comfy_entrypoint():
    # Imported here so that tools can look at this package without a ComfyUI.
    from .nodes.extension import DawnExtension

    return DawnExtension()


__all__ = ["comfy_entrypoint"]
