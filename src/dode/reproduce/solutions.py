"""Exact solutions on disk beside the results: a run that was killed, or another item, does not pay for them again.

They are the same to the last digit whenever they are made, so a file that is missing, torn or of something else is made
anew without a word.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dode.cache import checksum, digest
from dode.calibration import replace_bytes


def kept(folder: Path, said: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
    """The solution that is decided by `said`, from the folder if it is there; made and put there if it is not."""
    key = digest(json.dumps(said | {"torch": torch.__version__}, sort_keys=True))
    path = folder / f".exact-{key}.safetensors"
    found = _read(path, key)
    if found is None:
        found = make()
        replace_bytes(path, save({"exact": found.contiguous()}, {"key": key, "checksum": checksum(found, "")}))
    return found


def _read(path: Path, key: str) -> Tensor | None:
    """What is there, if it can be trusted."""
    try:
        content = path.read_bytes()
        found = load(content)["exact"]
        said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    except (OSError, SafetensorError, ValueError, LookupError, TypeError):
        return None
    return found if said == {"key": key, "checksum": checksum(found, "")} else None
