"""What the commands print: progress bars, tables of measured rows, notes.

Rows are read here alone: the other commands ask for `rms` and `nearest`.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from dode.metrics.estimates import Row
    from dode.progress import Progress
    from dode.samplers import Sampler

EVERY = 30.0  # seconds between lines of progress where no bar can be shown

Column = tuple[str, Callable[["Row", "Row | None"], str]]  # head; cell of a row and of the row that it is compared with
Base = Callable[["Row"], "Row | None"]


class Tell(Protocol):
    """What shows how far some work is: what is done now, and how much of it."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@contextmanager
def bar(what: str, *columns: "ProgressColumn") -> Iterator[Tell]:
    """A bar on stderr, with this title at first; a file or a pipe gets a line every half minute instead."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("{task.description:<28}"), BarColumn(), *columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=None)
        last, begun = time.monotonic(), False

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last, begun
            begun = True
            shown.update(task, description=what, completed=done, total=total)
            if not shown.console.is_terminal and time.monotonic() > last + EVERY:
                last = time.monotonic()
                print(f"{what}: {done / max(1, total):.0%}", file=sys.stderr, flush=True)

        try:
            yield tell
        finally:
            shown.update(task, visible=begun)  # input that was refused has nothing to show


@contextmanager
def progress(what: str) -> Iterator["Progress"]:
    """A bar on stderr, of the first process if there are several; call it with (done, total)."""
    from dode.process_group import current

    if not current().is_first:
        yield lambda done, total: None
        return
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    with bar(what, MofNCompleteColumn(), TimeRemainingColumn()) as tell:
        yield lambda done, total: tell(what, done, total)


def print_rows(rows: Sequence["Row"], title: str, reference: str = "", base: Base | None = None) -> None:
    """The table of a comparison, beside each distilled solver its plain one; several seeds as one row.

    Many estimates are shown in several tables, so that each fits a screen.  reference: the features that they are
    computed in (`features_of`).  base: what a row is compared with instead.
    """
    rows = pooled(rows)
    base = base or _plain(rows)
    first, estimates = [*_names(rows), *_distances(rows)], _estimates(rows)
    seconds: Column = ("seconds", lambda row, _: f"{row.seconds:.1f}")
    if len(estimates) <= 2:
        _print(rows, title, [*first, *estimates, seconds], base)
    else:
        _print(rows, title, [*first, seconds], base)
        for i in range(0, len(estimates), 4):
            _print(rows, "", [*_names(rows), *estimates[i : i + 4]], base)
    for line in _legend(rows, reference):
        print(line)
    if any(row.samples for row in rows):
        print("Differences to the plain solver are paired; * is worse by more than two standard errors.")


def print_estimates(rows: Sequence["Row"], reference: str, label: int | None = None) -> None:
    """Each row's estimates, one a line; several seeds as one row; label: the class of all samples, if there is one."""
    from dode.messages import beside, distance
    from dode.metrics.estimates import METRICS, beside_rms

    rows = pooled(rows)
    for row in rows:
        scale = of_class(label) + ("" if row.guidance is None else f", guidance {row.guidance:g}")
        print(f"{row.solver}, NFE {row.nfe}{scale}, seed {', '.join(map(str, row.seeds))}: {row.seconds:.1f} s")
        if not math.isnan(rms(row)):
            print(f"  {'RMS':<10} {beside(row.rms, row.rms_error)}, median {distance(row.median)}")
        for name in beside_rms([row]):
            print(f"  {METRICS[name].title:<10} {_cell(name)(row, None)}")
    for line in _legend(rows, reference):
        print(line)


def print_notes(sampler: "Sampler", label: int | None = None) -> None:
    """A note where a grid that starts below t_max misreads x_T, and where a plan was fitted for another class."""
    from dode.solvers.step_allocation import bias

    fitted = sampler.provenance.report.get("label")
    if fitted not in (None, label):
        print(f"note: the plan was found for class {fitted} alone")
    if biased := bias(sampler.plan, sampler.model.schedule):
        print(f"note: {biased}")


def rms(row: "Row") -> float:
    """The distance of a row to the exact solution; NaN if it was not measured."""
    return row.rms


def nearest(rows: Sequence["Row"]) -> "Row":
    """The row with the smallest distance to the exact solution."""
    return min(rows, key=rms)


def pooled(rows: Sequence["Row"]) -> list["Row"]:
    """The rows of several seeds as means, in the order in which they first come."""
    from dode.metrics import estimates

    groups: dict[tuple[str, int, float | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.solver, row.nfe, row.guidance), []).append(row)
    return [estimates.pooled(group) for group in groups.values()]


def of_class(label: int | None) -> str:
    """What a title says of samples that are all of one class."""
    return "" if label is None else f", class {label}"


