"""Several processes that share the batches of one run; small arrays are gathered in the order of the batches.

Every process holds the whole program and its share of the batches. What is computed from all batches is gathered, so
that every process goes on with the same numbers.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from dode.errors import DodeError

T = TypeVar("T")
TIMEOUT = timedelta(days=1)  # a slow process is still at work; torchrun reports one that died


@dataclass(frozen=True)
class ProcessGroup:
    """Processes that share the batches of one run.

    Attributes:
        rank: The number of this process.
        size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """The batches of this process: every size-th."""
        return batches[self.rank :: self.size]

    def gather(self, share: Sequence[T]) -> list[T]:
        """The shares of all processes as one list, in the order from which `share` cut them.

        Raises:
            DodeError: if another process has ended.
        """
        if self.size == 1:
            return list(share)
        shares: list[Any] = [None] * self.size
        _exchange(lambda: dist.all_gather_object(shares, list(share)))
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    def broadcast(self, value: T) -> T:
        """The first process's value."""
        return self.gather([value])[0]


def _exchange(operation: Callable[[], Any]) -> None:
    try:
        operation()
    except RuntimeError as error:
        raise DodeError("another process of this run has ended; it, or torchrun, says why") from error


ALONE = ProcessGroup()


def current() -> ProcessGroup:
    """The group that torch.distributed was initialised with, by `torchrun` or by the caller; `ALONE` without one."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


def join() -> ProcessGroup:
    """Join the group that `torchrun` started: gloo for CPUs, and where there are GPUs nccl, one GPU a process."""
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    _exchange(lambda: dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT))
    return current()


def destroy() -> None:
    """Destroy the group when the work is done; a process that fails just ends."""
    dist.destroy_process_group()
