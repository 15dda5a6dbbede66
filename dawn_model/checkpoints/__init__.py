"""Weights from disk: our own file, the authors' files, and the way from theirs to ours.

Start with `checkpoint.py` (our safetensors file and its metadata); `official.py` reads the authors' pickles by the
tables of `official_keys`.
"""
