"""Figures 1 and 5: along a run, the norm of the state and the mean of two pixels, against DDIM with many steps.

Free coefficients (-Sep, -All) are fitted both with targets by time and with the published pairing.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.samplers import Sampler
from dode_paper.reproduce import drawing
from dode_paper.reproduce.averages import Figure, joined, listed
from dode_paper.reproduce.context import Fitting, Lab, Task, fitted, plain, teaching
from dode_paper.reproduce.experiment import Item, Result, seeds
from dode_paper.reproduce.result_store import Entries, Entry, table
from dode_paper.reproduce.table1 import named

POINTS = 50  # of a path that are kept, at most
FREE = ("sep", "all")


def count(lab: Lab) -> int:
    """The paper's figures have 10 steps."""
    return lab.size.counts[0]


def runs(lab: Lab, seed: int) -> dict[str, Sampler]:
    """Every solver of the two figures by its label; the first is the target."""
    nfe, by_time, by_count = count(lab), *(Fitting(seed, lab.size.samples, align=a) for a in ("time", "count"))
    names = [named(form) for form in ("d", *FREE)]
    made = {f"DDIM-{lab.size.steps}": plain(lab, "ddim", lab.size.steps), f"DDIM-{nfe}": plain(lab, "ddim", nfe)}
    for label, one in zip(("", "-Sep", "-All"), fitted(lab, names, nfe, by_time), strict=True):
        made[f"D-DDIM{label}-{nfe}"] = one
    for label, one in zip(("-Sep", "-All"), fitted(lab, names[1:], nfe, by_count), strict=True):
        made[f"D-DDIM{label}-{nfe}, published pairing"] = one
    return made


