"""Figure 2a: quality over evaluations beside network distillation, with what each sampler took to make."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dode.samplers import Sampler
from dode_paper.reproduce.averages import Figure as Number
from dode_paper.reproduce.averages import change, joined, listed, mean, middle, shown, side
from dode_paper.reproduce.context import (
    Fitting,
    Lab,
    Task,
    cost,
    fitted,
    found_by_auto,
    measured,
    plain,
    searching,
    teaching,
)
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.fig3_fig4 import Curves, figure
from dode_paper.reproduce.network_students import short, taught
from dode_paper.reproduce.result_store import Entries, Entry, table

FEW = (1, 2, 3, 4)  # evaluations that students are trained for
MOST_AUTO = 10  # evaluations up to which auto is meant
FINE, MANY = "dpm-solver++2m", 25  # near the exact solution
PLAIN, FITTED = ("ddim", "edm"), ("d-ddim", "d-edm")
HEADS = [
    "sampler",
    "NFE",
    "FD ±",
    "FD: n a seed",
    "class agreement, % ±",
    "RMS ±",
    "median",
    "network calls",
    "processor seconds",
]


def counts(lab: Lab) -> tuple[int, ...]:
    """Evaluations on the way."""
    return tuple(sorted({*FEW, *lab.size.few}))


def tasks(lab: Lab) -> Iterator[Task]:
    for seed in lab.size.seeds:
        for nfe in counts(lab):
            yield from _of_solvers(lab, nfe, seed)
        yield _task(lab, FINE, MANY, seed, 0, lambda: plain(lab, FINE, MANY))
        for key, student in taught(lab).items():
            yield _task(lab, key, student.nfe, seed, 0, partial(getattr, student, "sampler"))


def _of_solvers(lab: Lab, nfe: int, seed: int) -> Iterator[Task]:
    how, first = Fitting(seed, lab.size.samples), seed == lab.size.seeds[0]
    for name in PLAIN:
        yield _task(lab, name, nfe, seed, 0, partial(plain, lab, name, nfe))
    for name in FITTED if nfe > 1 else ():  # one evaluation has no earlier output to look back at
        yield _task(lab, name, nfe, seed, teaching(lab, nfe, how), partial(_fitted, lab, name, nfe, how))
    if 1 < nfe <= MOST_AUTO:
        yield _task(lab, "auto", nfe, seed, searching(lab, nfe) * first, partial(found_by_auto, lab, nfe))


def _fitted(lab: Lab, name: str, nfe: int, how: Fitting) -> Sampler:
    return fitted(lab, [name], nfe, how)[0]


def _task(lab: Lab, name: str, nfe: int, seed: int, making: int, make: Callable[[], Sampler]) -> Task:
    evaluations = making + cost(lab, nfe, lab.size.fd)
    return Task(f"{name} {nfe} {seed}", evaluations, partial(_entry, lab, name, seed, make))


def _entry(lab: Lab, name: str, seed: int, make: Callable[[], Sampler]) -> Entry:
    began = time.process_time()
    one = make()
    seconds = time.process_time() - began
    metrics = ("rms", "fd", "agreement") if lab.model.labels and lab.judge else ("rms", "fd")
    entry = measured(lab, one, seed, lab.size.fd, metrics=metrics)
    if one.stochastic:  # what adds noise on its way has no distance to an exact solution
        entry = {key: value for key, value in entry.items() if key not in ("rms", "rms error", "median")}
    student = taught(lab).get(name)
    spent = (calls(one), seconds) if student is None else (student.calls, student.seconds)
    return entry | {"calls": spent[0], "seconds": spent[1] if spent[0] else 0.0}


def calls(one: Sampler) -> int:
    """Evaluations that a solver took to make: its teacher's and its own; of auto, all that the search counted."""
    made = one.provenance
    if not made.samples:
        return 0
    if "evaluations a sample" in made.report:
        searched: float = made.report["evaluations a sample"]
        return round(made.samples * searched)
    return int(made.samples * ((made.teacher_nfe or 0) + one.nfe))


def result(lab: Lab, entries: Entries) -> Result:
    found: Curves = {}
    for task in tasks(lab):  # the file may have entries of students that were trained anew since
        name, nfe, _ = task.key.split()
        found.setdefault(short(name), {}).setdefault(int(nfe), []).append(entries[task.key])
    rows = sorted((nfe, name, row) for name, mine in found.items() for nfe, row in mine.items())
    return Result(table(HEADS, [_line(*each) for each in rows]), _finding(found), figure(found))


def _line(nfe: int, name: str, row: Sequence[Entry]) -> list[str]:
    fd = shown(mean(row, "fd")) if "fd" in row[0] else ""
    agreed = [Number(100 * e["agreement"], 100 * e["agreement error"]) for e in row if "agreement" in e]
    near = [shown(mean(row, "rms"), 3), f"{middle(row):.3f}"] if "rms" in row[0] else ["–", "–"]
    spent = [f"{max(e['calls'] for e in row):,}", f"{max(e['seconds'] for e in row):,.0f}"]
    size = str(row[0]["fd n"]) if fd else ""
    return [name, str(nfe), fd, size, shown(joined(agreed), 1) if agreed else "–", *near, *spent]


def _finding(found: Curves) -> str:
    judged = {nfe for mine in found.values() for nfe, row in mine.items() if "fd" in row[0]}
    what, word = ("fd", "FD") if judged else ("rms", "RMS")
    places = sorted({nfe for mine in found.values() for nfe in mine} - {MANY})
    best = {nfe: min(_having(found, nfe, what), key=lambda name: mean(found[name][nfe], what).value) for nfe in places}
    said = [f"The lowest {word} has " + listed([f"{name} at {nfe}" for nfe, name in best.items()]) + "."]
    for name in [name for name in found if judged and name in ("pd", "cd", "auto")]:
        sides = {nfe: side(change(row, _beside(found, nfe))) for nfe, row in found[name].items() if nfe in judged}
        lower, higher = ([str(nfe) for nfe, s in sides.items() if s == sign] for sign in (-1, 1))
        said.append(f"{name}'s FD is clearly below D-DDIM's at {listed(lower)}, above at {listed(higher)}.")
    return " ".join(said)


def _having(found: Curves, nfe: int, what: str) -> list[str]:
    return [name for name, mine in found.items() if nfe in mine and what in mine[nfe][0]]


def _beside(found: Curves, nfe: int) -> list[Entry]:
    """D-DDIM, which at one evaluation is DDIM."""
    return found["d-ddim"].get(nfe) or found["ddim"][nfe]


ITEM = Item("fig2a", ("fashion-edm",), tasks, result)
