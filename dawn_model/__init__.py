"""DAWN in plain PyTorch: everything that computes, nothing that knows ComfyUI."""
