"""A network's outputs on disk: a run that was killed, or one like it, is played again without the network.

An output is known by a hash of everything that decides it: the model under its guidance, the node, the state and the
condition, bit for bit.  So a run needs no bookkeeping to go on: its arithmetic is repeated, and the network is asked
only where there is no answer yet.  Files appear whole or not at all; one that is damaged, or of something else, is not
used but made anew.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dode.calibration import describe, replace_bytes
from dode.distillation.storage import raw, restored
from dode.errors import DodeError
from dode.fingerprint import probe
from dode.sampling import Denoise
from dode.schedule import Node

if TYPE_CHECKING:
    from dode.model import Model

WHAT = "dode network output"
DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class Cache:
    """Outputs in a folder, as they are or in fewer digits; `opened` makes one."""

    folder: Path
    dtype: torch.dtype | None = None  # None: as the network gives them
    _marks: dict["Model", dict[str, Any]] = field(default_factory=dict, repr=False)

    def remembered(self, denoise: Denoise, model: "Model", cond: Any) -> Denoise:
        """The model's `denoise` for this condition, which asks the network only for what is not in the folder."""
        start = hashlib.sha256(json.dumps(self.mark(model), sort_keys=True).encode())
        absorb(start, cond)

        def known(x: Tensor, node: Node) -> Tensor:
            whole = start.copy()
            absorb(whole, (x, x.stride(), tuple(node), autocast(x.device.type)))
            key = whole.hexdigest()
            found = self._read(key, x)
            if found is None:
                found = self._shrunk(denoise(x, node))
                if torch.isfinite(found).all():  # what is not is complained of where it is used
                    self._write(key, found)
            return found.to(x.device, x.dtype)

        return known

    def mark(self, model: "Model") -> dict[str, Any]:
        """Everything of a model that its outputs depend on."""
        if model not in self._marks:
            self._marks[model] = self._marked(model)
        return self._marks[model]

    def _marked(self, model: "Model") -> dict[str, Any]:
        said = {key: value for key, value in describe(model).items() if key not in ("name", "noise")}
        said |= {"guidance": model.guidance, "dtype": str(model.dtype), "device": torch.device(model.device).type}
        said |= {"kept as": str(self.dtype or model.dtype), "network": built(model.network)}
        if model.guidance not in (None, 1) and model.null is not None:
            said["none"] = digest(model.conditions([0], model.null([0])))
        if model.classifier is not None or not model.fingerprint:  # a function that has no fingerprint
            said["probe"] = probe(replace(model, cache=None))
        return said

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
        """A file of this folder, whole or not at all; OSError says what is in the way."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, content)
        except OSError as error:
            raise complaint(self.folder, error) from error
        except ValueError as error:
            raise OSError(f"cannot write to the cache {self.folder}: {error}") from error

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
        return restored(raw(output), like)


def opened(folder: str | Path, dtype: str | None = None) -> Cache:
    """A cache in a folder, which is made if it is not there; dtype: float32 or float16, None for outputs as they are.

    Raises OSError if nothing can be written there.
    """
    if dtype is not None and dtype not in DTYPES:
        raise DodeError(f"cache_dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise complaint(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise OSError(f"cannot write to the cache {folder}: it is read-only; give another folder")
    return Cache(folder, None if dtype is None else DTYPES[dtype])


def complaint(folder: Path, error: OSError) -> OSError:
    """What went wrong with a cache, in one sentence."""
    return OSError(f"cannot write to the cache {folder}: {error.strerror}; make room, or give another folder")


def absorb(whole: Any, value: Any) -> None:
    """Feed a condition, or anything of tensors, numbers and words, to a hash."""
    if isinstance(value, dict):
        absorb(whole, [one for key in sorted(value) for one in (key, value[key])])
    elif isinstance(value, list | tuple):
        whole.update(f"{len(value)} of:".encode())
        for one in value:
            absorb(whole, one)
    elif isinstance(value, Tensor):
        whole.update(f"{value.dtype} {tuple(value.shape)}:".encode())
        whole.update(raw(value).numpy())
    else:
        whole.update(f"{value!r};".encode())


def autocast(device: str) -> str:
    """The dtype that networks compute in here, if it is not their own."""
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""


def built(network: Any) -> str:
    """Sixteen hexadecimal digits of the modules in a network: classes, code, plain attributes, weights bit for bit.

    What a fingerprint leaves out, because a calibration outlives it: another activation, a scale that is an attribute.
    Functions have no more than their fingerprint.
    """
    held = getattr(network, "__dict__", {}).values()
    modules = [network] if isinstance(network, nn.Module) else [one for one in held if isinstance(one, nn.Module)]
    whole = hashlib.sha256()
    for name, module in (found for one in modules for found in one.named_modules()):
        code = getattr(type(module).forward, "__code__", None)
        own = {key: value for key, value in vars(module).items() if not key.startswith("_") and _plain(value)}
        absorb(whole, (name, type(module).__qualname__, code and _code(code), own))
    for key, value in (found for one in modules for found in one.state_dict().items()):
        absorb(whole, (key, value.shape if value.is_meta else value))
    return whole.hexdigest()[:16]


def _plain(value: Any) -> bool:
    """Is it of numbers and words, as the scales of adapters are, by name?

    Tensors are none, nor what is empty or nothing: networks put there what they computed last.
    """
    if isinstance(value, dict):
        return bool(value) and all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_plain, value))
    return isinstance(value, bool | int | float | str)


def _code(code: CodeType) -> list[Any]:
    """What a function does, the numbers in it, and the functions in it."""
    inner = [_code(one) for one in code.co_consts if isinstance(one, CodeType)]
    own = [sorted(map(repr, one)) if isinstance(one, frozenset) else one for one in code.co_consts]
    return [code.co_code, code.co_names, [one for one in own if not isinstance(one, CodeType)], inner]


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of a condition, or of anything like it."""
    whole = hashlib.sha256()
    absorb(whole, value)
    return whole.hexdigest()[:16]


def checksum(output: Tensor, strides: str) -> str:
    """Of the numbers and how they lie."""
    return digest((output, strides))
