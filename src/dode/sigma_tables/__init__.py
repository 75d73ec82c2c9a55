"""Lists of noise levels or times, published ones and your own, as grids.

A list for n evaluations has n + 1 values; a run ends at the data, and there the last value only says how far the list
goes (with end="t_min" the run ends at it). Other numbers of evaluations are interpolated log-linearly, as the authors
of Align Your Steps do: log σ is linear in the position within the list.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dode import json_schema
from dode.errors import DodeError
from dode.schedule import Node, Schedule
from dode.timesteps import Grid, whole

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.json")))
WHAT = "dode grid"
CONTENT = {"what": str, "name": str, "unit": str, "about?": str, "source?": str, "lists": {str: [float]}}
UNITS = ("sigmas", "times")
ROUNDED = 1e-3  # a list may begin this much beyond the schedule: lists are often rounded


@dataclass(frozen=True)
class Listed:
    """Lists for some numbers of evaluations, falling from noise to data."""

    name: str
    unit: str  # sigmas: σ/α; times: what the network is told
    lists: Mapping[int, tuple[float, ...]]  # evaluations → values, one more
    about: str = ""  # the model that it is for
    source: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise DodeError(f"a list is of {' or '.join(UNITS)}; got {self.unit!r}")
        for nfe, values in self.lists.items():
            finite = all(math.isfinite(value) for value in values)
            falls = finite and all(a > b for a, b in pairwise(values))
            if not falls or len(values) != nfe + 1 or nfe < 1 or (self.unit == "sigmas" and values[-1] < 0):
                raise DodeError(
                    f"{self.name[:60]}: a list falls, and for {nfe} evaluations has {nfe + 1} values; "
                    f"got {', '.join(map(str, values[:20]))}{' …' if len(values) > 20 else ''}"
                )


def published(where: str) -> bool:
    """Is this the name of a list that dode has, or of a grid file?"""
    return where in NAMES or where.endswith(".json")


def read(where: str) -> Listed:
    """A list by its name, or a grid file by its path.

    Raises ValueError where there is none, and for a file that is not one.
    """
    path = HERE / f"{where}.json" if where in NAMES else Path(where)
    if not path.is_file():
        raise DodeError(f"no grid file at {where}; lists that dode has: {', '.join(NAMES)}")
    try:
        content = json_schema.read(path)
    except ValueError as error:
        raise DodeError(f"{where} is not a whole grid file ({error}); make it again with dode import") from error
    if not isinstance(content, dict) or content.get("what") != WHAT:
        raise DodeError(f"{where} is not a grid file of dode; make one from numbers with dode import")
    json_schema.check(content, CONTENT, where)
    try:
        found = {int(nfe): tuple(map(float, values)) for nfe, values in content["lists"].items()}
    except ValueError as error:
        raise DodeError(f"{where}: its lists must be by numbers of evaluations ({error})") from error
    return Listed(content["name"], content["unit"], found, content.get("about", ""), content.get("source", ""))


def parsed(text: str, unit: str, name: str) -> Listed:
    """A list from numbers as people write them: separated by commas, spaces or lines, with or without brackets.

    Raises ValueError for words, and for numbers that do not fall.
    """
    words = [word for word in re.split(r"[\s,;\[\]()]+", text) if word]
    try:
        values = tuple(float(word) for word in words)
    except ValueError as error:
        raise DodeError(f"a list is numbers; got {error}") from error
    return Listed(name, unit, {len(values) - 1: values})


def as_json(listed: Listed) -> dict[str, Any]:
    """The content of a grid file."""
    lists = {str(nfe): list(values) for nfe, values in listed.lists.items()}
    said = {"name": listed.name, "unit": listed.unit, "about": listed.about, "source": listed.source}
    return {"what": WHAT, **said, "lists": lists}


def nearest(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The list for this number of evaluations, or the one to interpolate: of the nearest number, the longer if tied."""
    return listed.lists[min(listed.lists, key=lambda known: (abs(known - nfe), -known))]


