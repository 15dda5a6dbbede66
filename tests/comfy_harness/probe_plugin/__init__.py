"""A plugin with a node that takes as many steps as it is told to and then, if told to, fails; and one that gives any
value to any socket, as switches and script nodes of other plugins do."""

import json
import time

import comfy.utils
from comfy_api.latest import ComfyExtension, io, ui


class HarnessProbe(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarnessProbe",
            inputs=[
                io.Int.Input("steps", default=3, min=1),
                io.Float.Input("seconds", default=0.0, min=0.0, tooltip="per step"),
                io.Boolean.Input("fail", default=False),
            ],
            outputs=[io.Int.Output()],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, steps: int, seconds: float, fail: bool) -> io.NodeOutput:
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            time.sleep(seconds)
            bar.update_absolute(step + 1, steps)
        if fail:
            raise ValueError(f"told to fail after {steps} steps")
        return io.NodeOutput(steps, ui=ui.PreviewText(f"{steps} steps"))


class HarnessValue(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarnessValue", inputs=[io.String.Input("value")], outputs=[io.AnyType.Output()]
        )

    @classmethod
    def execute(cls, value: str) -> io.NodeOutput:
        return io.NodeOutput(json.loads(value))


class HarnessExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [HarnessProbe, HarnessValue]


async def comfy_entrypoint() -> HarnessExtension:
    return HarnessExtension()
