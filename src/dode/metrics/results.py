"""Results on disk: one JSON, written whole after every row, so that a killed comparison goes on where it was.

Rows are kept by solver, NFE, guidance and seed, and fitted solvers beside them as calibrations, so that what goes on
measures the same solvers.
"""

import csv
import io
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dode import json_schema
from dode.calibration import Json
from dode.errors import DodeError
from dode.files import replace_text
from dode.metrics.estimates import METRICS, Estimate, Row

SCHEMA = 1
MAYBE = (float, None)
ROW = {"solver": str, "nfe": int, "rms": MAYBE, "rms_error": MAYBE, "median": MAYBE, "each": (None, [float])}
ROW |= {"parts": {str: [float]}, "seeds": [int], "seconds?": float, "guidance?": MAYBE, "samples?": int}
ROW |= {"reference?": str, "stochastic?": bool, "taught?": str, "nodes?": [[float]]}  # nodes: of files before 0.1


@dataclass
class Results:
    """Rows and fitted solvers by key; without a path they are kept in memory alone."""

    path: Path | None
    settings: Json  # what rows of one file have in common
    rows: dict[str, Row] = field(default_factory=dict)
    plans: dict[str, Json] = field(default_factory=dict)  # as in calibration files

    def put(self, key: str, row: Row) -> None:
        """Keep a row, in the file too."""
        self.rows[key] = row
        self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        if self.path is None:
            return
        content = {"schema": SCHEMA, "what": "dode results", "settings": self.settings}
        content |= {"rows": {key: row_to_json(row) for key, row in self.rows.items()}, "plans": self.plans}
        replace_text(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def key(solver: str, nfe: int, guidance: float | None, seed: int) -> str:
    """The key of a row."""
    scale = "unknown" if guidance is None else f"{guidance:g}"
    return f"{solver}, NFE {nfe}, guidance {scale}, seed {seed}"


def opened(path: str | Path | None, settings: Json) -> Results:
    """The results of a file, to go on with, or empty ones.

    Raises:
        DodeError: The file was made with other settings, or is none of results.
    """
    settings = json.loads(json.dumps(settings))
    if path is None or not os.path.exists(path):
        return Results(None if path is None else Path(path), settings)
    results = read(path)
    for name in sorted({*results.settings, *settings}):
        ours, theirs = settings.get(name), results.settings.get(name)
        if ours != theirs:
            was, now = ("none" if value is None else json_schema.line(value) for value in (theirs, ours))
            made = f"{json_schema.line(name)} {was}"
            raise DodeError(f"{path} was made with {made}; asked for {now}: write to another file")
    return results


def read(path: str | Path) -> Results:
    """Read a file of results.

    Raises:
        DodeError: It is absent, torn, of another schema, or inconsistent.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise DodeError(f"no results at {path}")
    try:
        content = json_schema.read(path)
    except ValueError as error:
        raise DodeError(f"{path} is not a whole JSON file ({error}); move it away to begin again") from error
    if not isinstance(content, dict) or content.get("what") != "dode results":
        raise DodeError(f"{path} is not a file of results of dode")
    if content.get("schema") != SCHEMA:
        given = json_schema.short(content.get("schema"))
        raise DodeError(f"{path} has schema {given}; this version of dode reads {SCHEMA}")
    row = ROW | {f"{name}{what}?": MAYBE for name in METRICS if name != "rms" for what in ("", "_error")}
    form = {"schema": int, "what": str, "settings": {str: object}, "rows": {str: row}, "plans": {str: {str: object}}}
    json_schema.check(content, form, str(path))
    for name, entry in content["rows"].items():
        each, seeds = entry["each"], entry["seeds"]
        lacking = {metric for metric in METRICS if entry.get(metric) is not None} - {*entry["parts"], "rms"}
        if not seeds or lacking or (each is not None and (not each or len(each) % len(seeds))):
            raise DodeError(
                f"{path}: the row {name[:60]!r} must have seeds, the parts of its metrics, and as many distances a seed"
            )
    rows = {name: row_from_json(entry) for name, entry in content["rows"].items()}
    return Results(path, content["settings"], rows, content["plans"])


def row_to_json(row: Row) -> Json:
    """Everything but the images; NaN becomes null."""
    content: Json = {"solver": row.solver, "nfe": row.nfe, "rms": None, "rms_error": None}
    for name, estimate in row.estimates.items():
        content |= {name: _number(estimate.value), f"{name}_error": _number(estimate.error)}
    content |= {"median": _number(row.median), "each": None if row.each is None else row.each.tolist()}
    content["parts"] = {name: one.parts.tolist() for name, one in row.estimates.items() if one.parts is not None}
    content |= {"seconds": row.seconds, "guidance": row.guidance, "seeds": list(row.seeds), "samples": row.samples}
    return content | {"reference": row.reference, "stochastic": row.stochastic, "taught": row.teacher}


def row_from_json(data: Json) -> Row:
    """The row, exactly."""
    row = Row(data["solver"], data["nfe"], guidance=data.get("guidance", 1.0), seeds=tuple(data["seeds"]))
    row.seconds, row.samples, row.reference = (
        data.get("seconds", 0.0),
        data.get("samples", 0),
        data.get("reference", ""),
    )
    row.stochastic, row.teacher = data.get("stochastic", False), data.get("taught", "")
    for name in METRICS:
        parts, each = data["parts"].get(name), data["each"] if name == "rms" else None
        if data.get(name) is not None or each is not None:
            value, error = (math.nan if v is None else v for v in (data.get(name), data.get(f"{name}_error")))
            arrays = (None if values is None else np.array(values, float) for values in (parts, each))
            row.estimates[name] = Estimate(value, error, *arrays)
    return row


def write_csv(path: str | Path, rows: list[Row]) -> None:
    """A line for each row: what was asked, every metric with its standard error, the numbers of samples."""
    text = io.StringIO()
    names = [("rms", "rms_error", "median"), *((name, f"{name}_error") for name in METRICS if name != "rms")]
    heads = ["solver", "nfe", "guidance", "seed", "paired", "samples", *(head for pair in names for head in pair)]
    writer = csv.DictWriter(text, [*heads, "seconds"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = row_to_json(row) | {"seed": row.seed, "paired": 0 if row.each is None else len(row.each)}
        writer.writerow({name: "" if value is None else value for name, value in cells.items()})
    replace_text(path, text.getvalue())


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
