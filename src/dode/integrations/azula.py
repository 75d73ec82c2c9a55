"""azula's denoisers as models, and plans as azula's samplers.  Tested with azula 0.11.

A denoiser is called as denoiser(x, t, **kwargs), with t a scalar in [0, 1], and returns a posterior whose mean is x̂₀;
its schedule maps t to (α, σ).  Sampling ends at t = 0, where azula's schedules keep a little noise: the last step to
there is long in log-SNR on an even grid, and multistep solvers want grid="karras".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dode.model import Model, from_callable
from dode.parameterization import convert
from dode.plan import Plan
from dode.sampling import run
from dode.schedule import Functions, Node, from_functions


def schedule_of(denoiser: Any) -> Functions:
    """The denoiser's schedule, asked in float64."""

    def asked(part: int) -> Callable[[float], float]:
        return lambda t: float(denoiser.schedule(torch.tensor(t, dtype=torch.float64))[part])

    return from_functions(alpha=asked(0), sigma=asked(1), t_max=1.0, t_min=0.0)


def from_azula(
    denoiser: Any,
    *,
    shape: Sequence[int],
    kwargs: dict[str, Any] | None = None,
    name: str = "azula",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """An azula denoiser as a model: data prediction on its own schedule.

    denoiser: azula's, (x (B, *shape), t) → a posterior with the mean x̂₀; shape: of one sample. kwargs: what it is
    called with at every call, such as a label; name: in files and tables; dtype, device: of its states. Raises
    ValueError if a first call fails to return the shape of x.
    """
    named = kwargs or {}

    def network(x: Tensor, t: Tensor) -> Tensor:
        mean: Tensor = denoiser(x, t[0], **named).mean
        return mean

    return from_callable(
        network,
        schedule=schedule_of(denoiser),
        prediction="data",
        shape=shape,
        name=name,
        dtype=dtype,
        device=device,
    )


@dataclass(frozen=True, eq=False)
class AzulaSampler:
    """Called like azula's samplers: x₁ (B, …) and keyword arguments for the denoiser → x₀.

    plan: of a `dode.Sampler` on `from_azula(denoiser)`, plain or distilled.
    """

    denoiser: Any
    plan: Plan

    @torch.no_grad()
    def __call__(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Sample from x at t = 1."""

        def denoise(y: Tensor, node: Node) -> Tensor:
            mean = self.denoiser(
                y, torch.tensor(node.t, dtype=torch.promote_types(y.dtype, torch.float32), device=y.device), **kwargs
            ).mean
            x0: Tensor = convert(y, mean, "data", self.plan.kind, node)
            return x0

        return run(self.plan, denoise, x)
