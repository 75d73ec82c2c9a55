"""Figures that come out the same every time, as PNG."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dode.files import replace_bytes
from dode.plots.canvas import HUES
from dode.plots.figures import tall
from dode_paper.reproduce.averages import Figure as Number

__all__ = ["COLOURS", "Figure", "finish", "line", "panels", "save"]

COLOURS = tuple(hue.light for hue in HUES)


def save(figure: Figure, stem: Path) -> None:
    """stem.png, without the name of the program in it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    replace_bytes(stem.with_suffix(".png"), buffer.getvalue())


def panels(count: int, width: float = 4.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A row of axes."""
    figure = Figure(figsize=(width * count, height), dpi=130, layout="constrained")
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def line(axes: Axes, where: Sequence[float], values: Sequence[Number], label: str, style: str, colour: int) -> None:
    """Numbers with their errors."""
    heights, errors = [number.value for number in values], [number.error for number in values]
    shade = COLOURS[colour % len(COLOURS)]
    axes.errorbar(where, heights, errors, fmt=style, ms=3, lw=1.3, capsize=2, color=shade, label=label)


def finish(axes: Axes, across: str, up: str, title: str = "", logarithmic: bool = False) -> None:
    """Labels and a legend."""
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    if logarithmic:
        tall(axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7, frameon=False)
