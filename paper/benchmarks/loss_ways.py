"""What rules the RMS of auto where it is above that of plans trained by gradients: ways to hold it down.

    python paper/benchmarks/loss_ways.py fashion-mixture --nfe 10

auto as it is; with Cauchy's loss from a hundred medians on instead of ten; by the mean of the squares, refined and
judged; and with twice the samples to fit and to judge on, which costs twice as much.  All on the same test noise.
"But one" is the RMS without the sample that is farthest.
"""

import argparse
import math
from dataclasses import replace

import numpy as np
import product  # noqa: F401
import torch
from frechet_ways import NEVER, with_loss
from records import Records, table

import dode
from dode.files import replace_text
from dode.metrics import evaluation
from dode.metrics.evaluation import Settings
from dode.search.budget import Budget
from dode.search.levenberg_marquardt import TOLERANCE
from dode.search.validation import PATIENCE

WAYS = {
    "auto": (TOLERANCE, PATIENCE, Budget()),
    "loss from 100 medians": (100.0, PATIENCE, Budget()),
    "mean square": (NEVER, NEVER, Budget()),
    "twice the samples": (TOLERANCE, PATIENCE, replace(Budget(), samples=128, select=64)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--nfe", type=int, default=10)
    parser.add_argument("--report", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, nfe = dode.bundled(arguments.model), arguments.nfe
    said = {"nfe": nfe, "report": arguments.report, "model": model.fingerprint}
    records, settings = Records(f"loss-ways-{model.name}", said), Settings(arguments.report, rtol=1e-3)
    exact = evaluation.exact_ends(model, settings, lambda done, total: None)
    for name, (tolerance, patience, budget) in WAYS.items():
        if name in records.entries:
            continue
        made = with_loss(model, nfe, tolerance, patience, budget)
        (row,) = evaluation.measured([made], exact, settings, lambda done, total: None)
        assert row.each is not None
        others = math.sqrt(float(np.mean(np.sort(row.each)[:-1] ** 2)))
        entry = {"rms": row.rms, "rms error": row.rms_error, "median": row.median, "but one": others}
        records.put(name, entry | {"select": made.provenance.report["robust select rms"]})
    lines = [
        [name, f"{e['rms']:.4f} ± {e['rms error']:.4f}", *(f"{e[key]:.4f}" for key in ("median", "but one", "select"))]
        for name, e in records.entries.items()
    ]
    title = f"{model.name}, NFE {nfe}, {arguments.report} test samples, seed 0."
    heads = ["what", "RMS ±", "median", "RMS but one", "validation, by its loss"]
    replace_text(records.path.with_suffix(".md"), f"{title}\n\n{table(heads, lines)}")


if __name__ == "__main__":
    main()
