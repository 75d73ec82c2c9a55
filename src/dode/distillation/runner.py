"""The runner around the fit: teachers and fits batch by batch, where resting batches wait, which process has which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.conditioning import prepared, rows
from dode.distillation.config import DistillConfig, FitTarget
from dode.distillation.fit import Batch, Fit, Solution, fit
from dode.distillation.teacher import TeacherRun, teach, teacher_runs
from dode.method import Method
from dode.model import Model
from dode.parameterization import Kind
from dode.plan import Array, Plan
from dode.process_group import ALONE, ProcessGroup
from dode.progress import Progress, Tick, counting
from dode.sampling import Denoise, trajectory
from dode.tensor_store import TensorStore

Teachers = list[tuple[TeacherRun, list[int]]]  # with the positions of the targets that each serves


def teachers_of(model: Model, targets: Sequence[FitTarget]) -> Teachers:
    """The teachers' runs; targets of equal teachers share one where their grids allow it."""
    by_teacher: dict[str, tuple[Method, list[int]]] = {}
    for i, target in enumerate(targets):
        by_teacher.setdefault(target.teacher.label, (target.teacher, []))[1].append(i)
    teachers = []
    for method, members in by_teacher.values():
        config, kind = targets[members[0]].config, method.kind(model.prediction, model.schedule)
        students = [(targets[i].plan, targets[i].grid) for i in members]
        for teacher, part in teacher_runs(students, config.scale, model.schedule, method, kind, config.align):
            teachers.append((teacher, [members[i] for i in part]))
    return teachers


def calls(targets: Sequence[FitTarget], teachers: Teachers) -> int:
    """Network calls of a batch: the teachers' and the students'."""
    return sum(teacher.plan.nfe for teacher, _ in teachers) + sum(target.nfe * target.runs for target in targets)


@dataclass(frozen=True, eq=False)
class OffloadedBatch:
    """A batch at rest: its noise is regenerated from the seed, its targets are in the tensor store."""

    model: Model
    config: DistillConfig
    indices: range
    cond: Any  # of these samples
    store: TensorStore

    def start(self) -> Tensor:
        if self.config.noise is None:
            return self.model.start(self.indices, self.config.seed, "fit")
        return self.model.placed(self.config.noise[self.indices.start : self.indices.stop])

    def network(self, kind: Kind) -> Denoise:
        return self.model.bound(kind, prepared(self.cond, len(self.indices), self.model.device))

    def towards(self, kind: Kind, numbers: Sequence[int]) -> Batch:
        """The batch with a network of these outputs, and these of the teacher's states as targets."""
        return Batch(
            self.start,
            lambda x, node: self.network(kind)(x, node),
            lambda k: self.store.get((self.indices, numbers[k])),
        )


@torch.no_grad()
def fit_all(
    model: Model,
    targets: Sequence[FitTarget],
    config: DistillConfig,
    store: TensorStore,
    host: str | None = None,
    group: ProcessGroup = ALONE,
    progress: Progress | None = None,
) -> list[tuple[TeacherRun, Fit]]:
    """Run every teacher on every batch, then fit its students on all batches in lockstep, one batch on the device.

    store, host: where resting states and conditions wait; host None is the model's device.
    """
    cuts = [range(i, min(i + config.batch, config.samples)) for i in range(0, config.samples, config.batch)]
    cond = model.conditions(range(config.samples), config.cond)
    cond = cond if host is None else prepared(cond, config.samples, host)
    parts = [(cut, rows(cond, slice(cut.start, cut.stop))) for cut in group.share(cuts)]
    batches = [OffloadedBatch(model, config, cut, part, store) for cut, part in parts]
    teachers, fits = teachers_of(model, targets), {}
    tick = counting(progress, len(batches) * calls(targets, teachers))
    for teacher, members in teachers:
        for batch in batches:
            for number, state in teach(teacher, batch.network(teacher.plan.kind), batch.start(), tick):
                store.put((batch.indices, number), state)
        for i, numbers in zip(members, teacher.targets, strict=True):
            own = [batch.towards(targets[i].plan.kind, numbers) for batch in batches]
            fits[i] = teacher, fit_target(targets[i], own, tick, store, group)
        for key in [(batch.indices, number) for batch in batches for number in teacher.wanted]:
            store.drop(key)
    return [fits[i] for i in range(len(targets))]


def fit_target(
    target: FitTarget,
    batches: Sequence[Batch],
    tick: Tick,
    store: TensorStore | None = None,
    group: ProcessGroup = ALONE,
) -> Fit:
    """The student's λ: fitted, given, or searched by the distance of its end to the teacher's on the fit samples."""
    config, form = target.config, target.config.form
    if form.directions is not None:
        forced = config.states == "teacher"
        return fit(target.plan, batches, config.rho, tick, form.directions, forced, store, group)
    assert form.constant is not None, "a formulation has directions or a constant"
    plans = [form.constant(target.plan, value) for value in config.constants()]
    best = int(np.argmin(distances(plans, batches, tick, group))) if len(plans) > 1 else 0
    value = np.array([config.constants()[best]])
    return Fit(plans[best], (Solution(value, np.zeros(1), 0.0, 1.0),) * target.nfe)


@torch.no_grad()
def distances(
    plans: Sequence[Plan], batches: Sequence[Batch], tick: Tick = lambda calls: None, group: ProcessGroup = ALONE
) -> Array:
    """The RMS distance of every plan's end to the teacher's, over all batches."""
    sums = []  # of every batch: how many numbers it has, and the squared distance of every plan
    for batch in batches:
        x_T, end, squares = batch.start(), batch.target(-1).cpu().double(), []
        for plan in plans:
            for state in trajectory(plan, batch.denoise, x_T):
                if state.k:
                    tick(1)
            squares.append(float((state.y.cpu().double() - end).square().sum()))
        sums.append(np.array([x_T.numel(), *squares]))
    count, *totals = np.sum(group.gather(sums), axis=0)
    rms: Array = np.sqrt(np.array(totals) / count)
    return rms
