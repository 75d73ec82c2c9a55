"""Several processes as one: who am I, which batches are mine, and small arrays put together in their order.

Every process holds the whole program and its own share of the batches; what is computed from all of them is gathered,
so that every process goes on with the same numbers.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # for a process that is still at work: torchrun, not a clock, tells of one that died


@dataclass(frozen=True)
class Team:
    """Processes that share the batches of one run; alone if there is one."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Is this the process that writes and prints?"""
        return self.rank == 0

    def mine(self, whole: Sequence[T]) -> Sequence[T]:
        """Those of this process: every size-th."""
        return whole[self.rank :: self.size]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """The shares of all processes as one list, in the order that `mine` cut them from."""
        if self.size == 1:
            return list(mine)
        shares: list[Any] = [None] * self.size
        _told(lambda: dist.all_gather_object(shares, list(mine)))
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    def agreed(self, mine: T) -> T:
        """The first process's."""
        return self.gather([mine])[0]


def _told(exchange: Callable[[], Any]) -> None:
    """An exchange with the others; OSError if one of them has gone."""
    try:
        exchange()
    except RuntimeError as error:
        raise OSError("another process of this run has ended; it, or torchrun, says why") from error


ALONE = Team()


def here() -> Team:
    """The processes that torch.distributed was initialised with, by `torchrun` or by the caller."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Team(dist.get_rank(), dist.get_world_size())


def join() -> Team:
    """Meet the other processes of `torchrun`: gloo for what is on CPUs, and where there are GPUs nccl, one GPU each."""
    graphics = torch.cuda.is_available() and dist.is_nccl_available()
    if graphics:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    _told(lambda: dist.init_process_group("cpu:gloo,cuda:nccl" if graphics else "gloo", timeout=PATIENCE))
    return here()


def leave() -> None:
    """Part when everything is done; a process that fails just ends."""
    dist.destroy_process_group()
