"""`auto` beside the best learning-free solver and the best distilled solver of the paper, on test noise.

    python benchmarks/auto.py fashion
    python benchmarks/auto.py fashion --guidance 3
    python benchmarks/auto.py fashion-edm
    python benchmarks/auto.py fashion-mixture

Learning-free: every solver of the catalogue on every plain grid, and diffusers' own UniPC and DPM-Solver++ multistep;
the paper: its distilled solvers, 100 samples, C = 10.  The best of each is chosen on validation noise, everything is
measured on the same test noise, at equal evaluations.  "whole": auto on whole times, its weights found again, for
networks with discrete time, without guidance; "nearest whole": auto's times rounded, its weights as they were.  Then
the Fréchet distances of the best learning-free solver and of auto, to the training images, on the same noise: --fd
samples.  Seconds are those of the search with its teacher, on one thread of a shared machine.
"""

import argparse
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from acceptance import silent
from records import Records, table
from rivals import rivals

import dode
from dode.files import replace_text
from dode.metrics import evaluation
from dode.metrics.estimates import Row, paired_error, ratio
from dode.metrics.evaluation import Settings, measure
from dode.model import Model
from dode.samplers import Sampler
from dode.search.auto import tuned
from dode.search.budget import QUICK, Budget
from dode.solvers.ddim import DDIM
from dode.tracing import trace

Solver = Any  # a Sampler, or a Rival: what measure asks of one, it has
COUNTS = (4, 5, 6, 8, 10)
NEAR = 30  # evaluations of unipc-2 whose ends stand for the exact ones, for Fréchet distances
GRIDS = ("trailing", "linspace", "karras", "logsnr", "logsnr-trailing")
PAPER = ("ddim", "ipndm", "dpm-solver-2", "dpm-solver-3", "dpm-solver++2m", "deis-3", "edm")
NAMES = [name for name in dode.METHODS if name not in ("dpm-solver-1", "pndm")]


def learning_free(model: Model, count: int) -> list[Solver]:
    """The catalogue on every grid that the model has, and diffusers' own."""
    found: list[Solver] = [*rivals(model, count)]
    for name in NAMES:
        for grid in GRIDS:
            try:
                found.append(dode.sampler(model, name, nfe=count, grid=grid))
            except ValueError:  # the grid does not exist here, or is too fine
                continue
    return found


def best(samplers: Sequence[Solver], exact: torch.Tensor, settings: Settings) -> Solver:
    """The nearest on validation noise."""
    rows = []
    for one in samplers:
        try:
            rows.append((measure(one, exact, settings, None).rms, one))
        except ValueError:  # it leaves the range of numbers
            continue
    return min(rows, key=lambda row: row[0])[1]


def entry(row: Row, one: Solver, base: Row, extra: dict[str, Any]) -> dict[str, Any]:
    value, error = ratio(row, base)
    said = {"solver": f"{one.name}, {one.provenance.grid}", "rms": row.rms, "rms error": row.rms_error}
    return said | {"median": row.median, "ratio": value, "ratio error": error} | extra


def written(records: Records, model: str, guidance: float, report: int) -> None:
    lines, logs = [], []
    for count in COUNTS:
        for key in ("learning-free", "paper", "quick", "auto", "nearest whole", "whole"):
            e = records.entries.get(f"{key} {count}")
            if e is None:
                continue
            own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}"]
            own.append(f"{e['ratio']:.3f} ± {e['ratio error']:.3f}")
            own += [f"{e['calls']:.1f}", f"{e['seconds']:.0f}"] if "calls" in e else ["", ""]
            lines.append([str(count), key, e["solver"], *own])
        if f"auto {count}" in records.entries:
            logs.append(math.log(records.entries[f"auto {count}"]["ratio"]))
    heads = ["NFE", "what", "solver", "RMS ±", "median", "RMS / learning-free ±", "cost", "seconds"]
    head = f"{model}, guidance {guidance:g}: {report} test samples, seed 0; cost: evaluations a sample over 10·NFE."
    mean = f"auto / learning-free, geometric mean: {math.exp(sum(logs) / len(logs)):.3f}\n" if logs else ""
    replace_text(records.path.with_suffix(".md"), f"{head}\n\n{table(heads, lines)}\n{mean}{_frechet(records)}")
    print(mean)


def _frechet(records: Records) -> str:
    """The table of Fréchet distances, with the paired differences that say whether auto is worse."""
    lines = []
    for count in COUNTS:
        if f"fd auto {count}" not in records.entries:
            continue
        free, mine = (records.entries[f"fd {key} {count}"] for key in ("learning-free", "auto"))
        error = paired_error(np.array(mine["parts"]), np.array(free["parts"]))
        own = [f"{e['fd']:.3f} ± {e['fd error']:.3f}" for e in (free, mine)]
        lines.append([str(count), *own, f"{mine['fd'] - free['fd']:+.3f} ± {error:.3f}"])
    if not lines:
        return ""
    five, eight = (records.entries.get(key) for key in ("fd auto 5", "fd learning-free 8"))
    said = f"n = {records.content['settings']['fd']:,}, ± from ten disjoint splits"
    more = ""
    if five and eight:
        error = paired_error(np.array(five["parts"]), np.array(eight["parts"]))
        more = f"\nauto at NFE 5 less learning-free at NFE 8: {five['fd'] - eight['fd']:+.3f} ± {error:.3f}\n"
    if near := records.entries.get("fd near"):
        lines.append(
            [str(NEAR), f"{near['fd']:.3f} ± {near['fd error']:.3f}, unipc-2, near the exact solution", "", ""]
        )
    heads = ["NFE", "FD learning-free ±", "FD auto ±", "difference ±"]
    return f"\nFréchet distance to the training images, {said}:\n\n{table(heads, lines)}{more}"


