"""Table 1 of the paper as a finding: do free coefficients explode, or do misaligned targets make them?

    python benchmarks/table1.py fashion
    python benchmarks/table1.py fashion-edm

DDIM, D-DDIM, -2, -Sep and -All without a ridge (rho = 0, the paper), with targets by time and with the published
pairing on the published grids.  Beside them: how far coefficients went, how far a row of mix is from a sum of one, and
the largest condition number of an evaluation's least squares.  Reported on noise that nothing was fitted on.
"""

import argparse
import warnings

import numpy as np
import torch
from acceptance import entry
from catalogue import reference
from records import RESULTS, Records, table

import dode
from dode.calibration import replace_text
from dode.metrics import reporting
from dode.metrics.comparison import Settings, measure
from dode.samplers import Sampler

COUNTS = (10, 25, 50)
FORMS = ("d", "2", "sep", "all")
JUDGED = 10  # evaluations at which a Fréchet distance is measured too


def numbers(sampler: Sampler) -> dict[str, float]:
    """How far the coefficients went."""
    change = sampler.plan.mix - np.eye(sampler.nfe, 1 + sampler.nfe, 1)
    return {
        "largest": float(np.abs(change).max()),
        "condition": max(sampler.provenance.conditions),
        "sum": float(np.abs(sampler.plan.mix.sum(1) - 1).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--paired", type=int, default=128)
    parser.add_argument("--fd", type=int, default=1000)
    parser.add_argument("--rtol", type=float, default=1.5e-4)
    parser.add_argument("--only", default=",".join(map(str, COUNTS)), help="numbers of evaluations")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ are what is measured
    model = dode.bundled(arguments.model)
    said = {"report": arguments.paired, "seed": 0, "rtol": arguments.rtol, "rho": 0, "model": model.fingerprint}
    records = Records(f"table1-{arguments.model}", said)
    exact = reference(model, arguments.model, Settings(arguments.paired, 0, 0, 128, arguments.rtol))
    judge = reporting.bundled_judge()
    for count in [int(count) for count in arguments.only.split(",")]:
        settings = Settings(arguments.paired, arguments.fd if count == JUDGED else 0, 0, 128)
        for align, grid in (("time", None), ("count", "published")):
            names = [f"d-ddim:formulation={form}" for form in FORMS]
            if all(f"{align} {name} {count}" in records.entries for name in names):
                continue
            fitted = dode.distill(model, names, nfe=count, align=align, rho=0)
            base = measure(dode.sampler(model, "ddim", nfe=count, grid=grid), exact, settings, judge)
            records.put(f"{align} ddim {count}", entry(base, base))
            for name in names:
                row = measure(fitted[name][count], exact, settings, judge)
                records.put(f"{align} {name} {count}", entry(row, base) | numbers(fitted[name][count]))
    lines = []
    for key, e in records.entries.items():
        align, name, evaluations = key.split()
        fd = "" if e["fd"] is None else f"{e['fd']:.2f} ± {e['fd error']:.2f}"
        own = [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}", f"{e['ratio']:.3f}", fd]
        far = [f"{e[what]:.2g}" if what in e else "" for what in ("largest", "sum", "condition")]
        lines.append([name.replace(":formulation=", "-"), evaluations, align, *own, *far])
    heads = ["solver", "NFE", "align", "RMS ±", "median", "RMS / ddim", f"FD ± (n={arguments.fd})"]
    heads += ["largest change in mix", "largest ∣row sum − 1∣", "largest condition number"]
    head = (
        f"{arguments.model}: {arguments.paired} report samples, seed 0, rho 0; count: the published pairing and grids."
    )
    replace_text(RESULTS / f"table1-{arguments.model}.md", f"{head}\n\n{table(heads, lines)}")
    print(table(heads, lines))


if __name__ == "__main__":
    main()
