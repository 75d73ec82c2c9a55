"""Plans for a tool that brings its own noise levels: a falling list of sigmas, as k-diffusion and ComfyUI have it.

A tool's states are x₀ + σ·ε, or (1 − σ)·x₀ + σ·ε with `flow`. A solver that was calibrated on another scale is brought
to the tool's; a list that is the end of a calibrated one (image to image) starts in the middle of its plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dode import calibration as files
from dode.errors import DodeError
from dode.integrations.resume import cut_at, made_by, tail
from dode.method import Method
from dode.plan import Plan
from dode.samplers import Sampler
from dode.schedule import EDM, Flow, Schedule
from dode.solvers import METHODS, method
from dode.solvers.spec import read
from dode.solvers.step_allocation import build
from dode.state_scaling import OTHER_TIMES, exploding, followed, rescaled, straight
from dode.timesteps import Grid

RTOL = 1e-3  # how far a given level may be from a calibrated one: lists are often rounded to four digits
Calibration = str | Path | dict[str, Any] | Sampler | Plan


def falling(sigmas: Any, flow: bool) -> tuple[float, ...]:
    """The levels as plain numbers: n evaluations have n + 1, the last is usually 0."""
    levels = tuple(float(sigma) for sigma in sigmas)
    if len(levels) < 2 or not levels[0] > 0 <= levels[-1] or any(not a >= b for a, b in pairwise(levels)):
        raise DodeError(f"sigmas must fall to 0 or above and be at least two; got {_text(levels)}")
    if flow and levels[0] > 1:
        raise DodeError(f"the sigmas of a flow model lie between 1 and 0; got {_text(levels)}")
    return levels


def schedule_of(levels: Sequence[float], flow: bool) -> Schedule:
    """The tool's schedule: where it starts, and its smallest level above 0."""
    least = min(level for level in levels if level > 0)
    return Flow(t_max=levels[0], t_min=least) if flow else EDM(levels[0], least)


def grid_of(levels: Sequence[float], flow: bool) -> Grid:
    """The levels as a grid; a teacher's steps divide σ^{1/7}, or on straight paths time."""
    schedule = schedule_of(levels, flow)
    for a, b in pairwise(levels):
        if a == b:
            raise DodeError(f"sigmas must fall strictly to make steps; {a:g} is there twice")
    return Grid(tuple(schedule.node(level) for level in levels), "t" if flow else "karras", "times")


def plain(name: str, levels: Sequence[float], flow: bool) -> Plan:
    """The solver of this name (with options) on the levels; one of several stages steps over some of them."""
    schedule = schedule_of(levels, flow)
    chosen = read(name)
    if chosen.distilled:
        raise DodeError(f"{name} must be fitted: give its calibration, or the name of the plain solver, {name[2:]}")
    if chosen.method.warmup:
        raise DodeError(f"{name} needs first steps of its own, which given sigmas do not have; use ipndm")
    return build(chosen.method, len(levels) - 1, schedule, "flow" if flow else "data", grid_of(levels, flow))[0]


@dataclass(frozen=True)
class Calibrated:
    """A plan as it was made, and what is known of how."""

    plan: Plan
    guidance: float | None = None
    method: Method | None = None
    schedule: Schedule | None = None
    prediction: str | None = None  # of the network that it was made for

    def scaled(self, flow: bool) -> Plan:
        """The plan in the tool's scale; its tool makes data of a network's noise with the time that it tells it."""
        if not self.followed(flow):
            raise DodeError(OTHER_TIMES)
        return rescaled(self.plan, straight if flow else exploding)

    def followed(self, flow: bool) -> bool:
        """Can the tool tell the network what the plan tells it?"""
        known = self.plan.conditioning_shifts is None or self.prediction in ("data", None)
        return known and followed(self.plan, straight if flow else exploding)

    @property
    def flow(self) -> bool:
        """Was it made on straight paths, α + σ = 1?"""
        return all(abs(node.alpha + node.sigma - 1) < 1e-9 for node in self.plan.nodes)

    def tail(self, levels: Sequence[float], flow: bool) -> Plan:
        """What is left of it on these levels, in the tool's scale."""
        if self.method is None:
            raise DodeError(
                "only a plan of a solver in dode.METHODS starts in the middle: give the Sampler, or the file, that it "
                "came from"
            )
        scaled, scale = self.scaled(flow), straight if flow else exploding
        k = scaled.nfe + 1 - len(levels)
        own = schedule_of([node.sigma for node in scaled.nodes], flow)
        inner = [own.node(level) for level in levels[: len(cut_at(scaled, k))]]
        if self.schedule is not None:
            there = [self.schedule.at(node.logsnr) for node in inner]
            return rescaled(tail(self.plan, k, self.method, self.schedule, there), scale)
        if not self.method.warmup and not made_by(scaled, self.method, own):
            raise DodeError(
                f"{self.method.label} depends on the time of the model that it was calibrated on, which a file does "
                "not hold: give dode.load(file, model) instead of the file to start in the middle"
            )
        return tail(scaled, k, self.method, own, inner)


