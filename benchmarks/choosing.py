"""What docs/choosing.md shows, out of the results of catalogue.py and auto.py: python benchmarks/choosing.py.

Two short tables: the nearest solver of the catalogue, plain and distilled, at 5 to 50 evaluations; and what a search
finds at 4 to 10.  Nothing is measured here, so it is run again whenever one of those files changes.
"""

import json
import math
from typing import Any

from records import RESULTS, table

from dode.files import replace_text

CATALOGUES = ("fashion", "fashion-edm")
SEARCHES = {"fashion-1": "fashion", "fashion-3": "fashion, guidance 3", "fashion-edm-1": "fashion-edm"}
NAMED = ("learning-free", "paper")
Entries = dict[str, dict[str, Any]]


def entries(name: str) -> Entries:
    """The rows of one of the results, by their keys."""
    found: Entries = json.loads((RESULTS / f"{name}.json").read_text())["entries"]
    return found


def said(known: Entries, key: str) -> str:
    """A distance with its error."""
    row = known[key]
    return f"{row['rms']:.4f} ± {row['rms error']:.4f}"


def nearest(known: Entries, count: int, distilled: bool) -> str:
    """The nearest solver of the catalogue at this many evaluations, in the paper's formulation or plain."""
    names = [key.rsplit(" ", 1)[0] for key in known if key.endswith(f" {count}") and not key.startswith("fd ")]
    names = [name for name in names if name.startswith("d-") == distilled and ":" not in name]
    best = min(names, key=lambda name: float(known[f"{name} {count}"]["rms"]))
    return f"{best}, {said(known, f'{best} {count}')}"


def catalogue() -> list[list[str]]:
    """A row for each network and number of evaluations."""
    rows = []
    for name in CATALOGUES:
        known = entries(f"catalogue-{name}")
        for count in sorted({int(key.rsplit(" ", 1)[1]) for key in known}):
            plain, fitted = said(known, f"ddim {count}"), said(known, f"d-ddim {count}")
            rows.append([name, str(count), plain, fitted, nearest(known, count, False), nearest(known, count, True)])
    return rows


def searches() -> list[list[str]]:
    """A row for each network and number of evaluations."""
    rows = []
    for name, label in SEARCHES.items():
        known = entries(f"auto-{name}")
        for count in sorted({int(key.rsplit(" ", 1)[1]) for key in known if key.startswith("auto ")}):
            best = [f"{known[f'{row} {count}']['solver']}: {said(known, f'{row} {count}')}" for row in NAMED]
            short, long = (known[f"{row} {count}"] for row in ("quick", "auto"))
            shares = [f"{row['ratio']:.2f} ± {row['ratio error']:.2f}" for row in (short, long)]
            rows.append([label, str(count), *best, shares[0], said(known, f"auto {count}"), shares[1]])
    return rows


def summary() -> str:
    """What the table of searches comes to, in a sentence for each budget."""
    said = []
    for row, what in (("auto", "auto"), ("quick", "With a fifth of its budget it")):
        means, rows = [], []
        for name, label in SEARCHES.items():
            known = entries(f"auto-{name}")
            found = [e for key, e in known.items() if key.startswith(f"{row} ")]
            logs = [math.log(e["ratio"]) for e in found]
            means.append(f"{math.exp(sum(logs) / len(logs)):.2f} on {label}")
            rows += found
        nearer = sum(e["ratio"] < 1 - 2 * e["ratio error"] and e["solver"].startswith("auto") for e in rows)
        given = sum(not e["solver"].startswith("auto") for e in rows)
        back = f" and gives a plain solver back in {given}" if given else ""
        said.append(
            f"{what} is nearer than the best learning-free solver by more than two errors in {nearer} of {len(rows)} "
            f"rows{back}; the geometric mean of the ratios is {'; '.join(means)}."
        )
    return " ".join(said)


def tables() -> dict[str, str]:
    """Both tables, by their names in docs/results."""
    plain = ["network", "NFE", "ddim", "d-ddim", "nearest plain solver", "nearest distilled solver"]
    found = ["network", "NFE", "best learning-free", "best distilled", "auto, quick: ratio", "auto", "auto: ratio"]
    searched = f"{table(found, searches())}\n{summary()}\n"
    return {"choosing-catalogue": table(plain, catalogue()), "choosing-auto": searched}


def main() -> None:
    for name, text in tables().items():
        replace_text(RESULTS / f"{name}.md", text)


if __name__ == "__main__":
    main()
