"""The training loop: stages, a budget, checkpoints from which a killed run goes on as if nothing had happened.

Every random number of a step comes from (seed, stage, step) alone, so that nothing but the weights, the optimiser and
two counters has to be kept.  A budget in steps gives the same bits with and without interruption; a budget in minutes
takes as many steps as fit.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dode.denoiser import Network

WARMUP, CLIP, AVERAGE = 100, 1.0, 0.999
NETS = ("teacher", "student", "slow", "average")
COUNTS = ("stage", "step", "steps", "calls", "seconds", "curve", "smooth")


@dataclass(frozen=True, eq=False)
class Trio:
    """The networks of a step."""

    student: Network
    slow: Network  # a slow average of the student, the target of consistency losses
    teacher: Network


@dataclass(frozen=True, eq=False)
class Stage:
    """One student: how it begins, what it learns, its part of the budget."""

    name: str
    share: float  # of the budget
    begin: Callable[[nn.Module], nn.Module]  # the student at first, from the stage's teacher
    loss: Callable[[Trio, np.random.Generator, float], Tensor]  # the float is the part of the stage that is done
    calls: int  # of networks, forward, for one sample each, in a step
    rate: float = 5e-4
    slow: float = 0.95  # decay of Trio.slow


@dataclass(frozen=True)
class Budget:
    """Minutes of training, or an exact number of steps."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give a budget in minutes or in steps, one of the two")
        if (self.minutes is not None and not self.minutes > 0) or (self.steps is not None and self.steps < 1):
            raise ValueError(f"a budget must be above 0; got minutes={self.minutes}, steps={self.steps}")


@dataclass(eq=False)
class Run:
    """Everything that changes while a network is trained."""

    teacher: nn.Module
    student: nn.Module
    slow: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    stage: int = 0
    step: int = 0  # in this stage
    steps: int = 0  # in all
    calls: int = 0  # of networks, in all
    seconds: float = 0.0  # of training, without what a kill lost
    curve: list[list[float]] = field(default_factory=list)  # [step in all, smoothed loss]
    smooth: float | None = None


def begin(stages: list[Stage], number: int, teacher: nn.Module) -> Run:
    """The state before the first step of a stage."""
    stage = stages[number]
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
    student = stage.begin(copy.deepcopy(teacher)).train().requires_grad_(True)
    slow, average = (copy.deepcopy(student).eval().requires_grad_(False) for _ in range(2))
    optimiser = torch.optim.AdamW(student.parameters(), lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.0)
    return Run(teacher, student, slow, average, optimiser, number)


def part(stages: list[Stage], run: Run, budget: Budget) -> float:
    """How much of the run's stage is done, from 0 to 1."""
    before = sum(stage.share for stage in stages[: run.stage])
    share, total = stages[run.stage].share, sum(stage.share for stage in stages)
    if budget.steps is not None:
        return run.step / max(1, round(budget.steps * share / total))
    done = run.seconds / (60 * (budget.minutes or 0))
    return min(1.0, max(0.0, (done - before / total) / (share / total)))


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
        raise ValueError(f"the loss of {stage.name} is {value} at step {run.steps}; a lower rate may help")
    return value


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, decay: float) -> None:
    """Slow = decay*slow + (1 - decay)*fast."""
    for mine, other in zip(slow.parameters(), fast.parameters(), strict=True):
        mine.lerp_(other, 1 - decay)


def save(path: Path, run: Run, about: dict[str, Any]) -> None:
    """A checkpoint, whole or not at all; `about` says what the run is, and must be the same when it goes on."""
    nets = {name: getattr(run, name).state_dict() for name in NETS}
    counts = {name: getattr(run, name) for name in COUNTS}
    beside = path.with_suffix(".tmp")
    torch.save({"about": about, "optimiser": run.optimiser.state_dict(), **nets, **counts}, beside)
    beside.replace(path)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint."""
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:  # what a damaged file brings about in torch's reader is of many types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(f"{path} is not a checkpoint of dode train ({reason}); remove it to begin again") from error
    if not isinstance(saved, dict) or not {"about", "optimiser", *NETS, *COUNTS} <= set(saved):
        raise ValueError(f"{path} is not a checkpoint of dode train; remove it to begin again")
    return saved


def restore(path: Path, stages: list[Stage], teacher: nn.Module, about: dict[str, Any]) -> Run:
    """The run of a checkpoint.  Raises ValueError if it is another run's, or damaged."""
    saved = read(path)
    before = saved["about"]
    other = [key for key in {**before, **about} if before.get(key) != about.get(key)]
    if other:
        changed = ", ".join(f"{key} was {before.get(key)!r}, now {about.get(key)!r}" for key in other)
        raise ValueError(f"{path} belongs to another run: {changed}; use another folder, or remove it")
    run = begin(stages, 0, teacher)
    for number in range(1, saved["stage"] + 1):
        run = begin(stages, number, run.average)  # networks of the right form; their weights follow
    for name in NETS:
        getattr(run, name).load_state_dict(saved[name])
    run.optimiser.load_state_dict(saved["optimiser"])
    for name in COUNTS:
        setattr(run, name, saved[name])
    return run


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
    now = saved_at = watch.clock()
    while True:
        done = part(stages, run, budget)
        if done >= 1:
            watch.finished(run)
            if run.stage + 1 == len(stages):
                save(path, run, about)
                return run
            following = begin(stages, run.stage + 1, run.average)
            following.steps, following.calls, following.seconds, following.curve = (
                run.steps,
                run.calls,
                run.seconds,
                run.curve,
            )
            run = following
            continue
        value = advance(stages[run.stage], run, done, seed, bfloat16)
        run.smooth = value if run.smooth is None else 0.98 * run.smooth + 0.02 * value
        if run.step % 50 == 0:
            run.curve.append([run.steps, round(run.smooth, 6)])
        then, now = now, watch.clock()
        run.seconds += now - then
        watch.tell(run, run.smooth, done)
        if now - saved_at >= watch.every:
            save(path, run, about)
            watch.saved(run)
            saved_at = watch.clock()
