"""Sections 4.3 and 5 of the paper as measurements: what λ does, against constants, momentum and exposure bias.

    python benchmarks/interpretations.py fashion
    python benchmarks/interpretations.py fashion-edm

The λ of D-DDIM along the run; λ = 1 (Permenter & Yuan: gradient-estimation) and other constants beside DDIM and PNDM;
heavy-ball momentum, a step function that is not in the catalogue, over its β; and a fit on the student's own states
beside one on the teacher's.  Constants are compared on *select* noise, everything else on *report* noise.
"""

import argparse
import warnings
from typing import Any

import torch
from acceptance import entry, silent
from catalogue import reference
from records import RESULTS, Records, table

import dode
from dode.calibration import replace_text
from dode.methods import Method, Option
from dode.metrics import reporting
from dode.metrics.comparison import Settings, measure
from dode.model import Model
from dode.samplers import Provenance, Sampler
from dode.schedule import Node
from dode.solvers.budget import build

COUNTS = (5, 10, 20)
BETAS = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)
GAMMAS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.25)
SELECT = 48


def heavy_ball(x: Any, s: Node, t: Node, net: Any, beta: float = 0.0) -> Any:
    """Polyak's momentum: the step follows Σ β^i·d_{k−i}, here divided by the weights' sum so that scales agree."""
    weights = [beta**i for i in range(len(net.past) + 1)]
    total = sum(weights)
    return net.move(x, net(x, s, [weight / total for weight in weights]), s, t)


HEAVY_BALL = Method(
    "heavy-ball", heavy_ball, ("noise",), 1, 1, "Polyak 1964", options={"beta": Option(0.0, least=-0.95, most=0.95)}
)


def sampler(model: Model, method: Method, count: int) -> Sampler:
    plan, made = build(method, count, model.schedule, model.prediction)
    return Sampler(model, plan, Provenance(method.name, False, made.name, options=dict(method.chosen)))


def constants(model: Model, records: Records) -> None:
    """RMS on select noise over β and over γ, for DDIM's step with that history."""
    settings = Settings(SELECT, 0, 0, 128, 3e-4, "select")
    if f"constants {COUNTS[-1]}" in records.entries:
        return
    exact = reporting.exact(model, settings, silent)
    for count in COUNTS:
        found: dict[str, dict[str, float]] = {"beta": {}, "gamma": {}}
        for beta in BETAS:
            row = measure(sampler(model, HEAVY_BALL.configured(beta=beta), count), exact, settings, None)
            found["beta"][f"{beta:g}"] = row.rms
        for gamma in GAMMAS:
            method = dode.METHODS["gradient-estimation"].configured(gamma=gamma)
            found["gamma"][f"{gamma - 1:g}"] = measure(sampler(model, method, count), exact, settings, None).rms
        records.put(f"constants {count}", found)


def exposure(model: Model, records: Records, exact: torch.Tensor) -> None:
    """A sequential fit beside one on the teacher's own states, and λ = 1 and PNDM beside DDIM, on report noise."""
    settings = Settings(len(exact), 0, 0, 128)
    names = ["d-ddim", "d-ddim:states=teacher", "d-dpm-solver-2", "d-dpm-solver-2:states=teacher"]
    if f"d-ddim {COUNTS[-1]}" in records.entries:
        return
    fitted = dode.distill(model, names, nfe=COUNTS)
    for count in COUNTS:
        bases = {
            name: measure(dode.sampler(model, name, nfe=count), exact, settings, None)
            for name in ("ddim", "dpm-solver-2")
        }
        for name, row in bases.items():
            records.put(f"{name} {count}", entry(row, row))
        plain = ["gradient-estimation", *(["pndm"] if count >= 13 else [])]
        for name in plain:
            row = measure(dode.sampler(model, name, nfe=count), exact, settings, None)
            records.put(f"{name} {count}", entry(row, bases["ddim"]))
        for name in names:
            base = bases[name.removeprefix("d-").split(":")[0]]
            one = fitted[name][count]
            said: dict[str, object] = dict(entry(measure(one, exact, settings, None), base))
            said |= {"lambda": one.plan.lambdas.tolist(), "errors": one.provenance.errors}
            said |= {"t": [node.t for node in one.plan.nodes[:-1]]}
            records.put(f"{name} {count}", said)


def written(records: Records, name: str, report: int) -> None:
    """Three tables: λ along the run, constants, exposure."""
    known, text = records.entries, f"{name}: seed 0.\n\n"
    lines = [[str(count), "  ".join(f"{lam:+.2f}" for lam in known[f"d-ddim {count}"]["lambda"])] for count in COUNTS]
    text += (
        "λ of D-DDIM from the first evaluation (noisiest) to the last; above 0 extrapolates, below 0 interpolates.\n\n"
    )
    text += table(["NFE", "λ"], lines)
    text += f"\nConstants, RMS on {SELECT} select samples: heavy-ball momentum β, and one λ (1: Permenter & Yuan).\n\n"
    heads = ["NFE", *(f"β = {beta:g}" for beta in BETAS), *(f"λ = {gamma - 1:g}" for gamma in GAMMAS)]
    rows = [known[f"constants {count}"] for count in COUNTS]
    text += table(
        heads,
        [
            [
                str(count),
                *(f"{row['beta'][f'{b:g}']:.4f}" for b in BETAS),
                *(f"{row['gamma'][f'{g - 1:g}']:.4f}" for g in GAMMAS),
            ]
            for count, row in zip(COUNTS, rows, strict=True)
        ],
    )
    text += f"\nλ = 1 and PNDM beside DDIM, and the states that the fit evaluates; {report} report samples.\n\n"
    lines = []
    for key, e in known.items():
        if not key.startswith("constants"):
            solver, count_ = key.split()
            ratio = f"{e['ratio']:.3f} ± {e['ratio error']:.3f}"
            lines.append([solver, count_, f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}", ratio])
    text += table(["solver", "NFE", "RMS ±", "median", "RMS / plain ±"], lines)
    replace_text(RESULTS / f"interpretations-{name}.md", text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--paired", type=int, default=128)
    parser.add_argument("--rtol", type=float, default=1.5e-4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)
    model = dode.bundled(arguments.model)
    said = {"report": arguments.paired, "seed": 0, "rtol": arguments.rtol, "select": SELECT, "model": model.fingerprint}
    records = Records(f"interpretations-{arguments.model}", said)
    exact = reference(model, arguments.model, Settings(arguments.paired, 0, 0, 128, arguments.rtol))
    constants(model, records)
    exposure(model, records, exact)
    written(records, arguments.model, arguments.paired)


if __name__ == "__main__":
    main()
