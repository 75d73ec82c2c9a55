"""The calibration file: one JSON of plans, with the model they belong to and how they were made.

Floats are written by repr and read back exactly.  A checksum over the content tells a damaged or hand-edited file.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dode import json_schema
from dode.errors import CalibrationMismatch, DodeError
from dode.files import read_bytes, replace_text
from dode.fingerprint import alike
from dode.parameterization import KINDS
from dode.plan import Plan
from dode.schedule import Node

SCHEMA = 1
Json = dict[str, Any]
MAYBE = (str, None)
NUMBERS, ROWS = [float], [[float]]
PLAN = {"space": KINDS, "convention": "output", "carry": bool, "free": bool, "nodes": ROWS, "fresh": [bool]}
PLAN |= {"lambda": NUMBERS, "start": NUMBERS, "use": ROWS, "mix": ROWS, "blend": ROWS, "table": ROWS}
PLAN |= {"noise?": NUMBERS, "told?": NUMBERS}  # files of the first version have none
MADE = {"method": str, "distilled": bool, "grid": (str, NUMBERS), "end?": str, "options?": {str: (str, float)}}
MADE |= {"formulation?": str, "lam?": (float, None), "states?": str, "carry?": bool, "teacher?": MAYBE, "align?": MAYBE}
MADE |= {f"{name}?": (int, None) for name in ("teacher_nfe", "scale", "samples", "batch", "seed")}
MADE |= {"rho?": (float, None), "dtype?": str, "errors?": [(float, NUMBERS)], "ratios?": NUMBERS}
MADE |= {"conditions?": NUMBERS, "report?": {str: (float, str, [(float, str)])}}
MODEL = {"name": str, "fingerprint": str, "schedule": str, "noise?": str, "prediction": KINDS, "form?": str}
MODEL |= {"shape": [int], "threshold": (None, [(float, None)]), "classifier_scale": (float, None)}
ENTRY = {"nfe": int, "guidance": (float, None), "plan": PLAN, "provenance": MADE}
CONTENT = {"schema": int, "what": str, "model": MODEL, "plans": [ENTRY], "checksum": str}


def plan_to_json(plan: Plan) -> Json:
    """Every number of a plan; `lambda` and `table` repeat what mix, use and blend say, for readers."""
    return {
        "space": plan.kind,
        "convention": "output",  # λ multiplies outputs (the paper), not the state (the published code)
        "carry": plan.carry,
        "free": plan.unnormalized,
        "nodes": [list(node) for node in plan.nodes],
        "fresh": list(plan.step_starts),
        "lambda": plan.lambdas.tolist(),
        "start": plan.start.tolist(),
        "use": plan.use.tolist(),
        "mix": plan.mix.tolist(),
        "blend": plan.blend.tolist(),
        "noise": list(plan.noise_scales),
        "table": plan.table.tolist(),
    } | ({} if plan.conditioning_shifts is None else {"told": plan.conditioning_shifts.tolist()})


def plan_from_json(data: Json) -> Plan:
    """The plan, exactly; its own checks run again."""
    arrays = {name: _array(data, name) for name in ("start", "use", "mix", "blend")}
    nodes = tuple(Node(*node) for node in data["nodes"])
    noise = _array(data, "noise") if "noise" in data else None  # files of the first version have none
    fresh = tuple(data["fresh"])
    told = _array(data, "told") if "told" in data else None
    return Plan(
        data["space"],
        nodes,
        fresh,
        **arrays,
        noise=noise,
        carry=data["carry"],
        unnormalized=data["free"],
        conditioning_shifts=told,
    )


def _array(data: Json, name: str) -> np.ndarray:
    try:
        return np.array(data[name])
    except ValueError as error:  # rows of several lengths
        raise DodeError(f"a plan's {name} must be rows of one length") from error


def checksum(content: Json) -> str:
    """Sixteen hexadecimal digits of everything but the checksum itself; DodeError if nested too deeply."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    try:
        text = json.dumps(rest, sort_keys=True)
    except RecursionError as error:
        raise DodeError("a calibration is nested too deeply") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compose(model: Json, entries: Sequence[Json], models: Sequence[Json]) -> Json:
    """The content of a file: plans of one model, one for each NFE and guidance; DodeError for any others."""
    if any(other != model for other in models):
        raise DodeError("a calibration file holds plans of one model; these are of several")
    asked = [(entry["nfe"], entry["guidance"]) for entry in entries]
    if len(set(asked)) != len(asked):
        raise DodeError(f"a calibration file holds one plan for each NFE and guidance; got {asked}")
    content: Json = {"schema": SCHEMA, "what": "dode calibration", "model": model, "plans": list(entries)}
    content["checksum"] = checksum(content)
    return content


def write(path: str | Path, content: Json) -> None:
    """Write the file beside its place and move it there."""
    replace_text(path, json.dumps(content, indent=1) + "\n")


def read(path: str | Path) -> Json:
    """The content of a file, checked; ValueError says what is wrong with it."""
    path = Path(path)
    if not os.path.isfile(path):  # Path.is_file fails on a name that is too long
        raise DodeError(f"no calibration file at {json_schema.line(path)}")
    try:
        content = json_schema.read(path)
    except ValueError as error:
        raise DodeError(f"{path} is not a whole JSON file ({error}); make it again with dode distill") from error
    return checked(content, str(path))


