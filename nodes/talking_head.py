"""DAWN Talking Head: the staged nodes in one.

It expands into a small graph of them when it runs, and computes nothing itself. So every stage is cached as if
the user had wired it: another seed does not encode the speech again, another size samples nothing. Calling the
stages' functions here would do all of it again on every change. Expansion works alike in every ComfyUI that has
our schema; errors of a stage show on this node. The stages get the wires that come in here and not their values,
because ComfyUI can tell of a wire, and not of a tensor, whether it has a result for it already.

The default cache of newer versions (RAM pressure) drops, at the end of a run, what that run did not ask for. A run in
which nothing changed asks for this node alone, not for its stages, and the next change then computes all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder
from torch import Tensor

from ..dawn_model.head_motion.edit import BLINK_CHOICES, PRESETS
from .edit_pose_blink import DawnEditPoseBlink
from .encode_audio import DawnEncodeAudio
from .generate_pose_blink import DawnGeneratePoseBlink
from .paste_back import PICTURE, SQUARE, DawnPasteBack
from .prepare_portrait import DawnPreparePortrait
from .render_frames import DawnRenderFrames
from .sample_motion import DawnSampleMotion
from .support.node import CATEGORY, DawnNode, schema
from .support.sockets import MODEL, frame_outputs
from .support.widgets import choice, decimal, switch, whole

PAUSE_DB = 30.0


class DawnTalkingHead(DawnNode):
    """A portrait and speech in, a talking video out. The same as the other DAWN nodes wired up as in the template
    "DAWN - A portrait talks in stages"; use those, or the blueprint DAWN Talking Head (stages), to see, change
    or keep anything in between."""

    title, category = "DAWN Talking Head", CATEGORY
    aliases = (
        "lip sync",
        "lipsync",
        "talking head",
        "avatar",
        "speech to video",
        "audio to video",
        "portrait animation",
        "face animation",
    )

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            enable_expand=True,
            is_input_list=True,  # to count what comes: ComfyUI mixes up the outputs of an expansion over lists
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                MODEL.input(),
                io.Image.Input(
                    "image",
                    tooltip="A picture with a face, best seen from the front, mouth closed. Of several faces the "
                    "largest speaks.",
                ),
                io.Audio.Input("audio", tooltip="The speech, of any length; the video gets as long."),
                io.AudioEncoder.Input(
                    "audio_encoder",
                    optional=True,
                    tooltip="Only for the authors' models: HuBERT-large from DAWN Load Audio Encoder.",
                ),
                switch(
                    "paste_back",
                    True,
                    "Whether the video shows the whole picture, or only the square round the head.",
                    optional=True,
                    label_on="whole picture",
                    label_off="head only",
                ),
                whole(
                    "size",
                    1024,
                    (64, 8192),
                    "The longest side of the video at most, in pixels. It never gets larger than the picture.",
                    optional=True,
                    step=2,
                ),
                choice(
                    "head_motion",
                    PRESETS,
                    "natural",
                    "natural: as the speech moves it. calm: half of that, smoothed. still: the head rests, "
                    "the eyes blink. lips only: head and eyes rest.",
                    optional=True,
                ),
                choice(
                    "blink",
                    BLINK_CHOICES,
                    "keep",
                    "keep: the blinks that come with the speech. new: 15 a minute, at moments of their own. "
                    "none: the eyes stay as in the portrait.",
                    optional=True,
                ),
                switch(
                    "rest_in_silence",
                    True,
                    "Keeps the mouth still in pauses, however noisy they are. The sound stays as it is.",
                    optional=True,
                ),
                whole(
                    "seed",
                    0,
                    (0, 0xFFFFFFFFFFFFFFFF),
                    "Another seed gives another performance of the same speech.",
                    optional=True,
                    control_after_generate=True,
                ),
                decimal(
                    "mouth",
                    1.0,
                    (0.0, 2.0),
                    0.05,
                    "How far the mouth moves, for dawn-nano: 0 leaves it as in the portrait, 1 speaks like most "
                    "people, 2 twice as far.",
                    optional=True,
                ),
                decimal(
                    "expression",
                    1.0,
                    (0.0, 2.0),
                    0.05,
                    "How much brows, gaze and smile live beside the speech, for dawn-nano: 0 is a still face, 2 a "
                    "lively one.",
                    optional=True,
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="With its sound, for Save Video."),
                *frame_outputs(),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: list[Tensor | None],
        audio: list[dict | None],
        paste_back: Sequence[bool] = (True,),
        size: Sequence[int] = (1024,),
        head_motion: Sequence[str] = ("natural",),
        blink: Sequence[str] = ("keep",),
        rest_in_silence: Sequence[bool] = (True,),
        seed: Sequence[int] = (0,),
        mouth: Sequence[float] = (1.0,),
        expression: Sequence[float] = (1.0,),
        **others: list[Any],
    ) -> io.NodeOutput:
        pictures = sum(1 if batch is None else len(batch) for batch in image)
        _check_single(
            image=pictures, audio=len(audio), paste_back=len(paste_back), size=len(size), head_motion=len(head_motion),
            blink=len(blink), rest_in_silence=len(rest_in_silence), seed=len(seed), mouth=len(mouth),
            expression=len(expression),
            **{name: len(values) for name, values in others.items()},
        )  # fmt: skip
        (whole,), (longest,), (rests,), (number,) = paste_back, size, rest_in_silence, seed
        (preset,), (blinks,), (opening,), (liveliness,) = head_motion, blink, mouth, expression
        wires = cls.hidden.dynprompt.get_node(cls.hidden.unique_id)["inputs"]
        model = wires["model"]
        graph = GraphBuilder()
        portrait = _stage(graph, DawnPreparePortrait, image=wires["image"]).out(0)
        speech = _stage(
            graph,
            DawnEncodeAudio,
            model=model,
            audio_encoder=wires.get("audio_encoder"),
            audio=wires["audio"],
            silence_threshold=PAUSE_DB if rests else 0.0,
        ).out(0)
        pose = _stage(
            graph, DawnGeneratePoseBlink, model=model, portrait=portrait, speech=speech, seed=number
        ).out(0)
        edits = {"preset": preset, "blink": blinks, "blink_seed": number}
        pose = _stage(graph, DawnEditPoseBlink, pose=pose, portrait=portrait, **edits).out(0)
        motion = _stage(
            graph,
            DawnSampleMotion,
            model=model,
            portrait=portrait,
            speech=speech,
            pose=pose,
            seed=number,
            mouth=opening,
            expression=liveliness,
        ).out(0)
        frames = _stage(graph, DawnRenderFrames, model=model, portrait=portrait, motion=motion)
        sound, fps = frames.out(1), frames.out(2)
        images = _stage(
            graph,
            DawnPasteBack,
            portrait=portrait,
            images=frames.out(0),
            motion=motion,
            result=PICTURE if whole else SQUARE,
            longest_side=longest,
        ).out(0)
        video = graph.node("CreateVideo", images=images, audio=sound, fps=fps).out(0)
        return io.NodeOutput(video, images, sound, fps, expand=graph.finalize())


def _check_single(**counts: int) -> None:
    """One of each: lists come from list nodes, and there is one video."""
    for name, count in counts.items():
        if count != 1:
            raise ValueError(
                f"{name}: {count} arrived, and DAWN Talking Head makes one video. Send one at a time, or wire up "
                "DAWN Prepare Portrait and the nodes behind it, which make a video of each picture"
            )


def _stage(graph: GraphBuilder, node: type[io.ComfyNode], **given: Any):
    """A node of ours with its own defaults, save for what is given; what is None stays unconnected."""
    schema = node.define_schema()
    defaults = {
        socket.id: socket.default for socket in schema.inputs if getattr(socket, "default", None) is not None
    }
    wires = {name: value for name, value in given.items() if value is not None}
    return graph.node(schema.node_id, **{**defaults, **wires})
