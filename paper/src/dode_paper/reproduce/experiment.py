"""What an item is, and what comes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from dode_paper.reproduce.context import Lab, Task
from dode_paper.reproduce.result_store import Entries


@dataclass(frozen=True, eq=False)
class Result:
    """A table in Markdown, one sentence (or some) that the numbers say, and a figure where the paper has one."""

    table: str
    finding: str
    figure: Figure | None = None


def seeds(lab: Lab) -> str:
    """Over which seeds numbers are means."""
    known = lab.size.seeds
    return f"seed {known[0]}" if len(known) == 1 else f"mean of seeds {', '.join(map(str, known))}"


def usual(lab: Lab) -> str:
    """What most items' numbers are of."""
    size = lab.size
    text = (
        f"{seeds(lab)}; distances on {size.report} test samples a seed, |B| = {size.samples}, C = 10, no ridge unless"
    )
    judged = f"Fréchet distances on up to {size.fd}" if lab.judge else "no Fréchet distance for this model"
    return f"{text} the table says otherwise; {judged}"


@dataclass(frozen=True)
class Item:
    """One table or figure: its entries one by one, and what is written from them."""

    name: str
    models: tuple[str, ...]  # the bundled networks it is for, if none is given
    tasks: Callable[[Lab], Iterator[Task]]
    result: Callable[[Lab, Entries], Result]
    said: Callable[[Lab], str] = usual  # seeds and samples
