"""align="time" against align="count", the published pairing with its grids: distances and Fréchet distance.

    python paper/benchmarks/alignment.py fashion
    python paper/benchmarks/alignment.py fashion-edm

Four rows a case: the plain solver and the distilled one, on the default grid with targets by time, and on the published
grid with targets by count.  Every row is measured against the exact solution from t_max.
"""

import argparse

import product  # noqa: F401
import torch
from acceptance import entry, silent
from records import Records, table

import dode
from dode.metrics import evaluation
from dode.metrics.evaluation import Settings

CASES = {
    "fashion": (("ddim", (5, 10, 25)),),
    "fashion-edm": (("ddim", (5, 10, 25)),),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=CASES)
    parser.add_argument("--paired", type=int, default=100)
    parser.add_argument("--fd", type=int, default=2000)
    parser.add_argument("--rtol", type=float, default=4e-4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = dode.bundled(arguments.model)
    settings = Settings(arguments.paired, arguments.fd, 0, 100, arguments.rtol)
    said = {"report": settings.paired, "fd": settings.fd, "seed": 0, "rtol": settings.rtol, "model": model.fingerprint}
    records = Records(f"alignment-{arguments.model}", said)
    judge = evaluation.bundled_evaluator()
    exact = None
    for method, counts in CASES[arguments.model]:
        for count in counts:
            if f"{method} {count} count distilled" in records.entries:
                continue
            exact = evaluation.exact_ends(model, settings, silent) if exact is None else exact
            base = None
            for align, grid in (("time", None), ("count", "published")):
                plain = dode.sampler(model, method, nfe=count, grid=grid)
                distilled = dode.distill(model, method, nfe=count, align=align)
                rows = evaluation.measured([plain, distilled], exact, settings, silent, judge)
                base = rows[0] if base is None else base
                for row, what in zip(rows, ("plain", "distilled"), strict=True):
                    found = entry(row, base) | {"lambda": distilled.plan.lambdas.tolist()}
                    records.put(f"{method} {count} {align} {what}", found)
    lines = []
    for key, e in records.entries.items():
        method, evaluations, align, what = key.split()
        name = ("d-" if what == "distilled" else "") + method
        own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}", f"{e['fd']:.2f} ± {e['fd error']:.2f}"]
        lines.append([name, evaluations, align, *own, f"{e['fd change']:+.2f} ± {e['fd change error']:.2f}"])
    heads = ["solver", "NFE", "align", "RMS ±", "median", f"FD ± (n={settings.fd})", "FD − plain on the default grid ±"]
    head = f"{arguments.model}: {settings.paired} test samples, seed 0; count: the published pairing with its grids."
    records.path.with_suffix(".md").write_text(f"{head}\n\n{table(heads, lines)}")
    print(table(heads, lines))


if __name__ == "__main__":
    main()
