"""Results on disk: one JSON, written whole after every row, so that a killed comparison goes on where it was.

Rows are kept by solver, NFE, guidance and seed, and fitted solvers beside them as calibrations, so that what goes on
measures the same solvers.
"""

import csv
import io
import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dode import json_schema
from dode.calibration import Json, replace_text
from dode.errors import DodeError
from dode.metrics.comparison import FIGURES, Row
from dode.metrics.paired import Stop

SCHEMA = 1
MAYBE = (float, None)
ROW = {"solver": str, "nfe": int, "rms": MAYBE, "rms_error": MAYBE, "median": MAYBE, "each": (None, [float])}
ROW |= {"parts": {str: [float]}, "nodes": [[float]], "seeds": [int], "seconds?": float, "guidance?": MAYBE}
ROW |= dict.fromkeys((f"{name}{what}?" for name in FIGURES for what in ("", "_error")), MAYBE)
ROW |= {"samples?": int, "reference?": str, "stochastic?": bool, "taught?": str}
CONTENT = {"schema": int, "what": str, "settings": {str: object}, "rows": {str: ROW}, "plans": {str: {str: object}}}


@dataclass
class Results:
    """Rows and fitted solvers by key; without a path they are kept in memory alone."""

    path: Path | None
    settings: Json  # what rows of one file have in common
    rows: dict[str, Row] = field(default_factory=dict)
    plans: dict[str, Json] = field(default_factory=dict)  # as in calibration files

    def put(self, key: str, row: Row) -> None:
        """Keep a row."""
        self.rows[key] = row
        self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        if self.path is None:
            return
        rows = {key: row_to_json(row) for key, row in self.rows.items()}
        content = {
            "schema": SCHEMA,
            "what": "dode results",
            "settings": self.settings,
            "rows": rows,
            "plans": self.plans,
        }
        replace_text(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def key(solver: str, nfe: int, guidance: float | None, seed: int) -> str:
    """What a row is kept by."""
    scale = "unknown" if guidance is None else f"{guidance:g}"
    return f"{solver}, NFE {nfe}, guidance {scale}, seed {seed}"


def opened(path: str | Path | None, settings: Json) -> Results:
    """The results of a file, to go on with, or empty ones; ValueError if it was made with other settings."""
    settings = json.loads(json.dumps(settings))
    if path is None or not os.path.exists(path):
        return Results(None if path is None else Path(path), settings)
    found = read(path)
    for name in sorted({*found.settings, *settings}):
        mine, theirs = settings.get(name), found.settings.get(name)
        if mine != theirs:
            was, now = ("none" if value is None else json_schema.line(value) for value in (theirs, mine))
            made = f"{json_schema.line(name)} {was}"
            raise DodeError(f"{path} was made with {made}; asked for {now}: write to another file")
    return found


def read(path: str | Path) -> Results:
    """The results of a file; ValueError says what is wrong with it."""
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
        said = json_schema.short(content.get("schema"))
        raise DodeError(f"{path} has schema {said}; this version of dode reads {SCHEMA}")
    json_schema.check(content, CONTENT, str(path))
    for name, row in content["rows"].items():
        measured = {figure for figure in FIGURES if row.get(figure) is not None}
        if not row["seeds"] or set(row["parts"]) != measured or any(len(stop) != 3 for stop in row["nodes"]):
            raise DodeError(
                f"{path}: the row {name[:60]!r} must have seeds, the parts of its figures, and nodes of t, rms, median"
            )
    rows = {name: row_from_json(row) for name, row in content["rows"].items()}
    return Results(path, content["settings"], rows, content["plans"])


def row_to_json(row: Row) -> Json:
    """Everything but the images; NaN becomes null."""
    made: Json = {}
    for name in (one.name for one in fields(Row) if one.name != "images"):
        value = getattr(row, name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        made[name] = None if isinstance(value, float) and math.isnan(value) else value
    made["parts"] = {name: part.tolist() for name, part in row.parts.items()}
    made["nodes"] = [[stop.t, stop.rms, stop.median] for stop in row.nodes]
    return made


def row_from_json(data: Json) -> Row:
    """The row, exactly."""
    found = dict(data)
    for name in ("rms", "rms_error", "median"):
        found[name] = math.nan if found[name] is None else found[name]
    found["each"] = None if found["each"] is None else np.array(found["each"])
    found["parts"] = {name: np.array(part) for name, part in found["parts"].items()}
    found["nodes"] = tuple(Stop(*stop) for stop in found["nodes"])
    return Row(**found | {"seeds": tuple(found["seeds"])})


def write_csv(path: str | Path, rows: list[Row]) -> None:
    """A line for each row: what was asked, every figure with its standard error, the numbers of samples."""
    heads = ["solver", "nfe", "guidance", "seed", "paired", "samples", "rms", "rms_error", "median"]
    heads += [column for name in FIGURES for column in (name, f"{name}_error")] + ["seconds"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        said: dict[str, Any] = {"paired": 0 if row.each is None else len(row.each)}
        cells = [said.get(name, getattr(row, name, None)) for name in heads]
        writer.writerow(
            ["" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else cell for cell in cells]
        )
    replace_text(path, text.getvalue())