def known(calibration: Calibration) -> list[Calibrated]:
    """Every plan of a calibration: the path or the content of a file, a Sampler, or a bare Plan."""
    if isinstance(calibration, Plan):
        return [Calibrated(calibration)]
    if isinstance(calibration, Sampler):
        made, model = calibration.provenance, calibration.model
        named = _named(made.method, made.options)
        return [Calibrated(calibration.plan, model.guidance, named, model.schedule, model.prediction)]
    if isinstance(calibration, dict):
        content = files.checked(calibration, "the content given")
    else:
        content = files.read(calibration)
    return [
        Calibrated(
            files.plan_from_json(entry["plan"]),
            entry["guidance"],
            _named(entry["provenance"]["method"], entry["provenance"].get("options", {})),
            prediction=content["model"]["prediction"],
        )
        for entry in content["plans"]
    ]


def _named(name: str, options: dict[str, Any]) -> Method | None:
    """The solver, if it is in the catalogue: a plan runs without it, but does not start in the middle."""
    return method(name, **options) if name in METHODS else None


def fitting(
    calibration: Calibration,
    levels: Sequence[float],
    flow: bool,
    nfe: int | None = None,
    guidance: float | None = None,
) -> Plan:
    """The calibrated plan for these levels, in the tool's scale; if they are the end of its levels, its tail.

    nfe, guidance: of the plan to take, where the calibration holds several.  Raises ValueError that says what was
    calibrated and what was given.
    """
    plans = [one for one in chosen(known(calibration), guidance) if nfe in (None, one.plan.nfe)]
    found = [(one, one.plan.nfe + 1 - len(levels)) for one in plans]
    found = [(one, k) for one, k in found if k >= 0 and one.followed(flow)]
    found = [(one, k) for one, k in found if differing(one.scaled(flow), levels, k) is None]
    whole = [one for one, k in found if k == 0]
    if whole:
        return whole[0].scaled(flow)
    if len(found) > 1:
        counts = ", ".join(str(one.plan.nfe) for one, _ in found)
        raise DodeError(f"the sigmas {_text(levels)} are the end of the plans for NFE {counts}: say which with nfe")
    if not found:
        raise DodeError(_mismatch(known(calibration), plans, levels, flow))
    return found[0][0].tail(levels, flow)


def chosen(plans: list[Calibrated], guidance: float | None) -> list[Calibrated]:
    """The plans of one guidance scale; it need not be said if there is only one."""
    return files.under(plans, guidance, lambda one: one.guidance, lambda one: one.plan.nfe)


def differing(plan: Plan, levels: Sequence[float], k: int) -> int | None:
    """The first of the levels that is not the plan's from node k on; None if all agree.

    Only where steps start, and at the end: inside a step the list may have the plan's inner nodes or those of the grid.
    """
    starts = [j for j, fresh in enumerate((*plan.step_starts, True)) if fresh]
    for j, level in enumerate(levels, k):
        if j in starts and abs(level - plan.nodes[j].sigma) > RTOL * plan.nodes[j].sigma:
            return j - k
    last = max(j for j in starts if j <= k)
    inside = plan.nodes[last].sigma > levels[0] >= plan.nodes[cut_at(plan, k).stop].sigma
    return None if k in starts or inside else 0


def _mismatch(every: list[Calibrated], plans: list[Calibrated], levels: Sequence[float], flow: bool) -> str:
    counts = sorted({one.plan.nfe for one in every})
    given = f"given {len(levels) - 1} evaluations at sigma = {_text(levels)}"
    same = [one.scaled(flow) for one in plans if one.plan.nfe == len(levels) - 1]
    if not same and not all(one.followed(flow) for one in plans):
        return OTHER_TIMES
    if not same:
        return f"calibrated for NFE {', '.join(map(str, counts))}; {given}, which is no end of its sigmas"
    place = differing(same[0], levels, 0) or 0
    mine = same[0].nodes[place].sigma
    return (
        f"calibrated at sigma = {_text([node.sigma for node in same[0].nodes])}; {given}: number {place + 1} is "
        f"{levels[place]:.5g}, not {mine:.5g}; sample on the calibrated sigmas, or calibrate on these"
    )


def _text(levels: Sequence[float]) -> str:
    return ", ".join(f"{level:.5g}" for level in levels)
