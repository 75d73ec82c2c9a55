"""Table 2: the scale C of the teacher, and the batch |B| that the fit sees.

2a varies the seed of fit and test noise together and pairs every C with C = 10.  2b keeps the test noise and varies
the fit's seed alone, so that its spread is the fit's; the standard errors of λ say the same without sampling.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from dode_paper.reproduce import published_numbers
from dode_paper.reproduce.averages import change, mean, middle, over_fits, ratio, shown, spread
from dode_paper.reproduce.context import Fitting, Lab, Task, cost, fitted, measured, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.result_store import Entries, Entry, table
from dode_paper.reproduce.table1 import over_seeds


def tasks_a(lab: Lab) -> Iterator[Task]:
    for seed in lab.size.seeds:
        for nfe in lab.size.counts:
            once = cost(lab, nfe, lab.size.fd)
            yield Task(f"ddim {nfe} {seed}", once, partial(_base, lab, nfe, seed))
            for scale in lab.size.scales:
                how = Fitting(seed, lab.size.samples_scale, scale)
                yield Task(f"{scale} {nfe} {seed}", once + teaching(lab, nfe, how), partial(_one, lab, nfe, how, seed))


def tasks_b(lab: Lab) -> Iterator[Task]:
    for seed in lab.size.seeds:
        for nfe in lab.size.counts:
            for size in lab.size.batches:
                how = Fitting(seed, size)
                evaluations = cost(lab, nfe, lab.size.fd) + teaching(lab, nfe, how)
                yield Task(f"{size} {nfe} {seed}", evaluations, partial(_one, lab, nfe, how, lab.size.seeds[0]))


def _base(lab: Lab, nfe: int, seed: int) -> Entry:
    return measured(lab, plain(lab, "ddim", nfe), seed, lab.size.fd)


def _one(lab: Lab, nfe: int, how: Fitting, seed: int) -> Entry:
    one = fitted(lab, ["d-ddim"], nfe, how)[0]
    known = {"lambda": one.plan.lambdas.tolist(), "lambda errors": list(one.provenance.errors)}
    return measured(lab, one, seed, lab.size.fd) | known


def _spreads(entries: list[Entry]) -> list[str]:
    return ["" if (s := spread(entries, what)) is None else f"{s:.4f}" for what in ("fd", "rms") if what in entries[0]]


def result_a(lab: Lab, entries: Entries) -> Result:
    usual, lines = _usual(lab), []
    for nfe in lab.size.counts:
        bases = over_seeds(lab, entries, f"{usual} {nfe}")
        for scale in lab.size.scales:
            mine = over_seeds(lab, entries, f"{scale} {nfe}")
            known = (
                published_numbers.with_spread(published_numbers.TABLE2A[scale], published_numbers.SPREAD2A[scale], nfe)
                if scale in published_numbers.TABLE2A
                else ""
            )
            own = [shown(mean(mine, "fd")), shown(change(mine, bases), sign=True)] if "fd" in mine[0] else ["", ""]
            own += [shown(mean(mine, "rms"), 4), f"{middle(mine):.4f}", shown(ratio(mine, bases), 3)]
            lines.append([str(nfe), str(scale), known, *own])
    heads = ["NFE", "C", "paper's FID ± spread", "FD ±", f"FD − C = {usual} ±", "RMS ±", "median"]
    return Result(table([*heads, f"RMS / C = {usual} ±"], lines), _finding_a(lab, entries))


def _usual(lab: Lab) -> int:
    return 10 if 10 in lab.size.scales else lab.size.scales[0]


def _finding_a(lab: Lab, entries: Entries) -> str:
    said = [f"Fitted on {lab.size.samples_scale} samples."]
    for nfe in lab.size.counts:
        found = {c: over_seeds(lab, entries, f"{c} {nfe}") for c in lab.size.scales}
        falls = all(mean(found[b], "rms").value <= mean(found[a], "rms").value for a, b in pairwise(found))
        first, last = lab.size.scales[0], lab.size.scales[-1]
        gain = ratio(found[last], found[first])
        words = "falls with every larger C" if falls else "does not fall with every larger C"
        said.append(
            f"At {nfe} evaluations the distance to the exact solution {words}; C = {last} over C = {first}: "
            f"{shown(gain, 3)}{_judged(found[last], found[first])}."
        )
    return " ".join(said)


def _judged(mine: list[Entry], bases: list[Entry]) -> str:
    return f", Fréchet distance {shown(change(mine, bases), sign=True)}" if "fd" in mine[0] else ""


def result_b(lab: Lab, entries: Entries) -> Result:
    lines = []
    for nfe in lab.size.counts:
        for size in lab.size.batches:
            mine = over_seeds(lab, entries, f"{size} {nfe}")
            known = (
                published_numbers.with_spread(published_numbers.TABLE2B[size], published_numbers.SPREAD2B[size], nfe)
                if size in published_numbers.TABLE2B
                else ""
            )
            one = [over_fits(mine)]
            own = [shown(mean(one, "fd")) if "fd" in one[0] else "", shown(mean(one, "rms"), 4), f"{middle(one):.4f}"]
            far = _spreads(mine) if "fd" in mine[0] else ["", *_spreads(mine)]
            lines.append([str(nfe), str(size), known, *own, *far, f"{_lambda_error(mine):.4f}"])
    heads = ["NFE", "|B|", "paper's FID ± spread", "FD ±", "RMS ±", "median", "spread of FD", "spread of RMS"]
    return Result(
        table([head.replace("|", "∣") for head in heads] + ["mean error of λ"], lines), _finding_b(lab, entries)
    )


def _lambda_error(entries: list[Entry]) -> float:
    """The root mean square of the standard errors of all λ but the first, whose direction is another."""
    return float(np.sqrt(np.mean([np.square(entry["lambda errors"][1:]) for entry in entries])))


def _finding_b(lab: Lab, entries: Entries) -> str:
    first, last, said = lab.size.batches[0], lab.size.batches[-1], []
    for nfe in lab.size.counts:
        found = {size: over_seeds(lab, entries, f"{size} {nfe}") for size in lab.size.batches}
        errors = [_lambda_error(found[size]) for size in found]
        words = "falls" if all(b <= a for a, b in pairwise(errors)) else "does not always fall"
        line = f"At {nfe} evaluations the error of λ {words} with |B|, from {errors[0]:.3f} to {errors[-1]:.3f}; "
        gain = ratio([over_fits(found[last])], [over_fits(found[first])])
        line += f"RMS with |B| = {last} over |B| = {first}: {shown(gain, 3)}"
        few, many = spread(found[first], "rms"), spread(found[last], "rms")
        if few is not None and many is not None:
            line += f"; the spread of RMS over fits goes from {few:.4f} to {many:.4f}"
        said.append(line + ".")
    return " ".join(said)


TABLE2A = Item("table2a", ("fashion",), tasks_a, result_a)
TABLE2B = Item("table2b", ("fashion",), tasks_b, result_b)
