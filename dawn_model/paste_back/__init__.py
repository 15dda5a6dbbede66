"""The animated square back into the whole picture: placed, matched in color, blended.

Start with `paste.py`.
"""
