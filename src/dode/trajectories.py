"""Where a run goes: the size of its state and single pixels of it, against time, and beside the exact solution.

States are divided by √(α² + σ²), which is 1 on variance-preserving schedules: there a path is the state itself, and on
EDM's schedule noise of σ = 80 does not hide the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode import exact
from dode.errors import DodeError
from dode.model import Model
from dode.plan import Plan
from dode.progress import Tick
from dode.samplers import Sampler
from dode.schedule import Node, Schedule
from dode.timesteps import grid

RTOL = 2e-3  # of the exact path: less than a line's width, and about a grey level
SHOWN = 48  # steps of the exact path that is drawn


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
    flat = exact.detach().cpu().double().flatten(1).numpy()
    if flat.shape[1] < 2:
        raise DodeError(f"two pixels are watched; a sample of shape {tuple(exact.shape[1:])} has one")
    centred = flat - flat.mean(0)
    size = (centred**2).sum(0)
    first = int(size.argmax())
    shared = (centred.T @ centred[:, first]) ** 2 / max(size[first], np.finfo(float).tiny)
    rest = size - shared
    rest[first] = -1.0
    return first, int(rest.argmax())


def track(sampler: Sampler, x_T: Tensor, pixels: Sequence[int], seed: int = 0, tick: Tick = lambda n: None) -> Track:
    """The run of a sampler from x_T (n, *shape), under the model's own conditions."""
    states = []
    for state in sampler.trajectory(noise=x_T, seed=seed):
        states.append(_seen(sampler.plan.nodes[state.k], state.y, pixels))
        if state.k:
            tick(1)
    return _together(times(sampler.plan, sampler.model.schedule), states, state.y)


def times(plan: Plan, schedule: Schedule) -> list[float]:
    """When every state stands, the last too; a plan's nodes have the times that the network is told."""
    if plan.conditioning_shifts is None:
        return [node.t for node in plan.nodes]
    own, end = schedule.continuous(), plan.nodes[-1]
    return [
        *(_own(node, shift, own) for node, shift in zip(plan.nodes[:-1], plan.conditioning_shifts, strict=True)),
        end.t,
    ]


def _own(node: Node, shift: float, schedule: Schedule) -> float:
    if not shift:
        return node.t
    return schedule.at(node.logsnr).t if node.alpha else schedule.t_max


@torch.no_grad()
def exact_track(model: Model, x_T: Tensor) -> tuple[Track, tuple[int, int]]:
    """The exact solution from x_T (n, *shape) at some fifty times, and the two pixels to watch."""
    cond = model.conditions(range(len(x_T)))
    whole = model.schedule.t_max - model.schedule.t_end
    nodes = grid(model.schedule, min(SHOWN, int(whole)) if model.schedule.integer else SHOWN).nodes
    rtol = exact.tolerance(model, RTOL)
    states = exact.along(model, model.placed(x_T), cond, rtol, len(x_T), nodes[:-1])
    pixels = watched(states[-1])
    seen = [_seen(node, y, pixels) for node, y in zip(nodes, states, strict=True)]
    return _together([node.t for node in nodes], seen, states[-1]), pixels


def calls(samplers: Sequence[Sampler]) -> int:
    """Network calls that the tracks of these samplers take, one batch each."""
    return sum(one.nfe for one in samplers)


def axis(model: Model) -> str:
    """The scale on which times are shown: evenly, or σ^{1/7}, in which the karras grid is even."""
    return "root" if model.schedule.default_grid == "karras" else "linear"


def _seen(node: Node, y: Tensor, pixels: Sequence[int]) -> tuple[float, np.ndarray]:
    """Of one state: its norm and the watched pixels (n, P)."""
    flat = y.detach().cpu().double().flatten(1) / np.hypot(node.alpha, node.sigma)
    return float(flat.square().mean().sqrt()), flat[:, list(pixels)].numpy()


def _together(when: Sequence[float], seen: Sequence[tuple[float, np.ndarray]], end: Tensor) -> Track:
    norms, pixels = zip(*seen, strict=True)
    return Track(np.array(when), np.array(norms), np.array(pixels), end)
