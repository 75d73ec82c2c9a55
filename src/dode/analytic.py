"""Models that are exact: no training, and a solution to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dode.model import Model, build
from dode.parameterization import Kind, convert
from dode.schedule import EDM, Node, Schedule


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Data x₀ ~ N(mean, diag(std²)): mean and std of one sample's shape."""

    mean: Tensor
    std: Tensor

    def data(self, x: Tensor, node: Node) -> Tensor:
        """E[x₀ | x] = μ + α·s²·(x − α·μ)/(α²·s² + σ²)."""
        mean, variance = self.mean.to(x), self.std.to(x) ** 2
        spread = node.alpha**2 * variance + node.sigma**2
        return mean + node.alpha * variance * (x - node.alpha * mean) / spread

    def flow(self, x: Tensor, s: Node, t: Node) -> Tensor:
        """The exact solution of the ODE from node s to node t: x − α·μ scales with its standard deviation."""
        mean, variance = self.mean.to(x), self.std.to(x) ** 2
        scale = ((t.alpha**2 * variance + t.sigma**2) / (s.alpha**2 * variance + s.sigma**2)).sqrt()
        return t.alpha * mean + scale * (x - s.alpha * mean)

    def model(self, schedule: Schedule, prediction: Kind, dtype: torch.dtype = torch.float64) -> Model:
        """The Gaussian as a model with its exact solution."""
        first, last = schedule.node(schedule.t_max), schedule.node(schedule.t_end)
        return _model(
            "gaussian",
            self,
            schedule,
            prediction,
            tuple(self.mean.shape),
            dtype,
            solution=lambda model, x, cond: self.flow(x, first, last),
        )


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians of low rank: component k has covariance V_k·diag(v_k)·V_kᵀ + floor·I.

    Exact for every noise level; `labels` makes it class-conditional (a component serves its class).
    """

    weights: Tensor  # (K,)
    means: Tensor  # (K, D)
    bases: Tensor  # (K, D, R), orthonormal columns
    variances: Tensor  # (K, R)
    floor: float
    shape: tuple[int, ...]  # of one sample, D numbers
    labels: Tensor | None = None  # (K,) class of each component

    def data(self, x: Tensor, node: Node, label: Tensor | None = None) -> Tensor:
        """E[x₀ | x], and given the label (B,) if one is given; a label that no component has means "any"."""
        a, b = node.alpha, node.sigma
        means, bases = self.means.to(x), self.bases.to(x)
        inside = self.variances.to(x) + self.floor  # (K, R), data variance along the bases
        outside = a**2 * self.floor + b**2
        difference = x.flatten(1)[:, None] - a * means  # (B, K, D)
        along = torch.einsum("bkd,kdr->bkr", difference, bases)
        spread = a**2 * inside + b**2
        rest = difference.square().sum(2) - along.square().sum(2)
        size = along.square().div(spread).sum(2) + rest / outside
        rank = means.shape[1] - inside.shape[1]
        logits = self.weights.to(x).log() - 0.5 * (size + spread.log().sum(1) + rank * torch.tensor(outside).log())
        share = (logits + self._mask(label, len(x)).to(x)).softmax(1)  # (B, K)
        gain = self.floor / outside
        lifted = torch.einsum("bk,bkr,kdr->bd", share, (inside / spread - gain) * along, bases)
        plain = torch.einsum("bk,bkd->bd", share, means + a * gain * difference)
        return (plain + a * lifted).reshape(x.shape)

    def _mask(self, label: Tensor | None, batch: int) -> Tensor:
        """0 where a component may serve a sample, −inf elsewhere: (B, K)."""
        if label is None or self.labels is None:
            return torch.zeros(batch, len(self.weights))
        mine = label.cpu()[:, None] == self.labels[None]
        mine |= ~mine.any(1, keepdim=True)
        return torch.where(mine, 0.0, -torch.inf)

    def model(
        self, schedule: Schedule | None = None, prediction: Kind = "data", dtype: torch.dtype = torch.float32
    ) -> Model:
        """The mixture as a model; on EDM's schedule if none is given."""
        return _model("mixture", self, schedule or EDM(), prediction, self.shape, dtype)


def _model(
    name: str, exact: Any, schedule: Schedule, prediction: Kind, shape: Sequence[int], dtype: torch.dtype, **more: Any
) -> Model:
    def network(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        node = schedule.node(float(t[0]))
        x0 = exact.data(x, node) if cond is None else exact.data(x, node, cond)
        output: Tensor = convert(x, x0, "data", prediction, node)
        return output

    return build(network, schedule, prediction, shape, name, dtype=dtype, **more)
