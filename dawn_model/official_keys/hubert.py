"""Keys of facebook/hubert-large-ls960-ft, as downloaded or re-keyed for ComfyUI's own loader.

The download is a recogniser: its encoder lies under `hubert.` and its letter head is not
needed. Older files name the two halves of a weight-normalised kernel `weight_g` and `weight_v`.
"""

from __future__ import annotations

from . import KeyTable, Rename

_CONV = r"encoder\.pos_conv_embed\.conv\."

HUBERT_KEYS = KeyTable(
    renames=(
        Rename(rf"(?:hubert\.)?({_CONV})weight_g", r"\1parametrizations.weight.original0"),
        Rename(rf"(?:hubert\.)?({_CONV})weight_v", r"\1parametrizations.weight.original1"),
        Rename(
            rf"(?:hubert\.)?(?!{_CONV}weight_[gv])((?:feature_extractor|feature_projection|encoder)\..+)",
            r"\1",
        ),
    ),
    dropped=(
        r"lm_head\..*",
        r"(?:hubert\.)?masked_spec_embed",  # hides frames, in training only
    ),
)
