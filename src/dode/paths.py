"""Where a run goes: the size of its state and single pixels of it, against time, and beside the exact solution.

States are divided by √(α² + σ²), which is 1 on variance-preserving schedules: there a path is the state itself, and on
EDM's schedule noise of σ = 80 does not hide the rest.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode import reference
from dode.model import Model
from dode.samplers import Sampler
from dode.sampling import State
from dode.schedule import EDM, Node

Tick = Callable[[int], None]  # told how many network calls were just made
RTOL = 1e-2  # of the exact path: a hundredth is less than a line's width
SHOWN = 80  # points of the exact path that are kept


class Track(NamedTuple):
    """The run of n samples through N evaluations."""

    times: np.ndarray  # (N + 1,)
    norms: np.ndarray  # (N + 1,): root mean square over samples and pixels
    watched: np.ndarray  # (N + 1, n, P): the watched pixels
    end: Tensor  # (n, *shape): the samples


def watched(exact: Tensor) -> tuple[int, int]:
    """Two pixels (positions in a flat sample) that differ much between samples and little with each other.

    exact: solutions (n, *shape).  Raises ValueError for samples of a single number.
    """
    flat = exact.detach().double().flatten(1).cpu().numpy()
    if flat.shape[1] < 2:
        raise ValueError(f"two pixels are watched; a sample of shape {tuple(exact.shape[1:])} has one")
    centred = flat - flat.mean(0)
    size = (centred**2).sum(0)
    first = int(size.argmax())
    shared = (centred.T @ centred[:, first]) ** 2 / max(size[first], np.finfo(float).tiny)
    rest = size - shared
    rest[first] = -1.0
    return first, int(rest.argmax())


def track(sampler: Sampler, x_T: Tensor, pixels: Sequence[int], seed: int = 0, tick: Tick = lambda n: None) -> Track:
    """The run of a sampler from x_T (n, *shape), under the model's own conditions."""
    cond = sampler.model.conditions(range(len(x_T)))
    return _gathered(sampler.plan.nodes, sampler.trajectory(noise=x_T, cond=cond, seed=seed), pixels, tick)


@torch.no_grad()
def exact_track(model: Model, x_T: Tensor, pixels: Sequence[int]) -> Track:
    """The exact solution from x_T (n, *shape), to a hundredth, at 80 times or fewer."""
    cond = model.conditions(range(len(x_T)))
    fine = reference.plan(model, reference.steps(model, x_T, cond, RTOL))
    whole = _gathered(fine.nodes, reference.states(model, fine, x_T, cond), pixels)
    opening = np.flatnonzero([*fine.fresh, True])  # states inside a step are of lower order
    kept = opening[np.unique(np.linspace(0, len(opening) - 1, SHOWN).round().astype(int))]
    return Track(whole.times[kept], whole.norms[kept], whole.watched[kept], whole.end)


def calls(samplers: Sequence[Sampler]) -> int:
    """Network calls that the tracks of these samplers take, one batch each."""
    return sum(one.nfe for one in samplers)


def axis(model: Model) -> str:
    """The scale on which times are shown: evenly, or σ^{1/7}, in which EDM's grid is even."""
    return "root" if isinstance(model.schedule, EDM) else "linear"


def _gathered(
    nodes: Sequence[Node], states: Iterable[State], pixels: Sequence[int], tick: Tick = lambda n: None
) -> Track:
    norms, seen = [], []
    for state, node in zip(states, nodes, strict=True):
        flat = (state.y.double() / np.hypot(node.alpha, node.sigma)).flatten(1)
        norms.append(float(flat.square().mean().sqrt()))
        seen.append(flat[:, list(pixels)].cpu().numpy())
        if state.k:
            tick(1)
    return Track(np.array([node.t for node in nodes]), np.array(norms), np.array(seen), state.y)
