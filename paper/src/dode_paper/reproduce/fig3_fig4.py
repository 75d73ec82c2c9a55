"""Figures 3 and 4: quality over evaluations, plain solvers dotted and their distilled forms in full lines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dode.plots.figures import by_evaluations
from dode.solvers import METHODS
from dode_paper.reproduce import averages, drawing
from dode_paper.reproduce.averages import cells, change, listed, mean, ratio, side
from dode_paper.reproduce.context import Fitting, Lab, Task, cost, fitted, measured, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.result_store import Entries, Entry, table

LEAST = {"dpm-solver-3": 3, "dpm-solver++3s": 3, "deis-3": 3}  # third order takes 3 evaluations instead of 2


@dataclass(frozen=True)
class Place:
    """How a curve is measured at one number of evaluations."""

    nfe: int
    fd: int
    report: int
    samples: int


def places(lab: Lab, counts: Sequence[int], name: str) -> list[Place]:
    """A solver's numbers of evaluations; above `curve_most` distances alone, on fewer samples."""
    size, found = lab.size, {}
    for nfe in counts:
        nfe = max(nfe, LEAST.get(name, 1))
        many = nfe > size.curve_most
        kept = (0, size.report_many, size.samples_many) if many else (size.curve_fd, size.report, size.samples)
        found[nfe] = Place(nfe, *kept)
    return list(found.values())


def tasks(lab: Lab, names: Sequence[str], counts: Sequence[int]) -> Iterator[Task]:
    for seed in lab.size.seeds:
        for name in names:
            for place in places(lab, counts, name):
                once = cost(lab, place.nfe, place.fd, place.report)
                how = Fitting(seed, place.samples)
                yield Task(f"{name} {place.nfe} {seed}", once, partial(_plain, lab, name, place, seed))
                family = [f"d-{other}" for other in names if _together(lab, counts, name, other, place)]
                make = partial(_distilled, lab, family, f"d-{name}", place, how)
                yield Task(f"d-{name} {place.nfe} {seed}", once + teaching(lab, place.nfe, how), make)


def _plain(lab: Lab, name: str, place: Place, seed: int) -> Entry:
    return measured(lab, plain(lab, name, place.nfe), seed, place.fd, "test", place.report)


def _together(lab: Lab, counts: Sequence[int], name: str, other: str, place: Place) -> bool:
    """Do two solvers learn from one teacher run here?"""
    shared = METHODS[name].teacher == METHODS[other].teacher == "ddim" and place in places(lab, counts, other)
    return name == other or shared


def _distilled(lab: Lab, names: Sequence[str], name: str, place: Place, how: Fitting) -> Entry:
    one = fitted(lab, names, place.nfe, how)[names.index(name)]
    return measured(lab, one, how.seed, place.fd, "test", place.report)


Curves = dict[str, dict[int, list[Entry]]]  # solver → evaluations → an entry a seed


def curves(lab: Lab, entries: Entries) -> Curves:
    """All that was measured, by solver."""
    found: Curves = {}
    first = lab.size.seeds[0]
    for key in entries:
        name, nfe, seed = key.split()
        if int(seed) == first:
            found.setdefault(name, {})[int(nfe)] = [entries[f"{name} {nfe} {s}"] for s in lab.size.seeds]
    return found


def result(lab: Lab, entries: Entries) -> Result:
    found, lines = curves(lab, entries), []
    bases = {name: found[name.removeprefix("d-")] for name in found if name.removeprefix("d-") in found}
    for name, mine in found.items():
        for nfe, row in mine.items():
            base = bases[name][nfe] if name in bases else found["ddim"][nfe]
            lines.append([name, str(nfe), *cells(row, base)])
    lines.sort(key=lambda line: (line[0].removeprefix("d-"), int(line[1]), line[0].startswith("d-")))
    text = table(["solver", "NFE", *averages.HEADS], lines)
    size = lab.size
    if any(nfe > size.curve_most for mine in found.values() for nfe in mine):
        text += f"\nAbove {size.curve_most} evaluations: |B| = {size.samples_many}, distances on {size.report_many} "
        text += "samples a seed, no Fréchet distance.\n"
    return Result(text, _finding(found), figure(found))


def figure(found: Curves) -> drawing.Figure:
    """Distance and Fréchet distance over evaluations; what is made from a solver in its colour, in full lines.

    A Fréchet distance is higher on fewer samples, so only those on as many as any are drawn.
    """
    rows = [row for mine in found.values() for row in mine.values()]
    most = max((row[0].get("fd n", 0) for row in rows), default=0)
    judged = any("fd" in row[0] for row in rows)
    drawn, axes = drawing.panels(1 + judged, 4.8, 4)
    order = list(dict.fromkeys(name.removeprefix("d-") for name in found))
    for one, what in zip(axes, ("rms", "fd"), strict=False):
        for name, mine in found.items():
            known: Mapping[int, list[Entry]] = {nfe: row for nfe, row in mine.items() if _drawn(row, what, most)}
            style = "o-" if name not in METHODS else "o:"
            values = [mean(row, what) for row in known.values()]
            if known:
                drawing.line(one, list(known), values, name, style, order.index(name.removeprefix("d-")))
        drawing.finish(one, "", {"rms": "RMS distance", "fd": "FD"}[what], logarithmic=True)
        by_evaluations(one, [nfe for mine in found.values() for nfe, row in mine.items() if _drawn(row, what, most)])
    return drawn


def _drawn(row: Sequence[Entry], what: str, most: int) -> bool:
    return what in row[0] and (what == "rms" or row[0].get("fd n", most) == most)


def _finding(found: Curves) -> str:
    said = []
    for name in found:
        if f"d-{name}" not in found:
            continue
        pairs = {nfe: (found[f"d-{name}"][nfe], base) for nfe, base in found[name].items()}
        sides = {nfe: side(ratio(*pair), 1) for nfe, pair in pairs.items()}
        nearer, farther = ([str(nfe) for nfe, s in sides.items() if s == sign] for sign in (-1, 1))
        judged = [nfe for nfe, pair in pairs.items() if "fd" in pair[0][0]]
        lower, higher = ([str(nfe) for nfe in judged if side(change(*pairs[nfe])) == sign] for sign in (-1, 1))
        text = f"d-{name} is clearly nearer to the exact solution than {name} at {listed(nearer)}"
        text += f", farther at {listed(farther)}"
        text += f"; its FD is clearly lower at {listed(lower)}, higher at {listed(higher)}" if judged else ""
        said.append(text + ".")
    return " ".join(said)


PLUS = ("dpm-solver++2s", "dpm-solver++2m", "dpm-solver++3s")
FOUR = ("ddim", "ipndm", "dpm-solver-2", "dpm-solver-3", "deis-3")
FIG3 = Item("fig3", ("fashion",), lambda lab: tasks(lab, PLUS, lab.size.few), result)
FIG4 = Item("fig4", ("fashion",), lambda lab: tasks(lab, FOUR, lab.size.curve), result)
