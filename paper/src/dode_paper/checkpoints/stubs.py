"""What a pickle of a network may hold beside plain values: tensors, numpy numbers, and objects as records.

Each function here takes the place of the one that the file names; none of theirs is ever called.  Numbers are cut out
of the file's own bytes, so nothing is allocated that the file does not hold.
"""

import io
import re
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError
from dode_paper.checkpoints.restricted_unpickler import Name, Named, Stateful, Tables, run

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save's format without zip, which a storage writes itself in
PROTOCOL = 1001
HEAD = 1000  # opcodes before the numbers of a storage; torch writes 30
MANY = 20_000  # storages; the largest published network has 600


@dataclass(eq=False)
class Record(Stateful):
    """An object of the file: the name of its class, and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        if type(state) is not dict or self.state:
            raise DodeError("the state of an object is no dict of attributes")
        self.state = state


@dataclass(eq=False)
class Dtype(Stateful):
    """A numpy dtype of numbers."""

    code: str

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise DodeError("it has a numpy dtype that is not of little-endian numbers")

    @property
    def numpy(self) -> "np.dtype[Any]":
        """The dtype itself."""
        return np.dtype(f"<{self.code}")


@dataclass(eq=False)
class Array(Stateful):
    """A numpy array; `value` is there once its state is."""

    value: "np.ndarray | None" = None

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if self.value is not None or not isinstance(dtype, Dtype) or type(data) is not bytes:
            raise DodeError("it has a numpy array that is not of plain numbers")
        flat = np.frombuffer(data, dtype.numpy)
        if not _fits(shape, len(flat)) or prod(shape) != len(flat):
            raise DodeError("it has a numpy array that is larger or smaller than its data")
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _fits(sizes: Any, most: int) -> bool:
    """Is it a tuple of whole numbers whose product is at most this?"""
    if not isinstance(sizes, tuple) or len(sizes) > 8 or not all(type(n) is int and 0 <= n < 1 << 40 for n in sizes):
        return False
    return prod(sizes) <= most


def _dtype(code: Any, *_: Any) -> Dtype:
    if not isinstance(code, str) or not re.fullmatch("b1|[iu][1248]|f[248]", code):
        raise DodeError("it has a numpy dtype that is not of numbers")
    return Dtype(code)


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, Dtype) or type(data) is not bytes or len(data) != dtype.numpy.itemsize:
        raise DodeError("it has a numpy number that is not of its size")
    return np.frombuffer(data, dtype.numpy)[0].item()


def _array(*_: Any) -> Array:
    return Array()


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise DodeError("it has a parameter that is no tensor")
    return data


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage: every element inside it, and no more elements than it has."""
    if not isinstance(storage, Tensor) or type(offset) is not int or offset < 0:
        raise DodeError("it has a tensor without a storage")
    most = len(storage)
    if not _fits(size, most) or not isinstance(stride, tuple) or len(stride) != len(size):
        raise DodeError("it has a tensor that is larger than its storage")
    if prod(size) == 0:
        return storage.new_empty(size)
    if not all(type(step) is int and step >= 0 for step in stride):
        raise DodeError("it has a tensor whose strides are no whole numbers")
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= most:
        raise DodeError("it has a tensor that is larger than its storage")
    steps = [step if n > 1 else 1 for n, step in zip(size, stride, strict=True)]  # of one element any step will do
    return storage.as_strided(size, steps, offset)


def _persistent(module: Any) -> Record:
    """torch_utils.persistence: the class by name and the attributes.  The source code in it is dropped unread."""
    if type(module) is not dict or module.get("type") != "class" or type(module.get("state")) is not dict:
        raise DodeError("it has a persistent object that is no class with a state")
    name = module.get("class_name")
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 60:
        raise DodeError("it has a persistent object without the name of a class")
    return Record(name, module["state"])


@dataclass
class Storages:
    """Storages by their bytes: the same bytes are read once, however often the file refers to them."""

    seen: dict[int, tuple[bytes, Tensor]] = field(default_factory=dict)

    def __call__(self, data: Any) -> Tensor:
        if type(data) is not bytes:
            raise DodeError("it has a storage that is not of bytes")
        if len(self.seen) > MANY:
            raise DodeError(f"it has more than {MANY} storages, which no network needs")
        if id(data) not in self.seen:
            self.seen[id(data)] = (data, storage(data))
        return self.seen[id(data)][1]


def storage(data: bytes) -> Tensor:
    """The numbers of one storage, in torch.save's format without zip: (n,)."""
    stream = io.BytesIO(data)
    types = {("torch", name): dtype for name, dtype in STORAGES.items()}
    tables = Tables({}, values=frozenset(types), persistent=lambda pid: pid)
    magic, protocol, system = (run(stream, tables, HEAD) for _ in range(3))
    if (
        magic != MAGIC
        or protocol != PROTOCOL
        or not isinstance(system, dict)
        or system.get("little_endian") is not True
    ):
        raise DodeError("it has a storage in a format that is not torch's of 2016 to today, little-endian")
    kind, cls, key, _, count, view = run(stream, tables, HEAD)
    keys = run(stream, tables, HEAD)
    if kind != "storage" or not isinstance(cls, Named) or keys != [key] or view is not None or type(count) is not int:
        raise DodeError("it has a storage that refers to another")
    dtype = types[cls.module, cls.name]
    start = stream.tell() + 8
    written = int.from_bytes(data[start - 8 : start], "little")
    if written != count or (len(data) - start) != count * dtype.itemsize:
        raise DodeError("it has a storage that is larger or smaller than its data")
    if dtype is torch.bool and max(data[start:], default=0) > 1:
        raise DodeError("it has a storage of truth values that are neither 0 nor 1")
    copied = bytearray(memoryview(data)[start:])
    return torch.frombuffer(copied, dtype=dtype) if count else torch.empty(0, dtype=dtype)


def tables() -> Tables:
    """What a published EDM pickle needs, and no more."""
    functions: dict[Name, Any] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): Storages(),
        ("builtins", "set"): _set,
        ("numpy", "dtype"): _dtype,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        functions[module, "_reconstruct"] = _array
        functions[module, "scalar"] = _scalar
    functions["collections", "OrderedDict"] = _ordered
    classes: dict[Name, Any] = {("dnnlib.util", "EasyDict"): dict, ("dnnlib", "EasyDict"): dict}
    for name in ("ModuleDict", "ModuleList", "Sequential"):
        classes["torch.nn.modules.container", name] = lambda name=name: Record(name)
    return Tables(functions, classes, frozenset({("numpy", "ndarray")}))


def _ordered(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise DodeError("it has an OrderedDict in a form that no network needs")
    return {}


def _set(items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple) or not all(type(item) is str for item in items):
        raise DodeError("it has a set of what is no text")
    return set(items)
