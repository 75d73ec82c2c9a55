"""Tables of measured rows, as the commands print them."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dode.metrics.estimates import Row

Column = tuple[str, Callable[["Row", "Row | None"], str]]  # head, cell of a row and of its plain solver's


Base = Callable[["Row"], "Row | None"]


def print_rows(
    rows: Sequence["Row"],
    title: str,
    reference: str = "the bundled classifier's features",
    base: Base | None = None,
) -> None:
    """The table of a comparison, beside each distilled solver its plain one; several seeds as one row.

    Many figures are told in several tables, so that each fits a screen.  base: what a row is compared with instead.
    """
    rows = together(rows)
    base = base or _plain(rows)
    first, figures = [*_named(rows), *_distances(rows)], _figures(rows)
    seconds: Column = ("seconds", lambda row, _: f"{row.seconds:.1f}")
    if len(figures) <= 2:
        _print(rows, title, [*first, *figures, seconds], base)
    else:
        _print(rows, title, [*first, seconds], base)
        for i in range(0, len(figures), 4):
            _print(rows, "", [*_named(rows), *figures[i : i + 4]], base)
    for line in _notes(rows, reference):
        print(line)
    if any(row.samples for row in rows):
        print("Differences to the plain solver are paired; * is worse by more than two standard errors.")


def _plain(rows: Sequence["Row"]) -> Base:
    """For a distilled solver's row the plain one's; None for the others."""
    from dode.solvers.spec import plain_name

    plain = {(row.solver, row.nfe, row.guidance): row for row in rows}

    def base(row: "Row") -> "Row | None":
        found = plain.get((plain_name(row.solver), row.nfe, row.guidance))
        return None if found is row else found

    return base


def _print(rows: Sequence["Row"], title: str, columns: Sequence[Column], base: Base) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE, title_justify="left")
    for head, _ in columns:
        table.add_column(
            head, justify="left" if head == "solver" else "right", no_wrap=head != "solver", overflow="fold"
        )
    for row in rows:
        table.add_row(*(cell(row, base(row)) for _, cell in columns))
    Console(width=max(Console().width, 130)).print(table)


def together(rows: Sequence["Row"]) -> list["Row"]:
    """The rows of several seeds as means, in the order in which they first come."""
    from dode.metrics.estimates import pooled

    groups: dict[tuple[str, int, float | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.solver, row.nfe, row.guidance), []).append(row)
    return [pooled(group) for group in groups.values()]


def _named(rows: Sequence["Row"]) -> list[Column]:
    found: list[Column] = [("solver", lambda row, _: row.solver), ("NFE", lambda row, _: str(row.nfe))]
    if len({row.guidance for row in rows}) > 1:
        found.append(("guidance", lambda row, _: "" if row.guidance is None else f"{row.guidance:g}"))
    return found


def _distances(rows: Sequence["Row"]) -> list[Column]:
    from dode.messages import beside, distance
    from dode.metrics.estimates import ratio

    if all(math.isnan(row.rms) for row in rows):
        return []
    return [
        ("RMS ±", lambda row, _: beside(row.rms, row.rms_error)),
        ("median", lambda row, _: distance(row.median)),
        ("RMS / base ±", lambda row, base: "" if base is None else "{:.3f} ± {:.3f}".format(*ratio(row, base))),
    ]


def _figures(rows: Sequence["Row"]) -> list[Column]:
    """Each figure that was measured, and its difference to the plain solver's."""
    from dode.metrics import METRICS
    from dode.metrics.estimates import beside_rms

    found: list[Column] = []
    for name in beside_rms(rows):
        found.append((f"{METRICS[name].title} ±", _cell(name)))
        found.append(("− base ±", _change(name)))
    return found


def _cell(name: str) -> Callable[["Row", "Row | None"], str]:
    from dode.metrics import METRICS

    def cell(row: "Row", base: "Row | None") -> str:
        return f"{row[name]:{METRICS[name].digits}}" if name in row.estimates else ""

    return cell


def _change(name: str) -> Callable[["Row", "Row | None"], str]:
    """The difference, with * where it is worse by more than two standard errors."""
    from dode.metrics import METRICS, change, not_worse

    form = METRICS[name].digits

    def cell(row: "Row", base: "Row | None") -> str:
        found = None if base is None else change(row, base, name)
        if found is None or base is None:
            return ""
        mark = "" if not_worse(row, base, name) else " *"
        return f"{found[0]:+{form}} ± {found[1]:{form}}{mark}"

    return cell


def _notes(rows: Sequence["Row"], reference: str) -> list[str]:
    """What the columns are, and of how many samples."""
    from dode.metrics.estimates import METRICS, STOCHASTIC, beside_rms

    found = []
    seeds = max(len(row.seeds) for row in rows)
    each = f", each of {seeds} seeds; ± over the seeds" if seeds > 1 else ""
    paired = max(0 if row.each is None else len(row.each) // len(row.seeds) for row in rows)
    if paired:
        found.append(
            f"RMS and median: distance to the exact solution from the same noise, {paired} test samples{each}."
        )
    if any(row.stochastic for row in rows):
        found.append(STOCHASTIC)
    if any(row.seconds for row in rows):
        found.append("seconds: of sampling alone, as busy as the machine was; they compare only within one run.")
    for taught in dict.fromkeys(row.teacher for row in rows if row.teacher):
        found.append(f"Fitted towards {taught}: {_pupils(rows, taught)}.")
    samples = max(row.samples for row in rows)
    if samples:
        names = [METRICS[name].title for name in beside_rms(rows)]
        errors = each or "; ± from ten disjoint splits"
        marks = ", ".join(sorted({row.reference for row in rows if row.reference}))
        found.append(f"{', '.join(names)}: {samples} samples{errors}; in {reference} (reference {marks}).")
    return found


def _pupils(rows: Sequence["Row"], taught: str) -> str:
    """The solvers that this teacher taught, and at how many evaluations where it had not all of them."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        counts.setdefault(row.solver, []).extend([row.nfe] if row.teacher == taught else [])
    every = {name: [row.nfe for row in rows if row.solver == name] for name in counts}
    said = {name: "" if mine == every[name] else f" at {', '.join(map(str, mine))}" for name, mine in counts.items()}
    return ", ".join(f"{name}{said[name]}" for name, mine in counts.items() if mine)


def of_class(label: int | None) -> str:
    """What a title says of samples that are all of one class."""
    return "" if label is None else f", class {label}"


def features_of(extractor: str, statistics: "Path | None") -> str:
    """What the figures of features are in, for the notes under a table."""
    said = "the bundled classifier's features" if extractor == "bundled" else f"features of {extractor}"
    return said if statistics is None else f"{said} against {statistics}"


def print_figures(rows: Sequence["Row"], reference: str, label: int | None = None) -> None:
    """Each row's figures, one a line; several seeds as one row; label: of all samples, if they are of one class."""
    from dode.messages import beside, distance
    from dode.metrics import METRICS
    from dode.metrics.estimates import beside_rms

    rows = together(rows)
    for row in rows:
        scale = of_class(label) + ("" if row.guidance is None else f", guidance {row.guidance:g}")
        print(f"{row.solver}, NFE {row.nfe}{scale}, seed {', '.join(map(str, row.seeds))}: {row.seconds:.1f} s")
        if not math.isnan(row.rms):
            print(f"  {'RMS':<10} {beside(row.rms, row.rms_error)}, median {distance(row.median)}")
        for name in beside_rms([row]):
            print(f"  {METRICS[name].title:<10} {_cell(name)(row, None)}")
    for line in _notes(rows, reference):
        print(line)
