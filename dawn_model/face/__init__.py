"""A face in a picture: found, measured, cut out.

Start with `portrait.py` (what the later stages get) and `landmarker.py` (a picture to 478 points); `state.py` reads
pose, eyes and the face's box from those points.
"""
