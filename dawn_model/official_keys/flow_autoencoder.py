"""The authors' `LFG_*.pth` → `FlowAutoencoder` and `MotionEstimator`.

Keys are `<entry>.<state-dict key>` of the entries `generator`, `region_predictor` and `bg_predictor`.
Our names keep the authors' blocks. `FLOW_AUTOENCODER` still holds batch norms: pass what `apply_table`
returns through `fusing.fuse` before loading. `MOTION_ESTIMATOR` loads as it is.
"""

from __future__ import annotations

from . import KeyTable, Rename
from .fusing import squares_bias, squares_kernel

_CONV = r"(weight|bias)"
_CONV_OR_NORM = r"(conv\.(?:weight|bias)|norm\.(?:weight|bias|running_mean|running_var))"
_BLOCKS = rf"((?:down|up)_blocks\.\d+)\.{_CONV_OR_NORM}"
_COUNTERS = r".*\.num_batches_tracked"
_ANTI_ALIAS = r".*\.down\.weight"
"""A constant that `hourglass.shrink` makes anew."""

FLOW_AUTOENCODER = KeyTable(
    renames=(
        Rename(rf"generator\.first\.{_CONV_OR_NORM}", r"first.\1"),
        Rename(rf"generator\.{_BLOCKS}", r"\1.\2"),
        Rename(rf"generator\.bottleneck\.r(\d+)\.(conv[12])\.{_CONV}", r"bottleneck.\1.\2.\3"),
        Rename(
            r"generator\.bottleneck\.r(\d+)\.(norm[12])\.(weight|bias|running_mean|running_var)",
            r"bottleneck.\1.\2.\3",
        ),
        Rename(r"generator\.final\.weight", "final.squares.weight", squares_kernel),
        Rename(r"generator\.final\.bias", "final.squares.bias", squares_bias),
    ),
    dropped=(_COUNTERS, r"generator\.pixelwise_flow_predictor\..*", r"(region|bg)_predictor\..*"),
)

MOTION_ESTIMATOR = KeyTable(
    renames=(
        Rename(
            rf"region_predictor\.predictor\.(?:en|de)coder\.{_BLOCKS}", r"region_predictor.hourglass.\1.\2"
        ),
        Rename(rf"region_predictor\.regions\.{_CONV}", r"region_predictor.regions.\1"),
        Rename(rf"bg_predictor\.encoder\.{_BLOCKS}", r"background_predictor.\1.\2"),
        Rename(rf"bg_predictor\.fc\.{_CONV}", r"background_predictor.fc.\1"),
        Rename(
            rf"generator\.pixelwise_flow_predictor\.hourglass\.(?:en|de)coder\.{_BLOCKS}",
            r"flow_predictor.hourglass.\1.\2",
        ),
        Rename(rf"generator\.pixelwise_flow_predictor\.(mask|occlusion)\.{_CONV}", r"flow_predictor.\1.\2"),
    ),
    dropped=(_COUNTERS, _ANTI_ALIAS, r"generator\.(first|down_blocks|bottleneck|up_blocks|final)\..*"),
)
