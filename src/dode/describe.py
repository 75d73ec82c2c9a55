"""A calibration in words: what was fitted at each evaluation, its standard errors, what the ridge held back, its worth.

    kept = ⟨v, v⟩ / (⟨v, v⟩ + ρ·⟨u, u⟩) = r² / (r² + ρ),  r = ‖v‖/‖u‖

is the share of the least-squares λ that the ridge ρ leaves (`dode.distillation.fit`).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dode.calibration import Json
from dode.distillation.fit import LARGE
from dode.messages import distance
from dode.samplers import Provenance, provenance_from_json

HELD = 0.75  # a λ of which the ridge leaves less than this was held back
TOLD_APART = 2.0  # standard errors


def explain(content: Json) -> str:
    """Describe every entry of a calibration file, as `dode.calibration.read` gives it."""
    return "\n\n".join("\n".join(_entry(entry)) for entry in content["plans"])


def _entry(entry: Json) -> Iterator[str]:
    how = provenance_from_json(entry["provenance"])
    guidance = "" if entry["guidance"] is None else f", guidance {entry['guidance']:g}"
    yield f"{how.label}, {entry['nfe']} network evaluation{'s' if entry['nfe'] > 1 else ''} a sample{guidance}"
    if (label := _number(how, "label")) is not None:
        yield f"It was found for class {label:.0f} alone."
    if not how.distilled:
        yield "A plain solver: nothing was fitted."
        yield from _worth(how)
        yield from _search(entry["plan"], how)
        return
    if isinstance(between := how.report.get("between"), list):
        yield f"Nothing was fitted: it lies between the plans for {' and for '.join(map(str, between))}."
    elif how.samples is not None:
        whose = "" if how.teacher is None else f" towards {how.teacher} with {how.teacher_nfe} evaluations"
        yield f"Fitted on {how.samples} samples{whose}."
    yield from _worth(how)
    if how.lam is not None:
        yield f"One lambda, {how.lam:g}, wherever there is an output before."
    elif how.errors and not any(isinstance(error, tuple) for error in how.errors):
        yield from _lambdas(entry["plan"], how)
    else:
        yield from _rows(entry["plan"], how)
    if how.formulation == "auto":
        yield from _search(entry["plan"], how)


def _worth(how: Provenance) -> Iterator[str]:
    """Whether it helped, on noise that it was not fitted on."""
    ours, plain = _number(how, "rms"), _number(how, "plain rms")
    if ours is None or plain is None:
        if how.formulation != "auto" and how.distilled:
            yield "Not measured on other noise: the command dode distill does that by itself, dode compare at any time."
        return
    count = _number(how, "n") or 0
    searched = how.formulation == "auto" or "start" in how.report
    whose = f"the nearest plain solver, {how.report['plain']}," if searched else "the plain solver"
    yield f"On {count:.0f} other samples it ends {distance(ours)} from the exact solution, {whose} {distance(plain)}:"
    if ours < plain:
        yield f"  it helped, {_times(plain, ours)} nearer."
        return
    if ours == plain:
        yield "  it is the same."
        return
    yield f"  IT HURT, {_times(ours, plain)} farther."
    if searched:
        yield "  Use that solver, or search with more --samples and without --quick."
    else:
        yield "  Use the plain solver, or a teacher of higher order (--teacher), or a larger --rho."


def _times(large: float, small: float) -> str:
    return f"{large / small if small else math.inf:.3g} times"


def _number(how: Provenance, key: str) -> float | None:
    """A number of the report, which holds words and lists too; None for others."""
    value = how.report.get(key)
    return float(value) if isinstance(value, int | float) else None


def _lambdas(plan: Json, how: Provenance) -> Iterator[str]:
    """A line for each evaluation, and what to do about uncertain ones."""
    yield "At each evaluation O = d + lambda*(d - the output before). 0 is the plain solver, 1/2 is half a step ahead,"
    yield "below 0 leans on the output before. Kept is the share of the least-squares lambda that the ridge leaves."
    if plan["space"] == "noise" and plan["lambda"] and plan["lambda"][0]:
        yield "Before the first output stands x_T/sigma_T."
    yield "  k  sigma/alpha    lambda   error   kept"
    rho = how.rho or 0.0
    errors = [error for error in how.errors if not isinstance(error, tuple)]  # all, as the caller saw
    single = how.samples == 1  # which has no spread to tell an error from: 0 stands in the file
    alike, vague = [], []
    rows = zip(plan["nodes"], plan["lambda"], errors, how.ratios, strict=False)
    for k, (node, lam, error, ratio) in enumerate(rows):
        start = f"{k:>3}  {_level(node):>11}"
        if ratio * ratio == 0:
            yield f"{start}   plain: no output before that differs"
            continue
        kept = 1 / (1 + rho / (ratio * ratio))
        if kept < HELD or (abs(lam) > LARGE and ratio < 1):
            alike.append(k)
        if abs(lam) < TOLD_APART * error:
            vague.append(k)
        remarks, shown = "; ".join(_remarks(lam, error, ratio, kept)), "?" if single else f"{error:.4f}"
        yield f"{start}  {lam:8.4f}  {shown:>6}  {kept:4.0%}  {remarks}".rstrip()
    yield from _advice(any(ratio * ratio for ratio in how.ratios), alike, vague, rho, single)


def _remarks(lam: float, error: float, ratio: float, kept: float) -> Iterator[str]:
    """Remarks on one λ."""
    if abs(lam) > LARGE:
        yield "large" if ratio < 1 else "large, but this step hardly uses its output"
    if kept < HELD:
        yield f"held back, least squares asked for {lam / kept:.3g}"
    if abs(lam) < TOLD_APART * error:
        yield "not told apart from 0"


def _advice(some: bool, alike: Sequence[int], vague: Sequence[int], rho: float, single: bool) -> Iterator[str]:
    """What to do about outputs that hardly differ from the one before, and about uncertain λ."""
    if alike:
        yield f"At {_list(alike)} the output hardly differs from the one before: lambda matters little there and"
        yield f"is badly known. The ridge, rho {rho:g}, holds it nearer to 0; a larger --rho does so more."
    if vague:
        yield f"Within two standard errors of the plain solver: {_list(vague)}. More --samples tell more."
    if single:
        yield "One sample gives no standard errors: fit on more to know which lambda is told apart from 0."
    elif some and not (alike or vague):
        yield "Every lambda is told apart from the plain solver, and none was held back much."


def _rows(plan: Json, how: Provenance) -> Iterator[str]:
    """Rows of mix with several coefficients, their errors and condition numbers."""
    yield "At each evaluation O is a sum of outputs D; a coefficient within two errors of 0 is not told apart from it."
    for k, row in enumerate(plan["mix"]):
        named = [f"{c:.4f} {'x_T/sigma_T' if j == 0 else f'D{j - 1}'}" for j, c in enumerate(row) if c]
        error = how.errors[k] if k < len(how.errors) else ()
        known = () if how.samples == 1 else error if isinstance(error, tuple) else (error,)
        errors = ", ".join(f"{e:.4f}" for e in known) or "unknown"
        condition = f", condition {how.conditions[k]:.2g}" if k < len(how.conditions) else ""
        yield f"  O{k} = {' + '.join(named).replace('+ -', '- ')}   errors {errors}{condition}"
    if not plan["free"]:
        return
    sums = [math.fsum(row) for row in plan["mix"]]
    yield "Rows need not sum to one here; they sum to " + ", ".join(f"{one:.3f}" for one in sums) + "."


def _search(plan: Json, how: Provenance) -> Iterator[str]:
    """What a search started from, spent and tried."""
    between, start = how.report.get("between"), how.report.get("start")
    if isinstance(start, str):
        yield f"It began with {start.removeprefix('refined ')}."
    if (spent := _number(how, "evaluations a sample")) is not None:
        yield f"It spent {spent:.0f} network evaluations a sample, the teacher's included."
    keys = [key for key in how.report if key.startswith("tried ")]
    distances = {key.removeprefix("tried "): value for key in keys if (value := _number(how, key)) is not None}
    if isinstance(between, list) and (own := _number(how, "robust select rms")) is not None:
        distances["this plan"] = own
    tried = sorted(
        (value, name != start, name) for name, value in distances.items()
    )  # of two alike, what was given back
    if tried:
        yield "Judged on samples that nothing was fitted on, nearest first:"
        yield from (f"  {distance(value)}  {name}" for value, _, name in tried)
    apart = [k for k, shift in enumerate(plan.get("told", ())) if abs(shift) > 1e-3]
    if apart:
        yield f"The network is told another noise level than its state's at {_list(apart)}."


def _level(node: Sequence[Any]) -> str:
    """σ/α of a node; inf at α = 0."""
    _, alpha, sigma = node
    return f"{sigma / alpha:.4g}" if alpha else "inf"


def _list(ks: Sequence[int]) -> str:
    return "k = " + ", ".join(map(str, ks))
