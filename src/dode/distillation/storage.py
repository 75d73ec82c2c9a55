"""Where resting tensors wait: on their device, in the computer's memory, or in a file that ends with the process."""

import os
import tempfile
import weakref
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dode.errors import DodeError

PLACES = ("cpu", "disk")


class Shelf(Protocol):
    """Tensors by name; what is got is what was put, bit for bit, on the device that it came from."""

    def put(self, name: Hashable, tensor: Tensor) -> None:
        """Keep a tensor, in the place of an older one of this name."""

    def get(self, name: Hashable) -> Tensor:
        """The tensor; KeyError if there is none."""

    def drop(self, name: Hashable) -> None:
        """Keep it no longer, if it is there."""


def shelf(offload: str | None = None, folder: str | Path | None = None) -> Shelf:
    """A new shelf: None leaves tensors where they are, "cpu" moves them into memory, "disk" into a file in the folder.

    Without a folder the file is in the system's one for temporary files.
    """
    if offload is None:
        return Memory()
    if offload not in PLACES:
        raise DodeError(f"offload must be one of {', '.join(PLACES)}, or nothing; got {offload!r}")
    return Memory("cpu") if offload == "cpu" else Scratch(folder)


class Memory:
    """In memory: on another device than they came from, or where they are."""

    def __init__(self, device: str | None = None) -> None:
        self.device = device
        self._held: dict[Hashable, tuple[Tensor, torch.device]] = {}

    def put(self, name: Hashable, tensor: Tensor) -> None:
        """Keep a tensor, in the place of an older one of this name."""
        self._held[name] = (tensor if self.device is None else tensor.to(self.device), tensor.device)

    def get(self, name: Hashable) -> Tensor:
        """The tensor; KeyError if there is none."""
        tensor, home = self._held[name]
        return tensor.to(home)

    def drop(self, name: Hashable) -> None:
        """Keep it no longer, if it is there."""
        self._held.pop(name, None)


class Slot(NamedTuple):
    """Where a tensor is in the file, and what it looks like."""

    place: int
    size: int  # bytes
    like: Tensor  # without data: shape, strides and dtype
    home: torch.device


class Scratch:
    """In one file without a name: the system frees it when the process ends, however it ends."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self._where = str(folder or tempfile.gettempdir())
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, open as long as the shelf
        except OSError as error:
            raise self._complaint(error) from error
        weakref.finalize(self, self._file.close)
        self._slots: dict[Hashable, Slot] = {}
        self._free: dict[int, list[int]] = {}  # size → places that are free again

    def put(self, name: Hashable, tensor: Tensor) -> None:
        """Keep a tensor; OSError if the disk is full."""
        self.drop(name)
        data = raw(tensor)
        size = data.numel()
        vacant = self._free.get(size)
        try:
            place = vacant.pop() if vacant else self._file.seek(0, os.SEEK_END)
            self._file.seek(place)
            self._file.write(data.numpy())
            self._file.flush()
        except OSError as error:
            raise self._complaint(error) from error
        self._slots[name] = Slot(place, size, tensor.detach().to("meta"), tensor.device)

    def get(self, name: Hashable) -> Tensor:
        """The tensor; KeyError if there is none."""
        place, size, like, home = self._slots[name]
        data = torch.empty(size, dtype=torch.uint8)
        self._file.seek(place)
        self._file.readinto(data.numpy())
        return restored(data, like).to(home)

    def drop(self, name: Hashable) -> None:
        """Keep it no longer, if it is there."""
        slot = self._slots.pop(name, None)
        if slot is not None:
            self._free.setdefault(slot.size, []).append(slot.place)

    def _complaint(self, error: OSError) -> OSError:
        return OSError(f"cannot keep resting states in {self._where}: {error.strerror}; make room, or set TMPDIR")


def raw(tensor: Tensor) -> Tensor:
    """The numbers of a tensor as bytes, in the order of its axes: (n,) uint8 on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)


def restored(data: Tensor, like: Tensor) -> Tensor:
    """The tensor of these bytes, laid out in memory as `like`: a network may round otherwise with the channels last."""
    made = data.view(like.dtype).reshape(like.shape)
    if made.stride() == like.stride():
        return made
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).copy_(made)
