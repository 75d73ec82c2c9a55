"""Exact solutions on disk beside the results: a run that was killed, or another item, does not pay for them again.

They are the same to the last digit whenever they are made, so a file that is missing, torn or of something else is made
anew without a word.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dode.files import replace_bytes
from dode.fingerprint import digest
from dode.metrics import evaluation
from dode.metrics.evaluation import Settings
from dode.model import Model
from dode.output_cache import checksum


def exact(model: Model, settings: Settings, folder: Path | None) -> Tensor:
    """The exact solutions of the paired samples (settings.paired, *shape): those in the folder, or made and put there.

    folder: None to keep nothing.
    """
    path = None if folder is None else folder / f".exact-{_key(model, settings, folder)}.safetensors"
    found = None if path is None else _read(path)
    if found is None:
        found = evaluation.exact_ends(model, settings, lambda *_: None)
        if path is not None:
            replace_bytes(path, save({"exact": found.contiguous()}, _said(path, found)))
    return found


def _key(model: Model, settings: Settings, folder: Path) -> str:
    """A hash of all that decides the solutions: the model as it is, the noise, the conditions, how exact they are."""
    indices = range(settings.paired)
    noise, cond = model.start(indices, settings.seed, settings.stream), model.conditions(indices)
    said = (
        model.describe()
        | model.denoiser.describe()
        | {"noise": digest(noise), "cond": digest(cond), "rtol": settings.rtol}
    )
    return digest(json.dumps(said | {"batch": settings.batch, "torch": torch.__version__}, sort_keys=True))


def _said(path: Path, found: Tensor) -> dict[str, str]:
    return {"name": path.name, "checksum": checksum(found, "")}


def _read(path: Path) -> Tensor | None:
    """What is there, if it can be trusted."""
    try:
        content = path.read_bytes()
        found = load(content)["exact"]
        said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    except (OSError, SafetensorError, ValueError, LookupError, TypeError):
        return None
    return found if said == _said(path, found) else None
