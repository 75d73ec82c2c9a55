"""diffusers' own solvers on a model of dode: the same network, the same noise, at equal evaluations.

Their states are x·α with α² + σ² = 1; a model of another scaling (EDM's) is asked at the scheduler's σ with its own
state.  The scheduler's levels are handed to the network as they are, not rounded to whole times.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from dode.model import Model
from dode.samplers import Provenance
from dode.sampling import Denoise

STEPS = 1000
SOLVERS: dict[str, tuple[type, dict[str, Any]]] = {
    "diffusers dpm-solver++2m": (DPMSolverMultistepScheduler, {"solver_order": 2}),
    "diffusers dpm-solver++3m": (DPMSolverMultistepScheduler, {"solver_order": 3}),
    "diffusers unipc-2": (UniPCMultistepScheduler, {"solver_order": 2}),
    "diffusers unipc-3": (UniPCMultistepScheduler, {"solver_order": 3}),
}
BLENDS = (  # solvers of the catalogue that can be refined: more than a search tries, so that a reference begins well
    *("unipc-2", "ipndm-2", "ipndm-3", "dpm-solver++2m", "ipndm"),
    *("unipc-3", "deis-2", "deis-1", "dpm-solver++3m", "ddim"),
)
GRIDS: dict[str, dict[str, Any]] = {
    "trailing": {"timestep_spacing": "trailing"},
    "linspace": {"timestep_spacing": "linspace"},
    "karras": {"use_karras_sigmas": True},
    "logsnr": {"use_exponential_sigmas": True},
}


@dataclass(frozen=True)
class Rival:
    """A scheduler of diffusers, as much like a Sampler as a comparison needs."""

    model: Model
    name: str
    nfe: int
    provenance: Provenance
    stochastic: ClassVar[bool] = False

    @torch.no_grad()
    def sample(
        self, *, noise: Tensor, seed: int, batch: int, callback: Callable[[Any], None] | None = None, first: int = 0
    ) -> Tensor:
        """The ends of noise (n, *shape) at the model's t_max; the conditions of the samples from `first` on."""
        ends = []
        for i in range(0, len(noise), batch):
            part = noise[i : i + batch]
            cond = self.model.conditions(range(first + i, first + i + len(part)))
            ends.append(self._ends(part, cond, callback))
        return torch.cat(ends)

    def _ends(self, x_T: Tensor, cond: Any, callback: Callable[[Any], None] | None) -> Tensor:
        made, options = SOLVERS[self.name]
        scheduler = made(**_betas(self.model), **options, **GRIDS[str(self.provenance.grid)], final_sigmas_type="zero")
        scheduler.set_timesteps(self.nfe)
        denoise = self.model.bound("noise", cond)
        first = self.model.schedule.node(self.model.schedule.t_max)
        y = x_T / math.hypot(first.alpha, first.sigma)
        for i, t in enumerate(scheduler.timesteps):
            y = scheduler.step(_noise(self.model, denoise, y, float(scheduler.sigmas[i])), t, y).prev_sample
            if callback is not None:
                callback(None)
        return y


def _noise(model: Model, denoise: Denoise, y: Tensor, sigma: float) -> Tensor:
    """ε̂ where the scheduler stands, at σ/α = sigma with α² + σ² = 1."""
    node = model.schedule.at(-math.log(sigma))
    return denoise(y * math.hypot(node.alpha, node.sigma), node)


def _betas(model: Model) -> dict[str, Any]:
    """The model's levels as a table of a thousand betas."""
    if model.schedule.knots:
        kept = np.array([model.schedule.node(t).alpha ** 2 for t in model.schedule.knots])
    else:
        ends = [model.schedule.node(t).logsnr for t in (model.schedule.t_min, model.schedule.t_max)]
        kept = 1 / (1 + np.exp(-2 * np.linspace(ends[0], ends[1], STEPS)))
    betas = 1 - kept / np.concatenate([[1.0], kept[:-1]])
    return {"num_train_timesteps": len(betas), "trained_betas": betas}


def rivals(model: Model, nfe: int, names: Sequence[str] = tuple(SOLVERS)) -> list[Rival]:
    """Every solver on every grid; even times only where the model has a table of times."""
    grids = GRIDS if model.schedule.knots else ("karras", "logsnr")
    return [Rival(model, name, nfe, Provenance(name, False, where)) for name in names for where in grids]
