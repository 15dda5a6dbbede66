"""The flow autoencoder: encodes a portrait once, warps its features by motion latents, decodes frames.

Start with `autoencoder.py`, then `render.py` (all frames of a clip). `motion_estimator.py` is the way back, from two
pictures to the motion between them.
"""
