"""Where tensors of resting batches wait: on their device, in the computer's memory, or in a temporary file."""

import os
import tempfile
import weakref
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dode.errors import DodeError
from dode.sampling import State


class TensorStore:
    """Tensors by key, in memory; each is read as it was put, bit for bit, on the device that it came from."""

    def __init__(self, device: str | None = None) -> None:
        self.device = device  # where tensors wait; None: where they are
        self._tensors: dict[Hashable, tuple[Tensor, torch.device]] = {}

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keep a tensor in the place of an older one of this key; DodeError if the disk is full."""
        self._tensors[key] = (tensor if self.device is None else tensor.to(self.device), tensor.device)

    def get(self, key: Hashable) -> Tensor:
        """The tensor; KeyError if there is none."""
        tensor, home = self._tensors[key]
        return tensor.to(home)

    def drop(self, key: Hashable) -> None:
        """Forget a tensor, if it is there."""
        self._tensors.pop(key, None)


class DiskStore(TensorStore):
    """Tensors in one file without a name, which the system frees when the process ends, however it ends."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = str(folder or tempfile.gettempdir())
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, open as long as the store
        except OSError as error:
            raise self._failure(error) from error
        weakref.finalize(self, self._file.close)
        self._slots: dict[Hashable, tuple[int, int, Tensor, torch.device]] = {}  # place, bytes, layout, home
        self._free: dict[int, list[int]] = {}  # bytes → places that are free again

    def put(self, key: Hashable, tensor: Tensor) -> None:
        self.drop(key)
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        vacant = self._free.get(data.numel())
        try:
            place = vacant.pop() if vacant else self._file.seek(0, os.SEEK_END)
            self._file.seek(place)
            self._file.write(data.numpy())
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error
        self._slots[key] = (place, data.numel(), tensor.detach().to("meta"), tensor.device)

    def get(self, key: Hashable) -> Tensor:
        place, size, layout, home = self._slots[key]
        data = torch.empty(size, dtype=torch.uint8)
        self._file.seek(place)
        self._file.readinto(data.numpy())
        tensor = data.view(layout.dtype).reshape(layout.shape)
        if tensor.stride() != layout.stride():  # a network may round otherwise with the channels last
            tensor = torch.empty_strided(layout.shape, layout.stride(), dtype=layout.dtype).copy_(tensor)
        return tensor.to(home)

    def drop(self, key: Hashable) -> None:
        if key in self._slots:
            place, size, *_ = self._slots.pop(key)
            self._free.setdefault(size, []).append(place)

    def _failure(self, error: OSError) -> DodeError:
        return DodeError(f"cannot keep resting states in {self._folder}: {error.strerror}; make room, or set TMPDIR")


def tensor_store(offload: str | None = None, folder: str | Path | None = None) -> TensorStore:
    """A store for offload=None (the tensors' own device), "cpu", or "disk", a file in this folder."""
    if offload not in (None, "cpu", "disk"):
        raise DodeError(f"offload must be one of cpu, disk, or None; got {offload!r}")
    return DiskStore(folder) if offload == "disk" else TensorStore(offload)


class RestingStates:
    """The states of batches after an evaluation: where the step started, and what has been seen."""

    def __init__(self, store: TensorStore) -> None:
        self.store = store
        self._seen: dict[int, int] = {}  # batch → how many of its outputs are in the store

    def put(self, i: int, state: State) -> None:
        self.store.put(("state", i), state.x)
        for j in range(self._seen.get(i, 0), len(state.seen)):
            if (seen := state.seen[j]) is not None:
                self.store.put(("seen", i, j), seen)
        self._seen[i] = len(state.seen)

    def get(self, i: int, k: int, columns: Sequence[int]) -> State:
        """The state of batch i after evaluation k, with these columns of what it has seen."""
        x = self.store.get(("state", i))
        return State(k, x, x, tuple(self.store.get(("seen", i, j)) if j in columns else None for j in range(k + 2)))

    def clear(self) -> None:
        for i, count in self._seen.items():
            for key in (("state", i), *(("seen", i, j) for j in range(count))):
                self.store.drop(key)
