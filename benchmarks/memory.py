"""Bytes of tensors at the peak, counted exactly, in units of one state of the batch.

    python benchmarks/memory.py

Sampling: every solver, plain and distilled, beside DDIM and the history that its plan reads.  Distillation: against the
teacher's steps C, the number of batches and the number of network evaluations.  The network, 0.5·x, makes one tensor.
"""

import inspect
from itertools import pairwise
from typing import Any

import torch
from live import peak
from records import Records, table
from timing import slope
from torch import Tensor

import dode
from dode.model import Model
from dode.plan import Plan
from dode.sampling import run
from dode.schedule import DiscreteVP, linear_betas
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

SHAPE, BATCH, NFE = (3, 32, 32), 4, 14
SCHEDULE = DiscreteVP.from_betas(linear_betas())
COUNTS, SCALES, BATCHES = (5, 10, 20, 40), (2, 5, 10, 20), (1, 2, 4, 8)


def half(x: Tensor, t: Tensor) -> Tensor:
    return x * 0.5


def history(plan: Plan) -> int:
    """The most tensors that an evaluation must find: older outputs that are read from it on, and a step's start."""
    held = [sum(j <= k <= last for j, last in enumerate(plan.last_reads)) for k in range(plan.nfe)]
    return max(kept + (not fresh) for kept, fresh in zip(held, plan.step_starts, strict=True))


def sampling(model: Model, name: str, distilled: bool) -> dict[str, Any]:
    plan, _ = build(METHODS[name], NFE, SCHEDULE, "noise")
    for k in range(NFE if distilled else 0):
        plan = plan.extrapolate(k, 0.3)
    x_T = model.start(range(BATCH), 0)
    denoise = model.bound(plan.kind, None)
    states = peak(lambda: run(plan, denoise, x_T)) / x_T.nbytes
    return {"kind": plan.kind, "states": round(states, 2), "history": history(plan)}


def by_hand(model: Model) -> float:
    """DDIM as it is written in its paper, on the same nodes."""
    nodes = build(METHODS["ddim"], NFE, SCHEDULE, "noise")[0].nodes
    x_T = model.start(range(BATCH), 0)

    def sampled() -> Tensor:
        x, times = x_T, torch.zeros(BATCH)
        for s, t in pairwise(nodes):
            noise = half(x, times)
            x = t.alpha * ((x - s.sigma * noise) / s.alpha) + t.sigma * noise
        return x

    return round(peak(sampled) / x_T.nbytes, 2)


def distilling(model: Model, nfe: int, scale: int, batches: int, **options: Any) -> float:
    """States at the peak of `dode.distill`."""
    unit = model.start(range(BATCH), 0).nbytes
    made = peak(
        lambda: dode.distill(model, "ddim", nfe=nfe, scale=scale, samples=BATCH * batches, batch=BATCH, **options)
    )
    return round(made / unit, 2)


def ways() -> list[dict[str, Any]]:
    """Where resting states may wait, if distill has the choice."""
    known = "offload" in inspect.signature(dode.distill).parameters
    return [{"offload": where} for where in (None, "cpu", "disk")] if known else [{}]


@torch.no_grad()
def main() -> None:
    model = dode.from_callable(half, schedule=SCHEDULE, prediction="noise", shape=SHAPE)
    records = Records("cost-memory", {"shape": SHAPE, "batch": BATCH, "nfe": NFE})
    records.put("by hand", by_hand(model))
    for name in METHODS:
        for distilled in (False, True):
            records.put(("d-" if distilled else "") + name, sampling(model, name, distilled))
    for options in ways():
        where = f", offload {options['offload']}" if options else ""
        records.put(f"NFE{where}", [distilling(model, n, 10, 2, **options) for n in COUNTS])
        records.put(f"C{where}", [distilling(model, 10, c, 2, **options) for c in SCALES])
        records.put(f"batches{where}", [distilling(model, 10, 10, b, **options) for b in BATCHES])
    write(records)


def write(records: Records) -> None:
    found = records.entries
    plain = {kind: found[name]["states"] for kind, name in (("noise", "ddim"), ("data", "dpm-solver++2m"))}
    plain["data"] -= found["dpm-solver++2m"]["history"]
    lines = [
        [name, one["kind"], str(one["history"]), f"{one['states']:g}", f"{one['states'] - plain[one['kind']]:g}"]
        for name, one in found.items()
        if name.removeprefix("d-") in METHODS
    ]
    heads = ["solver", "outputs", "history that its plan reads", "states at the peak", "more than DDIM in such outputs"]
    text = (
        f"Batches of {BATCH}×{'×'.join(map(str, SHAPE))} float32, NFE {NFE}; x_T itself is not counted. DDIM written "
        f"by hand has {found['by hand']:g} states at its peak.\n\n"
    )
    records.path.with_name("cost-memory-sampling.md").write_text(text + table(heads, lines))
    swept = {"NFE": COUNTS, "C": SCALES, "batches": BATCHES}
    rows = []
    for key, values in found.items():
        name = key.split(",")[0]
        if name in swept:
            sizes = list(swept[name])
            exponent, error = slope(sizes, values)
            pairs = ", ".join(f"{size}: {value:g}" for size, value in zip(sizes, values, strict=True))
            rows.append([key, pairs, f"{exponent:.2f} ± {error:.2f}"])
    text = (
        "States of a batch at the peak of `dode.distill` of D-DDIM; NFE 10, C 10, 2 batches where nothing is said.\n\n"
    )
    heads = ["against", "states", "exponent"]
    records.path.with_name("cost-memory-distillation.md").write_text(text + table(heads, rows))


if __name__ == "__main__":
    main()
