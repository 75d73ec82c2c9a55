"""Lists of noise levels or times, published ones and your own, as grids.

A list for n evaluations has n + 1 values. A run ends at the data instead of the last value, or with end="t_min" at that
value. Other numbers of evaluations are interpolated as by the authors of Align Your Steps: log σ is linear in the
position within the list.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dode import json_schema
from dode.errors import DodeError
from dode.schedule import Node, Schedule
from dode.timesteps import Grid, checked, whole

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.json")))
WHAT = "dode grid"
CONTENT = {"what": str, "name": str, "unit": str, "about?": str, "source?": str, "lists": {str: [float]}}
UNITS = ("sigmas", "times")
ROUNDED = 1e-3  # how far a list may begin beyond the schedule, relative: lists are often rounded


@dataclass(frozen=True)
class Listed:
    """Lists for some numbers of evaluations, falling from noise to data."""

    name: str
    unit: str  # sigmas: σ/α; times: of the network
    lists: Mapping[int, tuple[float, ...]]  # evaluations → values, one more
    about: str = ""  # the model that it is for
    source: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise DodeError(f"a list is of {' or '.join(UNITS)}; got {self.unit!r}")
        if not self.lists:
            raise DodeError(f"{self.name[:60]} has no list; give one for each number of evaluations")
        for nfe, values in self.lists.items():
            finite = all(math.isfinite(value) for value in values)
            falls = finite and all(a > b for a, b in pairwise(values))
            if not falls or len(values) != nfe + 1 or nfe < 1 or (self.unit == "sigmas" and values[-1] < 0):
                raise DodeError(
                    f"{self.name[:60]}: a list falls, and for {nfe} evaluations has {nfe + 1} values; "
                    f"got {', '.join(map(str, values[:20]))}{' …' if len(values) > 20 else ''}"
                )


def published(where: str) -> bool:
    """Whether this is the name of a published list, or of a grid file."""
    return where in NAMES or where.endswith(".json")


def read(where: str) -> Listed:
    """A published list by its name, or a grid file by its path; DodeError for anything else."""
    path = HERE / f"{where}.json" if where in NAMES else Path(where)
    if not os.path.isfile(path):
        raise DodeError(f"no grid file at {where}; published lists: {', '.join(NAMES)}")
    try:
        content = json_schema.read(path)
    except ValueError as error:
        raise DodeError(f"{where} is not a whole grid file ({error}); make it again with dode import") from error
    if not isinstance(content, dict) or content.get("what") != WHAT:
        raise DodeError(f"{where} is not a grid file of dode; make one from numbers with dode import")
    json_schema.check(content, CONTENT, where)
    try:
        lists = {int(nfe): tuple(map(float, values)) for nfe, values in content["lists"].items()}
    except ValueError as error:
        raise DodeError(f"{where}: its lists must be by numbers of evaluations ({error})") from error
    return Listed(content["name"], content["unit"], lists, content.get("about", ""), content.get("source", ""))


def parsed(text: str, unit: str, name: str) -> Listed:
    """A list from text: numbers between commas, spaces or line ends, with or without brackets.

    Raises DodeError for words, and for numbers that do not fall.
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
    texts = {"name": listed.name, "unit": listed.unit, "about": listed.about, "source": listed.source}
    return {"what": WHAT, **texts, "lists": lists}


def nearest(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The list for this number of evaluations, or the one to interpolate: of the nearest number, the longer if tied."""
    return listed.lists[min(listed.lists, key=lambda count: (abs(count - nfe), -count))]


def sigmas(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The sigmas for this number of evaluations, 0 last; DodeError for a list of times."""
    if listed.unit != "sigmas":
        raise DodeError(f"{listed.name} holds times; their sigmas depend on a model's schedule")
    values = nearest(listed, nfe)
    if len(values) == nfe + 1:
        return (*values[:-1], 0.0)
    return (*(math.exp(-level) for level in stretched([_level(value) for value in values], nfe)[:nfe]), 0.0)


def times(listed: Listed, nfe: int) -> tuple[float, ...]:
    """The times for this number of evaluations, without the end; DodeError for a number that the list lacks."""
    if len(nearest(listed, nfe)) != nfe + 1:
        raise DodeError(
            f"{listed.name} has times for NFE {', '.join(map(str, listed.lists))}; between, a model is needed"
        )
    return nearest(listed, nfe)[:-1]


def stretched(levels: Sequence[float], nfe: int) -> list[float]:
    """log-SNR interpolated to nfe + 1 nodes, an infinite end apart; DodeError for a list that begins at α = 0."""
    clean = levels[-1] == math.inf
    inner = list(levels[:-1] if clean else levels)
    if inner[0] == -math.inf:
        raise DodeError(
            "a list that begins at alpha = 0 cannot be interpolated; give one for this number of evaluations"
        )
    count = nfe - 1 if clean else nfe
    places = [i * (len(inner) - 1) / count for i in range(count + 1)] if count else [0.0]
    nodes: list[float] = np.interp(places, range(len(inner)), inner).tolist()
    return [*nodes, math.inf] if clean else nodes


def _level(sigma: float) -> float:
    return -math.log(sigma) if sigma else math.inf


def placed(where: str, schedule: Schedule, nfe: int, end: str = "data") -> Grid:
    """The grid of a list on a schedule.

    Args:
        where: name of a published list, or path of a grid file.
        schedule: of the network.
        nfe: number of evaluations; the grid has nfe + 1 nodes.
        end: "data", or "t_min" for the list's own last value.

    Raises:
        DodeError: where two nodes are the same, for a list that begins beyond the schedule, and as `read` does.
    """
    listed = read(where)
    values = nearest(listed, nfe)
    nodes = [_node(value, listed, schedule) for value in values]
    if len(values) != nfe + 1:
        nodes = [_at(level, schedule) for level in stretched([node.logsnr for node in nodes], nfe)]
    nodes = [*(whole(node, schedule) for node in nodes[:-1]), nodes[-1]]
    if end == "data":
        nodes[-1] = schedule.node(schedule.t_end)
    name = listed.name if where in NAMES else "times"
    return checked(Grid(tuple(nodes), "karras" if schedule.default_grid == "karras" else "logsnr", name))


def _node(value: float, listed: Listed, schedule: Schedule) -> Node:
    if listed.unit == "times":
        node = schedule.node(float(value))
        return node if value == schedule.t_end else whole(node, schedule)
    first = schedule.node(schedule.t_max)
    most = first.sigma / first.alpha if first.alpha and schedule.t_limit == schedule.t_max else math.inf
    if value > most * (1 + ROUNDED):
        raise DodeError(
            f"{listed.name} begins at sigma = {value:g}, beyond this model's schedule, which begins at {most:g}; "
            "give a list for this model"
        )
    return first if value > most else _at(_level(value), schedule)


def _at(logsnr: float, schedule: Schedule) -> Node:
    if logsnr == math.inf:
        return schedule.node(schedule.t_end)
    last = schedule.node(schedule.t_min)
    return last if logsnr > last.logsnr else schedule.at(logsnr)
