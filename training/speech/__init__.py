"""Synthetic speech with exact phones, and the mouth shapes that belong to them.

Start with `make_speech.py`.
"""
