"""From a network to what a plan asks for: one call, the right kind of output, guidance and thresholding inside.

All that is not linear in the outputs happens here, so that λ's closed form stays exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dode.conditioning import joined
from dode.errors import DodeError
from dode.parameterization import Kind, convert, parts
from dode.sampling import Denoise
from dode.schedule import Node

Network = Callable[[Tensor, Tensor, Any], Tensor]  # (x (B, …), t (B,), cond) → output (B, …)
LogProbability = Callable[[Tensor, Tensor, Any], Tensor]  # (x (B, …), t (B,), cond) → log p(cond | x) (B,)


@dataclass(frozen=True)
class Threshold:
    """Clip x̂₀: to ±limit, or with a quantile to the sample's own quantile of |x̂₀|, then divide by it.

    The second is dynamic thresholding (Saharia et al. 2022): s = quantile within [limit, most]; clip(x̂₀, ±s)·limit/s.
    """

    limit: float = 1.0
    quantile: float | None = None
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.limit > 0 or not (self.quantile is None or 0 <= self.quantile <= 1):
            raise DodeError(f"limit must be above 0 and quantile within [0, 1]; got {self.limit}, {self.quantile}")

    def __call__(self, x0: Tensor) -> Tensor:
        if self.quantile is None:
            return x0.clamp(-self.limit, self.limit)
        s = torch.quantile(x0.abs().flatten(1).float(), self.quantile, dim=1).clamp(self.limit, self.most)
        s = s.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-s, s) * (self.limit / s)


def called(network: Network, cond: Any, integer: bool, variance: bool = False) -> Denoise:
    """The network at a node: t as (B,), whole if it takes whole times only; its output's shape is checked.

    variance: the network has learned variances (Nichol & Dhariwal 2021), as many more channels; they are dropped.
    """

    def denoise(x: Tensor, node: Node) -> Tensor:
        whole = integer and node.t == round(node.t)
        dtype = torch.int64 if whole else torch.promote_types(x.dtype, torch.float32)  # bfloat16 rounds 999 to 1000
        time = torch.full(x.shape[:1], int(node.t) if whole else node.t, dtype=dtype, device=x.device)
        # copies: a network may work in place, or hand out the same buffer at every call
        output = network(x.clone(), time, cond)
        if not isinstance(output, Tensor):
            how = ".sample" if hasattr(output, "sample") else "[0]"
            raise DodeError(
                f"the network must return a tensor; it returned {type(output).__name__}: wrap it, as in "
                f"lambda x, t: network(x, t){how}"
            )
        if variance and output.ndim > 1:
            output = output[:, : x.shape[1]]
        if output.shape != x.shape or output.is_complex():
            raise DodeError(f"the network must return the shape of x, {tuple(x.shape)}; got {tuple(output.shape)}")
        return output.to(x.dtype, copy=True)

    return denoise


def classifier_free(network: Network, null: Any, scale: float | Tensor) -> Network:
    """Ho & Salimans 2022: out = uncond + scale·(cond − uncond), both in one call of twice the batch.

    scale: one for all, or one a sample, (B, 1, …).
    """

    def guided(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        none = null(len(x)) if callable(null) else null
        with_cond, without = network(torch.cat([x, x]), torch.cat([t, t]), joined(cond, none)).chunk(2)
        return without + scale * (with_cond - without)

    return guided


def with_scale(network: Network, scale: float) -> Network:
    """A network that was trained with guidance inside takes its scale beside the condition: (cond, scale (B,))."""
    return lambda x, t, cond: network(x, t, (cond, torch.full((len(x),), scale, device=x.device)))


def classifier_guided(
    denoise: Denoise, kind: Kind, log_probability: LogProbability, cond: Any, scale: float
) -> Denoise:
    """Dhariwal & Nichol 2021: ε̂ − scale·σ·∇ log p(cond | x); the gradient is the only one that is ever taken.

    An output p·x₀ + q·ε moves by (q − p·σ/α) times what ε̂ moves; at α = 0, where x says nothing, it stays.
    """

    def guided(x: Tensor, node: Node) -> Tensor:
        output = denoise(x, node)
        if node.alpha == 0:
            return output
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            time = torch.full((len(x),), node.t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
            (gradient,) = torch.autograd.grad(log_probability(leaf, time, cond).sum(), leaf)
        p, q = parts(kind, node)
        return output - (q - p * node.sigma / node.alpha) * scale * node.sigma * gradient

    return guided


def thresholded(denoise: Denoise, kind: Kind, threshold: Threshold) -> Denoise:
    """To x̂₀, clip, and back."""

    def clipped(x: Tensor, node: Node) -> Tensor:
        x0 = threshold(convert(x, denoise(x, node), kind, "data", node))
        return convert(x, x0, "data", kind, node)

    return clipped


def expressed(denoise: Denoise, kind: Kind, to: Kind) -> Denoise:
    """The same outputs as another kind."""
    return denoise if kind == to else lambda x, node: convert(x, denoise(x, node), kind, to, node)
