"""Curves over evaluations, and λ along a run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from dode.errors import DodeError
from dode.plan import Plan
from dode.plots.canvas import INK, PALE, blank, drawn, save
from dode.samplers import Provenance


class Measured(Protocol):
    """What a row of a comparison must say: see `dode.metrics.comparison.Row`."""

    solver: str
    nfe: int
    rms: float
    rms_error: float
    fd: float | None
    fd_error: float | None


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


def errors(rows: Sequence[Measured], path: str | Path, title: str = "") -> None:
    """RMS distance against network evaluations, a line for each solver, with its standard errors."""
    points = {name: [(r.nfe, r.rms, r.rms_error) for r in mine] for name, mine in _by_solver(rows).items()}
    _against_evaluations(points, "RMS distance to the exact solution (bars: ± 1 s.e.)", path, title)


def frechet(rows: Sequence[Measured], path: str | Path, title: str = "") -> None:
    """Fréchet distance against network evaluations; ValueError if none was measured."""
    points = {
        name: [(r.nfe, r.fd, r.fd_error or 0.0) for r in mine if r.fd is not None]
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
    labels = _told_apart(samplers)
    styles = drawn([label if label.startswith("d-") else f"d-{label}" for label in labels])  # all filled and solid
    for sampler, label, style in zip(samplers, labels, styles.values(), strict=True):
        where = np.arange(sampler.nfe) / max(1, sampler.nfe - 1)
        axes.plot(where, sampler.plan.lambdas, label=label, **style)
        band = 2 * sampler.provenance.lambda_errors(sampler.nfe)
        low, high = sampler.plan.lambdas - band, sampler.plan.lambdas + band
        axes.fill_between(where, low, high, color=style["color"], alpha=0.18, lw=0)
    axes.set_xlabel("evaluation, from noise (0) to data (1)")
    axes.set_ylabel("λ  (band: ± 2 standard errors)")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def _told_apart(samplers: Sequence[Planned]) -> list[str]:
    """Solver and evaluations of each; the grid too, or a number, where these are not enough."""
    labels = [f"{one.name}, NFE {one.nfe}" for one in samplers]
    if len(set(labels)) < len(labels):
        grids = [one.provenance.grid for one in samplers]
        words = [where if isinstance(where, str) else "times of its own" for where in grids]
        labels = [f"{label}, {where}" for label, where in zip(labels, words, strict=True)]
    seen = [labels[: i + 1].count(label) for i, label in enumerate(labels)]
    return [label if count == 1 else f"{label} ({count})" for label, count in zip(labels, seen, strict=True)]


def _by_solver(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
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
    for name, style in drawn(list(points)).items():
        if points[name]:
            counts, values, spread = zip(*points[name], strict=True)
            axes.errorbar(counts, values, spread, label=name, capsize=2, elinewidth=1, **style)
    if all(value > 0 for mine in points.values() for _, value, _ in mine):
        tall(axes)
    by_evaluations(axes, {count for mine in points.values() for count, _, _ in mine})
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)
