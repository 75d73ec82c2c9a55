"""A network's outputs on disk: a run that was killed, or a similar one, is repeated without the network.

An output is found by a hash of everything that decides it: the denoiser, the node, the state and the condition, bit for
bit.  So a run needs no bookkeeping to go on: its arithmetic is repeated, and the network is evaluated only where no
output is stored.  Files appear whole or not at all; a damaged or foreign file is ignored and written again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dode.errors import DodeError
from dode.files import replace_bytes
from dode.fingerprint import absorb, digest
from dode.schedule import Node

WHAT = "dode network output"
DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class OutputCache:
    """Outputs in a folder; `open_cache` makes it.

    Attributes:
        folder: Where the files are.
        dtype: The precision they are stored in; None is the network's own.
    """

    folder: Path
    dtype: torch.dtype | None = None

    def recall(self, mark: dict[str, Any], x: Tensor, node: Node, cond: Any, ask: Callable[[], Tensor]) -> Tensor:
        """The stored output, or `ask()`, which is then stored.

        Args:
            mark: Everything that outputs depend on but the other arguments.
            x: The state (B, *shape).
            node: Where it stands.
            cond: Its condition.
            ask: Evaluates the network.

        Raises:
            DodeError: where the folder cannot be written to, or an output is too large for `dtype`.
        """
        whole = hashlib.sha256(json.dumps(mark, sort_keys=True).encode())
        absorb(whole, (cond, x, x.stride(), tuple(node), autocast(x.device.type)))
        key = whole.hexdigest()
        output = self._read(key, x)
        if output is None:
            output = self._shrunk(ask())
            if torch.isfinite(output).all():  # NaN is reported where it is used
                self._write(key, output)
        return output.to(x.device, x.dtype)

    def _shrunk(self, output: Tensor) -> Tensor:
        if self.dtype is None:
            return output
        made = output.to(self.dtype)
        if torch.isinf(made).any() and torch.isfinite(output).all():
            most = float(output.abs().max())
            raise DodeError(f"an output of {most:.3g} is too large for a cache in {self.dtype}; keep float32")
        return made

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _write(self, key: str, output: Tensor) -> None:
        from safetensors.torch import save

        strides = ",".join(map(str, output.stride()))
        plain = output.detach().cpu().contiguous()
        said = {"what": WHAT, "key": key, "strides": strides, "checksum": checksum(plain, strides)}
        self.write(self._path(key), save({"output": plain}, said))

    def write(self, path: Path, content: bytes) -> None:
        """A file of this folder, whole or not at all; DodeError says what is in the way."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, content)
        except OSError as error:
            raise complaint(self.folder, error) from error
        except DodeError as error:
            raise DodeError(f"cannot write to the cache {self.folder}: {error}") from error

    def _read(self, key: str, x: Tensor) -> Tensor | None:
        """The output for this key, of the shape of x; None if there is none, or none that can be trusted."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            content = self._path(key).read_bytes()  # not mapped: what is cut off under a map ends the process
            output = load(content)["output"]
            said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            strides = said["strides"]
            if (said["what"], said["key"], said["checksum"]) != (WHAT, key, checksum(output, strides)):
                return None
            if output.shape != x.shape or output.dtype != (self.dtype or x.dtype):
                return None
            like = torch.empty_strided(x.shape, [int(n) for n in strides.split(",")], dtype=output.dtype, device="meta")
        except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError, AttributeError):
            return None
        return _restored(output, like)


def open_cache(folder: str | Path, dtype: str | None = None) -> OutputCache:
    """A cache in a folder, which is made if it is not there; dtype: float32 or float16, None for outputs as they are.

    Raises DodeError if nothing can be written there.
    """
    if dtype is not None and dtype not in DTYPES:
        raise DodeError(f"cache_dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise complaint(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise DodeError(f"cannot write to the cache {folder}: it is read-only; give another folder")
    return OutputCache(folder, None if dtype is None else DTYPES[dtype])


def complaint(folder: Path, error: OSError) -> DodeError:
    """What went wrong with a cache, in one sentence."""
    return DodeError(f"cannot write to the cache {folder}: {error.strerror}; make room, or give another folder")


def autocast(device: str) -> str:
    """The dtype that networks compute in here, if it is not their own."""
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""


def checksum(output: Tensor, strides: str) -> str:
    """Of the numbers and how they lie."""
    return digest((output, strides))


def _restored(output: Tensor, like: Tensor) -> Tensor:
    """The output laid out in memory as `like`: a network may round otherwise with the channels last."""
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).copy_(output.reshape(like.shape))
