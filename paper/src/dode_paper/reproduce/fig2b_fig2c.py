"""Figures 2b and 2c: one constant λ for all evaluations, searched as the paper does, by Fréchet distance (FID there).

The search sees validation noise alone; what is found is then measured on test noise.  Without a Fréchet distance (other
models than the bundled) it minimises the distance to the exact solution.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dode.distillation.formulations import formulation
from dode_paper.reproduce import drawing, published_numbers
from dode_paper.reproduce.averages import Figure, mean, ratio, shown, word
from dode_paper.reproduce.averages import change as difference
from dode_paper.reproduce.context import Fitting, Lab, Task, constant, cost, fitted, measured, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.result_store import Entries, Entry, table
from dode_paper.reproduce.table1 import over_seeds

SHOWN = {"la": "LA-DDIM", "fixed": "Fixed-D-DDIM"}


def trials(lab: Lab, form: str) -> list[float]:
    """The constants that are tried, and the paper's own."""
    usual = formulation(form).trials
    spaced = np.linspace(usual[0], usual[-1], lab.size.fine).round(3).tolist()
    return sorted({*spaced, published_numbers.LAM[form]})


def count(lab: Lab) -> int:
    """The paper searches at 10 evaluations."""
    return lab.size.counts[0]


def tried(lab: Lab, form: str, lam: float) -> Entry:
    """One constant on validation noise."""
    return measured(lab, constant(lab, form, lam, count(lab)), lab.size.seeds[0], lab.size.search, "validation")


def searched(lab: Lab, form: str) -> Entry:
    """The whole search: every constant's Fréchet distance and RMS, and the best by each."""
    found: dict[float, Entry] = {lam: tried(lab, form, lam) for lam in trials(lab, form)}
    best: dict[str, Any] = {
        what: min(found, key=lambda lam: found[lam][what])
        for what in ("fd", "rms")
        if what in next(iter(found.values()))
    }
    return {"minimises": next(iter(best)), "lambda": best[next(iter(best))], "lambda by rms": best["rms"]}


def search_cost(lab: Lab, form: str) -> int:
    return len(trials(lab, form)) * cost(lab, count(lab), lab.size.search)


def tasks(lab: Lab, form: str) -> Iterator[Task]:
    nfe, first = count(lab), lab.size.seeds[0]
    once = cost(lab, nfe, lab.size.search)
    for lam in trials(lab, form):
        yield Task(f"select {lam:g}", once, partial(tried, lab, form, lam))
    how = Fitting(first, lab.size.samples)
    ddim = partial(measured, lab, plain(lab, "ddim", nfe), first, lab.size.search, "validation")
    yield Task("select ddim", once, ddim)
    yield Task(
        "select d-ddim", once + teaching(lab, nfe, how), partial(_distilled, lab, how, lab.size.search, "validation")
    )
    yield Task("best", 0, partial(searched, lab, form))
    for seed in lab.size.seeds:
        once, how = cost(lab, nfe, lab.size.fd), Fitting(seed, lab.size.samples)
        yield Task(f"ddim {seed}", once, partial(_plain, lab, seed))
        yield Task(f"d-ddim {seed}", once + teaching(lab, nfe, how), partial(_distilled, lab, how, lab.size.fd, "test"))
        yield Task(f"found {seed}", once, partial(_found, lab, form, seed))


def _plain(lab: Lab, seed: int) -> Entry:
    return measured(lab, plain(lab, "ddim", count(lab)), seed, lab.size.fd)


def _distilled(lab: Lab, how: Fitting, fd: int, stream: str) -> Entry:
    return measured(lab, fitted(lab, ["d-ddim"], count(lab), how)[0], how.seed, fd, stream)


def _found(lab: Lab, form: str, seed: int) -> Entry:
    return measured(lab, constant(lab, form, searched(lab, form)["lambda"], count(lab)), seed, lab.size.fd)


def result(lab: Lab, entries: Entries, form: str) -> Result:
    known = {lam: entries[f"select {lam:g}"] for lam in trials(lab, form)}
    measures = [what for what in ("fd", "rms") if what in entries["select ddim"]]
    lines = [
        [f"{lam:g}", *(shown(mean([e], what), 4 if what == "rms" else 2) for what in measures)]
        for lam, e in known.items()
    ]
    for name in ("ddim", "d-ddim"):
        lines.append(
            [name, *(shown(mean([entries[f"select {name}"]], what), 4 if what == "rms" else 2) for what in measures)]
        )
    heads = ["λ, or solver", *(f"{NAMES[what]} on validation noise ±" for what in measures)]
    return Result(table(heads, lines), _finding(lab, entries, form), _figure(known, entries, form, measures))


NAMES = {"fd": "FD", "rms": "RMS"}


def _figure(known: dict[float, Entry], entries: Entries, form: str, measures: list[str]) -> Any:
    figure, axes = drawing.panels(len(measures))
    for one, what in zip(axes, measures, strict=True):
        drawing.line(one, list(known), [mean([e], what) for e in known.values()], SHOWN[form], "o-", 0)
        for i, name in enumerate(("ddim", "d-ddim")):
            one.axhline(entries[f"select {name}"][what], ls=":", color=drawing.COLOURS[1 + i], label=name.upper())
        drawing.finish(one, "λ", f"{NAMES[what]} on validation noise", SHOWN[form])
    return figure


def _finding(lab: Lab, entries: Entries, form: str) -> str:
    best, lists = entries["best"], {name: over_seeds(lab, entries, name) for name in ("ddim", "d-ddim", "found")}
    text = f"At {count(lab)} evaluations the search (by {NAMES[best['minimises']]}, validation noise) takes λ = "
    text += f"{best['lambda']:g} for {SHOWN[form]}, by distance alone it would take {best['lambda by rms']:g}. "
    gap = ratio(lists["found"], lists["d-ddim"])
    text += f"On test noise its distance is {word(gap, 1)} D-DDIM's ({shown(gap, 3)} of it)"
    if "fd" in lists["found"][0]:
        change: Figure = difference(lists["found"], lists["d-ddim"])
        text += f" and its Fréchet distance is {word(change)} D-DDIM's ({shown(change, sign=True)})"
    reached = {"la": "it cannot match D-DDIM", "fixed": "it reaches D-DDIM"}[form]
    return f"{text}; the paper says that with enough search {reached}."


FIG2B = Item("fig2b", ("fashion",), lambda lab: tasks(lab, "la"), lambda lab, entries: result(lab, entries, "la"))
FIG2C = Item("fig2c", ("fashion",), lambda lab: tasks(lab, "fixed"), lambda lab, entries: result(lab, entries, "fixed"))
