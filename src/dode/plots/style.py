"""How a solver is drawn, the same in plots and in the report.

A solver and its first distilled form share hue and marker: the plain one is hollow and dashed, the distilled one filled
and solid.  Every other form has a hue and a marker of its own, so no two lines differ by colour alone.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dode.solvers.spec import plain_name


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
MARKERS = ("circle", "square", "triangle", "diamond", "down", "pentagon", "star")  # 7 and 8 have no common factor


class Look(NamedTuple):
    """Of one solver."""

    hue: int  # of HUES
    marker: str  # of MARKERS
    plain: bool  # hollow and dashed?


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each of these solvers, in the order given."""
    found: dict[str, Look] = {}
    slots: dict[tuple[str, bool], int] = {}  # (plain solver, is it plain itself?) → slot; one for both
    used = 0
    for name in dict.fromkeys(names):
        base, plain = plain_name(name), is_plain(name)
        slot = slots.get((base, not plain)) if (base, plain) not in slots else None
        if slot is None:
            slot, used = used, used + 1
        slots.setdefault((base, plain), slot)
        found[name] = Look(slot % len(HUES), MARKERS[slot % len(MARKERS)], plain)
    return found


def is_plain(name: str) -> bool:
    """Is it a solver as it comes, neither distilled nor found by auto?"""
    return not name.startswith("d-") and re.split("[:@]", name)[0] != "auto"
