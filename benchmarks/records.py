"""Where the benchmarks keep their results: docs/results/NAME.json."""

import os
import sys
from pathlib import Path
from typing import Any

from dode_paper.reproduce import result_store
from dode_paper.reproduce.result_store import table

__all__ = ["RESULTS", "Records", "table"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs/results"


class Records(result_store.Records):
    """Entries by key, in docs/results/NAME.json."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        script = os.path.relpath(sys.argv[0], ROOT)
        command = " ".join(["python", script, *sys.argv[1:]])
        super().__init__(RESULTS / f"{name}.json", settings, command)
