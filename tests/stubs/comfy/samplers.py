"""How ComfyUI calls a sampler function: noise scaled in, prompts and guidance inside the model that it hands over."""

import torch

SCHEDULER_NAMES = ["karras", "simple"]


def calculate_sigmas(model_sampling, scheduler_name, steps):
    top, low = model_sampling.sigma_max, model_sampling.sigma_min
    if scheduler_name == "simple":
        return torch.linspace(float(top), 0, steps + 1)
    ramp = torch.linspace(float(top) ** (1 / 7), float(low) ** (1 / 7), steps) ** 7
    return torch.cat([ramp, torch.zeros(1)])


class Guider:
    """The wrapped model: inner_model is the network with its model_sampling."""

    def __init__(self, patcher, positive, negative, cfg):
        self.inner_model, self.conds, self.cfg = patcher.model, (positive, negative), cfg

    def __call__(self, x, sigma, model_options=None, seed=None):
        plain, against = (self.inner_model.apply_model(x, sigma, cond) for cond in self.conds)
        return against + self.cfg * (plain - against)


class Inpainting:
    """What a sampler function gets as its model."""

    def __init__(self, guider):
        self.inner_model = guider

    def __call__(self, x, sigma, denoise_mask, model_options=None, seed=None):
        return self.inner_model(x, sigma, model_options=model_options, seed=seed)


class KSAMPLER:
    def __init__(self, sampler_function, extra_options={}, inpaint_options={}):  # noqa: B006
        self.sampler_function, self.extra_options, self.inpaint_options = (
            sampler_function,
            extra_options,
            inpaint_options,
        )

    def sample(
        self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        extra_args["denoise_mask"] = denoise_mask
        sampling = guider.inner_model.model_sampling
        most = bool(sigmas[0] >= sampling.sigma_max)
        x = sampling.noise_scaling(sigmas[0], noise, latent_image, most)
        shown = None if callback is None else lambda at: callback(at["i"], at["denoised"], at["x"], len(sigmas) - 1)
        made = self.sampler_function(
            Inpainting(guider),
            x,
            sigmas,
            extra_args=extra_args,
            callback=shown,
            disable=disable_pbar,
            **self.extra_options,
        )
        return sampling.inverse_noise_scaling(sigmas[-1], made)
