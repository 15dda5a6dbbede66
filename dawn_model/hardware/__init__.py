"""What differs between computers: which precision is fast, which is exact, and what happens when memory is short.

Start with `exact_fp32.py`. How much memory a stage needs is planned in `dawn_model/memory.py`.
"""
