"""Section 2: what noise and data prediction look like along a run.

(a) the correlation of a run's outputs with each other, as noise and as data; (b) the error of both estimates on noised
images, against the truth; (c) their variance: over samples at every step, and of the change from one step to the next.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dode.parameterization import Kind, convert
from dode.schedule import Node
from dode_paper.reproduce import drawing, reference_images
from dode_paper.reproduce.averages import Figure
from dode_paper.reproduce.context import Lab, Task, plain
from dode_paper.reproduce.experiment import Item, Result, seeds
from dode_paper.reproduce.result_store import Entries, Entry, table

FORMS: tuple[Kind, Kind] = ("noise", "data")
SHOWN = {"noise": "ε̂", "data": "x̂₀"}


def tasks(lab: Lab) -> Iterator[Task]:
    for seed in lab.size.seeds:
        yield Task(f"run {seed}", lab.size.network * lab.size.tests, partial(_run, lab, seed))
        yield Task(f"error {seed}", lab.size.network * lab.size.tests, partial(_error, lab, seed))


def nodes(lab: Lab) -> tuple[Node, ...]:
    """Where DDIM's run stands; the network is asked at each."""
    return plain(lab, "ddim", lab.size.network).plan.nodes[:-1]


def _run(lab: Lab, seed: int) -> Entry:
    """DDIM's run: outputs in both forms, their correlations and variances."""
    one = plain(lab, "ddim", lab.size.network)
    index = range(lab.size.tests)
    x_T, cond = lab.model.start(index, seed), lab.model.conditions(index)
    x = torch.stack([state.y for state in one.trajectory(noise=x_T, cond=cond)][:-1])
    denoise = lab.model.bound("data", cond)
    data = torch.stack([denoise(y, node) for y, node in zip(x, nodes(lab), strict=True)])
    steps = zip(x, data, nodes(lab), strict=True)
    noise = torch.stack([convert(state, d, "data", "noise", node) for state, d, node in steps])
    found: Entry = {"t": [node.t for node in nodes(lab)]}
    for form, outputs in zip(FORMS, (noise, data), strict=True):
        flat = outputs.cpu().double().flatten(2)  # (steps, n, D)
        found[form] = {"correlation": _correlation(flat), "variance": flat.var(1).mean(1).tolist()}
        found[form]["change"] = (flat[1:] - flat[:-1]).var((1, 2)).tolist()
    return found


def _correlation(flat: Tensor) -> list[list[float]]:
    """Pearson's between steps, over pixels, mean over samples: (steps, steps), to four digits."""
    centred = flat - flat.mean(2, keepdim=True)
    unit = centred / centred.norm(dim=2, keepdim=True).clamp(min=1e-12)
    found: list[list[float]] = torch.einsum("snd,tnd->st", unit, unit).div(flat.shape[1]).numpy().round(4).tolist()
    return found


def _error(lab: Lab, seed: int) -> Entry:
    """RMS of both estimates' errors on images with known noise, at every node."""
    x0, cond, words = reference_images.shown(lab, lab.size.tests)
    noise = lab.model.start(range(len(x0)), seed, "test") / lab.model.schedule.node(lab.model.schedule.t_max).sigma
    denoise = lab.model.bound("data", lab.model.conditions(range(len(x0)), cond))
    found: dict[str, list[list[float]]] = {form: [] for form in FORMS}
    for node in nodes(lab):
        x = node.alpha * x0 + node.sigma * noise
        data = denoise(x, node)
        for form, estimate, truth in (("data", data, x0), ("noise", convert(x, data, "data", "noise", node), noise)):
            each = (estimate - truth).cpu().double().flatten(1).square().mean(1)
            found[form].append(
                [float(each.mean().sqrt()), float(each.std() / len(each) ** 0.5 / (2 * each.mean().sqrt()))]
            )
    return {"images": words, "t": [node.t for node in nodes(lab)], **found}


def _seeds(lab: Lab, entries: Entries, key: str) -> list[Entry]:
    return [entries[f"{key} {seed}"] for seed in lab.size.seeds]


def _mean(lab: Lab, entries: Entries, form: str, what: str) -> np.ndarray:
    found: np.ndarray = np.mean([np.array(e[form][what]) for e in _seeds(lab, entries, "run")], axis=0)
    return found


def _errors(lab: Lab, entries: Entries, form: str) -> list[Figure]:
    each = np.array([e[form] for e in _seeds(lab, entries, "error")])  # (seeds, steps, 2)
    errors = np.sqrt(np.square(each[..., 1]).sum(0)) / len(each)
    return [Figure(float(v), float(e)) for v, e in zip(each[..., 0].mean(0), errors, strict=True)]


