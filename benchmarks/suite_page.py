"""docs/results/diffusers-suite.json and .md: the outcome of diffusers' own tests, a line for each case."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import diffusers
import torch
from records import RESULTS, table

import dode
from dode.files import replace_text

RESULTS_OF_A_CASE = ("passed", "in part", "failed", "not applicable")
Outcomes = dict[str, dict[str, dict[str, Any]]]  # suite → case → result, note and, of a failure, trace


def write(found: Outcomes, source: Path) -> None:
    """Both files; SystemExit if a case failed."""
    content = {
        "command": "DIFFUSERS_SRC=… python benchmarks/diffusers_suite.py",
        "versions": {
            "dode": dode.__version__,
            "diffusers": diffusers.__version__,
            "tests": version(source),
            "torch": torch.__version__,
        },
        "counts": {suite: counted(cases) for suite, cases in found.items()},
        "cases": {suite: {case: kept(one) for case, one in cases.items()} for suite, cases in found.items()},
    }
    replace_text(RESULTS / "diffusers-suite.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    replace_text(RESULTS / "diffusers-suite.md", page(content))
    print(page(content))
    broken = [one["trace"] for cases in found.values() for one in cases.values() if one["result"] == "failed"]
    if broken:
        raise SystemExit("\n".join(broken))


def version(source: Path) -> str:
    """What the checkout calls itself."""
    said = re.search(r'__version__ = "(.+)"', (source / "src/diffusers/__init__.py").read_text())
    return said[1] if said else "unknown"


def kept(one: dict[str, Any]) -> dict[str, str]:
    return {key: one[key] for key in ("result", "note") if one[key]}


def counted(cases: dict[str, dict[str, Any]]) -> dict[str, int]:
    counts = Counter(one["result"] for one in cases.values())
    return {result: counts[result] for result in RESULTS_OF_A_CASE}


def page(content: dict[str, Any]) -> str:
    """Counts, then every case that needs a word."""
    made = content["versions"]
    head = f"diffusers {made['diffusers']}, tests of {made['tests']}, torch {made['torch']}.\n\n"
    counts = [[suite, *map(str, count.values())] for suite, count in content["counts"].items()]
    lines = [
        [suite, case.removeprefix("test_"), one["result"], one.get("note", "")]
        for suite, cases in content["cases"].items()
        for case, one in cases.items()
        if "note" in one
    ]
    plain = "Cases that need a word; all others passed as they are.\n\n"
    return (
        head
        + table(["Cases", *RESULTS_OF_A_CASE], counts)
        + "\n"
        + plain
        + table(["Cases", "Case", "Result", "Note"], lines)
    )
