"""Pictures for people: contact sheets, rows of the same noise, λ along a run.  Needs matplotlib (extra: cli)."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dode.calibration import replace_bytes
from dode.metrics.comparison import Row
from dode.samplers import Sampler

COLOURS = ("#0b6e99", "#c7522a", "#5b8c5a", "#7a5195", "#8a6d1d", "#444444")


def tiles(images: Tensor, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in [−1, 1] as one picture, row by row: (H', W') or (H', W', 3), in [0, 1]."""
    pictures = ((images.detach().cpu().float().clamp(-1, 1) + 1) / 2).numpy().transpose(0, 2, 3, 1)
    n, height, width, channels = pictures.shape
    lines = -(-n // columns)
    sheet = np.ones((lines * (height + 2) - 2, columns * (width + 2) - 2, channels), dtype=np.float32)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (height + 2), (i % columns) * (width + 2)
        sheet[y : y + height, x : x + width] = picture
    return sheet[..., 0] if channels == 1 else sheet[..., :3]


def sheet(images: Tensor, path: str | Path, columns: int = 8, zoom: int = 2) -> None:
    """A contact sheet as PNG."""
    picture = tiles(images, min(columns, len(images)))
    large = np.kron(picture, np.ones((zoom, zoom) + (1,) * (picture.ndim - 2)))
    buffer = BytesIO()
    matplotlib.image.imsave(buffer, large, cmap="gray", vmin=0, vmax=1, format="png")
    replace_bytes(path, buffer.getvalue())


def comparison(named: Sequence[tuple[str, Tensor]], path: str | Path, title: str = "") -> None:
    """One row of images for each name, the same noise in a column."""
    lines, columns = len(named), len(named[0][1])
    height, width = named[0][1].shape[-2:]
    figure = Figure(figsize=(1.4 + 0.62 * columns, 0.66 * lines * height / width + (0.4 if title else 0.1)), dpi=130)
    for i, (name, images) in enumerate(named):
        axes = figure.add_subplot(lines, 1, i + 1)
        axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=9)
    figure.subplots_adjust(
        left=1.2 / (1.4 + 0.62 * columns), right=0.995, bottom=0.01, top=0.93 if title else 0.99, hspace=0.05
    )
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    """The figure as PNG, whole or not at all."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    replace_bytes(path, buffer.getvalue())


def lambdas(samplers: Sequence[Sampler], path: str | Path) -> None:
    """λ against the fraction of the run, with two standard errors; λ > 0 extrapolates, λ < 0 interpolates."""
    figure = Figure(figsize=(6.4, 3.8), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="#bbbbbb", lw=1)
    axes.axhline(0.5, color="#bbbbbb", lw=1, ls=":")
    axes.annotate("½: Adams–Bashforth 2", (1, 0.5), fontsize=7, color="#666666", va="bottom", ha="right")
    for sampler, colour in zip(samplers, COLOURS * len(samplers), strict=False):
        where = np.arange(sampler.nfe) / max(1, sampler.nfe - 1)
        label = f"{sampler.name}, NFE {sampler.nfe}"
        axes.plot(where, sampler.plan.lambdas, "o-", color=colour, ms=3, lw=1.3, label=label)
        if sampler.provenance.errors:
            band = 2 * np.array(sampler.provenance.errors)
            low, high = sampler.plan.lambdas - band, sampler.plan.lambdas + band
            axes.fill_between(where, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_xlabel("evaluation, from noise (0) to data (1)")
    axes.set_ylabel("λ  (band: ± 2 standard errors)")
    axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def errors(rows: Sequence[Row], path: str | Path, title: str = "") -> None:
    """RMS distance against network evaluations, a line for each solver, with its standard errors."""
    figure = Figure(figsize=(6, 4), dpi=130)
    axes = figure.add_subplot()
    for name, colour in zip(dict.fromkeys(row.solver for row in rows), COLOURS, strict=False):
        mine = sorted((row for row in rows if row.solver == name), key=lambda row: row.nfe)
        values, spread = [row.rms for row in mine], [row.rms_error for row in mine]
        axes.errorbar([row.nfe for row in mine], values, spread, marker="o", ms=3, color=colour, label=name, capsize=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("network evaluations")
    axes.set_ylabel("RMS distance")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    _save(figure, path)
