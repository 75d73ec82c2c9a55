"""What a network is conditioned on: a tensor with one row a sample, or a dict or tuple of such, or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError

Default = Callable[[Sequence[int]], Any]  # sample numbers → their condition, one row each


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a model is conditioned on where the caller says nothing.

    Attributes:
        default: sample numbers → their condition.
        null: sample numbers → a condition that means "none", alike for all; it makes guidance possible.
        labels: How many classes there are, with the one for "none", if conditions are classes.
    """

    default: Default
    null: Default | None = None
    labels: int = 0

    @property
    def by_class(self) -> bool:
        """Whether conditions are classes, one whole number a sample."""
        if not self.labels:
            return False
        own = prepared(self.default(range(1)), 1, "cpu")
        return isinstance(own, Tensor) and own.ndim == 1 and not own.is_floating_point()


def prepared(cond: Any, count: int, device: str, dtype: torch.dtype | None = None) -> Any:
    """Arrays and lists as tensors on the device; ValueError unless everything has `count` rows.

    dtype: of numbers that are not whole; None leaves it.
    """
    if cond is None:
        return None
    if isinstance(cond, dict):
        return {key: prepared(value, count, device, dtype) for key, value in cond.items()}
    if isinstance(cond, tuple):
        return tuple(prepared(value, count, device, dtype) for value in cond)
    if isinstance(cond, list | np.ndarray) and np.asarray(cond).dtype.kind in "biufc":
        cond = torch.as_tensor(np.asarray(cond))
    if not isinstance(cond, Tensor):
        raise DodeError(
            f"cond must be a tensor, array or list of numbers, or a dict or tuple of them; got {type(cond).__name__}"
        )
    if cond.ndim < 1 or len(cond) != count:
        raise DodeError(f"cond must have one row a sample, {count}; got shape {tuple(cond.shape)}")
    if dtype is not None and cond.is_floating_point():
        cond = cond.to(dtype)  # before the device: some have no float64
    return cond.to(device)


def classes(cond: Any, count: int) -> None:
    """ValueError for anything but one class of 0 … count − 1 a sample: (n,) of whole numbers."""
    if not isinstance(cond, Tensor) or cond.ndim != 1 or cond.is_floating_point() or cond.is_complex():
        what = f"{cond.dtype} {tuple(cond.shape)}" if isinstance(cond, Tensor) else type(cond).__name__
        raise DodeError(f"cond must be one class a sample, whole numbers from 0 to {count - 1}; got {what}")
    if int(cond.min()) < 0 or int(cond.max()) >= count:
        raise DodeError(f"classes go from 0 to {count - 1}; got {int(cond.min())} … {int(cond.max())}")


def rows(cond: Any, index: Any) -> Any:
    """Some rows of a condition."""
    if isinstance(cond, dict):
        return {key: rows(value, index) for key, value in cond.items()}
    if isinstance(cond, tuple):
        return tuple(rows(value, index) for value in cond)
    return cond if cond is None else cond[index]


def joined(first: Any, second: Any) -> Any:
    """Two conditions one after the other, as one batch."""
    if isinstance(first, dict):
        return {key: joined(value, second[key]) for key, value in first.items()}
    if isinstance(first, tuple):
        return tuple(joined(a, b) for a, b in zip(first, second, strict=True))
    return first if first is None else torch.cat([first, second])


def as_numpy(cond: Any) -> Any:
    """The same with numpy arrays."""
    if isinstance(cond, dict):
        return {key: as_numpy(value) for key, value in cond.items()}
    if isinstance(cond, tuple):
        return tuple(as_numpy(value) for value in cond)
    return cond if cond is None else cond.numpy(force=True)


def classes_in_turn(classes: int) -> Callable[[Sequence[int]], Tensor]:
    """The default condition: sample i gets the class i mod `classes`."""
    return lambda indices: torch.tensor([i % classes for i in indices])
