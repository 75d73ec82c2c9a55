"""What a search begins with: samples with their ends, and the learning-free solvers on plain grids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from dode.conditioning import rows
from dode.errors import DodeError, NonFinite
from dode.model import Model
from dode.parameterization import Kind
from dode.plan import Plan
from dode.samplers import sampler as plain
from dode.schedule import Schedule
from dode.search.levenberg_marquardt import Pupil, tried
from dode.solvers import METHODS
from dode.solvers.step_allocation import build
from dode.timesteps import Grid, grid, unbounded, whole

PLAIN = ("unipc-2", "dpm-solver++2m", "ipndm-2", "ddim")  # on the model's own grid these are judged whatever is spent
TEACHER = "unipc-2"  # with 60 evaluations near enough to exact ends: tests/test_auto.py
GRIDS = ("trailing", "karras", "logsnr", "logsnr-trailing")
# one evaluation a step: blends of outputs in DDIM's step, which can be refined; in the order of trying
TRIED = ("unipc-2", "ipndm-2", "gradient-estimation", "ipndm-3", "dpm-solver++2m")


@dataclass(frozen=True, eq=False)
class Task:
    """A model's samples with their ends."""

    model: Model
    x_T: torch.Tensor
    end: torch.Tensor
    cond: Any
    count: int  # evaluations of the teacher

    def pupils(self, kind: Kind, first: int = 0, count: int | None = None, batch: int = 64) -> list[Pupil]:
        """Some of the samples, in batches."""
        last = len(self.x_T) if count is None else first + count
        parts = [slice(i, min(i + batch, last)) for i in range(first, last, batch)]
        return [Pupil(self.x_T[p], self.end[p], self.model.bound(kind, rows(self.cond, p))) for p in parts]


def task(
    model: Model,
    stream: str,
    samples: int,
    count: int,
    seed: int,
    tick: Callable[[int], None],
    cond: Any = None,
    batch: int = 64,
    whole_times: bool = False,
) -> Task:
    """Where these samples end, by the teacher with this many evaluations; whole_times: with no others, where they are
    whole, which may be fewer evaluations on a short schedule.
    """
    x_T, cond = model.start(range(samples), seed, stream), model.conditions(range(samples), cond)
    where = _fine(model.schedule if whole_times else _enough(model.schedule, count), count)
    run = plain(model, TEACHER, nfe=len(where.nodes) - 1, grid=where)
    end = run.sample(noise=x_T, cond=cond, batch=batch, callback=lambda state: tick(len(state.y)))
    return Task(model, x_T, end, cond, run.nfe)


def _enough(schedule: Schedule, count: int) -> Schedule:
    """The schedule, with times between whole ones if it has too few of them; beside a node of α = 0 there are none."""
    short = schedule.integer and int(schedule.t_max) // 2 < count
    return schedule.continuous() if short and schedule.node(schedule.t_max).alpha > 0 else schedule


def _fine(schedule: Schedule, count: int) -> Grid:
    """The teacher's nodes, at most this many steps: Karras's where the noise level at the start allows.

    Near the data several may share a whole time; then the rest of the steps stand farther out.
    """
    silent = schedule.node(schedule.t_max).alpha == 0
    if not schedule.integer:
        return unbounded(schedule, count) if silent else grid(schedule, count, "karras")
    count = min(count, int(schedule.t_max) // 2)
    if silent or schedule.t_max <= 500:
        return grid(schedule, count, "trailing")
    made = grid(schedule.continuous(), count, "karras")
    for asked in range(count, 4 * count):
        finer = grid(schedule.continuous(), asked, "karras").nodes
        nodes = tuple(dict.fromkeys(whole(node, schedule) for node in finer))
        if len(nodes) > count + 1:
            break
        made = replace(made, nodes=nodes)
    return made


class Start(NamedTuple):
    """A learning-free solver to begin with."""

    method: str
    grid: str
    plan: Plan

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.method} in {self.plan.kind} outputs, {self.grid}"


def kinds(model: Model) -> tuple[Kind, ...]:
    """The outputs that solvers may be written in."""
    if model.schedule.node(model.schedule.t_max).alpha > 0:
        return ("noise", "data")
    return ("flow", "data")


def starts(
    model: Model,
    nfe: int,
    names: Sequence[str] = TRIED,
    grids: Sequence[str | Grid] = GRIDS,
    whole_times: bool = False,
) -> list[Start]:
    """Every learning-free solver to begin with, each once: first PLAIN, as they come."""
    schedule = model.schedule if whole_times else model.schedule.continuous()
    found: dict[str, Start] = {}
    asked: list[tuple[str, Kind | None, str | Grid | None]] = [(name, None, None) for name in PLAIN]
    asked += [(name, kind, where) for name in names for kind in kinds(model) for where in grids]
    for name, kind, where in asked:
        try:
            plan, made = build(METHODS[name], nfe, schedule, model.prediction, where, kind=kind)
        except DodeError:  # this grid or these outputs do not exist here; no network is called
            continue
        if all(np.isfinite(plan.table).ravel()):
            one = Start(name, made.name, plan)
            found.setdefault(one.label, one)
    return list(found.values())


def nearest(
    every: Sequence[Start], select: Task, few: int, batch: int, tick: Callable[[int], None], more: Callable[[], bool]
) -> list[Start]:
    """Starts by their error on a few samples, the nearest first: as many as PLAIN, and while more may be tried.

    A start where the network or an end is not finite is left out.
    """
    if not every:
        raise DodeError("no solver that can be refined makes so many evaluations on this schedule")
    found: list[tuple[float, Start]] = []
    for i, start in enumerate(every):
        if i >= len(PLAIN) and found and not more():
            break
        value = tried(start.plan, select.pupils(start.plan.kind, 0, few, batch), tick).mean()
        if np.isfinite(value):
            found.append((float(value), start))
    if not found:
        raise NonFinite(f"no solver with {every[0].plan.nfe} evaluations ends in finite samples; try another dtype")
    return [start for _, start in sorted(found, key=lambda entry: entry[0])]
