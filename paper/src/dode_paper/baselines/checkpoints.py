"""Checkpoints of a training: written whole or not at all, and read as data only."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dode import json_schema
from dode.errors import DodeError
from dode.files import replace_bytes
from dode_paper.baselines.train_state import Run, Stage, begin
from dode_paper.checkpoints.loading import unpickled

NETS = ("teacher", "student", "slow", "average")
COUNTS: dict[str, json_schema.Form] = {
    "stage": int,
    "step": int,
    "steps": int,
    "calls": int,
    "seconds": float,
    "processor": float,
}
COUNTS |= {"curve": [[float]], "smooth": (float, None)}
MOVING = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight


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
        raise DodeError(f"{path} is not a checkpoint of dode train; remove it to begin again")
    if not isinstance(saved["about"], dict):
        raise DodeError(f"{path} does not say what run it is of; remove it to begin again")
    json_schema.check({name: saved[name] for name in COUNTS}, COUNTS, str(path))
    return saved


def restore(path: Path, stages: list[Stage], teacher: nn.Module, about: dict[str, Any]) -> Run:
    """The run of a checkpoint.  Raises ValueError if it is another run's, or damaged."""
    saved = read(path)
    before = saved["about"]
    other = [key for key in {**before, **about} if before.get(key) != about.get(key)]
    if other:
        changed = ", ".join(f"{key} was {before.get(key)!r}, now {about.get(key)!r}" for key in other)
        raise DodeError(f"{path} belongs to another run: {changed[:500]}; use another folder, or remove it")
    if not 0 <= saved["stage"] < len(stages):
        raise DodeError(f"{path} is at stage {saved['stage']} of {len(stages)}; remove it to begin again")
    run = begin(stages, 0, teacher)
    for number in range(1, saved["stage"] + 1):
        run = begin(stages, number, run.average)  # networks of the right form; their weights follow
    try:
        for name in NETS:
            getattr(run, name).load_state_dict(saved[name])
        run.optimiser.load_state_dict(saved["optimiser"])
        _complete(run.optimiser)
    except Exception as error:  # what weights of another form bring about in torch is of many types
        reason = json_schema.line(error) or type(error).__name__
        raise DodeError(
            f"{path} is not of the networks that are trained ({reason}); remove it to begin again"
        ) from error
    for name in COUNTS:
        setattr(run, name, saved[name])
    return run


def _complete(optimiser: torch.optim.Optimizer) -> None:
    """ValueError unless the optimiser has all that its next step needs, which torch does not look at."""
    for group in optimiser.param_groups:
        if not set(optimiser.defaults) <= set(group):
            raise DodeError("the optimiser lacks some of its settings")
        for weight in group["params"]:
            kept = optimiser.state.get(weight, {})
            if kept and not ("step" in kept and all(kept[name].shape == weight.shape for name in MOVING)):
                raise DodeError("the optimiser lacks some of what it knew")
