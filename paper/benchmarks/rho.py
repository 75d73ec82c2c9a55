"""Which ridge?  Distance on *select* noise against rho, for the bundled networks.

    python paper/benchmarks/rho.py fashion
    python paper/benchmarks/rho.py fashion-edm
    python paper/benchmarks/rho.py fashion-mixture

`dode.distillation.api.RHO` is chosen from these three tables; test noise plays no part in it.
"""

import argparse
import warnings

import numpy as np
import product  # noqa: F401
import torch
from records import Records, table

import dode
from dode.distillation.fit import Batch, fit
from dode.distillation.teacher import by_time, teach
from dode.metrics import evaluation
from dode.metrics.evaluation import Settings
from dode.model import Model
from dode.samplers import Provenance, Sampler
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

RHOS = (0.0, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
CASES = {
    "fashion": (("ddim", (5, 10, 20)),),
    "fashion-edm": (("ddim", (5, 9, 19)), ("edm", (5, 9, 19))),
    "fashion-mixture": (("ddim", (5, 9, 19)), ("edm", (5, 9, 19))),
}
FIT = 100  # samples, the default of dode.distill


def silent(done: int, total: int) -> None:
    """No bar: the log says which case is done."""


@torch.no_grad()
def measure(model: Model, method: str, counts: tuple[int, ...], settings: Settings) -> dict[str, list[float]]:
    """For each rho the RMS at each number of evaluations, from one teacher run; "plain" beside them."""
    exact = evaluation.exact_ends(model, settings, silent)
    students = [build(METHODS[method], n, model.schedule, model.prediction) for n in counts]
    kind = METHODS["ddim"].kind(model.prediction, model.schedule)
    lesson = by_time(students, 10, model.schedule, METHODS["ddim"], kind)
    x_T, cond = model.start(range(FIT), 0, "fit"), model.conditions(range(FIT))
    denoise = model.bound(kind, cond)  # ddim's and edm's outputs are of this kind on these models
    states = dict(teach(lesson, denoise, x_T, lambda calls: None))
    chosen = [dode.sampler(model, method, nfe=n) for n in counts]
    found = {"plain": [row.rms for row in evaluation.measured(chosen, exact, settings, silent)]}
    for rho in RHOS:
        fitted = []
        for (plan, made), targets in zip(students, lesson.targets, strict=True):
            student = model.bound(plan.kind, cond)
            result = fit(plan, [Batch(lambda: x_T, student, [states[k] for k in targets].__getitem__)], rho)
            fitted.append(Sampler(model, result.plan, Provenance(method, True, made.name)))
        found[f"{rho:g}"] = [row.rms for row in evaluation.measured(fitted, exact, settings, silent)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=CASES)
    parser.add_argument("--samples", type=int, default=48, help="of validation noise")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ at rho = 0 are what is measured here
    settings = Settings(arguments.samples, seed=0, rtol=1e-3, stream="validation")
    model = dode.bundled(arguments.model)
    said = {"samples": arguments.samples, "stream": "select", "seed": 0, "rhos": RHOS, "model": model.fingerprint}
    records = Records(f"rho-{arguments.model}", said)
    for method, counts in CASES[arguments.model]:
        if method not in records.entries:
            records.put(method, {"nfe": counts, "rms": measure(model, method, counts, settings)})
    columns = ["plain", *[f"{rho:g}" for rho in RHOS]]
    lines, logs = [], []
    for method, entry in records.entries.items():
        for i, count in enumerate(entry["nfe"]):
            row = [entry["rms"][column][i] for column in columns]
            lines.append([method, str(count), *[f"{value:.4f}" for value in row]])
            logs.append(np.log(np.array(row) / row[0]))
    means = np.exp(np.mean(logs, axis=0))
    lines.append(["geometric mean of the ratio to plain", "", *[f"{value:.3f}" for value in means]])
    text = table(["solver", "NFE", "plain", *[f"ρ = {rho:g}" for rho in RHOS]], lines)
    head = f"{arguments.model}: RMS to the exact solution, {arguments.samples} validation samples."
    records.path.with_suffix(".md").write_text(f"{head}\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
