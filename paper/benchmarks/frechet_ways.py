"""Ways to a lower Fréchet distance where auto's, near that of the network's own samples, is above a coarse solver's.

    python paper/benchmarks/frechet_ways.py fashion-edm --nfe 8

Beside auto and the best learning-free solver of benchmarks/auto.py, on the same test noise:
"mean square": auto once more, refining and judging the mean of the squared distances, without Cauchy's loss;
"contrast s": auto's ends times s, the s of five that has the least distance on validation noise;
"halfway": the mean of auto's ends and the learning-free solver's, which no plan of so many evaluations gives: it says
whether the way to the lower distance is a straight one.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import product  # noqa: F401
import torch
from auto import again
from records import RESULTS, Records, table
from torch import Tensor

import dode
from dode.files import replace_text
from dode.metrics import evaluation, extracted, frechet, moments, to_uint8
from dode.metrics.estimates import paired_error, split_values
from dode.model import Model
from dode.search import auto, levenberg_marquardt, validation
from dode.search.budget import Budget

SCALES = (0.96, 0.98, 1.0, 1.02, 1.04)
BATCH, NEVER = 100, 1e9  # NEVER: medians of squared distances beyond which a sample would have little say
Entry = dict[str, Any]


def judged(ends: Tensor, model: Model) -> Entry:
    """The Fréchet distance of images (n, *shape), and of ten parts of them."""
    evaluator = evaluation.bundled_evaluator()
    images = to_uint8(ends if model.decode is None else model.decode(ends))
    features, data = extracted(evaluator.features, images, BATCH), evaluator.statistics.moments
    parts = split_values(lambda part: frechet(moments(part), data), features)
    return {"fd": frechet(moments(features), data), "parts": [round(float(part), 5) for part in parts]}


def with_loss(model: Model, nfe: int, tolerance: float, patience: float, budget: Budget) -> Any:
    """auto where other distances than usual are held down, in medians: in the refinement, and in judging."""
    kept = levenberg_marquardt.TOLERANCE, validation.PATIENCE
    levenberg_marquardt.TOLERANCE, validation.PATIENCE = tolerance, patience
    try:
        return auto.tuned(model, [nfe], budget)[nfe][0]
    finally:
        levenberg_marquardt.TOLERANCE, validation.PATIENCE = kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--nfe", type=int, default=8)
    parser.add_argument("--fd", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, nfe, count = dode.bundled(arguments.model), arguments.nfe, arguments.fd
    entries = json.loads((RESULTS / f"auto-{model.name}-1.json").read_text())["entries"]
    plans = RESULTS / f"auto-{model.name}-1-plans.json"
    solvers = {
        "learning-free": lambda: again(model, entries[f"learning-free {nfe}"]["solver"], nfe),
        "auto": lambda: dode.load(plans, model, nfe),
        "mean square": lambda: with_loss(model, nfe, NEVER, NEVER, Budget()),
    }
    records = Records(f"frechet-ways-{model.name}", {"nfe": nfe, "fd": count, "model": model.fingerprint})
    ends = _ends(model, solvers, count, "test")
    for name, found in ends.items():
        records.put(name, judged(found, model))
    chosen = _ends(model, {"auto": solvers["auto"]}, count, "validation")["auto"]
    scale = min(SCALES, key=lambda s: judged(chosen * s, model)["fd"])
    records.put("contrast", judged(ends["auto"] * scale, model) | {"scale": scale})
    records.put("halfway", judged((ends["auto"] + ends["learning-free"]) / 2, model))
    written(records, f"{model.name}, NFE {nfe}, n = {count:,}, test noise, seed 0.")


def _ends(model: Model, solvers: dict[str, Callable[[], Any]], count: int, stream: str) -> dict[str, Tensor]:
    x_T = model.start(range(count), 0, stream)
    return {name: make().sample(noise=x_T, seed=0, batch=BATCH, first=0) for name, make in solvers.items()}


def written(records: Records, title: str) -> None:
    """The table, each way against the learning-free solver."""
    free, lines = records.entries["learning-free"], []
    for name, e in records.entries.items():
        label = f"contrast {e['scale']:g}" if "scale" in e else name
        error = paired_error(np.array(e["parts"]), np.array(free["parts"]))
        change = "" if name == "learning-free" else f"{e['fd'] - free['fd']:+.3f} ± {error:.3f}"
        lines.append([label, f"{e['fd']:.3f}", change])
    heads = ["what", "FD", "FD − learning-free ±"]
    replace_text(records.path.with_suffix(".md"), f"{title}\n\n{table(heads, lines)}")


if __name__ == "__main__":
    main()
