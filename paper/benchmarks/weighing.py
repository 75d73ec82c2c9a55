"""What a grid made for the model is worth to plain solvers, beside the plain grids.

    python paper/benchmarks/weighing.py fashion
    python paper/benchmarks/weighing.py fashion --guidance 3
    python paper/benchmarks/weighing.py fashion-edm
    python paper/benchmarks/weighing.py fashion-mixture

"plain": the solvers that a search tries, on its plain grids; "weighed": the same solvers on the grid of
`dode.search.optimal_grid`; "not weighed": on the one whose steps cost their errors where they are made.  The nearest of
each on 32 validation samples, measured on the same test noise.
"""

import argparse
import math

import numpy as np
import product  # noqa: F401
import torch
from records import Records, table

import dode
from dode.files import replace_text
from dode.metrics.estimates import root_ratio
from dode.plan import Array
from dode.search.initial_candidates import GRIDS, TRIED, Start, Task, kinds, starts, task
from dode.search.levenberg_marquardt import squares, tried
from dode.search.optimal_grid import SAMPLES, costs, evaluations, fine_plan

COUNTS = (4, 5, 6, 8, 10)


def quiet(count: int) -> None:
    """Nobody counts here."""


def found(select: Task, report: Task, some: list[Start]) -> tuple[str, Array]:
    """The nearest on validation noise, with its squared distances on test noise."""
    best = min(some, key=lambda one: tried(one.plan, select.pupils(one.plan.kind), quiet).mean())
    return best.label, squares(best.plan, report.pupils(best.plan.kind), quiet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--paired", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = dode.bundled(arguments.model).guided(arguments.guidance)
    fit, select = task(model, "fit", SAMPLES, 60, 0, quiet), task(model, "validation", 32, 60, 0, quiet)
    report = task(model, "test", arguments.paired, 60 if model.schedule.integer else 100, 0, quiet)
    kind, schedule = kinds(model)[0], model.schedule.continuous()
    pupils = fit.pupils(kind)
    said = {"report": arguments.paired, "select": 32, "seed": 0, "model": model.fingerprint}
    records = Records(f"weighing-{arguments.model}-{arguments.guidance:g}", said)
    for count in COUNTS:
        if f"weighed {count}" in records.entries:
            continue
        fine, every = fine_plan(evaluations(count), schedule, kind), {"plain": starts(model, count, TRIED, GRIDS)}
        for name, weigh in (("not weighed", False), ("weighed", True)):
            grid = costs(pupils, fine, schedule, quiet, weigh).grid(count)
            every[name] = [one for one in starts(model, count, TRIED, (grid,)) if one.grid == grid.name]
        plain = found(select, report, every["plain"])
        for name, some in every.items():
            label, values = plain if name == "plain" else found(select, report, some)
            ratio, error = root_ratio(values, plain[1])
            entry = {"solver": label, "rms": math.sqrt(values.mean()), "median": math.sqrt(float(np.median(values)))}
            records.put(f"{name} {count}", entry | {"ratio": ratio, "ratio error": error})
    lines = []
    for key, e in records.entries.items():
        name, _, number = key.rpartition(" ")
        own = [f"{e['rms']:.4f}", f"{e['median']:.4f}", f"{e['ratio']:.3f} ± {e['ratio error']:.3f}"]
        lines.append([number, name, e["solver"], *own])
    heads = ["NFE", "grid", "solver", "RMS", "median", "RMS / plain ±"]
    head = f"{arguments.model}, guidance {arguments.guidance:g}: {arguments.paired} test samples, seed 0."
    replace_text(records.path.with_suffix(".md"), f"{head}\n\n{table(heads, lines)}")


if __name__ == "__main__":
    main()
