"""The public place of the k-diffusion sampler, its model and its calibration."""

from dode.integrations.k_diffusion import calibrate, from_kdiffusion, sample_dode

__all__ = ["calibrate", "from_kdiffusion", "sample_dode"]
