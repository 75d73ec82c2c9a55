"""Sections 4.3 and 5: the λ of a run, other constants and momentum, and exposure bias.

λ = 1 (Permenter & Yuan: gradient-estimation) and PNDM beside DDIM; heavy-ball momentum, a step function that is not in
the catalogue, over its β on validation noise; a fit on the student's own states beside one on the teacher's.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dode.method import Method, Option
from dode.samplers import Provenance, Sampler
from dode.schedule import Node
from dode.solvers.step_allocation import build
from dode_paper.reproduce import drawing
from dode_paper.reproduce.averages import cells, listed, mean, ratio, shown, word
from dode_paper.reproduce.context import Fitting, Lab, Task, cost, fitted, measured, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.result_store import Entries, Entry, table
from dode_paper.reproduce.table1 import over_seeds

BETAS = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)
PNDM_LEAST = 13
BASES = ("ddim", "dpm-solver-2")


def heavy_ball(x: Any, s: Node, t: Node, net: Any, beta: float = 0.0) -> Any:
    """Polyak's momentum: the step follows Σ β^i·d_{k−i}, here divided by the weights' sum so that scales agree."""
    weights = [beta**i for i in range(len(net.past) + 1)]
    total = sum(weights)
    return net.move(x, net(x, s, [weight / total for weight in weights]), s, t)


HEAVY_BALL = Method(
    "heavy-ball", heavy_ball, ("noise",), 1, 1, "Polyak 1964", options={"beta": Option(0.0, least=-0.95, most=0.95)}
)


def tasks(lab: Lab) -> Iterator[Task]:
    for nfe in lab.size.few:
        for beta in BETAS:
            yield Task(f"beta={beta:g} {nfe} select", cost(lab, nfe, 0), partial(_ball, lab, beta, nfe))
    for seed in lab.size.seeds:
        for nfe in lab.size.few:
            how, students = Fitting(seed, lab.size.samples), distilled_names()
            for name in plain_names(nfe):
                yield Task(f"{name} {nfe} {seed}", cost(lab, nfe, 0), partial(_plain, lab, name, nfe, seed))
            for name in students:
                more = teaching(lab, nfe, how, len(students)) if name == students[0] else 0
                yield Task(f"{name} {nfe} {seed}", cost(lab, nfe, 0) + more, partial(_distilled, lab, name, nfe, how))


def plain_names(nfe: int) -> list[str]:
    return [*BASES, "gradient-estimation", *(["pndm"] if nfe >= PNDM_LEAST else [])]


def distilled_names() -> list[str]:
    return [f"d-{base}{states}" for base in BASES for states in ("", ":states=teacher")]


def _ball(lab: Lab, beta: float, nfe: int) -> Entry:
    method = HEAVY_BALL.configured(beta=beta)
    plan, made = build(method, nfe, lab.model.schedule, lab.model.prediction)
    one = Sampler(lab.model, plan, Provenance(method.name, False, made.name, options=dict(method.chosen)))
    return measured(lab, one, lab.size.seeds[0], 0, "validation")


def _plain(lab: Lab, name: str, nfe: int, seed: int) -> Entry:
    return measured(lab, plain(lab, name, nfe), seed, 0)


def _distilled(lab: Lab, name: str, nfe: int, how: Fitting) -> Entry:
    names = distilled_names()
    one = fitted(lab, names, nfe, how)[names.index(name)]
    return measured(lab, one, how.seed, 0) | {"lambda": one.plan.lambdas.tolist()}


def base_of(name: str) -> str:
    """What a row is compared with."""
    base = name.removeprefix("d-").partition(":")[0]
    return base if base in BASES else BASES[0]


def result(lab: Lab, entries: Entries) -> Result:
    lines = []
    for nfe in lab.size.few:
        for name in [*plain_names(nfe), *distilled_names()]:
            bases = over_seeds(lab, entries, f"{base_of(name)} {nfe}")
            mine = bases if name in BASES else over_seeds(lab, entries, f"{name} {nfe}")
            lines.append([name, str(nfe), *cells(mine, bases)[3:]])
    text = table(["solver", "NFE", "RMS ±", "median", "RMS / plain ±"], lines)
    text += "\nHeavy-ball momentum β on validation noise, RMS; 0 is DDIM.\n\n"
    balls = [[str(nfe), *(f"{entries[f'beta={b:g} {nfe} select']['rms']:.4f}" for b in BETAS)] for nfe in lab.size.few]
    text += table(["NFE", *(f"β = {beta:g}" for beta in BETAS)], balls)
    text += "\nλ of D-DDIM from the first evaluation (noisiest) to the last, mean over seeds; above 0 extrapolates.\n\n"
    rows = [[str(nfe), "  ".join(f"{lam:+.2f}" for lam in _lambdas(lab, entries, nfe))] for nfe in lab.size.few]
    return Result(text + table(["NFE", "λ"], rows), _finding(lab, entries), _figure(lab, entries))


def _lambdas(lab: Lab, entries: Entries, nfe: int) -> np.ndarray:
    mean_over: np.ndarray = np.mean([e["lambda"] for e in over_seeds(lab, entries, f"d-ddim {nfe}")], axis=0)
    return mean_over


def _figure(lab: Lab, entries: Entries) -> drawing.Figure:
    figure, (axes,) = drawing.panels(1, 6)
    for i, nfe in enumerate(lab.size.few):
        lambdas = _lambdas(lab, entries, nfe)
        axes.plot(np.linspace(0, 1, nfe), lambdas, "o-", ms=3, color=drawing.COLOURS[i], label=f"NFE {nfe}")
    axes.axhline(0.5, color="#bbbbbb", ls=":", label="½: Adams–Bashforth 2")
    drawing.finish(axes, "evaluation, from noise (0) to data (1)", "λ", "D-DDIM")
    return figure


def _finding(lab: Lab, entries: Entries) -> str:
    said = []
    for nfe in lab.size.few:
        lambdas = _lambdas(lab, entries, nfe)
        best = min(BETAS, key=lambda beta: entries[f"beta={beta:g} {nfe} select"]["rms"])
        own, taught = (over_seeds(lab, entries, f"d-ddim{states} {nfe}") for states in ("", ":states=teacher"))
        one = ratio(over_seeds(lab, entries, f"gradient-estimation {nfe}"), over_seeds(lab, entries, f"ddim {nfe}"))
        line = f"At {nfe} evaluations {int((lambdas > 0).sum())} of {nfe} λ of D-DDIM extrapolate"
        line += f"; λ = 1 is {word(one, 1)} DDIM in distance ({shown(one, 3)}); the best β is {best:g}"
        line += f"; fitted on the teacher's states D-DDIM is {word(ratio(taught, own), 1)} the sequential fit "
        said.append(line + f"({shown(mean(taught, 'rms'), 4)} against {shown(mean(own, 'rms'), 4)}).")
    if any(nfe >= PNDM_LEAST for nfe in lab.size.few):
        many = [nfe for nfe in lab.size.few if nfe >= PNDM_LEAST]
        gaps = [
            ratio(over_seeds(lab, entries, f"gradient-estimation {n}"), over_seeds(lab, entries, f"pndm {n}"))
            for n in many
        ]
        said.append(
            "Beside PNDM λ = 1 is "
            + listed([f"{word(gap, 1)} it at {n}" for gap, n in zip(gaps, many, strict=True)])
            + "."
        )
    return " ".join(said)


ITEM = Item("section4", ("fashion",), tasks, result)
