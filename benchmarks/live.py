"""Exact bytes of the tensors that are alive while something runs, by counting them at every operation."""

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """While it is on: `peak`, the most bytes that were alive at once of storages that operations made since."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        self.alive = {key: kept for key, kept in self.alive.items() if not kept[0].expired()}
        for one in tree_leaves(made):
            real = isinstance(one, torch.Tensor) and one.device.type != "meta"  # those have no bytes
            if real and one.untyped_storage()._cdata not in given:
                storage = one.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return made


def peak(work: Any) -> int:
    """The most bytes of tensors that a call had alive at once, beyond what there was before."""
    counted = Live()
    with counted:
        work()
    return counted.peak
