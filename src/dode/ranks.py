"""Several processes as one: who am I, which batches are mine, and small arrays put together in their order.

Every process holds the whole program and its own share of the batches; what is computed from all of them is gathered,
so that every process goes on with the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


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


def _told(exchange: Any) -> None:
    """An exchange with the others; OSError if one of them has gone."""
    try:
        exchange()
    except RuntimeError as error:
        raise OSError("another process of this run has ended; it says why") from error


ALONE = Team()


def here() -> Team:
    """The processes that torch.distributed was initialised with, by `torchrun` or by the caller."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Team(dist.get_rank(), dist.get_world_size())
