"""A stand-in for ComfyUI's V3 node interface."""
