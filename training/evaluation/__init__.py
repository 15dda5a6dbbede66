"""What is measured on finished clips, and contact sheets to look at.

Start with `evaluate.py`.
"""
