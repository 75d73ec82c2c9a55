"""Results on disk: one JSON a script, written after every entry, so that a killed run goes on where it was."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dode
from dode.calibration import replace_text

RESULTS = Path(__file__).parent.parent / "docs/results"


class Records:
    """Entries by key, in docs/results/NAME.json; made with other settings, they are refused."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.path = RESULTS / f"{name}.json"
        self.content: dict[str, Any] = {
            "command": "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "versions": {"dode": dode.__version__, "torch": torch.__version__, "numpy": np.__version__},
            "python": platform.python_version(),
            "processor": platform.machine(),
            "settings": settings,
            "entries": {},
        }
        if self.path.exists():
            known = json.loads(self.path.read_text())
            if known["settings"] != json.loads(json.dumps(settings)):
                raise SystemExit(f"{self.path} was made with other settings; move it away to begin again")
            self.content = known

    @property
    def entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.content["entries"]
        return entries

    def put(self, key: str, value: Any) -> None:
        """Keep an entry."""
        self.entries[key] = value
        replace_text(self.path, json.dumps(self.content, indent=1) + "\n")
        print(f"{key}: {json.dumps(value)}", flush=True)


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
