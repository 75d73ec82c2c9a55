"""The networks in EDM pickles (Karras et al. 2022), read without running anything: tensors and arguments by name."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dode import json_schema
from dode.errors import DodeError
from dode_paper.checkpoints.restricted_unpickler import run
from dode_paper.checkpoints.stubs import Record, tables

DEPTH = 16  # of modules in modules and of lists in lists
MOST = 100_000  # modules, or values among the arguments


@dataclass(frozen=True)
class PickledNetwork:
    """What a pickle says of one network: its class, how it was constructed, its tensors by name."""

    class_name: str
    args: tuple[Any, ...]  # plain values only
    kwargs: dict[str, Any]
    tensors: dict[str, Tensor]  # as in its state dict


def read_pickle(path: str | Path, key: str = "ema") -> PickledNetwork:
    """The network under this key of an EDM pickle ("network-snapshot-….pkl"), read without running anything.

    Raises ValueError, one sentence, if the file is no pickle, is damaged, or holds or names anything that a network
    does not need.
    """
    path = Path(path)
    if not path.is_file():
        raise DodeError(f"no pickle at {path}")
    stream = io.BytesIO(path.read_bytes())
    try:
        content = run(stream, tables())
        if isinstance(content, dict):
            if not isinstance(content.get(key), Record):
                raise DodeError(f"it has no network under the key {key!r}")
            content = content[key]
        if not isinstance(content, Record):
            raise DodeError("it is not a network, nor a dict of networks")
        return _network(content, path.stat().st_size)
    except ValueError as error:
        raise DodeError(
            f"{path} is refused: {json_schema.line(error)}"
        ) from error  # Python's own may quote it at length


def _network(record: Record, size: int) -> PickledNetwork:
    """The parts of a record; `size` bounds what its tensors may hold together."""
    budget = [MOST]
    args = _plain(record.state.get("_init_args", ()), budget)
    kwargs = _plain(record.state.get("_init_kwargs", {}), budget)
    tensors = dict(_tensors(record, "", 0, [MOST]))
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not tensors:
        raise DodeError("it has a network without constructor arguments or without tensors")
    if sum(tensor.numel() * tensor.itemsize for tensor in tensors.values()) > size:
        raise DodeError("it has tensors that are larger than the file")
    return PickledNetwork(record.name, tuple(args), kwargs, tensors)


def _plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """The value as JSON has it; ValueError for anything else, and for too much or too deep."""
    budget[0] -= 1
    if depth > DEPTH or budget[0] < 0:
        raise DodeError("it has constructor arguments that are too many or too deep")
    if value is None or type(value) in (bool, int, float, str):
        if type(value) is int and abs(value) > 1 << 53:
            raise DodeError("it has a constructor argument that is too large")
        if type(value) is str and len(value) > 1000:
            raise DodeError("it has a constructor argument that is too long")
        return value
    if type(value) in (list, tuple):
        return [_plain(item, budget, depth + 1) for item in value]
    if type(value) is dict and all(_is_name(key) for key in value):
        return {key: _plain(item, budget, depth + 1) for key, item in value.items()}
    raise DodeError(f"it has a constructor argument of type {type(value).__name__}, not a plain value")


def _is_name(key: Any) -> bool:
    """Can it be the name of an argument, a parameter or a module?"""
    return type(key) is str and key.isascii() and key.isprintable() and 0 < len(key) < 100


def _tensors(record: Any, prefix: str, depth: int, budget: list[int]) -> Iterator[tuple[str, Tensor]]:
    """The names and tensors of a module's state dict."""
    budget[0] -= 1
    if not isinstance(record, Record) or depth > DEPTH or budget[0] < 0:
        raise DodeError("it has modules that are too many, too deep or no modules")
    skipped = record.state.get("_non_persistent_buffers_set", set())
    if not isinstance(skipped, set):
        raise DodeError("it has a module whose _non_persistent_buffers_set is no set")
    for group in ("_parameters", "_buffers", "_modules"):
        for name, value in _group(record, group).items():
            if value is None or (group == "_buffers" and name in skipped):
                continue
            if group == "_modules":
                yield from _tensors(value, f"{prefix}{name}.", depth + 1, budget)
            elif isinstance(value, Tensor):
                yield prefix + name, value
            else:
                raise DodeError(f"it has a parameter that is a {type(value).__name__}")


def _group(record: Record, group: str) -> dict[str, Any]:
    found = record.state.get(group, {})
    if type(found) is not dict or not all(_is_name(name) for name in found):
        raise DodeError(f"it has a module whose {group} is no dict by name")
    return found
