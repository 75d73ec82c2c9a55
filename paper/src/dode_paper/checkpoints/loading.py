"""State dicts into networks: read as data only, and every name and shape checked."""

import mmap
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dode import json_schema
from dode.errors import DodeError

NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")


def load(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give a module made on the meta device its tensors, as float32; ValueError names the first that does not fit."""
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = [key for key in dict.fromkeys([*expected, *given]) if expected.get(key) != given.get(key)]
    if wrong:
        key = wrong[0]
        raise DodeError(
            f"{name}: {len(wrong)} of its tensors are not those of the network; "
            f"{key[:80]!r} is {given.get(key, 'missing')}, expected {expected.get(key, 'no such tensor')}"
        )
    whole = [key for key, value in tensors.items() if not value.is_floating_point()]
    if whole:
        raise DodeError(f"{name}: {whole[0]!r} is of type {tensors[whole[0]].dtype}, expected numbers with a point")
    module.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)
    module.eval().requires_grad_(False)


def described(path: str | Path) -> dict[str, Any]:
    """What a safetensors file of ours says of itself; empty if another program wrote it.

    Raises ValueError if it is not there or damaged.
    """
    if not Path(path).is_file():
        raise DodeError(f"no file at {path}")
    try:
        with safe_open(path, "pt") as file:
            about = json_schema.parsed((file.metadata() or {}).get("dode", "{}"))
    except (SafetensorError, ValueError, OSError) as error:
        raise _torn(path, error) from error
    return about if isinstance(about, dict) else {}


def opened(
    path: str | Path, what: str, form: Mapping[str, json_schema.Form], command: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file that `command` wrote.  Raises ValueError for any other file."""
    about = described(path)
    if about.get("what") != what:
        raise DodeError(f"{path} was not written by {command}, so its architecture is not known")
    try:
        json_schema.check(about, {**form, "what": str}, "its description")
    except ValueError as error:
        raise DodeError(f"{path} was not written by {command}: {error}") from error
    try:
        with safe_open(path, "pt") as file:
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _torn(path, error) from error


def _torn(path: str | Path, error: Exception) -> DodeError:
    """One sentence; what the reader says may quote the file at length, on several lines."""
    return DodeError(f"{path} is not a whole safetensors file ({json_schema.line(error)})")


def state_dict(path: str | Path, entry: int | str | None = None) -> dict[str, Tensor]:
    """The tensors of a .pt, .pth or .ckpt file by name, or of one entry of the list or dict in it.

    Raises ValueError for anything but tensors by name, and for files that torch reads with `weights_only=False` alone.
    """
    path = Path(path)
    if not path.is_file():
        raise DodeError(f"no checkpoint at {path}")
    content = unpickled(path, "a checkpoint of tensors alone")
    if entry is not None:
        content = _entry(content, entry, path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DodeError(f"{path} does not hold tensors by name; say which entry of it does")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def unpickled(path: Path, what: str, remedy: str = "") -> Any:
    """The content of a file of torch.save, tensors and plain values alone; ValueError if it is not `what`."""
    try:
        _bounded(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file brings about in torch's reader is of many types
        reason = json_schema.line((str(error).splitlines() or [type(error).__name__])[0], 100)
        raise DodeError(f"{path} is not {what} ({reason}){remedy}") from error


def _bounded(path: Path) -> None:
    """ValueError for a file that has torch make room for more than it holds, which torch does before it looks.

    A zip file may hold much in little, where it is packed; torch never packs.  The older format says how many numbers
    follow; no such number can be above the size of the file.
    """
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if any(info.compress_type != zipfile.ZIP_STORED or info.file_size > size for info in file.infolist()):
                raise DodeError("it is packed, as torch.save never does")
        return
    # a file proper would make room for a text as long as it is said to be
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        for part in range(5):  # three of torch's own, the content, the names of the storages
            for opcode, number, _ in pickletools.genops(cast("IO[bytes]", file)):
                if part == 3 and opcode.name in NUMBERS and isinstance(number, int) and abs(number) > size:
                    raise DodeError(f"it speaks of {number:.3g} numbers, more than it has bytes")


def _entry(content: Any, entry: int | str, path: Path) -> Any:
    """One part of a checkpoint that holds several."""
    if isinstance(entry, int) and isinstance(content, list | tuple) and -len(content) <= entry < len(content):
        return content[entry]
    if isinstance(entry, str) and isinstance(content, Mapping) and entry in content:
        return content[entry]
    raise DodeError(f"{path} has no entry {entry!r}; it holds a {type(content).__name__}")
