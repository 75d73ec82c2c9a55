"""The main figures: distilled beside plain solvers on test noise, distances and Fréchet distance at n = 5,000.

    python benchmarks/acceptance.py fashion --guidance 1
    python benchmarks/acceptance.py fashion --guidance 3
    python benchmarks/acceptance.py fashion-edm

Each bundled network is compared at equal evaluations, on the same noise, in one run.  A killed run goes on.
"""

import argparse

import torch
from records import Records, table

import dode
from dode.metrics import evaluation
from dode.metrics.estimates import Row, change, ratio
from dode.metrics.evaluation import Settings
from dode.samplers import Sampler

COUNTS = {"fashion": (5, 10, 20), "fashion-edm": (5, 9, 19)}
SOLVERS = {"fashion": ("ddim",), "fashion-edm": ("edm", "ddim")}


def silent(done: int, total: int) -> None:
    """No bar: the log says what is done."""


def entry(row: Row, base: Row) -> dict[str, float | None]:
    difference = change(row, base, "fd")
    return {
        "rms": row.rms,
        "rms error": row.rms_error,
        "median": row.median,
        "ratio": ratio(row, base)[0],
        "ratio error": ratio(row, base)[1],
        "fd": row["fd"].value,
        "fd error": row["fd"].error,
        "fd change": difference[0] if difference else None,
        "fd change error": difference[1] if difference else None,
        "seconds": row.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=COUNTS)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--paired", type=int, default=100)
    parser.add_argument("--fd", type=int, default=5000)
    parser.add_argument("--rtol", type=float, default=4e-4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = dode.bundled(arguments.model).guided(arguments.guidance)
    settings = Settings(arguments.paired, arguments.fd, 0, 100, arguments.rtol)
    name = f"acceptance-{arguments.model}-{arguments.guidance:g}"
    said = {"report": settings.paired, "fd": settings.fd, "seed": 0, "rtol": settings.rtol, "model": model.fingerprint}
    records = Records(name, said)
    judge = evaluation.bundled_evaluator()
    exact, fitted = None, {}
    for method in SOLVERS[arguments.model]:
        todo = [n for n in COUNTS[arguments.model] if f"d-{method} {n}" not in records.entries]
        if not todo:
            continue
        exact = evaluation.exact_ends(model, settings, silent) if exact is None else exact
        fitted = dode.distill(model, method, nfe=COUNTS[arguments.model])
        for count in todo:
            pair: list[Sampler] = [dode.sampler(model, method, nfe=count), fitted[count]]
            base, distilled = evaluation.measured(pair, exact, settings, silent, judge)
            records.put(f"{method} {count}", entry(base, base))
            records.put(f"d-{method} {count}", entry(distilled, base))
    lines = []
    for key, e in sorted(records.entries.items(), key=lambda item: int(item[0].split()[1])):
        solver, evaluations = key.split()
        own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}"]
        compared = solver.startswith("d-")
        own.append(f"{e['ratio']:.3f} ± {e['ratio error']:.3f}" if compared else "")
        own.append(f"{e['fd']:.2f} ± {e['fd error']:.2f}")
        own.append(f"{e['fd change']:+.2f} ± {e['fd change error']:.2f}" if compared else "")
        lines.append([solver, evaluations, *own])
    heads = ["solver", "NFE", "RMS ±", "median", "RMS / plain ±", f"FD ± (n={settings.fd})", "FD − plain ±"]
    head = f"{arguments.model}, guidance {arguments.guidance:g}: {settings.paired} test samples, seed 0."
    records.path.with_suffix(".md").write_text(f"{head}\n\n{table(heads, lines)}")
    print(table(heads, lines))


if __name__ == "__main__":
    main()
