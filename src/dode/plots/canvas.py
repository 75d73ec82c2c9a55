"""What all plots share: the look of axes and of solvers, and files that appear whole or not at all."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dode.calibration import replace_bytes
from dode.errors import DodeError
from dode.plots.style import HUES, looks

FORMATS = (".png", ".svg")
INK, PALE = "#444444", "#bbbbbb"
SHAPES = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "down": "v", "pentagon": "p", "star": "*"}


def blank(width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure of this many inches, with calm axes."""
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(PALE)
    axes.tick_params(colors=INK, which="both", labelsize=8)
    axes.grid(color="#e4e4e4", lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def drawn(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each solver the options of matplotlib that draw its line: see `dode.plots.style`."""
    made = {}
    for name, look in looks(names).items():
        colour = HUES[look.hue].light
        made[name] = {
            "color": colour,
            "marker": SHAPES[look.marker],
            "ls": "--" if look.plain else "-",
            "mfc": "white" if look.plain else colour,
            "ms": 4.5,
            "lw": 1.4,
        }
    return made


def kind(path: str | Path) -> str:
    """The format by the name of the file, png or svg; ValueError for others."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise DodeError(f"cannot write {path}: plots are PNG or SVG, so its name must end with .png or .svg")
    return suffix.removeprefix(".")


def save(figure: Figure, path: str | Path) -> None:
    """The figure as PNG or SVG, whole or not at all, and the same bytes every time."""
    form, buffer = kind(path), BytesIO()
    with rc_context({"svg.hashsalt": "dode", "svg.fonttype": "none"}):  # text stays text
        figure.savefig(buffer, format=form, metadata={"Date": None} if form == "svg" else None)
    replace_bytes(path, buffer.getvalue())
