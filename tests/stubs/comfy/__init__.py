"""A stand-in for ComfyUI's sampling, with its names and signatures: written for tests, it knows nothing else."""
