"""`auto` beside the same numbers trained by gradients through the sampler: what forward passes alone give up.

    python paper/benchmarks/gradients.py fashion --nfe 5
    python paper/benchmarks/gradients.py fashion --guidance 3 --nfe 5,8

The reference is of the family of LD3 (Tong et al. 2024), S4S (Frankel et al. 2025) and GS (Starodubcev et al. 2025),
from their descriptions: Adam (Kingma & Ba 2015) on the squared distance of the samples' ends to the teacher's, by
backpropagation through the network and the sampler.  It has what auto has: the same 64 samples with their ends, the
same 32 to stop and to choose on, the same numbers (`levenberg_marquardt.Family`: weights, scales, times, what the
network is told), and begins with the learning-free solver that is nearest on validation noise.  Three learning rates,
batches of 16, each rate until its select error has not fallen for a fifth of its iterations.

Calls are evaluations of one sample, a backward pass counts two; the teacher's are in both.  Memory is the peak of the
process less what loading took, both with 16 samples a call.  Each runs in a process of its own, with one thread.
"""

import argparse
import math
import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import product  # noqa: F401
import torch
from records import Records, table
from rivals import BLENDS
from torch import Tensor

import dode
from dode.conditioning import joined
from dode.denoisers import Network, classifier_free
from dode.files import replace_text
from dode.metrics import evaluation
from dode.metrics.evaluation import Settings
from dode.model import Model
from dode.parameterization import convert
from dode.plan import Array, Plan
from dode.search.auto import tuned
from dode.search.budget import Budget
from dode.search.initial_candidates import Task, nearest, starts, task
from dode.search.levenberg_marquardt import squares
from dode.search.parametrization import Family, history, weighted

RATES, BATCH, LOOK = (3e-3, 1e-2, 3e-2), 16, 10  # LOOK: iterations between two looks at the select error
LEAST, MOST = 100, 1000  # iterations
SMALL = 1e-6  # step of the differences of a plan's coefficients, which take no network


@dataclass
class Spent:
    """Evaluations of one sample."""

    calls: int = 0

    def __call__(self, count: int) -> None:
        self.calls += count


def coefficients(family: Family, numbers: Array, prediction: dode.parameterization.Kind) -> Array:
    """All that a run multiplies with: for each evaluation t, how outputs are converted, start and row: (N, N + 5)."""
    plan = family.plan(numbers)
    found = np.zeros((plan.nfe, plan.nfe + 5))
    for k, node in enumerate(plan.nodes[:-1]):
        one, none = (
            torch.ones(1).double(),
            torch.zeros(1).double(),
        )  # an output of the plan's kind is so much of the state and of the network's
        state, output = (convert(*given, prediction, plan.kind, node) for given in ((one, none), (none, one)))
        found[k, :4] = node.t, state[0], output[0], plan.start[k]
        found[k, 4:] = plan.table[k]
    return found


def slopes(family: Family, numbers: Array, prediction: dode.parameterization.Kind) -> Array:
    """Derivatives of the coefficients: (P, N, N + 5)."""
    steps = SMALL * np.eye(len(numbers))
    ways = [[coefficients(family, numbers + sign * one, prediction) for sign in (1, -1)] for one in steps]
    return np.array([(up - down) / (2 * SMALL) for up, down in ways])


def run(plan: Plan, c: Tensor, model: Model, x_T: Tensor, cond: Any) -> Tensor:
    """The plan's end with coefficients that gradients flow through."""
    network = guided_network(model)
    y, seen = x_T, [x_T / plan.nodes[0].sigma]
    for row in c:
        output = network(y, row[0].expand(len(y)), cond) if learnt(model) else timed(network, y, row[0], cond)
        seen.append(row[1] * y + row[2] * output)
        y = row[3] * y + sum((w * d for w, d in zip(row[4:], seen, strict=False)), torch.zeros_like(y))
    return y


