"""Plans of auto between others: how near they are, and where they are refused.

    python paper/benchmarks/interpolation.py fashion

The plans are those of benchmarks/auto.py (docs/results/auto-MODEL-GUIDANCE-plans.json).  At 5, 6 and 8 evaluations from
the neighbours on both sides, beside auto's own plan there and the best learning-free solver of benchmarks/auto.py; for
a network with guidance, at scale 2 from scales 1 and 3 beside the plain solver that is nearest on validation noise.
"""

import argparse
import json

import product  # noqa: F401
import torch
from acceptance import silent
from auto import again
from records import RESULTS, Records, table

import dode
from dode.files import replace_text
from dode.metrics import evaluation
from dode.metrics.estimates import ratio
from dode.metrics.evaluation import Settings, measure
from dode.model import Model
from dode.samplers import Sampler

BETWEEN = {5: (4, 6), 6: (5, 8), 8: (6, 10)}


def judged(
    records: Records, key: str, found: list[Sampler], model: Model, nfe: int, others: dict[str, Sampler]
) -> None:
    """An entry: the interpolated plan and others on the same test noise, or why there is none."""
    if key in records.entries:
        return
    settings = Settings(100, rtol=1e-3)
    exact = evaluation.exact_ends(model, settings, silent)
    try:
        rows = {"interpolated": measure(dode.interpolate(found, model, nfe), exact, settings, None)}
    except ValueError as refusal:
        rows, why = {}, str(refusal)
    else:
        why = ""
    rows |= {name: measure(one, exact, settings, None) for name, one in others.items()}
    entry = {name: {"rms": row.rms, "rms error": row.rms_error, "median": row.median} for name, row in rows.items()}
    for name, row in rows.items():
        if name != "interpolated" and not why:
            value, error = ratio(rows["interpolated"], row)
            entry[name] |= {"ratio": value, "ratio error": error}
    records.put(key, entry | ({"refused": why} if why else {}))


def nearest(model: Model, nfe: int) -> Sampler:
    """The plain solver that is nearest on validation noise, of those that auto tries."""
    settings = Settings(32, rtol=2e-3, stream="validation")
    exact = evaluation.exact_ends(model, settings, silent)
    every = [
        dode.sampler(model, name, nfe=nfe, grid=where)
        for name in ("ipndm-2", "ipndm-3", "dpm-solver++2m", "unipc-2")
        for where in ("trailing", "karras", "logsnr")
    ]
    return min(every, key=lambda one: measure(one, exact, settings, None).rms)


def written(records: Records, name: str) -> None:
    """The table of what has been measured so far."""
    lines = []
    for key, entry in records.entries.items():
        for other in [one for one in ("interpolated", "auto", "learning-free") if one in entry]:
            e = entry[other]
            own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}"]
            lines.append([key, other, *own, f"{e['ratio']:.3f} ± {e['ratio error']:.3f}" if "ratio" in e else ""])
        if "refused" in entry:
            lines.append([key, "interpolated", "refused", "", ""])
    heads = ["where", "what", "RMS ±", "median", "RMS of interpolated / this ±"]
    replace_text(records.path.with_suffix(".md"), f"{name}: 100 test samples, seed 0.\n\n{table(heads, lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    name, model = arguments.model, dode.bundled(arguments.model)
    records = Records(f"interpolation-{name}", {"report": 100, "seed": 0, "model": model.fingerprint})
    entries = json.loads((RESULTS / f"auto-{name}-1.json").read_text())["entries"]
    plans = {nfe: dode.load(RESULTS / f"auto-{name}-1-plans.json", model, nfe) for nfe in (4, 5, 6, 8, 10)}
    for nfe, sides in BETWEEN.items():
        free = again(model, entries[f"learning-free {nfe}"]["solver"], nfe)
        others = {"auto": plans[nfe], "learning-free": free}
        judged(records, f"NFE {nfe} from {sides[0]} and {sides[1]}", [plans[n] for n in sides], model, nfe, others)
    written(records, name)
    if (
        model.conditioning is not None
        and model.conditioning.null is not None
        and (RESULTS / f"auto-{name}-3-plans.json").exists()
    ):
        for nfe in (5, 8):
            strong = dode.load(RESULTS / f"auto-{name}-3-plans.json", model.guided(3), nfe)
            two, key = model.guided(2), f"NFE {nfe}, guidance 2 from 1 and 3"
            if key not in records.entries:
                judged(records, key, [plans[nfe], strong], two, nfe, {"learning-free": nearest(two, nfe)})
    written(records, name)


if __name__ == "__main__":
    main()
