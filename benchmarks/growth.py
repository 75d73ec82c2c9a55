"""How seconds and bytes grow, with evaluations, batch, data and the number of methods; the time to trace 1,000 steps.

    OMP_NUM_THREADS=1 python benchmarks/growth.py

The network is 0.5·x, so that all that is measured is dode's own, beside a few passes over the data.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from live import peak
from records import Records, table
from timing import machine, seconds, slope
from torch import Tensor

import dode
from dode.model import Model
from dode.parameterization import Kind
from dode.schedule import EDM, DiscreteVP, Flow, Schedule, linear_betas
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

VP = DiscreteVP.from_betas(linear_betas())
REPEATS, STEPS = 7, 1000
COUNTS = (5, 10, 25, 50, 100, 250)
BATCHES = (1, 4, 16, 64)
SIZES = (32, 64, 128, 256, 512)
TOGETHER = ("ddim", "ipndm", "dpm-solver++2m", "deis-2", "dpm-solver++3m", "unipc-2", "ipndm-2", "ipndm-3")
TRACED: tuple[tuple[str, Schedule, Kind], ...] = (
    ("ᾱ of 1,000 times", VP, "noise"),
    ("EDM", EDM(), "data"),
    ("flow", Flow(), "flow"),
)


def half(x: Tensor, t: Tensor) -> Tensor:
    return x * 0.5


def of(*shape: int) -> Model:
    return dode.from_callable(half, schedule=VP, prediction="noise", shape=shape)


def cost(work: Callable[[], Any]) -> dict[str, float]:
    """Median processor seconds, and the peak bytes of tensors."""
    work()
    return {"seconds": float(np.median([seconds(work)[1] for _ in range(REPEATS)])), "bytes": peak(work)}


def fixed(model: Model, nfe: int) -> dode.Sampler:
    """D-DDIM with constant λ, which samples like any fitted one."""
    return dode.distill(model, "ddim:formulation=fixed:lam=0.4", nfe=nfe, samples=1)


def distilled(model: Model, methods: list[str], nfe: int, samples: int, calls: list[int]) -> None:
    def count(done: int, total: int) -> None:
        calls[:] = [done]

    dode.distill(model, methods, nfe=nfe, samples=samples, batch=samples, teacher="ddim", progress=count)


def sampling_by(records: Records) -> None:
    model = of(3, 16, 16)
    for n in COUNTS:
        one = fixed(model, n)
        records.put(f"sample|evaluations|{n}", cost(partial(one.sample, 16)))
    one = fixed(of(3, 32, 32), 10)
    for batch in BATCHES:
        x = one.model.start(range(batch), 0)
        records.put(f"sample|batch|{batch}", cost(partial(one.sample, noise=x)))
    for size in SIZES:
        one = fixed(of(4, size, size), 10)
        x = one.model.start(range(2), 0)
        records.put(f"sample|numbers in a sample|{4 * size * size}", cost(partial(one.sample, noise=x)))


def distilling_by(records: Records) -> None:
    calls: list[int] = []
    model = of(3, 16, 16)
    for n in COUNTS[:-1]:  # on whole times there is no teacher of 10·250 steps; 1,000 is the most
        found = cost(partial(distilled, model, ["ddim"], n, 16, calls))
        records.put(f"distill|evaluations|{n}", found | {"calls": calls[0]})
    model = of(3, 32, 32)
    for batch in BATCHES:
        found = cost(partial(distilled, model, ["ddim"], 10, batch, calls))
        records.put(f"distill|batch|{batch}", found | {"calls": calls[0]})
    for size in SIZES:
        model = of(4, size, size)
        found = cost(partial(distilled, model, ["ddim"], 5, 2, calls))
        records.put(f"distill|numbers in a sample|{4 * size * size}", found | {"calls": calls[0]})
    model = of(3, 32, 32)
    for m in (1, 2, 4, 8):
        found = cost(partial(distilled, model, list(TOGETHER[:m]), 10, 16, calls))
        records.put(f"distill|methods at once|{m}", found | {"calls": calls[0]})


def tracing(records: Records) -> None:
    """Seconds to trace as many steps as each method can have on a schedule, up to 1,000."""
    for where, schedule, kind in TRACED:
        found = {}
        for name, method in METHODS.items():
            work = partial(build, method, STEPS, schedule, kind)
            try:
                made = [seconds(work)[1] for _ in range(REPEATS)]
            except ValueError:  # not so many whole times, or not from α = 0
                continue
            found[name] = float(np.median(made))
        records.put(f"trace|{where}", found)


def write(records: Records) -> None:
    sweeps: dict[tuple[str, str], list[tuple[float, dict[str, float]]]] = {}
    for key, one in records.entries.items():
        what, *rest = key.split("|")
        if what != "trace":
            sweeps.setdefault((what, rest[0]), []).append((float(rest[1]), one))
    lines = []
    for (what, against), points in sweeps.items():
        sizes = [size for size, _ in points]
        row = [f"{what}, against {against}", f"{sizes[0]:g} … {sizes[-1]:g}"]
        for unit in ("seconds", "bytes", "calls"):
            values = [one[unit] for _, one in points if unit in one]
            if not values:
                row.append("")
                continue
            exponent, error = slope(sizes, values)
            scale = {"seconds": 1e3, "bytes": 1e-6, "calls": 1}[unit]
            row.append(f"{scale * values[0]:.3g} … {scale * values[-1]:.3g}; {exponent:.2f} ± {error:.2f}")
        lines.append(row)
    heads = ["what", "from … to", "CPU ms; exponent", "MB at the peak; exponent", "network calls; exponent"]
    text = f"D-DDIM, C = 10, float32, one thread; medians of {REPEATS}; exponents fitted to all points in log-log.\n\n"
    records.path.with_suffix(".md").write_text(text + table(heads, lines))
    lines = []
    for where, _, _ in TRACED:
        found = records.entries[f"trace|{where}"]
        slowest = max(found, key=found.__getitem__)
        lines.append([where, str(len(found)), f"{found['ddim']:.3f}", f"{slowest}, {found[slowest]:.3f}"])
    heads = ["schedule", "methods", "ddim, s", "the slowest, s"]
    text = f"Tracing {STEPS:,} evaluations, CPU time, medians of {REPEATS}; the budget is 0.2 s.\n\n"
    records.path.with_name("cost-tracing.md").write_text(text + table(heads, lines))


@torch.no_grad()
def main() -> None:
    records = Records("cost-growth", {"repeats": REPEATS, "steps": STEPS} | machine())
    sampling_by(records)
    distilling_by(records)
    tracing(records)
    write(records)


if __name__ == "__main__":
    main()