def checked(content: Any, where: str) -> Json:
    """The content, if it is a calibration, as it was written and of the known form, else DodeError."""
    if not isinstance(content, dict) or content.get("what") != "dode calibration":
        raise DodeError(f"{where} is not a calibration file of dode")
    if content.get("schema") != SCHEMA:
        said = json_schema.short(content.get("schema"))
        raise DodeError(f"{where} has schema {said}; this version of dode reads {SCHEMA}")
    if content.get("checksum") != checksum(content):
        raise DodeError(
            f"{where} was changed after it was written (its checksum differs); make it again with dode distill"
        )
    json_schema.check(content, CONTENT, where)
    _together(content["plans"], where)
    return content


def _together(entries: Sequence[Json], where: str) -> None:
    """DodeError unless every entry is one plan, and there is one for each number of evaluations and guidance."""
    if not entries or len({(entry["nfe"], entry["guidance"]) for entry in entries}) < len(entries):
        raise DodeError(f"{where} must hold plans, one for each NFE and guidance")
    for entry in entries:
        plan, made, count = entry["plan"], entry["provenance"], entry["nfe"]
        sizes = {len(made.get(key, ())) for key in ("errors", "ratios", "conditions")} | {len(plan["nodes"]) - 1}
        if count < 1 or not sizes <= {0, count} or any(len(node) != 3 for node in plan["nodes"]):
            raise DodeError(
                f"{where}: the plan for NFE {count} has not {count} evaluations at nodes of t, alpha, sigma"
            )


def is_calibration(path: str | Path) -> bool:
    """Does this file say that it is one? It may still be damaged."""
    return os.path.isfile(path) and b'"what": "dode calibration"' in read_bytes(path)


def choose(content: Json, model: Json, guidance: float | None, nfe: int | None) -> Json:
    """The plan for this model, guidance and number of evaluations."""
    belongs(content, model)
    return pick(content, guidance, nfe)


def belongs(content: Json, model: Json) -> None:
    """CalibrationMismatch unless the calibration is for this model."""
    match(content, model)
    recognise(content, model["name"], model["fingerprint"])


def match(content: Json, asked: Json) -> None:
    """CalibrationMismatch unless the calibration is for what is asked, as far as that is known."""
    made = content["model"]
    ours, theirs = made.get("form"), asked.get("form")
    if ours and theirs and ours != theirs:
        raise CalibrationMismatch(
            f"the calibration is for {made['name']} called as {ours}; this scheduler calls it as {theirs}"
        )
    for key in ("shape", "prediction", "schedule", "threshold", "classifier_scale"):
        if key in asked and made[key] != asked[key]:
            ours, theirs = (_said(key, one) for one in (made, asked))
            raise CalibrationMismatch(
                f"the calibration is for {made['name']} with {key} {ours}; this model has {theirs}"
            )


def _said(key: str, model: Json) -> str:
    """A value as people know it: a schedule by its name beside its hash."""
    return f"{model[key]} ({model['noise']})" if key == "schedule" and "noise" in model else str(model[key])


def recognise(content: Json, name: str, fingerprint: str) -> None:
    """CalibrationMismatch unless it is the network that was calibrated."""
    made = content["model"]
    if not alike(made["fingerprint"], fingerprint):
        raise CalibrationMismatch(
            f"the calibration is for the network {made['name']} ({made['fingerprint']}); "
            f"this one is {name} ({fingerprint})"
        )


P = TypeVar("P")


def under(
    plans: Sequence[P], guidance: float | None, scale: Callable[[P], float | None], nfe: Callable[[P], int]
) -> list[P]:
    """The plans for a guidance scale, one for each number of evaluations; None where nobody knows which.

    scale, nfe: what a plan is for.  One whose own scale is None was made where it could not be seen, and serves any for
    which there is none of its own.  Raises ValueError where there is a choice, or nothing to choose.
    """
    scales = {scale(one) for one in plans}
    known = ", ".join("unknown" if g is None else f"{g:g}" for g in sorted(scales, key=lambda g: g or 0))
    if guidance is None and len(scales) > 1:
        raise CalibrationMismatch(f"calibrated for guidance {known}; say which guidance")
    fitting = [one for one in plans if guidance is None or scale(one) in (guidance, None)]
    if not fitting:
        raise CalibrationMismatch(f"calibrated for guidance {known}; asked for {guidance:g}")
    own = {nfe(one) for one in fitting if scale(one) is not None}
    return [one for one in fitting if scale(one) is not None or nfe(one) not in own]


def pick(content: Json, guidance: float | None, nfe: int | None) -> Json:
    """The plan for a guidance scale and an NFE; None where unknown; CalibrationMismatch (a DodeError) for others.

    A plan whose own guidance is None was made where it could not be seen, and serves any.
    """
    guided = under(content["plans"], guidance, lambda entry: entry["guidance"], lambda entry: entry["nfe"])
    counts = sorted(entry["nfe"] for entry in guided)
    if nfe is None and len(counts) > 1:
        raise CalibrationMismatch(f"the file holds plans for NFE {', '.join(map(str, counts))}; say which")
    if nfe is not None and nfe not in counts:
        raise CalibrationMismatch(f"calibrated for NFE {', '.join(map(str, counts))}; asked for {nfe}")
    return next(entry for entry in guided if nfe is None or entry["nfe"] == nfe)