def nearest_whole(one: Sampler) -> Sampler:
    """The plan with its times rounded and its weights as they are."""
    schedule, old = one.model.schedule, one.plan
    _, *inner, last = old.nodes
    nodes = [schedule.node(float(round(schedule.at(node.logsnr).t))) for node in inner]
    moved = trace(DDIM, (schedule.node(schedule.t_max), *nodes, last), schedule, old.kind)
    return replace(one, plan=replace(moved, mix=old.mix, unnormalized=True))


def frechet_entry(one: Solver, settings: Settings) -> dict[str, Any]:
    """Fréchet distance and those of ten disjoint parts."""
    row = measure(one, None, settings, evaluation.bundled_evaluator())
    fd = row["fd"]
    assert fd.parts is not None
    return {"fd": fd.value, "fd error": fd.error, "parts": [round(float(part), 5) for part in fd.parts]}


def near_exact(model: Model) -> Sampler:
    """What every solver should reach, near enough for a Fréchet distance."""
    where = "karras" if model.guidance == 1 or not model.schedule.integer else "trailing"
    return dode.sampler(model, "unipc-2", nfe=NEAR, grid=where)


def again(model: Model, solver: str, count: int) -> Solver:
    """The learning-free solver of an entry."""
    name, where = solver.split(", ")
    if name.startswith("diffusers"):
        return next(one for one in rivals(model, count, [name]) if one.provenance.grid == where)
    return dode.sampler(model, name, nfe=count, grid=where)


def filled(records: Records, model: Model, plans: Path, choice: Settings, settings: Settings) -> Iterator[int]:
    """Every number of evaluations of which something is missing, once it is measured."""
    rounding = model.schedule.integer and model.guidance == 1
    budgets = {"quick": QUICK, "auto": Budget()} | ({"whole": Budget(whole=True)} if rounding else {})
    missing = {
        count: [key for key in ("paper", *budgets) if f"{key} {count}" not in records.entries] for count in COUNTS
    }
    exact = evaluation.exact_ends(model, settings, silent) if any(missing.values()) else None
    chosen(records, model, [count for count in COUNTS if "paper" in missing[count]], exact, choice, settings)
    kept = {count: dode.load(plans, model, count) for count in COUNTS if f"auto {count}" in records.entries}
    for count in filter(missing.get, COUNTS):
        base = measure(again(model, records.entries[f"learning-free {count}"]["solver"], count), exact, settings, None)
        for key in (key for key in budgets if key in missing[count]):
            began = time.perf_counter()
            one, found = tuned(model, [count], budgets[key])[count]
            extra = {"calls": found.calls / (10 * count), "start": found.best.name, "path": found.rounds}
            extra["seconds"] = time.perf_counter() - began
            if key == "auto":
                kept[count] = one
                dode.samplers.save(plans, *kept.values())
                if rounding and one.name == "auto":
                    near = nearest_whole(one)
                    records.put(f"nearest whole {count}", entry(measure(near, exact, settings, None), near, base, {}))
            records.put(f"{key} {count}", entry(measure(one, exact, settings, None), one, base, extra))
        yield count


def chosen(
    records: Records,
    model: Model,
    todo: Sequence[int],
    exact: torch.Tensor | None,
    choice: Settings,
    settings: Settings,
) -> None:
    """The best learning-free solver and the best of the paper's, chosen on validation noise."""
    if not todo:
        return
    selected = evaluation.exact_ends(model, choice, silent)
    fitted = dode.distill(model, [f"d-{name}" for name in PAPER], nfe=list(todo))
    for count in todo:
        free = best(learning_free(model, count), selected, choice)
        base = measure(free, exact, settings, None)
        records.put(f"learning-free {count}", entry(base, free, base, {}))
        paper = best([fitted[f"d-{name}"][count] for name in PAPER], selected, choice)
        records.put(f"paper {count}", entry(measure(paper, exact, settings, None), paper, base, {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--paired", type=int, default=100)
    parser.add_argument("--select", type=int, default=32)
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--fd", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ of the paper's solvers
    model = dode.bundled(arguments.model).guided(arguments.guidance)
    said = {
        "report": arguments.paired,
        "select": arguments.select,
        "seed": 0,
        "rtol": arguments.rtol,
        "fd": arguments.fd,
    }
    records = Records(f"auto-{arguments.model}-{arguments.guidance:g}", said | {"model": model.fingerprint})
    choice = Settings(arguments.select, rtol=arguments.rtol, stream="validation")
    settings = Settings(arguments.paired, rtol=arguments.rtol)
    plans = Path(f"{records.path.with_suffix('')}-plans.json")
    for _ in filled(records, model, plans, choice, settings):
        written(records, arguments.model, arguments.guidance, arguments.paired)
    judged = replace(settings, paired=0, fd=arguments.fd)
    for count in COUNTS if arguments.fd else ():
        free = again(model, records.entries[f"learning-free {count}"]["solver"], count)
        for key, one in (("learning-free", free), ("auto", dode.load(plans, model, count))):
            if f"fd {key} {count}" not in records.entries:
                records.put(f"fd {key} {count}", frechet_entry(one, judged))
    if arguments.fd and "fd near" not in records.entries:
        records.put("fd near", frechet_entry(near_exact(model), judged))
    written(records, arguments.model, arguments.guidance, arguments.paired)


if __name__ == "__main__":
    main()
