"""What all plots share: how a solver is drawn (in the report too), the look of axes, and files that appear whole.

A solver and its first distilled form share hue and marker: the plain one is hollow and dashed, the distilled one filled
and solid.  Every other form has its own hue and marker, so no two lines differ by colour alone.
"""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dode.errors import DodeError
from dode.files import replace_bytes
from dode.solvers.spec import plain_name

FORMATS = (".png", ".svg")
INK, PALE = "#444444", "#bbbbbb"


class Hue(NamedTuple):
    """One colour for light paper, and the same on dark."""

    light: str
    dark: str


# After Okabe and Ito 2008, darkened and lightened to 4.5 : 1 or more on the report's papers.
HUES = (
    Hue("#0a62a9", "#6db6f2"),
    Hue("#bf4a17", "#f2935f"),
    Hue("#157a57", "#56c99c"),
    Hue("#8f4a94", "#d99bdc"),
    Hue("#8a6400", "#e5b94b"),
    Hue("#3b6f8f", "#9cd3e6"),
    Hue("#b0305c", "#f78fb0"),
    Hue("#5c5c2e", "#c5cc7a"),
)
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "down": "v", "pentagon": "p", "star": "*"}


class Look(NamedTuple):
    """How one solver is drawn."""

    hue: int  # of HUES
    marker: str  # of MARKERS; 7 markers and 8 hues have no common factor
    plain: bool  # hollow and dashed


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each of these solvers, in the order given."""
    by_name: dict[str, Look] = {}
    slots: dict[tuple[str, bool], int] = {}  # (plain solver, is it plain itself) → slot, shared by the two
    used = 0
    for name in dict.fromkeys(names):
        base, plain = plain_name(name), is_plain(name)
        slot = slots.get((base, not plain)) if (base, plain) not in slots else None
        if slot is None:
            slot, used = used, used + 1
        slots.setdefault((base, plain), slot)
        by_name[name] = Look(slot % len(HUES), [*MARKERS][slot % len(MARKERS)], plain)
    return by_name


def is_plain(name: str) -> bool:
    """Whether this is a solver as it comes, neither distilled nor found by auto."""
    return not name.startswith("d-") and re.split("[:@]", name)[0] != "auto"


def line_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each solver the options of matplotlib that draw its line."""
    styles = {}
    for name, look in looks(names).items():
        colour = HUES[look.hue].light
        styles[name] = {
            "color": colour,
            "marker": MARKERS[look.marker],
            "ls": "--" if look.plain else "-",
            "mfc": "white" if look.plain else colour,
            "ms": 4.5,
            "lw": 1.4,
        }
    return styles


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


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG by the file's name, whole or not at all, and the same bytes every time.

    Raises:
        DodeError: The name ends otherwise.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise DodeError(f"cannot write {path}: plots are PNG or SVG, so its name must end with .png or .svg")
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "dode", "svg.fonttype": "none"}):  # text stays text
        figure.savefig(buffer, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)
    replace_bytes(path, buffer.getvalue())
