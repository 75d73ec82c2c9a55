"""The training loop: stages, a budget, checkpoints from which a killed run goes on as if nothing had happened.

Every random number of a step comes from (seed, stage, step) alone, so that nothing but the weights, the optimiser and
two counters has to be kept.  A budget in steps gives the same bits with and without interruption; a budget in minutes
takes as many steps as fit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dode.denoisers import Network
from dode.errors import DodeError
from dode_paper.baselines.checkpoints import restore, save
from dode_paper.baselines.train_state import Budget, Run, Stage, Trio, begin, following, part

WARMUP, CLIP, AVERAGE = 100, 1.0, 0.999


def half(module: nn.Module, bfloat16: bool) -> Network:
    """The network in bfloat16 where that does no harm, or as it is."""

    def call(x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output: Tensor = module(x, t, label)
        return output.float()

    return call


def generator(seed: int, stage: int, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    key = np.array([seed, (stage << 48) + step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def advance(stage: Stage, run: Run, done: float, seed: int, bfloat16: bool) -> float:
    """One step: the loss, the optimiser, both averages.  Raises ValueError if the loss is no number any more."""
    trio = Trio(*(half(net, bfloat16) for net in (run.student, run.slow, run.teacher)))
    for group in run.optimiser.param_groups:
        group["lr"] = stage.rate * min(1.0, (run.step + 1) / WARMUP) * (1 - done)
    run.optimiser.zero_grad()
    with torch.enable_grad():  # whatever the caller has set
        loss = stage.loss(trio, generator(seed, run.stage, run.step), done)
        loss.backward()
    nn.utils.clip_grad_norm_(run.student.parameters(), CLIP)
    run.optimiser.step()
    run.step += 1
    run.steps += 1
    run.calls += stage.calls
    follow(run.slow, run.student, stage.slow)
    follow(run.average, run.student, min(AVERAGE, run.step / (run.step + 10)))
    value = loss.item()
    if not np.isfinite(value):
        raise DodeError(f"the loss of {stage.name} is {value} at step {run.steps}; a lower rate may help")
    return value


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, decay: float) -> None:
    """Move slow to decay·slow + (1 − decay)·fast, in place."""
    for mine, other in zip(slow.parameters(), fast.parameters(), strict=True):
        mine.lerp_(other, 1 - decay)


@dataclass(frozen=True, eq=False)
class Watch:
    """What to do on the way."""

    tell: Callable[[Run, float, float], None] = lambda run, loss, done: None  # after every step
    finished: Callable[[Run], None] = lambda run: None  # at the end of a stage
    saved: Callable[[Run], None] = lambda run: None  # after a checkpoint
    every: float = 180.0  # seconds between checkpoints
    clock: Callable[[], float] = time.monotonic


def train(
    stages: list[Stage],
    teacher: nn.Module,
    budget: Budget,
    path: Path,
    *,
    seed: int = 0,
    bfloat16: bool = True,
    about: dict[str, Any],
    watch: Watch,
) -> Run:
    """Train all stages, or go on where the checkpoint at `path` stands; the last stage's state."""
    run = restore(path, stages, teacher, about) if path.exists() else begin(stages, 0, teacher)
    now, worked = watch.clock(), time.process_time()
    saved_at = now
    while True:
        done = part(stages, run, budget)
        if done >= 1:
            watch.finished(run)
            if run.stage + 1 == len(stages):
                save(path, run, about)
                return run
            run = following(stages, run)
            continue
        value = advance(stages[run.stage], run, done, seed, bfloat16)
        run.smooth = value if run.smooth is None else 0.98 * run.smooth + 0.02 * value
        if run.step % 50 == 0:
            run.curve.append([run.steps, round(run.smooth, 6)])
        before, now = (now, worked), watch.clock()
        worked = time.process_time()
        run.seconds, run.processor = run.seconds + now - before[0], run.processor + worked - before[1]
        watch.tell(run, run.smooth, done)
        if now - saved_at >= watch.every:
            save(path, run, about)
            watch.saved(run)
            saved_at = watch.clock()
