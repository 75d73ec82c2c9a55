"""Figures of lines and of matrices: distances over evaluations, λ and states along a run, tableaus and grids."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from dode.errors import DodeError
from dode.metrics.estimates import Row
from dode.plan import Plan
from dode.plots.canvas import INK, PALE, blank, line_styles, save
from dode.samplers import Provenance
from dode.schedule import Node
from dode.trajectories import Track

POWER = 1 / 7  # of the axis of noise levels, in which EDM's grid is even
READABLE = 12  # evaluations up to which every coefficient of a tableau is written


class Planned(Protocol):
    """A sampler, or what its calibration file says of it."""

    @property
    def name(self) -> str: ...
    @property
    def nfe(self) -> int: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def provenance(self) -> Provenance: ...


def errors(rows: Sequence[Row], path: str | Path, title: str = "") -> None:
    """RMS distance against network evaluations, a line for each solver, with its standard errors."""
    points = {name: [(r.nfe, r.rms, r.rms_error) for r in mine] for name, mine in _by_solver(rows).items()}
    _against_evaluations(points, "RMS distance to the exact solution (bars: ± 1 s.e.)", path, title)


def frechet(rows: Sequence[Row], path: str | Path, title: str = "") -> None:
    """Fréchet distance against network evaluations, with its standard errors; DodeError if none was measured."""
    points = {
        name: [(r.nfe, r["fd"].value, r["fd"].error) for r in mine if "fd" in r.estimates]
        for name, mine in _by_solver(rows).items()
    }
    if not any(points.values()):
        raise DodeError("these rows have no Fréchet distance; measure it with --fd 500 or more samples")
    _against_evaluations(points, "Fréchet distance (bars: ± 1 s.e.)", path, title)


def lambdas(samplers: Sequence[Planned], path: str | Path) -> None:
    """λ against the fraction of the run, with two standard errors; λ > 0 extrapolates, λ < 0 interpolates."""
    figure, axes = blank(6.4, 3.8)
    axes.axhline(0, color=PALE, lw=1)
    axes.axhline(0.5, color=PALE, lw=1, ls=":")
    axes.annotate(
        "½: Adams–\nBashforth 2", (1.01, 0.5), xycoords=("axes fraction", "data"), fontsize=7, color=INK, va="center"
    )
    labels = _labels(samplers)
    styles = line_styles(
        [label if label.startswith("d-") else f"d-{label}" for label in labels]
    )  # all filled and solid
    for sampler, label, style in zip(samplers, labels, styles.values(), strict=True):
        where = np.arange(sampler.nfe) / max(1, sampler.nfe - 1)
        axes.plot(where, sampler.plan.lambdas, label=label, **style)
        band = 2 * sampler.provenance.lambda_errors(sampler.nfe)
        low, high = sampler.plan.lambdas - band, sampler.plan.lambdas + band
        axes.fill_between(where, low, high, color=style["color"], alpha=0.18, lw=0)
    axes.set_xlabel("evaluation, from noise (0) to data (1)")
    axes.set_ylabel("λ  (band: ± 2 standard errors)")
    _save(figure, axes, path, "")


def _labels(samplers: Sequence[Planned]) -> list[str]:
    """Solver and evaluations of each; the grid too, or a number, where these are not enough."""
    labels = [f"{one.name}, NFE {one.nfe}" for one in samplers]
    if len(set(labels)) < len(labels):
        grids = [one.provenance.grid for one in samplers]
        words = [where if isinstance(where, str) else "times of its own" for where in grids]
        labels = [f"{label}, {where}" for label, where in zip(labels, words, strict=True)]
    seen = [labels[: i + 1].count(label) for i, label in enumerate(labels)]
    return [label if count == 1 else f"{label} ({count})" for label, count in zip(labels, seen, strict=True)]


def _by_solver(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each solver, in the order of their evaluations."""
    names = dict.fromkeys(row.solver for row in rows)
    return {name: sorted((r for r in rows if r.solver == name), key=lambda r: r.nfe) for name in names}


