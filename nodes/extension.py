"""What ComfyUI loads: the list of nodes and the model folder."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .auditions import DawnAuditions
from .blend_pose_blink import DawnBlendPoseBlink
from .edit_pose_blink import DawnEditPoseBlink
from .encode_audio import DawnEncodeAudio
from .example import DawnExample
from .generate_pose_blink import DawnGeneratePoseBlink
from .load_audio_encoder import DawnLoadAudioEncoder
from .load_model import DawnLoadModel
from .load_motion import DawnLoadMotion
from .load_pose_blink import DawnLoadPoseBlink
from .motion_from_video import DawnMotionFromVideo
from .paste_back import DawnPasteBack
from .plot_pose_blink import DawnPlotPoseBlink
from .pose_blink_from_video import DawnPoseBlinkFromVideo
from .prepare_portrait import DawnPreparePortrait
from .render_frames import DawnRenderFrames
from .sample_motion import DawnSampleMotion
from .save_motion import DawnSaveMotion
from .save_pose_blink import DawnSavePoseBlink
from .support import model_folders, web_files
from .talking_head import DawnTalkingHead


class DawnExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        # Not in `on_load`, which 0.3.75 does not call: the loaders' schemas list the model folder.
        model_folders.register()
        web_files.register()
        return [
            DawnLoadModel,
            DawnLoadAudioEncoder,
            DawnEncodeAudio,
            DawnPreparePortrait,
            DawnGeneratePoseBlink,
            DawnPoseBlinkFromVideo,
            DawnEditPoseBlink,
            DawnBlendPoseBlink,
            DawnPlotPoseBlink,
            DawnSavePoseBlink,
            DawnLoadPoseBlink,
            DawnSampleMotion,
            DawnMotionFromVideo,
            DawnRenderFrames,
            DawnSaveMotion,
            DawnLoadMotion,
            DawnPasteBack,
            DawnTalkingHead,
            DawnAuditions,
            DawnExample,
        ]