def features_of(extractor: str, statistics: Path | None) -> str:
    """The features that estimates are computed in, for the notes under a table."""
    features = "the bundled classifier's features" if extractor == "bundled" else f"features of {extractor}"
    return features if statistics is None else f"{features} against {statistics}"


def _plain(rows: Sequence["Row"]) -> Base:
    """For a distilled solver's row the plain solver's; None for the others."""
    from dode.solvers.spec import plain_name

    plain = {(row.solver, row.nfe, row.guidance): row for row in rows}

    def base(row: "Row") -> "Row | None":
        other = plain.get((plain_name(row.solver), row.nfe, row.guidance))
        return None if other is row else other

    return base


def _print(rows: Sequence["Row"], title: str, columns: Sequence[Column], base: Base) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE, title_justify="left")
    for head, _ in columns:
        text = head == "solver"
        table.add_column(head, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row, base(row)) for _, cell in columns))
    Console(width=max(Console().width, 130)).print(table)


def _names(rows: Sequence["Row"]) -> list[Column]:
    columns: list[Column] = [("solver", lambda row, _: row.solver), ("NFE", lambda row, _: str(row.nfe))]
    if len({row.guidance for row in rows}) > 1:
        columns.append(("guidance", lambda row, _: "" if row.guidance is None else f"{row.guidance:g}"))
    return columns


def _distances(rows: Sequence["Row"]) -> list[Column]:
    from dode.messages import beside, distance
    from dode.metrics.estimates import ratio

    if all(math.isnan(rms(row)) for row in rows):
        return []
    return [
        ("RMS ±", lambda row, _: beside(row.rms, row.rms_error)),
        ("median", lambda row, _: distance(row.median)),
        ("RMS / base ±", lambda row, base: "" if base is None else "{:.3f} ± {:.3f}".format(*ratio(row, base))),
    ]


def _estimates(rows: Sequence["Row"]) -> list[Column]:
    """Each estimate that was made of features, and its difference to the plain solver's."""
    from dode.metrics.estimates import METRICS, beside_rms

    return [
        column
        for name in beside_rms(rows)
        for column in ((f"{METRICS[name].title} ±", _cell(name)), ("− base ±", _change(name)))
    ]


def _cell(name: str) -> Callable[["Row", "Row | None"], str]:
    from dode.metrics.estimates import METRICS

    def cell(row: "Row", base: "Row | None") -> str:
        return f"{row[name]:{METRICS[name].digits}}" if name in row.estimates else ""

    return cell


def _change(name: str) -> Callable[["Row", "Row | None"], str]:
    """The difference, with * where it is worse by more than two standard errors."""
    from dode.metrics.estimates import METRICS, change, not_worse

    form = METRICS[name].digits

    def cell(row: "Row", base: "Row | None") -> str:
        difference = None if base is None else change(row, base, name)
        if difference is None or base is None:
            return ""
        mark = "" if not_worse(row, base, name) else " *"
        return f"{difference[0]:+{form}} ± {difference[1]:{form}}{mark}"

    return cell


def _legend(rows: Sequence["Row"], reference: str) -> list[str]:
    """What the columns are, and of how many samples."""
    from dode.metrics.estimates import METRICS, STOCHASTIC, beside_rms

    lines = []
    seeds = max(len(row.seeds) for row in rows)
    each = f", each of {seeds} seeds; ± over the seeds" if seeds > 1 else ""
    paired = max(0 if row.each is None else len(row.each) // len(row.seeds) for row in rows)
    if paired:
        lines.append(
            f"RMS and median: distance to the exact solution from the same noise, {paired} test samples{each}."
        )
    if any(row.stochastic for row in rows):
        lines.append(STOCHASTIC)
    if any(row.seconds for row in rows):
        lines.append("seconds: of sampling alone, as busy as the machine was; they compare only within one run.")
    for teacher in dict.fromkeys(row.teacher for row in rows if row.teacher):
        lines.append(f"Fitted towards {teacher}: {_students(rows, teacher)}.")
    if samples := max(row.samples for row in rows):
        names = [METRICS[name].title for name in beside_rms(rows)]
        errors = each or "; ± from ten disjoint splits"
        marks = ", ".join(sorted({row.reference for row in rows if row.reference}))
        features = reference or features_of("bundled", None)
        lines.append(f"{', '.join(names)}: {samples} samples{errors}; in {features} (reference {marks}).")
    return lines


def _students(rows: Sequence["Row"], teacher: str) -> str:
    """The solvers that this teacher taught, and at how many evaluations where it did not teach all of them."""
    counts = {name: [row.nfe for row in rows if row.solver == name] for name in dict.fromkeys(r.solver for r in rows)}
    students = []
    for name, every in counts.items():
        taught = [row.nfe for row in rows if row.solver == name and row.teacher == teacher]
        if taught:
            students.append(name if taught == every else f"{name} at {', '.join(map(str, taught))}")
    return ", ".join(students)
