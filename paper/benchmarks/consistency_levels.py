"""Where the bundled consistency student goes on from: python paper/benchmarks/consistency_levels.py FILE

The noise levels of its second, third and fourth evaluation, one added at a time: the one of CANDIDATES with the lowest
Fréchet distance on validation noise (Song et al. 2023, section 4, search them likewise).  What is found stands in
`dode_paper.baselines.training_methods.AGAIN`.
"""

import argparse
from pathlib import Path

import product  # noqa: F401
import torch
from records import RESULTS, Records, table

import dode
from dode.metrics import evaluation, extracted, frechet, moments, to_uint8
from dode.metrics.evaluation import Evaluator
from dode.model import Model
from dode.samplers import Sampler
from dode_paper.baselines import student_file

CANDIDATES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0)
MOST = 4


def distance(model: Model, levels: list[float], samples: int, judge: Evaluator) -> float:
    """Fréchet distance on validation noise of sampling that goes on from these levels."""
    grid = [model.schedule.t_max, *levels, 0.0]
    sampler: Sampler = dode.sampler(model, "ddim:fresh=1", nfe=len(grid) - 1, grid=grid)
    images = sampler.sample(noise=model.start(range(samples), 0, "validation"), batch=100)
    return frechet(moments(extracted(judge.features, to_uint8(images))), judge.statistics.moments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    model, judge = student_file.open_file(arguments.student), evaluation.bundled_evaluator()
    records = Records(
        "consistency-levels", {"samples": arguments.samples, "steps": student_file.card_of(arguments.student)["steps"]}
    )
    chosen: list[float] = []
    for _ in range(2, MOST + 1):
        tried = {}
        for level in CANDIDATES:
            if level in chosen:
                continue
            levels = sorted([*chosen, level], reverse=True)
            key = " ".join(f"{value:g}" for value in levels)
            if key not in records.entries:
                records.put(key, distance(model, levels, arguments.samples, judge))
            tried[key] = records.entries[key]
        chosen = [float(value) for value in min(tried, key=lambda key: tried[key]).split()]
    lines = [[str(len(key.split()) + 1), key, f"{fd:.2f}"] for key, fd in records.entries.items()]
    head = f"Consistency student, {arguments.samples} samples of validation noise, seed 0.\n\n"
    (RESULTS / "consistency-levels.md").write_text(head + table(["NFE", "noise levels after 80", "FD"], lines))


if __name__ == "__main__":
    with torch.no_grad():
        main()
