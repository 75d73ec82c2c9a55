"""Checkpoints of a training: written whole or not at all, and read as data only."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dode.baselines.stages import Run, Stage, begin
from dode.calibration import replace_bytes
from dode.nets.loading import unpickled

NETS = ("teacher", "student", "slow", "average")
COUNTS = ("stage", "step", "steps", "calls", "seconds", "processor", "curve", "smooth")


def save(path: Path, run: Run, about: dict[str, Any]) -> None:
    """A checkpoint, whole or not at all; `about` says what the run is, and must be the same when it goes on."""
    nets = {name: getattr(run, name).state_dict() for name in NETS}
    counts = {name: getattr(run, name) for name in COUNTS}
    content = io.BytesIO()
    torch.save({"about": about, "optimiser": run.optimiser.state_dict(), **nets, **counts}, content)
    replace_bytes(path, content.getvalue())


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint."""
    saved = unpickled(path, "a checkpoint of dode train", "; remove it to begin again")
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
