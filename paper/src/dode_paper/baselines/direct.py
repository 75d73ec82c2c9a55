"""Direct distillation: a student of one step learns where many DDIM steps of the teacher end.

Luhman & Luhman 2021, algorithm 1.  No data: pairs of noise and the teacher's sample, made once and kept.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dode import json_schema, samplers
from dode.denoisers import Network
from dode.errors import DodeError
from dode.files import replace_bytes
from dode.model import Model
from dode_paper.checkpoints.loading import opened

WHAT = "dode pairs"
CHUNK = 500  # pairs between two writings


@dataclass(frozen=True, eq=False)
class Pairs:
    """x_T, the teacher's samples from it (N, ...) and their labels (N,)."""

    noise: Tensor
    samples: Tensor
    labels: Tensor


def pairs(model: Model, count: int, steps: int, seed: int, path: Path, progress: Callable[[int, int], None]) -> Pairs:
    """`count` pairs of fit noise, with DDIM of `steps` steps, kept at `path`; goes on with what is there."""
    sampler, about = samplers.sampler(model, "ddim", nfe=steps), f"{model.fingerprint}, {steps} steps, seed {seed}"
    done = known(path, about, model.shape)
    while len(done.get("samples", ())) < count:
        first = len(done.get("samples", ()))
        indices = range(first, min(first + CHUNK, count))
        label = model.conditions(indices)
        made = sampler.sample(noise=model.start(indices, seed, "fit"), cond=label)
        fresh = {"samples": made.float(), "labels": label}
        done = {key: torch.cat([done[key], part]) if done else part for key, part in fresh.items()}
        replace_bytes(path, save(done, {"dode": json.dumps({"what": WHAT, "about": about})}))
        progress(len(done["samples"]), count)
    noise = model.start(range(count), seed, "fit").float()
    return Pairs(noise, done["samples"][:count], done["labels"][:count])


def known(path: Path, about: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The samples and labels that are there already.  Raises ValueError if they were made in another way."""
    if not path.exists():
        return {}
    said, tensors = opened(path, WHAT, {"about": str}, "dode train direct")
    if said["about"] != about:
        made = json_schema.line(said["about"])
        raise DodeError(f"{path} was made with {made}; asked for {about}: use another folder, or remove it")
    samples, labels = tensors.get("samples"), tensors.get("labels")
    if samples is None or labels is None or samples.shape[1:] != shape or labels.shape != samples.shape[:1]:
        raise DodeError(f"{path} does not hold samples with a label each; remove it")
    return {"samples": samples, "labels": labels}


def loss(student: Network, first: Tensor, x_T: Tensor, sample: Tensor, label: Tensor) -> Tensor:
    """Mean square of the student's error at x_T (B, ...), where the time is first (B,)."""
    mean: Tensor = (student(x_T, first, label) - sample).square().mean()
    return mean
