"""ComfyUI's entry to custom sampling."""

import torch

from comfy.samplers import Guider


def fix_empty_latent_channels(model, latent_image):
    return latent_image


def prepare_noise(latent_image, seed, noise_inds=None):
    return torch.randn(latent_image.shape, generator=torch.Generator().manual_seed(seed), dtype=latent_image.dtype)


def sample_custom(
    model,
    noise,
    cfg,
    sampler,
    sigmas,
    positive,
    negative,
    latent_image,
    noise_mask=None,
    callback=None,
    disable_pbar=False,
    seed=None,
):
    guider = Guider(model, positive, negative, cfg)
    with torch.inference_mode():
        return sampler.sample(
            guider,
            sigmas,
            {"model_options": {}, "seed": seed},
            callback,
            noise,
            latent_image,
            noise_mask,
            disable_pbar,
        )
