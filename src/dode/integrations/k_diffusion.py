"""k-diffusion's convention: sampling functions over sigmas, and its denoisers as models.

A denoiser is called as model(x, sigma, **extra_args) with sigma (B,) and returns x̂₀ at x = x₀ + σ·ε.  ComfyUI's flow
models have the same convention at x = (1 − σ)·x₀ + σ·ε: `flow=True`.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dode.distillation.api import distill
from dode.distillation.config import RHO
from dode.errors import DodeError
from dode.integrations.sigmas import Calibration, falling, fitting, grid_of, plain, schedule_of
from dode.method import Method
from dode.model import Model, from_callable
from dode.parameterization import convert
from dode.plan import Plan
from dode.progress import Progress
from dode.samplers import Sampler
from dode.sampling import Denoise, Draw, Watch, advance, begin, evaluate, needed
from dode.schedule import EDM, Flow, Node

Denoiser = Callable[..., Tensor]  # (x, sigma, **extra_args) → x̂₀
NoiseSampler = Callable[[Tensor, Tensor], Tensor]  # (sigma, next sigma) → standard normal noise


@torch.no_grad()
def sample_dode(
    model: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    disable: bool | None = None,
    *,
    calibration: Calibration | None = None,
    method: str = "dpm-solver++2m",
    flow: bool = False,
    nfe: int | None = None,
    guidance: float | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """A sampling function like k-diffusion's: x (B, …) at sigmas[0] → the state at sigmas[-1].

    sigmas: n + 1 falling levels for n calls of the model, whatever the solver's stages.  calibration: a file, its
    content, a Sampler or a Plan, made on these sigmas, or on a longer list that ends with them (nfe and guidance say
    which of its plans); without one, `method` is the solver, with options like "dpm-solver-2:inner=time".
    callback gets {"x", "i", "sigma", "sigma_hat", "denoised"} before every update; noise_sampler is for stochastic
    solvers.  A progress bar is shown if tqdm is installed; disable as in tqdm.
    """
    levels = falling(sigmas, flow)
    plan = plain(method, levels, flow) if calibration is None else fitting(calibration, levels, flow, nfe, guidance)
    denoise = _denoiser(model, plan, extra_args or {})
    state, watch = needed(plan, begin(plan, x, _draws(plan, x, noise_sampler))), Watch(plan)
    for k in _steps(plan.nfe, disable):
        node = plan.nodes[k]
        d = evaluate(plan, state, denoise, watch)
        if callback is not None:
            sigma = x.new_tensor(node.sigma)
            denoised = convert(state.y, d, plan.kind, "data", node)
            callback({"x": state.y, "i": k, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        state = advance(plan, state, d)
    watch.see(plan.nfe, state.y)
    watch.look()
    return state.y


def _denoiser(model: Denoiser, plan: Plan, extra_args: dict[str, Any]) -> Denoise:
    """The denoiser as the plan calls it."""

    def denoise(y: Tensor, node: Node) -> Tensor:
        wide = torch.promote_types(y.dtype, torch.float32)
        sigma = torch.full((len(y),), node.t, dtype=wide, device=y.device)
        return convert(y, model(y, sigma, **extra_args), "data", plan.kind, node)

    return denoise


def _draws(plan: Plan, x: Tensor, noise_sampler: NoiseSampler | None) -> Draw | None:
    """Fresh noise for state number k, on the way from the node before."""
    if noise_sampler is None:
        if any(plan.noise_scales):
            raise DodeError("a stochastic solver needs noise_sampler, which maps (sigma, next sigma) to noise like x")
        return None
    levels = [x.new_tensor(node.sigma) for node in plan.nodes]
    return lambda k: noise_sampler(levels[max(0, k - 1)], levels[k])


def _steps(count: int, disable: bool | None) -> Sequence[int]:
    """0 … count − 1, with a bar where tqdm is installed: tools of this convention bring it, dode does not."""
    if disable is True or find_spec("tqdm") is None:
        return range(count)
    from tqdm import trange

    bar: Sequence[int] = trange(count, disable=disable)
    return bar


def from_kdiffusion(
    denoiser: Denoiser,
    *,
    sigma_min: float,
    sigma_max: float,
    shape: Sequence[int],
    extra_args: dict[str, Any] | None = None,
    flow: bool = False,
    name: str = "k-diffusion",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """A k-diffusion denoiser as a model: data prediction, sampled from sigma_max to 0.

    denoiser: x (B, *shape), sigma (B,), **extra_args → the denoised x; shape: of one sample; sigma_min: the last noise
    level above 0.  extra_args: what it is called with at every call, conditions and guidance included; guidance is then
    the caller's, and a plan's file says 1.  flow: of straight paths, x = (1 − sigma)·x₀ + sigma·ε; name: in files and
    tables; dtype, device: of its states.  Raises ValueError if a first call fails to return the shape of x.
    """
    schedule = Flow(t_max=sigma_max, t_min=sigma_min) if flow else EDM(sigma_max, sigma_min)
    named = extra_args or {}

    def network(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x, sigma, **named)

    return from_callable(
        denoiser if not named else network,
        schedule=schedule,
        prediction="data",
        shape=shape,
        name=name,
        dtype=dtype,
        device=device,
    )


def calibrate(
    model: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    extra_args: dict[str, Any] | None = None,
    *,
    method: str | Method = "ddim",
    flow: bool = False,
    teacher: str | Method | None = None,
    scale: int = 10,
    rho: float = RHO,
    batch: int = 50,
    guidance: float = 1.0,
    name: str = "k-diffusion",
    progress: Progress | None = None,
) -> Sampler:
    """Distil a solver on these sigmas, fitted on the states x (n, …) at sigmas[0]; use it with `sample_dode`.

    model, extra_args: as for `sample_dode`; guidance: the scale that is at work inside model, for the file to say;
    batch: how many of the n states at a time.  Other options as in `dode.distill`.
    Raises ValueError for less than two levels above 0, and as `dode.distill` does.
    """
    levels = falling(sigmas, flow)
    if sum(level > 0 for level in levels) < 2:
        raise DodeError(f"to calibrate, give at least two levels above 0; got {', '.join(f'{s:g}' for s in levels)}")
    schedule = schedule_of(levels, flow)
    made = from_kdiffusion(
        model,
        sigma_min=schedule.t_min,
        sigma_max=schedule.t_max,
        shape=x.shape[1:],
        extra_args=extra_args,
        flow=flow,
        name=name,
        dtype=x.dtype,
        device=str(x.device),
    )
    return distill(
        made.declared(guidance),
        method,
        nfe=len(levels) - 1,
        grid=grid_of(levels, flow),
        noise=x,
        teacher=teacher,
        scale=scale,
        rho=rho,
        batch=batch,
        progress=progress,
    )
