"""What an item is, and what comes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from dode.reproduce.lab import Lab, Task
from dode.reproduce.records import Entries


@dataclass(frozen=True, eq=False)
class Result:
    """A table in Markdown, one sentence (or some) that the numbers say, and a figure where the paper has one."""

    table: str
    finding: str
    figure: Figure | None = None


@dataclass(frozen=True)
class Item:
    """One table or figure: its entries one by one, and what is written from them."""

    name: str
    models: tuple[str, ...]  # the bundled networks it is for, if none is given
    tasks: Callable[[Lab], Iterator[Task]]
    result: Callable[[Lab, Entries], Result]
