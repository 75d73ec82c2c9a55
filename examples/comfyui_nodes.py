"""The ComfyUI nodes called from Python, inside ComfyUI's own environment: calibrate, then sample with the result."""

from typing import Any

from torch import Tensor

from dode.integrations.comfyui import sampling


def main(model: Any, positive: Any, negative: Any, latent: Tensor, steps: int = 10, samples: int = 16) -> Tensor:
    """Latents from a MODEL and two CONDITIONINGs: what comfyui/workflow.json does by nodes.

    latent (n, …) gives the number and the shape.
    """
    import comfy.sample

    cfg = 7.0
    sampler, sigmas, path = sampling.fit(
        model,
        positive,
        negative,
        {"samples": latent},
        cfg=cfg,
        steps=steps,
        scheduler="karras",
        method="ddim",
        samples=samples,
        batch=1,
        seed=0,
        name=f"example-{steps}",
    )
    print(f"written: {path}")
    # another day: the same sampler and sigmas from the file
    (sampler,) = sampling.sampler(path, "ddim", steps=0, cfg=0.0)
    (sigmas,) = sampling.sigmas(model, path, steps=0, cfg=0.0, denoise=1.0)
    noise = comfy.sample.prepare_noise(latent, 1)
    made: Tensor = comfy.sample.sample_custom(
        model, noise, cfg, sampler, sigmas, positive, negative, latent, disable_pbar=True, seed=1
    )
    return made
