"""DAWN Load Audio Encoder."""

from __future__ import annotations

import comfy.model_management as mm
from comfy_api.latest import io

from ..dawn_model.audio.hubert import load_hubert
from .support import host, model_folders, stored_files
from .support.audio_encoder import DawnAudioEncoder
from .support.node import LOADERS, DawnNode, schema
from .support.widgets import choice


class DawnLoadAudioEncoder(DawnNode):
    """Loads HuBERT-large, the speech encoder that DAWN was trained with, from models/audio_encoders:
    pytorch_model.bin or model.safetensors of facebook/hubert-large-ls960-ft. The output also fits ComfyUI's own
    audio encoder nodes."""

    title, category = "DAWN Load Audio Encoder", LOADERS
    aliases = ("hubert", "speech encoder", "wav2vec")
    advanced = ("dtype",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                choice(
                    "audio_encoder",
                    model_folders.audio_encoder_names(),
                    "",
                    "A HuBERT-large file in models/audio_encoders.",
                ),
                choice(
                    "dtype",
                    host.DTYPE_CHOICES,
                    "auto",
                    "Precision of the encoder. auto: half precision where the GPU or CPU is faster "
                    "at it, fp32 elsewhere.",
                ),
            ],
            outputs=[
                io.AudioEncoder.Output(
                    display_name="audio encoder", tooltip="For DAWN Encode Audio and DAWN Talking Head."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, audio_encoder: str | None = None) -> bool | str:
        """Says where a missing file belongs; ComfyUI's own check of the list would only call it unknown."""
        return model_folders.missing(model_folders.audio_encoder_path, audio_encoder) or True

    @classmethod
    def fingerprint_inputs(cls, audio_encoder: str, dtype: str) -> str:
        return model_folders.modified(model_folders.audio_encoder_path(audio_encoder))

    @classmethod
    def execute(cls, audio_encoder: str, dtype: str) -> io.NodeOutput:
        path = model_folders.audio_encoder_path(audio_encoder)
        compute_dtype = host.choose_dtype(dtype, mm.text_encoder_device())
        tensors = stored_files.read_tensors(path)
        try:
            encoder = load_hubert(tensors)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        return io.NodeOutput(DawnAudioEncoder(encoder, compute_dtype))
