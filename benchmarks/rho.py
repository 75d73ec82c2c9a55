"""Which ridge?  Distance on *select* noise against rho, for every bundled network and solver.

    python benchmarks/rho.py

The default, `dode.distilled.RHO`, is the value with the smallest mean logarithm of the ratio to rho = 0's plain solver.
"""

import argparse
import warnings

import numpy as np
import torch
from records import Records, table

import dode
from dode.evaluate import reporting
from dode.evaluate.comparison import Settings
from dode.model import Model

RHOS = (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
CASES = (
    ("fashion", 1.0, "ddim", (5, 10, 20)),
    ("fashion", 3.0, "ddim", (5, 10, 20)),
    ("fashion-edm", 1.0, "ddim", (5, 9, 19)),
    ("fashion-edm", 1.0, "edm", (5, 9, 19)),
    ("fashion-mixture", 1.0, "ddim", (5, 9, 19)),
    ("fashion-mixture", 1.0, "edm", (5, 9, 19)),
)


def silent(done: int, total: int) -> None:
    """No bar: the log says which case is done."""


def measure(model: Model, method: str, counts: tuple[int, ...], settings: Settings) -> dict[str, list[float]]:
    """For each rho the RMS at each number of evaluations; "plain" beside them."""
    exact = reporting.exact(model, settings, silent)
    chosen = [dode.sampler(model, method, nfe=n) for n in counts]
    found = {"plain": [row.rms for row in reporting.measured(chosen, exact, settings, silent)]}
    for rho in RHOS:
        fitted = dode.distill(model, method, nfe=counts, rho=rho)
        rows = reporting.measured(list(fitted.values()), exact, settings, silent)
        found[f"{rho:g}"] = [row.rms for row in rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=48, help="of select noise")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ at rho = 0 are what is measured here
    settings = Settings(arguments.samples, seed=0, rtol=1e-3, stream="select")
    records = Records("rho", {"samples": arguments.samples, "stream": "select", "seed": 0, "rhos": RHOS})
    for name, guidance, method, counts in CASES:
        key = f"{name} guidance {guidance:g} {method}"
        if key not in records.entries:
            model = dode.bundled(name).guided(guidance)
            records.put(key, {"nfe": counts, "rms": measure(model, method, counts, settings)})
    columns = ["plain", *[f"{rho:g}" for rho in RHOS]]
    lines, logs = [], []
    for key, entry in records.entries.items():
        for i, count in enumerate(entry["nfe"]):
            row = [entry["rms"][column][i] for column in columns]
            lines.append([key, str(count), *[f"{value:.4f}" for value in row]])
            logs.append(np.log(np.array(row) / row[0]))
    means = np.exp(np.mean(logs, axis=0))
    lines.append(["geometric mean of the ratio to plain", "", *[f"{value:.3f}" for value in means]])
    text = table(["model", "NFE", "plain", *[f"ρ = {rho:g}" for rho in RHOS]], lines)
    records.path.with_suffix(".md").write_text(
        f"RMS to the exact solution, {arguments.samples} select samples.\n\n{text}"
    )
    print(text)


if __name__ == "__main__":
    main()
