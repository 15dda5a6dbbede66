"""Rendered people: a parametric head, random persons, a small renderer.

Start with `head.py`.
"""
