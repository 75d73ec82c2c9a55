"""Results on disk: one JSON a piece of work, written after every entry, so that a killed run goes on where it was."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dode
from dode import json_schema
from dode.errors import DodeError
from dode.files import replace_text

Entry = dict[str, Any]
Entries = dict[str, Any]  # by their keys
CONTENT = {str: object, "settings": dict, "entries": dict}


class Records:
    """Entries by key in one file; a file that was made with other settings is refused with a ValueError."""

    def __init__(self, path: Path, settings: dict[str, Any], command: str, loud: bool = True) -> None:
        self.path = path
        self.loud = loud
        self.content: dict[str, Any] = {
            "command": command,
            "versions": {"dode": dode.__version__, "torch": torch.__version__, "numpy": np.__version__},
            "python": platform.python_version(),
            "processor": platform.machine(),
            "settings": settings,
            "entries": {},
        }
        if path.exists():
            try:
                known = json_schema.read(path)
                json_schema.check(known, CONTENT, str(path))
            except ValueError as error:
                raise DodeError(f"{path} is not a file of results ({error}); move it away to begin again") from error
            if known["settings"] != json.loads(json.dumps(settings)):
                raise DodeError(f"{path} was made with other settings; move it away to begin again")
            self.content = known

    @property
    def entries(self) -> Entries:
        entries: Entries = self.content["entries"]
        return entries

    def put(self, key: str, value: Any) -> None:
        """Keep an entry, as it will be read again."""
        self.entries[key] = json.loads(json.dumps(value))
        self.write()
        if self.loud:
            print(f"{key}: {json.dumps(value)}", flush=True)

    def write(self) -> None:
        """The file, whole or not at all."""
        replace_text(self.path, json.dumps(self.content, indent=1) + "\n")


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
