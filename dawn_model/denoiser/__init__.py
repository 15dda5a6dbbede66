"""The networks that predict motion latents from noise, and what they are conditioned on.

Start with `unet3d.py` (the authors' video U-Net) or `compact.py` (the small one of the embedded model); both take the
rows of `conditioning.py`.
"""