def guided_network(model: Model) -> Network:
    """The model's network under its guidance, as gradients in t need it: called with times, not with nodes."""
    network, scale, known = model.network, model.guidance, model.conditioning
    if scale in (None, 1):
        return network
    assert scale is not None
    assert known is not None
    assert known.null is not None
    null = known.null

    def guided(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        both = joined(cond, model.conditions(range(len(x)), null(range(len(x)))))
        return classifier_free(network(torch.cat([x, x]), torch.cat([t, t]), both), scale)

    return guided


def learnt(model: Model) -> bool:
    """Is the network a module, which gradients in t flow through? The exact mixture takes its t as numbers."""
    return isinstance(getattr(model.network, "fn", model.network), torch.nn.Module)


def timed(network: Network, y: Tensor, t: Tensor, cond: Any) -> Tensor:
    """The output with its slope in t from a difference: two more calls."""
    output = network(y, t.detach().expand(len(y)), cond)
    with torch.no_grad():
        step = 1e-3 * float(t)
        slope = (network(y, (t + step).expand(len(y)), cond) - network(y, (t - step).expand(len(y)), cond)) / (2 * step)
    return output + slope * (t - t.detach())


def trained(
    family: Family, fit: Task, select: Task, rate: float, spent: Callable[[int], None]
) -> tuple[Array, float, int]:
    """The numbers with the least select error, that error (mean square), and the iterations it took to stop."""
    prediction, n = fit.model.prediction, family.base.nfe
    numbers = torch.zeros(len(family.acts()), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([numbers], rate)
    order = torch.Generator().manual_seed(0)
    best, at, judges = (numbers.detach().numpy().copy(), math.inf), 0, select.pupils(family.base.kind)
    for i in range(MOST + 1):
        now = numbers.detach().numpy().copy()
        if i % LOOK == 0:
            value = float(squares(family.plan(now), judges, spent).mean())
            best, at = ((now, value), i) if value < best[1] else (best, at)
            if i >= LEAST and i - at > i / 5:
                break
        chosen = torch.randperm(len(fit.x_T), generator=order)[:BATCH]
        cond = None if fit.cond is None else fit.cond[chosen]
        c = torch.tensor(coefficients(family, now, prediction), dtype=torch.float32, requires_grad=True)
        loss = (run(family.base, c, fit.model, fit.x_T[chosen], cond) - fit.end[chosen]).square().mean()
        loss.backward()
        spent((3 if learnt(fit.model) else 5) * BATCH * n)
        assert c.grad is not None
        numbers.grad = torch.tensor(np.einsum("pij,ij->p", slopes(family, now, prediction), c.grad.double().numpy()))
        adam.step()
    return best[0], best[1], i


def peak() -> float:
    """The most memory that this process had since `forget`, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def forget() -> float:
    """Begin to look for a peak; what is in use now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def opened(name: str, guidance: float) -> Model:
    torch.set_num_threads(1)
    model = dode.bundled(name).guided(guidance)
    network = getattr(model.network, "fn", model.network)
    if isinstance(network, torch.nn.Module):
        network.requires_grad_(False)
    model.bound(model.prediction, model.conditions(range(2)))(
        model.start(range(2), 0, "fit"), model.schedule.node(model.schedule.t_max)
    )
    return model


def report(plan: Plan, name: str, guidance: float, ends: Tensor) -> dict[str, float]:
    """Distances to the exact ends (samples, *shape) of test noise."""
    model, count = dode.bundled(name).guided(guidance), len(ends)
    exact = Task(model, model.start(range(count), 0, "test"), ends, model.conditions(range(count)), 0)
    found = squares(plan, exact.pupils(plan.kind), Spent())
    error = found.std(ddof=1) / math.sqrt(len(found)) / (2 * math.sqrt(found.mean()))
    return {"rms": math.sqrt(found.mean()), "rms error": float(error), "median": math.sqrt(float(np.median(found)))}


def by_gradients(name: str, guidance: float, nfe: int, rate: float, ends: Tensor) -> dict[str, Any]:
    """The reference with one learning rate, in a process of its own."""
    model, began, before, spent = opened(name, guidance), time.perf_counter(), forget(), Spent()
    budget = Budget()
    fit = task(model, "fit", budget.samples, budget.teacher, 0, spent, batch=BATCH)
    select = task(model, "validation", budget.select, budget.teacher, 0, spent, batch=BATCH)
    looked = nearest(
        starts(model, nfe, (*BLENDS, "gradient-estimation")), select, budget.select, BATCH, spent, lambda: True
    )
    label, plan = looked[0].label, looked[0].plan
    family = Family(weighted(plan), model.schedule.continuous(), history, told=True)
    numbers, value, iterations = trained(family, fit, select, rate, spent)
    seconds, memory = time.perf_counter() - began, peak() - before
    said = {"start": label, "select": math.sqrt(value), "iterations": iterations, "calls": spent.calls}
    said |= {"seconds": seconds, "memory": memory}
    return said | report(family.plan(numbers), name, guidance, ends)


def by_auto(name: str, guidance: float, nfe: int, rate: float, ends: Tensor) -> dict[str, Any]:
    """auto with batches of the same size, in a process of its own."""
    model, began, before = opened(name, guidance), time.perf_counter(), forget()
    budget = replace(Budget(), batch=BATCH)
    one, found = tuned(model, [nfe], budget)[nfe]
    seconds, memory = time.perf_counter() - began, peak() - before
    said = {"start": found.best.name, "select": found.best.select, "calls": round(found.calls * budget.samples)}
    said |= {"seconds": seconds, "memory": memory}
    return said | report(one.plan, name, guidance, ends)


def written(records: Records, title: str) -> None:
    """The table: auto, each rate, and the rate that is best on validation noise beside it."""
    lines = []
    for nfe in sorted({int(key.split()[-1]) for key in records.entries}):
        if f"auto {nfe}" not in records.entries:
            continue
        base = records.entries[f"auto {nfe}"]
        rates = {r: records.entries[f"rate {r:g} {nfe}"] for r in RATES if f"rate {r:g} {nfe}" in records.entries}
        for what, e in [("auto", base), *((f"Adam, rate {rate:g}", e) for rate, e in rates.items())]:
            own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}", f"{e['select']:.4f}"]
            own += [str(e.get("iterations", "")), f"{e['calls']:,}", f"{e['memory']:.0f}"]
            lines.append([str(nfe), what, *own, f"{e['seconds'] / base['seconds']:.1f}"])
        if len(rates) == len(RATES):
            best, calls = min(rates.values(), key=lambda e: e["select"]), sum(e["calls"] for e in rates.values())
            own = [f"{base['rms'] / best['rms']:.3f}", f"{base['median'] / best['median']:.3f}"]
            own += [f"{base['select'] / best['select']:.3f}", "", f"{base['calls'] / calls:.3f}"]
            memory = max(e["memory"] for e in rates.values())
            lines.append([str(nfe), "auto / best rate, all rates paid", *own, f"{base['memory'] / memory:.3f}", ""])
    heads = [
        "NFE",
        "what",
        "RMS ±",
        "median",
        "validation RMS",
        "iterations",
        "calls",
        "memory, MB",
        "seconds / auto's",
    ]
    replace_text(records.path.with_suffix(".md"), f"{title}\n\n{table(heads, lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--nfe", default="4,5,6,8,10")
    parser.add_argument("--report", type=int, default=100)
    arguments = parser.parse_args()
    said = {"report": arguments.report, "seed": 0, "guidance": arguments.guidance, "batch": BATCH}
    records = Records(f"gradients-{arguments.model}-{arguments.guidance:g}", said)
    title = f"{arguments.model}, guidance {arguments.guidance:g}: {arguments.report} test samples, seed 0, one thread."
    settings = Settings(arguments.report, rtol=1e-3)
    ends = evaluation.exact_ends(
        dode.bundled(arguments.model).guided(arguments.guidance), settings, lambda done, total: None
    )
    apart = multiprocessing.get_context("spawn")
    for nfe in (int(part) for part in arguments.nfe.split(",")):
        jobs = [(f"auto {nfe}", by_auto, 0.0), *((f"rate {rate:g} {nfe}", by_gradients, rate) for rate in RATES)]
        for key, work, rate in jobs:
            if key in records.entries:
                continue
            with apart.Pool(1) as pool:
                given = (arguments.model, arguments.guidance, nfe, rate, ends)
                records.put(key, pool.apply(work, given))
            written(records, title)


if __name__ == "__main__":
    main()