def pixels(lab: Lab) -> tuple[int, ...]:
    """Two numbers of a flattened sample, drawn from the middle of the picture: its border never changes."""
    shape = lab.model.shape
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[..., shape[-2] // 4 : -(shape[-2] // 4), shape[-1] // 4 : -(shape[-1] // 4)] = True
    places = inside.flatten().nonzero().flatten().tolist()
    return tuple(int(place) for place in np.random.default_rng(0).choice(places, 2, replace=False))


def tasks(lab: Lab, what: str) -> Iterator[Task]:
    evaluations = lab.size.path * (lab.size.steps + 6 * count(lab))
    evaluations += 2 * teaching(lab, count(lab), Fitting(0, lab.size.samples), 3)
    for seed in lab.size.seeds:
        yield Task(str(seed), evaluations, partial(_along, lab, seed, what))


def _along(lab: Lab, seed: int, what: str) -> Entry:
    """One of the figures' part of what all runs of a seed have shown."""
    found: Entry = lab.once(("paths", seed), lambda: _all(lab, seed))
    return {label: known[what] for label, known in found.items()}


def _all(lab: Lab, seed: int) -> Entry:
    target: dict[float, Tensor] | None = None
    found = {}
    for label, one in runs(lab, seed).items():
        path = _pixels_and_norms(lab, one, seed)
        target = {share: two for share, (two, _) in path.items()} if target is None else target
        found[label] = {"norm": _norms(path), "pixels": _means(path, target)}
    return found


Path = dict[float, tuple[Tensor, Tensor]]  # share of the run → two pixels (n, 2), norms (n,)


def _pixels_and_norms(lab: Lab, one: Sampler, seed: int) -> Path:
    x_T = lab.model.start(range(lab.size.path), seed)
    places, every = list(pixels(lab)), max(1, one.nfe // POINTS)
    found: dict[float, list[tuple[Tensor, Tensor]]] = {}
    cond = lab.model.conditions(range(lab.size.path))
    for part in torch.arange(lab.size.path).split(100):
        rows = cond[part] if isinstance(cond, Tensor) else cond
        for state in one.trajectory(noise=x_T[part], cond=rows):
            if state.k % every == 0 or state.k == one.nfe:
                flat = state.y.flatten(1).cpu().double()
                found.setdefault(state.k / one.nfe, []).append((flat[:, places], flat.square().mean(1).sqrt()))
    return {
        share: (torch.cat([two for two, _ in kept]), torch.cat([norms for _, norms in kept]))
        for share, kept in found.items()
    }


def _norms(path: Path) -> dict[str, list[float]]:
    each = [norms for _, norms in path.values()]
    errors = [float(norms.std() / len(norms) ** 0.5) for norms in each]
    return {"share": list(path), "mean": [float(norms.mean()) for norms in each], "error": errors}


def _means(path: Path, target: dict[float, Tensor]) -> dict[str, Any]:
    """The mean of two pixels at every state, and how far from the target's, sample by sample, where it stood too."""
    means = [two.mean(0).tolist() for two, _ in path.values()]
    shared = [share for share in path if share in target]
    gaps = [float((path[share][0] - target[share]).square().mean().sqrt()) for share in shared]
    return {"mean": means, "shared": shared, "gap": gaps}


def _norm(lab: Lab, entries: Entries, label: str) -> tuple[list[float], list[Figure]]:
    each = [entries[str(seed)][label] for seed in lab.size.seeds]
    by_seed = [[Figure(*both) for both in zip(e["mean"], e["error"], strict=True)] for e in each]
    return each[0]["share"], [joined(figures) for figures in zip(*by_seed, strict=True)]


def said(lab: Lab) -> str:
    """What the curves are of."""
    return f"{seeds(lab)}; {lab.size.path} test samples a seed, |B| = {lab.size.samples}, C = 10, no ridge"


def labels(lab: Lab, entries: Entries) -> list[str]:
    """In the order they were run."""
    return list(entries[str(lab.size.seeds[0])])


def result_norm(lab: Lab, entries: Entries) -> Result:
    figure, (axes,) = drawing.panels(1, 6)
    known = labels(lab, entries)
    share, aim = _norm(lab, entries, known[0])
    goal, lines, said = dict(zip(share, aim, strict=True)), [], []
    for i, label in enumerate(known):
        where, values = _norm(lab, entries, label)
        style, colour = "-" if i == 0 else "--" if "," in label else "o-", known.index(label.split(",")[0])
        drawing.line(axes, where, values, label, style, colour)
        gaps = [abs(v.value - goal[s].value) for s, v in zip(where, values, strict=True) if s in goal]
        end = values[-1]
        lines.append([label, f"{values[0].value:.4f}", f"{end.value:.4f} ± {end.error:.4f}", f"{max(gaps):.4f}"])
        if i:
            said.append(f"{label} {100 * (end.value / aim[-1].value - 1):+.1f} % (largest gap {max(gaps):.3f})")
    drawing.finish(axes, "share of the run, from noise (0) to data (1)", "norm of the state / √dimension")
    text = f"The norm of {known[0]} goes from {aim[0].value:.3f} to {aim[-1].value:.3f}; at the end it is off by: "
    heads = ["run", "norm at the start", "norm at the end ±", f"largest gap to {known[0]}"]
    return Result(table(heads, lines), text + listed(said) + ".", figure)


def result_pixels(lab: Lab, entries: Entries) -> Result:
    figure, (plane, apart) = drawing.panels(2)
    known = [label for label in labels(lab, entries) if "Sep" not in label and "All" not in label]
    lines, ends = [], {}
    for i, label in enumerate(known):
        each = [entries[str(seed)][label] for seed in lab.size.seeds]
        path = np.mean([e["mean"] for e in each], axis=0)
        plane.plot(path[:, 0], path[:, 1], "-" if i == 0 else "o-", ms=3, lw=1.3, label=label, color=drawing.COLOURS[i])
        plane.plot(*path[0], "*", ms=9, color="#444444", label=None if i else "start")
        if i:
            gaps = np.sqrt(np.mean([np.square(e["gap"]) for e in each], axis=0))
            apart.plot(each[0]["shared"], gaps, "o-", ms=3, label=label, color=drawing.COLOURS[i])
            ends[label] = float(gaps[-1])
            lines.append([label, f"{gaps.max():.4f}", f"{gaps[-1]:.4f}"])
    drawing.finish(plane, "mean of pixel A", "mean of pixel B", "update path")
    drawing.finish(apart, "share of the run", f"RMS to {known[0]}", "distance of the two pixels")
    where = " and ".join(map(str, pixels(lab)))
    text = f"Two pixels (numbers {where} of a sample) end at an RMS distance from {known[0]} of: "
    said = listed([f"{label} {gap:.4f}" for label, gap in ends.items()])
    nearest = min(ends, key=lambda label: ends[label])
    heads = ["run", f"largest RMS to {known[0]}", "RMS at the end"]
    return Result(table(heads, lines), f"{text}{said}; {nearest} follows the target more closely at the end.", figure)


FIG1 = Item("fig1", ("fashion",), lambda lab: tasks(lab, "norm"), result_norm, said)
FIG5 = Item("fig5", ("fashion",), lambda lab: tasks(lab, "pixels"), result_pixels, said)
