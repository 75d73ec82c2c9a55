"""What the ComfyUI nodes do; comfyui/ at the root of the repository is the folder that ComfyUI loads.

A sampler function of ComfyUI is k-diffusion's: model(x, sigma, **extra_args) → x̂₀, with prompts and guidance inside.
Flow models (its CONST) run on (1 − σ)·x₀ + σ·ε, all others on x₀ + σ·ε: the model is asked which.  A node's inputs
arrive by name, so its function has as many arguments as the node has inputs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dode.errors import DodeError
from dode.integrations.k_diffusion import calibrate, sample_dode
from dode.integrations.sigmas import Calibrated, chosen, known
from dode.solvers import METHODS

NAMES = [name for name, method in METHODS.items() if method.name == name and not method.warmup]


def is_flow(model_sampling: Any) -> bool:
    """How does ComfyUI's model scale its states: (1 − σ)·x₀ + σ·ε, or x₀ + σ·ε?  ValueError if neither."""
    sigma, one, none = torch.tensor(0.5), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    signal = float(model_sampling.noise_scaling(sigma, none.clone(), one.clone(), False))
    noise = float(model_sampling.noise_scaling(sigma, one.clone(), none.clone(), False))
    if noise != 0.5 or signal not in (0.5, 1.0):
        raise DodeError(
            f"{type(model_sampling).__name__} has states of {signal:g} data and {noise:g} noise at sigma = 0.5; "
            "dode knows 1 and 0.5, and 0.5 and 0.5 for flow models"
        )
    return signal == 0.5


def sample(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    disable: bool | None = None,
    calibration: str | None = None,
    method: str = "dpm-solver++2m",
    nfe: int | None = None,
    guidance: float | None = None,
) -> Tensor:
    """The function for KSAMPLER: `sample_dode` in the scale, and at the guidance, of this model.

    guidance: of the plan to take in spite of what the model runs at.
    """
    guider = model.inner_model
    if guidance is None:
        guidance = getattr(guider, "cfg", None)  # ComfyUI's guiders have it; others are believed
    return sample_dode(
        model,
        x,
        sigmas,
        extra_args,
        callback,
        disable,
        calibration=calibration,
        method=method,
        flow=is_flow(guider.inner_model.model_sampling),
        nfe=nfe,
        guidance=guidance,
    )


def sampler(calibration: str, method: str, steps: int, cfg: float) -> tuple[Any]:
    """The SAMPLER node: a calibration file, or without one a plain method on the sigmas that it is given."""
    from comfy.samplers import KSAMPLER

    options: dict[str, Any] = {"method": method}
    if calibration:
        path = str(located(calibration))
        known(path)  # a wrong file is told here, not in the middle of a queue
        options |= {"calibration": path, "nfe": steps or None, "guidance": cfg or None}
    return (KSAMPLER(sample, options),)


def sigmas(model: Any, calibration: str, steps: int, cfg: float, denoise: float) -> tuple[Tensor]:
    """The SIGMAS node: where the plan evaluates, and 0; denoise < 1 keeps that share of it, from a step's start.

    Raises ValueError for a denoise outside of [0, 1], and where the file has no plan for this.
    """
    flow = is_flow(model.get_model_object("model_sampling"))
    plan = _one(chosen(known(located(calibration)), cfg or None), steps).scaled(flow)
    if not 0 <= denoise <= 1:
        raise DodeError(f"denoise must be from 0 to 1; got {denoise:g}")
    left = round(plan.nfe * denoise)
    if left == 0:
        return (torch.zeros(0),)
    first = max(k for k, fresh in enumerate(plan.step_starts) if fresh and k <= plan.nfe - left)
    return (torch.tensor([node.sigma for node in plan.nodes[first:]], dtype=torch.float32),)


def _one(plans: list[Calibrated], steps: int) -> Calibrated:
    """The plan of this many evaluations; 0 if there is only one."""
    counts = [one.plan.nfe for one in plans]
    if (steps or counts[0]) not in counts or (not steps and len(counts) > 1):
        raise DodeError(f"calibrated for {', '.join(map(str, counts))} steps; asked for {steps or 'none of them'}")
    return plans[counts.index(steps) if steps else 0]


def fit(
    model: Any,
    positive: Any,
    negative: Any,
    latent_image: dict[str, Any],
    cfg: float,
    steps: int,
    scheduler: str,
    method: str,
    samples: int,
    batch: int,
    seed: int,
    name: str,
) -> tuple[Any, Tensor, str]:
    """The calibrate node: distil a solver inside ComfyUI's own sampling and write output/NAME.json.

    latent_image gives the shape only: the fit starts from noise.  Returns the sampler, its sigmas, the file.
    Raises ValueError for a name with folders in it, and as `dode.distill` does.
    """
    import comfy.sample
    import comfy.samplers
    import comfy.utils

    if Path(name).name != name or not name:
        raise DodeError(f"the name of the file must be a plain name; got {name!r}")
    path = located(f"{name}.json")
    levels = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps).cpu()
    latent = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"])
    latent = latent.new_zeros((samples, *latent.shape[1:]))
    bar = comfy.utils.ProgressBar(100)
    found = []

    def run(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any) -> Tensor:
        flow = is_flow(denoiser.inner_model.inner_model.model_sampling)
        options: dict[str, Any] = {"method": method, "flow": flow, "batch": batch, "guidance": cfg, "name": "comfyui"}
        found.append(calibrate(denoiser, x, sigmas, extra_args, **options, progress=_shown(bar)))
        return x

    comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(latent, seed),
        cfg,
        comfy.samplers.KSAMPLER(run),
        levels,
        positive,
        negative,
        latent,
        disable_pbar=True,
        seed=seed,
    )
    found[0].save(path)
    return (*sampler(path.name, method, 0, 0.0), levels, str(path))


def _shown(bar: Any) -> Callable[[int, int], None]:
    """Progress of the fit in ComfyUI's bar, which is also where it looks whether to stop."""
    return lambda done, total: bar.update_absolute(done, total)


def located(calibration: str) -> Path:
    """A calibration file: by its whole path, or within ComfyUI's output folder."""
    import folder_paths

    return Path(folder_paths.get_output_directory()) / calibration.strip()
