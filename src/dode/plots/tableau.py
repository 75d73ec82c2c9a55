"""Solvers and grids as pictures: the matrices of a plan, and where grids place their nodes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dode.errors import DodeError
from dode.plan import Plan
from dode.plots.canvas import INK, blank, drawn, save
from dode.schedule import Node

READABLE = 12  # evaluations up to which every coefficient is written


def tableau(plan: Plan, path: str | Path, title: str = "") -> None:
    """The three matrices of a plan, use, mix and blend, coefficients written in: blue above zero, red below.

    Rows are evaluations, columns what they read: x_T/σ_T for the first, then the outputs in order.  Raises ValueError
    for plans of more than 40 evaluations, which no picture shows.
    """
    if plan.nfe > 40:
        raise DodeError(f"a tableau shows at most 40 evaluations; this plan has {plan.nfe}")
    panels = (
        ("blend:  D = blend · d", plan.blend, False),
        ("mix:  O = mix · D", plan.mix, True),
        ("use:  y = start · x + use · O", plan.use, False),
    )
    cell = 0.56 if plan.nfe <= READABLE else 0.2
    side = max(cell * (plan.nfe + 1), 2.4)
    figure = Figure(figsize=(3 * side + 1.6, side + 1.1), dpi=130, layout="constrained")
    for i, (name, matrix, extra) in enumerate(panels):
        _matrix(figure.add_subplot(1, 3, i + 1), plan, name, matrix, extra)
    figure.suptitle(title, fontsize=10, color=INK)
    save(figure, path)


def grids(named: Mapping[str, Sequence[Node]], path: str | Path, title: str = "") -> None:
    """Nodes against log-SNR, log(α/σ), a line for each grid; a clean end (σ = 0) stands apart on the right.

    Raises ValueError if no node has a finite one.
    """
    figure, axes = blank(7.2, 1.1 + 0.42 * len(named))
    finite = [n.logsnr for nodes in named.values() for n in nodes if np.isfinite(n.logsnr)]
    if not finite:
        raise DodeError("no node of these grids has a finite log-SNR")
    gap = 0.08 * max(max(finite) - min(finite), 1.0)
    ends = {float("-inf"): min(finite) - gap, float("inf"): max(finite) + gap}
    for i, ((name, nodes), style) in enumerate(
        zip(named.items(), drawn([f"d-{n}" for n in named]).values(), strict=True)
    ):
        where = [ends.get(node.logsnr, node.logsnr) for node in nodes]
        axes.plot(where, [i] * len(where), lw=0.8, label=name, **{k: v for k, v in style.items() if k != "lw"})
    if any(node.sigma == 0 for nodes in named.values() for node in nodes):
        axes.axvline(max(finite) + gap / 2, color=INK, lw=0.8, ls=":")
        axes.annotate("σ = 0", (max(finite) + gap, len(named) - 0.55), fontsize=8, ha="center", color=INK)
    axes.set_yticks(range(len(named)), list(named))
    axes.set_ylim(len(named) - 0.4, -0.6)
    axes.set_xlabel("log-SNR, log(α/σ): noise on the left, data on the right")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    save(figure, path)


def _matrix(axes: Axes, plan: Plan, name: str, matrix: np.ndarray, extra: bool) -> None:
    """One matrix; entries that are zero stay white."""
    size = float(np.abs(matrix).max()) or 1.0
    axes.imshow(np.ma.masked_equal(matrix, 0), cmap="RdBu", vmin=-1.4 * size, vmax=1.4 * size, aspect="auto")
    if plan.nfe <= READABLE:
        for k, j in zip(*np.nonzero(matrix), strict=True):
            axes.text(j, k, f"{matrix[k, j]:.3g}", ha="center", va="center", fontsize=6.5)
    every = 1 if plan.nfe <= READABLE else 5
    columns = (["x_T"] if extra else []) + [str(k) for k in range(plan.nfe)]
    axes.set_xticks(range(0, len(columns), every), columns[::every])
    axes.set_yticks(range(0, plan.nfe, every), [f"t {plan.nodes[k].t:.4g}" for k in range(0, plan.nfe, every)])
    axes.tick_params(labelsize=7, colors=INK, length=0)
    axes.set_title(name, fontsize=8.5, color=INK)
    axes.spines[:].set_color("#dddddd")
