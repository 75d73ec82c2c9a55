"""What each kind of number is worth in an end-point refinement: weights, times, a scale, what the network is told.

    python paper/benchmarks/refinement.py fashion
    python paper/benchmarks/refinement.py fashion-edm
    python paper/benchmarks/refinement.py fashion-mixture

From one start each (the nearest of the learning-free solvers), 32 samples, 12 rounds at most, the round with the least
error on 32 validation samples; RMS on test noise.
"""

import argparse
import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import product  # noqa: F401
import torch
from records import Records, table
from rivals import BLENDS

import dode
from dode.distillation.formulations import two
from dode.files import replace_text
from dode.plan import Array, Plan
from dode.search.initial_candidates import Task, starts, task
from dode.search.levenberg_marquardt import begun, rounds, squares
from dode.search.parametrization import Family, history, weighted

COUNTS = (4, 5, 8)


def quiet(count: int) -> None:
    """Nobody counts here."""


def third(plan: Plan, k: int) -> Array:
    """`history` with one output more."""
    rows = history(plan, k)
    if k < 3:
        return rows
    extra = np.zeros((1, 1 + plan.nfe))
    extra[0, 1 + k], extra[0, k - 2] = 1, -1
    return np.concatenate([rows, extra])


VARIANTS: dict[str, tuple[Callable[[Plan, int], Array], bool, bool]] = {
    "weights of two differences": (two, False, False),
    "and times": (two, True, False),
    "and a scale": (history, True, False),
    "and what the network is told": (history, True, True),
    "told, without a scale": (two, True, True),
    "all, and a third difference": (third, True, True),
}


def value(plan: Plan, some: Task) -> tuple[float, float]:
    """RMS and median."""
    found = squares(plan, some.pupils(plan.kind), quiet)
    return math.sqrt(found.mean()), math.sqrt(float(np.median(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--paired", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = dode.bundled(arguments.model)
    fit, select = (task(model, stream, 32, 60, 0, quiet) for stream in ("fit", "validation"))
    report = task(model, "test", arguments.paired, 100 if not model.schedule.integer else 60, 0, quiet)
    said = {"report": arguments.paired, "samples": 32, "select": 32, "seed": 0, "model": model.fingerprint}
    records = Records(f"refinement-{arguments.model}", said)
    for count in COUNTS:
        looked = [(value(one.plan, select)[0], one.label, one.plan) for one in starts(model, count, BLENDS)]
        looked.sort(key=lambda one: one[0])
        _, label, plan = looked[0]
        base = value(plan, report)
        for name, (directions, times, told) in VARIANTS.items():
            if f"{name} {count}" in records.entries:
                continue
            family = Family(weighted(plan), model.schedule.continuous(), directions, told, times)
            pupils, judges = fit.pupils(plan.kind), select.pupils(plan.kind)
            path = [begun(family, pupils, quiet)]
            path += islice(rounds(family, path[0], pupils, [pupils], quiet), 12)
            best = min(path, key=lambda one: squares(family.plan(one.numbers), judges, quiet).mean())
            rms, median = value(family.plan(best.numbers), report)
            entry = {"start": label, "base": base[0], "fit": best.rms, "rms": rms, "median": median}
            records.put(f"{name} {count}", entry | {"numbers": len(best.numbers), "rounds": len(path) - 1})
    lines: list[list[str]] = []
    for key, e in records.entries.items():
        name, _, evaluations = key.rpartition(" ")
        own = [f"{e['fit']:.4f}", f"{e['rms']:.4f}", f"{e['median']:.4f}", f"{e['rms'] / e['base']:.3f}"]
        lines.append([evaluations, name, str(e["numbers"]), *own])
    heads = ["NFE", "what moves", "numbers", "RMS on fit", "RMS", "median", "RMS / start"]
    head = f"{arguments.model}: {arguments.paired} test samples, seed 0, from the nearest learning-free start."
    replace_text(records.path.with_suffix(".md"), f"{head}\n\n{table(heads, lines)}")


if __name__ == "__main__":
    main()
