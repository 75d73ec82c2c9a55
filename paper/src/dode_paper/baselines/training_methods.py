"""What each method trains, stage by stage: where batches come from, which loss, how long, and what file comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.bundled_models import NO_LABEL
from dode.parameterization import Kind
from dode.schedule import Node, Schedule
from dode_paper.baselines import consistency, direct, guided, progressive
from dode_paper.baselines.batched_solver import wide
from dode_paper.baselines.direct import Pairs
from dode_paper.baselines.progressive import Halving
from dode_paper.baselines.student_file import Form
from dode_paper.baselines.train_state import Stage, Trio

PATIENCE = {1: 0.32, 2: 0.28, 4: 0.20, 8: 0.09}  # parts of the budget; the early halvings change little
OTHERS = 0.055
GUIDING = 0.5  # the part of stage one of guided distillation, in the same units
COUNTS = ((0.2, 8), (0.5, 12), (1.0, 18))  # noise levels of consistency training, up to which part of it
KEPT = 4  # the most steps of a progressive student that is worth a file
# where consistency sampling goes on from, after sigma_max; paper/benchmarks/consistency_levels.py, on validation noise
AGAIN = {2: (0.2,), 3: (0.4, 0.2), 4: (12.0, 0.4, 0.2)}


@dataclass(frozen=True, eq=False)
class Data:
    """Training images (N, ...) and their labels (N,), drawn with replacement."""

    images: Tensor
    labels: Tensor
    batch: int = 64

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(x0, standard normal noise, label) of one batch."""
        index = chosen(rng, len(self.images), self.batch)
        x0 = self.images[index]
        return x0, torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32)), self.labels[index]


@dataclass(frozen=True, eq=False)
class Task:
    """A stage, what its student is, and whether that is worth a file."""

    stage: Stage
    form: Form
    kept: bool = True

    @property
    def suffix(self) -> str:
        """Of the file's name: the student's steps, if it has one number of them."""
        return f"-{next(iter(self.form.times))}" if len(self.form.times) == 1 else ""


def chosen(rng: np.random.Generator, count: int, batch: int) -> Tensor:
    """One of `count` for each sample."""
    return torch.from_numpy(rng.integers(count, size=batch))


def scales(rng: np.random.Generator, batch: int) -> Tensor:
    """A guidance scale for each sample."""
    return torch.from_numpy(rng.uniform(*guided.SCALES, size=batch).astype(np.float32))


def halving_task(stage: Halving, data: Data, schedule: Schedule, told: bool = False) -> Task:
    """Progressive distillation to this many steps; told: the networks take (label, guidance scale)."""

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        x0, noise, label = data.draw(rng)
        which = chosen(rng, stage.one.count, len(x0))
        given: Any = (label, scales(rng, len(x0))) if told else label
        x = wide(stage.one.alphas[which, 0], x0) * x0 + wide(stage.one.sigmas[which, 0], x0) * noise
        return progressive.loss(stage, trio.student, trio.teacher, x, which, given)

    share = PATIENCE.get(stage.steps, OTHERS)
    made = Stage(f"{2 * stage.steps} -> {stage.steps}", share, lambda net: net, loss, calls=3 * data.batch)
    return Task(made, form_of(schedule, stage.nodes, told), stage.steps <= KEPT)


def form_of(schedule: Schedule, nodes: Sequence[Node], told: bool = False) -> Form:
    """A student of DDIM steps on these nodes."""
    times, ends = {len(nodes) - 1: tuple(node.t for node in nodes)}, (schedule.t_max, schedule.t_min)
    return Form("guided", "ddim", times, guided.SCALES, *ends) if told else Form("data", "ddim", times, None, *ends)


def progressive_tasks(schedule: Schedule, kind: Kind, steps: int, data: Data) -> list[Task]:
    """All halvings from `steps` to 1."""
    return [halving_task(stage, data, schedule) for stage in progressive.halvings(schedule, kind, steps)]


def guided_tasks(schedule: Schedule, kind: Kind, steps: int, data: Data) -> list[Task]:
    """Stage one: the guided outputs at the teacher's nodes; stage two: all halvings, the scale told."""
    fine = progressive.fine_nodes(schedule, steps)
    at = progressive.single(schedule, kind, fine)

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        x0, noise, label = data.draw(rng)
        which = chosen(rng, at.count, len(x0))
        x = wide(at.alphas[which, 0], x0) * x0 + wide(at.sigmas[which, 0], x0) * noise
        weights = progressive.weight(at, kind, which)
        given = (label, scales(rng, len(x0)))
        return guided.loss(at, weights, trio.student, trio.teacher, NO_LABEL, x, which, given)

    opening = Stage("guidance", GUIDING, guided.told_the_scale, loss, calls=3 * data.batch)
    rest = [halving_task(one, data, schedule, told=True) for one in progressive.halvings(schedule, kind, steps)]
    return [Task(opening, form_of(schedule, fine, told=True), kept=False), *rest]


def direct_task(schedule: Schedule, made: Pairs, batch: int) -> Task:
    """One step from pairs of noise and the teacher's sample."""

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        index = chosen(rng, len(made.samples), batch)
        first = torch.full((batch,), schedule.t_max)
        return direct.loss(trio.student, first, made.noise[index], made.samples[index], made.labels[index])

    nodes = (schedule.node(schedule.t_max), schedule.node(0.0))
    return Task(Stage("direct", 1.0, lambda net: net, loss, calls=batch), form_of(schedule, nodes))


def consistency_task(schedule: Schedule, data: Data, from_data: bool = False) -> Task:
    """Consistency distillation, or training from data alone, on noise levels that grow in number."""
    ladder = [(until, consistency.levels(schedule, count)) for until, count in COUNTS]

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        heun = next(made for until, made in ladder if done <= until)
        x0, noise, label = data.draw(rng)
        which = chosen(rng, heun.count, len(x0))
        if from_data:
            return consistency.loss_from_data(heun, trio.student, trio.slow, x0, noise, which, label)
        x = x0 + wide(heun.sigmas[which, 0], x0) * noise
        return consistency.loss(heun, trio.student, trio.slow, trio.teacher, x, which, label)

    top = schedule.t_max
    times = {1: (top, 0.0)} | {nfe: (top, *levels, 0.0) for nfe, levels in AGAIN.items()}
    form = Form("consistency", "ddim:fresh=1", times, None, top, schedule.t_min)
    begin: Callable[[Any], Any] = lambda net: consistency.from_preconditioned(net, schedule.t_min)  # noqa: E731
    calls = (2 if from_data else 4) * data.batch
    return Task(Stage("consistency", 1.0, begin, loss, calls=calls, rate=3e-4), form)