def sigmas(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The sigmas for this number of evaluations, 0 last.

    Raises ValueError for a list of times.
    """
    if listed.unit != "sigmas":
        raise DodeError(f"{listed.name} holds times: what noise they mean only a model knows")
    values = nearest(listed, nfe)
    if len(values) == nfe + 1:
        return (*values[:-1], 0.0)
    return (*(math.exp(-level) for level in stretched([_level(value) for value in values], nfe)[:nfe]), 0.0)


def times(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The times for this number of evaluations, without the end.

    Raises ValueError for another number than the list has.
    """
    if len(nearest(listed, nfe)) != nfe + 1:
        raise DodeError(
            f"{listed.name} has times for NFE {', '.join(map(str, listed.lists))}; between, a model is needed"
        )
    return nearest(listed, nfe)[:-1]


def stretched(levels: Sequence[float], nfe: int) -> list[float]:
    """log-SNR of nfe + 1 nodes along a list of log-SNR; an infinite end stays, and the rest is stretched.

    Raises ValueError for a list that begins at α = 0.
    """
    clean = levels[-1] == math.inf
    known = list(levels[:-1] if clean else levels)
    if known[0] == -math.inf:
        raise DodeError(
            "a list that begins at alpha = 0 cannot be interpolated; give one for this number of evaluations"
        )
    count = nfe - 1 if clean else nfe
    places = [i * (len(known) - 1) / count for i in range(count + 1)] if count else [0.0]
    made = [_between(known, place) for place in places]
    return [*made, math.inf] if clean else made


def _between(values: Sequence[float], place: float) -> float:
    k = min(int(place), len(values) - 2) if len(values) > 1 else 0
    return values[k] + (place - k) * (values[k + 1] - values[k]) if len(values) > 1 else values[0]


def _level(sigma: float) -> float:
    return -math.log(sigma) if sigma else math.inf


def placed(where: str, schedule: Schedule, nfe: int, end: str = "data") -> Grid:
    """The grid of a list on this schedule: nfe + 1 nodes, the last the data, or with end="t_min" the list's own end.

    Raises ValueError where two nodes fall together, and as `read` does.
    """
    listed = read(where)
    values = nearest(listed, nfe)
    nodes = [_node(value, listed, schedule) for value in values]
    if len(values) != nfe + 1:
        nodes = [_at(level, schedule) for level in stretched([node.logsnr for node in nodes], nfe)]
    nodes = [*(whole(node, schedule) for node in nodes[:-1]), nodes[-1]]
    if end == "data":
        nodes[-1] = schedule.node(schedule.t_end)
    for s, t in pairwise(nodes):
        if not s.logsnr < t.logsnr:
            raise DodeError(f"{listed.name}: {nfe} evaluations do not move on at t = {s.t:g} → {t.t:g}; ask for fewer")
    name = listed.name if where in NAMES else "times"
    return Grid(tuple(nodes), "karras" if schedule.default_grid == "karras" else "logsnr", name)


def _node(value: float, listed: Listed, schedule: Schedule) -> Node:
    if listed.unit == "times":
        return (
            whole(schedule.node(float(value)), schedule) if value != schedule.t_end else schedule.node(schedule.t_end)
        )
    first = schedule.node(schedule.t_max)
    most = first.sigma / first.alpha if first.alpha and schedule.t_limit == schedule.t_max else math.inf
    if value > most * (1 + ROUNDED):
        raise DodeError(
            f"{listed.name} begins at sigma = {value:g}, and this model's schedule at {most:g}: "
            "it is a list for another model"
        )
    return first if value > most else _at(_level(value), schedule)


def _at(logsnr: float, schedule: Schedule) -> Node:
    if logsnr == math.inf:
        return schedule.node(schedule.t_end)
    last = schedule.node(schedule.t_min)
    return last if logsnr > last.logsnr else schedule.at(logsnr)
