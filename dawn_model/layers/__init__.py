"""Layers that more than one network uses: norms and embeddings, attention over time, computing in slices.

Start with `basic.py`; `slices.py` explains how a long clip fits into little memory without another result.
"""
