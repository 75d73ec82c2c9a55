"""Trajectories for plots: the size of the state and two of its pixels against time, beside the exact solution.

States are divided by √(α² + σ²), which is 1 on variance-preserving schedules; on EDM's, noise of σ = 80 would otherwise
hide the rest.
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

RTOL = 2e-3  # of the exact solution: less than a line's width, and about a grey level
SHOWN = 48  # steps of the exact solution that are drawn


class Track(NamedTuple):
    """The run of n samples through N evaluations."""

    times: np.ndarray  # (N + 1,)
    norms: np.ndarray  # (N + 1,): root mean square over samples and pixels
    watched: np.ndarray  # (N + 1, n, P): the watched pixels
    end: Tensor  # (n, *shape): the samples


def watched(exact: Tensor) -> tuple[int, int]:
    """Choose two pixels that vary much between samples and are little correlated.

    Args:
        exact: Solutions (n, *shape).

    Returns:
        Their positions in a flat sample.

    Raises:
        DodeError: A sample has a single number.
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
    """Run a sampler from x_T (n, *shape) under the model's own conditions; tick is called after each network call."""
    states = []
    for state in sampler.trajectory(noise=x_T, seed=seed):
        states.append(_seen(sampler.plan.nodes[state.k], state.y, pixels))
        if state.k:
            tick(1)
    return _together(times(sampler.plan, sampler.model.schedule), states, state.y)


def times(plan: Plan, schedule: Schedule) -> list[float]:
    """The time of every state, the last too: a plan's nodes have the conditioning times."""
    if plan.conditioning_shifts is None:
        return [node.t for node in plan.nodes]
    own, end = schedule.continuous(), plan.nodes[-1]
    shifted = zip(plan.nodes[:-1], plan.conditioning_shifts, strict=True)
    return [*(_own(node, shift, own) for node, shift in shifted), end.t]


def _own(node: Node, shift: float, schedule: Schedule) -> float:
    if not shift:
        return node.t
    return schedule.at(node.logsnr).t if node.alpha else schedule.t_max


@torch.no_grad()
def exact_track(model: Model, x_T: Tensor) -> tuple[Track, tuple[int, int]]:
    """The exact solution from x_T (n, *shape) at about fifty times, and the two pixels to watch."""
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
    return sum(sampler.nfe for sampler in samplers)


def axis(model: Model) -> str:
    """The axis of times: "linear", or "root" for σ^{1/7}, in which the karras grid is even."""
    return "root" if model.schedule.default_grid == "karras" else "linear"


def _seen(node: Node, y: Tensor, pixels: Sequence[int]) -> tuple[float, np.ndarray]:
    """The norm of one state, and its watched pixels (n, P)."""
    flat = y.detach().cpu().double().flatten(1) / np.hypot(node.alpha, node.sigma)
    return float(flat.square().mean().sqrt()), flat[:, list(pixels)].numpy()


def _together(when: Sequence[float], seen: Sequence[tuple[float, np.ndarray]], end: Tensor) -> Track:
    norms, pixels = zip(*seen, strict=True)
    return Track(np.array(when), np.array(norms), np.array(pixels), end)
