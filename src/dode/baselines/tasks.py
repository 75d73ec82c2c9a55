"""What each method trains, stage by stage: where batches come from, which loss, how long, how fast."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dode.baselines import consistency, progressive
from dode.baselines.loop import Stage, Trio
from dode.baselines.pieces import wide
from dode.baselines.progressive import Halving
from dode.prediction import Kind
from dode.schedule import EDM, Schedule

PATIENCE = {1: 0.32, 2: 0.28, 4: 0.20, 8: 0.09}  # parts of the budget; the early halvings change little
OTHERS = 0.055
COUNTS = ((0.2, 8), (0.5, 12), (1.0, 18))  # noise levels of consistency training, up to which part of it


@dataclass(frozen=True, eq=False)
class Data:
    """Training images (N, ...) and their labels (N,), drawn with replacement."""

    images: Tensor
    labels: Tensor
    batch: int = 64

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(x0, standard normal noise, label) of one batch."""
        index = torch.from_numpy(rng.integers(len(self.images), size=self.batch))
        x0 = self.images[index]
        return x0, normal(rng, x0.shape), self.labels[index]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def chosen(rng: np.random.Generator, count: int, batch: int) -> Tensor:
    """One of `count` for each sample."""
    return torch.from_numpy(rng.integers(count, size=batch))


def halving_stage(stage: Halving, data: Data) -> Stage:
    """Progressive distillation to this many steps."""

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        x0, noise, label = data.draw(rng)
        which = chosen(rng, stage.one.count, len(x0))
        x = wide(stage.one.alphas[which, 0], x0) * x0 + wide(stage.one.sigmas[which, 0], x0) * noise
        return progressive.loss(stage, trio.student, trio.teacher, x, which, label)

    return Stage(f"{2 * stage.steps} -> {stage.steps}", PATIENCE.get(stage.steps, OTHERS), lambda net: net, loss)


def progressive_stages(schedule: Schedule, kind: Kind, steps: int, data: Data) -> list[Stage]:
    """All halvings from `steps` to 1."""
    return [halving_stage(stage, data) for stage in progressive.halvings(schedule, kind, steps)]


def consistency_stage(
    schedule: EDM, begin: Callable[[nn.Module], nn.Module], data: Data, from_teacher: bool = True
) -> Stage:
    """Consistency distillation, or training from data alone, on noise levels that grow in number."""
    ladder = [(until, consistency.levels(schedule, count)) for until, count in COUNTS]

    def loss(trio: Trio, rng: np.random.Generator, done: float) -> Tensor:
        heun = next(made for until, made in ladder if done <= until)
        x0, noise, label = data.draw(rng)
        which = chosen(rng, heun.count, len(x0))
        if not from_teacher:
            return consistency.loss_from_data(heun, trio.student, trio.slow, x0, noise, which, label)
        x = x0 + wide(heun.sigmas[which, 0], x0) * noise
        return consistency.loss(heun, trio.student, trio.slow, trio.teacher, x, which, label)

    return Stage("consistency", 1.0, begin, loss, rate=3e-4)
