"""What several nodes share, and the one place that knows ComfyUI's versions, devices and folders (`host.py`).

Start with `sockets.py`, the types on the wires.
"""