def tall(axes: Axes) -> None:
    """A logarithmic scale upward with plain numbers, between the powers of ten too where it is short."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    between = "235" if high < 1000 * low else ""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in between else ""))


def by_evaluations(axes: Axes, counts: Iterable[int]) -> None:
    """A logarithmic scale across, marked where something was measured."""
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(counts)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("network evaluations")


def _against_evaluations(
    points: dict[str, list[tuple[int, float, float]]], label: str, path: str | Path, title: str
) -> None:
    """A line for each solver through (evaluations, value, standard error)."""
    figure, axes = blank()
    for name, style in line_styles(list(points)).items():
        if points[name]:
            counts, values, spread = zip(*points[name], strict=True)
            axes.errorbar(counts, values, spread, label=name, capsize=2, elinewidth=1, **style)
    if all(value > 0 for mine in points.values() for _, value, _ in mine):
        tall(axes)
    by_evaluations(axes, {count for mine in points.values() for count, _, _ in mine})
    axes.set_ylabel(label)
    _save(figure, axes, path, title)


def norm(tracks: Mapping[str, Track], exact: Track, path: str | Path, axis: str = "linear", title: str = "") -> None:
    """RMS of the state over √(α² + σ²) against time, a line for each run, beside the exact solution.

    axis: that of `dode.trajectories.axis`, "linear" or "root".
    """
    figure, axes = blank()
    axes.plot(exact.times, exact.norms, color=INK, lw=3, alpha=0.35, label="exact")
    for (name, track), style in zip(tracks.items(), line_styles(list(tracks)).values(), strict=True):
        axes.plot(track.times, track.norms, label=name, **style)
    _time_axis(axes, axis)
    axes.set_ylabel("RMS of the state / √(α² + σ²)")
    _save(figure, axes, path, title)


def pixels(tracks: Mapping[str, Track], exact: Track, path: str | Path, sample: int = 0, title: str = "") -> None:
    """Two pixels of one sample against each other, from noise (ring) to data, beside the exact solution."""
    figure, axes = blank(5.4, 4.8)
    whole = exact.watched[:, sample]
    axes.plot(*whole.T, color=INK, lw=3, alpha=0.35, label="exact")
    axes.plot(*whole[0], "o", color=INK, ms=9, mfc="none")
    axes.plot(*whole[-1], "x", color=INK, ms=8, mew=2)
    for (name, track), style in zip(tracks.items(), line_styles(list(tracks)).values(), strict=True):
        axes.plot(*track.watched[:, sample].T, label=name, **style)
    axes.set_xlabel("one pixel / √(α² + σ²)")
    axes.set_ylabel("another pixel / √(α² + σ²)")
    _save(figure, axes, path, title)


def _save(figure: Figure, axes: Axes, path: str | Path, title: str) -> None:
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def _time_axis(axes: Axes, axis: str) -> None:
    """Time from noise, on the left, to data."""
    if axis == "root":
        axes.set_xscale("function", functions=(lambda t: np.abs(t) ** POWER, lambda u: np.abs(u) ** (1 / POWER)))
        high = max(axes.get_xlim())
        axes.set_xticks([t for t in (0, 0.002, 0.02, 0.1, 0.5, 2, 5, 10, 20, 40, 80) if t <= high])
        axes.xaxis.set_major_formatter(lambda t, _: f"{t:g}")
    axes.invert_xaxis()
    axes.set_xlabel("noise level σ" if axis == "root" else "time t, from noise to data")


def tableau(plan: Plan, path: str | Path, title: str = "") -> None:
    """The three matrices of a plan, use, mix and blend, coefficients written in: blue above zero, red below.

    Rows are evaluations, columns what they read: x_T/σ_T for the first, then the outputs in order.

    Raises:
        DodeError: The plan has more than 40 evaluations, which no picture shows.
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

    Raises:
        DodeError: No node has a finite log-SNR.
    """
    figure, axes = blank(7.2, 1.1 + 0.42 * len(named))
    finite = [n.logsnr for nodes in named.values() for n in nodes if np.isfinite(n.logsnr)]
    if not finite:
        raise DodeError("no node of these grids has a finite log-SNR")
    gap = 0.08 * max(max(finite) - min(finite), 1.0)
    ends = {float("-inf"): min(finite) - gap, float("inf"): max(finite) + gap}
    for i, ((name, nodes), style) in enumerate(
        zip(named.items(), line_styles([f"d-{n}" for n in named]).values(), strict=True)
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
