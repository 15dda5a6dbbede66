"""Training clips: a random scenario for a person and an utterance, rendered and stored.

Start with `make_dataset.py`.
"""
