"""The trainings, in the order of `run_all.sh`, and the export of the shipped file.

Start with `train_motion.py`.
"""
