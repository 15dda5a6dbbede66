"""Head pose and blinks: generated from speech, read from films and files, edited, drawn as a plot.

Start with `generate.py` (the network `pose_blink.py`, sampled for a whole clip), then `edit.py`; `axes.py` says which
way each angle turns.
"""