def result(lab: Lab, entries: Entries) -> Result:
    lines = []
    steps = len(_seeds(lab, entries, "run")[0]["t"])
    for k in sorted({round(share * (steps - 2)) for share in (0, 0.25, 0.5, 0.75, 1)}):
        cells = [f"{_seeds(lab, entries, 'run')[0]['t'][k]:.4g}"]
        for form in FORMS:
            error = _errors(lab, entries, form)[k]
            near = _mean(lab, entries, form, "correlation")[k, k + 1]
            cells += [f"{near:.4f}", f"{error.value:.4f} ± {error.error:.4f}"]
            cells += [f"{_mean(lab, entries, form, what)[k]:.3g}" for what in ("variance", "change")]
        lines.append(cells)
    columns = ("correlation with the next", "error ±", "variance", "variance of the change")
    heads = ["t", *(f"{SHOWN[form]}: {column}" for form in FORMS for column in columns)]
    return Result(table(heads, lines), _finding(lab, entries), _figure(lab, entries))


def _halves(values: np.ndarray) -> tuple[float, float]:
    """The means of the first and the second half of a run."""
    middle = len(values) // 2
    return float(values[:middle].mean()), float(values[middle:].mean())


def _finding(lab: Lab, entries: Entries) -> str:
    opening = f"Errors are on {_seeds(lab, entries, 'error')[0]['images']}."
    every = (_correlations, _ends, _changes)
    return " ".join([opening, *(said for part in every for said in part(lab, entries))])


def _correlations(lab: Lab, entries: Entries) -> Iterator[str]:
    for form, wanted in zip(FORMS, ("early", "late"), strict=True):
        matrix = _mean(lab, entries, form, "correlation")
        middle = len(matrix) // 2
        early, late = (
            float(part[np.triu_indices(len(part), 1)].mean())
            for part in (matrix[:middle, :middle], matrix[middle:, middle:])
        )
        agrees = "as" if (early > late) == (wanted == "early") else "unlike what"
        yield (
            f"Outputs as {form} correlate with each other by {early:.3f} in the first half of a run and by "
            f"{late:.3f} in the second, {agrees} the paper says."
        )


def _ends(lab: Lab, entries: Entries) -> Iterator[str]:
    for form in FORMS:
        errors = [figure.value for figure in _errors(lab, entries, form)]
        yield f"The error of {SHOWN[form]} goes from {errors[0]:.3f} at the noisy end to {errors[-1]:.3f}."


def _changes(lab: Lab, entries: Entries) -> Iterator[str]:
    for form, wanted in (("data", "falls"), ("noise", "rises")):
        change = _mean(lab, entries, form, "change")
        first, second = _halves(change)
        words = "falls" if second < first else "rises"
        verdict = "as" if words == wanted else "unlike what"
        yield (
            f"The variance of what {SHOWN[form]} changes by in a step {words} from {first:.2g} in the first half to "
            f"{second:.2g} in the second ({change[-1]:.2g} in the last step), {verdict} the paper says."
        )


def _figure(lab: Lab, entries: Entries) -> drawing.Figure:
    figure, axes = drawing.panels(4, 3.8, 3.4)
    for one, form in zip(axes, FORMS, strict=False):
        seen = one.imshow(_mean(lab, entries, form, "correlation"), vmin=0, vmax=1, cmap="viridis", origin="upper")
        figure.colorbar(seen, ax=one, shrink=0.8)
        drawing.finish(one, "step", "step", f"correlation of outputs as {form}")
    for i, form in enumerate(FORMS):
        figures = _errors(lab, entries, form)
        drawing.line(axes[2], range(len(figures)), figures, f"{SHOWN[form]} − truth", "-", i)
        axes[3].plot(_mean(lab, entries, form, "change"), color=drawing.COLOURS[i], label=f"{SHOWN[form]}, change")
        axes[3].plot(_mean(lab, entries, form, "variance"), ":", color=drawing.COLOURS[i], label=f"{SHOWN[form]}")
    drawing.finish(axes[2], "step, from noise to data", "RMS error", "error on noised images", True)
    drawing.finish(axes[3], "step, from noise to data", "variance", "variance", True)
    return figure


def said(lab: Lab) -> str:
    """What the numbers are of."""
    return f"{seeds(lab)} of noise; runs of {lab.size.network} steps with {lab.size.tests} samples, and as many images"


ITEM = Item("section2", ("fashion", "fashion-edm"), tasks, result, said)
