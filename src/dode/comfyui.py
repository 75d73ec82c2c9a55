"""The public place of what the ComfyUI nodes call."""

from dode.integrations.comfyui.sampling import fit, is_flow, sample, sampler, sigmas

__all__ = ["fit", "is_flow", "sample", "sampler", "sigmas"]
