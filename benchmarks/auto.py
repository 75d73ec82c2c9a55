"""`auto` beside the best learning-free solver and the best distilled solver of the paper, on report noise.

    python benchmarks/auto.py fashion
    python benchmarks/auto.py fashion --guidance 3
    python benchmarks/auto.py fashion-edm
    python benchmarks/auto.py fashion-mixture

Learning-free: every solver of the catalogue on every plain grid; the paper: its distilled solvers, 100 samples, C = 10.
The best of each is chosen on select noise, everything is measured on the same report noise, at equal evaluations.
"""

import argparse
import math
import warnings
from typing import Any

import torch
from acceptance import silent
from records import Records, table

import dode
from dode.auto import tuned
from dode.calibration import replace_text
from dode.metrics import reporting
from dode.metrics.comparison import Row, Settings, measure, ratio
from dode.model import Model
from dode.samplers import Sampler
from dode.spending import QUICK, Budget

COUNTS = (4, 5, 6, 8, 10)
GRIDS = ("trailing", "linspace", "karras", "logsnr")
PAPER = ("ddim", "ipndm", "dpm-solver-2", "dpm-solver-3", "dpm-solver++2m", "deis-3", "edm")
NAMES = [name for name in dode.METHODS if name not in ("dpm-solver-1", "pndm")]


def learning_free(model: Model, count: int) -> list[Sampler]:
    """The catalogue on every grid that the model has."""
    found = []
    for name in NAMES:
        for grid in GRIDS:
            try:
                found.append(dode.sampler(model, name, nfe=count, grid=grid))
            except ValueError:  # the grid does not exist here, or is too fine
                continue
    return found


def best(samplers: list[Sampler], exact: torch.Tensor, settings: Settings) -> Sampler:
    """The nearest on select noise."""
    rows = []
    for one in samplers:
        try:
            rows.append((measure(one, exact, settings, None).rms, one))
        except ValueError:  # it leaves the range of numbers
            continue
    return min(rows, key=lambda row: row[0])[1]


def entry(row: Row, one: Sampler, base: Row, extra: dict[str, Any]) -> dict[str, Any]:
    value, error = ratio(row, base)
    said = {"solver": f"{one.name}, {one.provenance.grid}", "rms": row.rms, "rms error": row.rms_error}
    return said | {"median": row.median, "ratio": value, "ratio error": error} | extra


def written(records: Records, model: str, guidance: float, report: int) -> None:
    lines, logs = [], []
    for count in COUNTS:
        for key in ("learning-free", "paper", "quick", "auto"):
            e = records.entries.get(f"{key} {count}")
            if e is None:
                continue
            own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}"]
            own.append(f"{e['ratio']:.3f} ± {e['ratio error']:.3f}")
            lines.append([str(count), key, e["solver"], *own, f"{e['calls']:.1f}" if "calls" in e else ""])
        if f"auto {count}" in records.entries:
            logs.append(math.log(records.entries[f"auto {count}"]["ratio"]))
    heads = ["NFE", "what", "solver", "RMS ±", "median", "RMS / learning-free ±", "cost"]
    head = f"{model}, guidance {guidance:g}: {report} report samples, seed 0; cost: evaluations a sample over 10·NFE."
    mean = f"auto / learning-free, geometric mean: {math.exp(sum(logs) / len(logs)):.3f}\n" if logs else ""
    replace_text(records.path.with_suffix(".md"), f"{head}\n\n{table(heads, lines)}\n{mean}")
    print(mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--paired", type=int, default=100)
    parser.add_argument("--select", type=int, default=32)
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ of the paper's solvers
    model = dode.bundled(arguments.model).guided(arguments.guidance)
    said = {"report": arguments.paired, "select": arguments.select, "seed": 0, "rtol": arguments.rtol}
    records = Records(f"auto-{arguments.model}-{arguments.guidance:g}", said | {"model": model.fingerprint})
    choice = Settings(arguments.select, rtol=arguments.rtol, stream="select")
    settings = Settings(arguments.paired, rtol=arguments.rtol)
    todo = [count for count in COUNTS if f"auto {count}" not in records.entries]
    if todo:
        selected, exact = (reporting.exact(model, one, silent) for one in (choice, settings))
        fitted = dode.distill(model, [f"d-{name}" for name in PAPER], nfe=todo)
    for count in todo:
        free = best(learning_free(model, count), selected, choice)
        base = measure(free, exact, settings, None)
        records.put(f"learning-free {count}", entry(base, free, base, {}))
        paper = best([fitted[f"d-{name}"][count] for name in PAPER], selected, choice)
        records.put(f"paper {count}", entry(measure(paper, exact, settings, None), paper, base, {}))
        for key, budget in (("quick", QUICK), ("auto", Budget())):
            one, found = tuned(model, [count], budget)[count]
            extra = {"calls": found.calls / (10 * count), "start": found.best.name, "path": found.rounds}
            records.put(f"{key} {count}", entry(measure(one, exact, settings, None), one, base, extra))
        written(records, arguments.model, arguments.guidance, arguments.paired)
    written(records, arguments.model, arguments.guidance, arguments.paired)


if __name__ == "__main__":
    main()
