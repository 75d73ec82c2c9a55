"""How long Python takes to import dode, beside torch, and to show the help of the command line.

    python benchmarks/start_up.py

Names of dode load on first use: both the bare import and one that uses the main names are timed (budget 1.3).
"""

import subprocess
import sys
from functools import partial
from typing import Any

from records import Records, table
from timing import paired, said

PAIRS = 7
STATEMENTS = {
    "import dode": "import dode",
    "import dode, and its main names": "import dode; dode.distill, dode.sampler, dode.load, dode.METHODS",
    "dode --help": """
import sys
from dode.cli import app
sys.argv[1:] = ["--help"]
try:
    app()
except SystemExit:
    pass
""",
}


def fresh(statement: str) -> None:
    """Run in an interpreter of its own."""
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)


def loads_torch(statement: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint('torch' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()[-1] == "True"


def main() -> None:
    records = Records("cost-start-up", {"pairs": PAIRS})
    for what, statement in STATEMENTS.items():
        found: dict[str, Any] = paired(partial(fresh, statement), partial(fresh, "import torch"), PAIRS)
        records.put(what, found | {"torch": loads_torch(statement)})
    lines = [
        [
            what,
            f"{one['wall']['ours']:.2f}",
            f"{one['wall']['theirs']:.2f}",
            said(one["wall"]),
            "yes" if one["torch"] else "no",
        ]
        for what, one in records.entries.items()
    ]
    heads = ["what", "s", "import torch, s", "ratio (quartiles)", "loads torch"]
    text = f"A fresh interpreter each; medians of {PAIRS} pairs.\n\n"
    records.path.with_suffix(".md").write_text(text + table(heads, lines))


if __name__ == "__main__":
    main()
