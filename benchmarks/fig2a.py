"""Figure 2a: solvers and their distilled forms beside students of training, and what each of them costs to make.

    python benchmarks/fig2a.py --students students

Fréchet distance and class agreement of fashion-edm's samplers on one set of report noise at 1 to 4 network evaluations,
without guidance.  A killed run goes on.  `entry` measures one sampler.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import RESULTS, Records, table
from torch import Tensor

import dode
from dode.baselines import students
from dode.calibration import replace_text
from dode.metrics import reporting, to_uint8
from dode.metrics.comparison import Settings, measure
from dode.metrics.figures import Judge
from dode.model import Model
from dode.samplers import Sampler
from dode.weights import classifier

MODEL, COUNTS = "fashion-edm", (1, 2, 3, 4)
PLAIN, FITTED = ("ddim", "edm"), ("d-ddim", "d-edm", "auto")
FINE = "dpm-solver++2m 30"  # what the teacher gives with many evaluations
HEADS = ["method", "NFE", "FD ±", "class agreement, % ±", "RMS ±", "median", "network calls", "processor seconds"]
Entry = dict[str, Any]


def counting(model: Model) -> tuple[Model, list[int]]:
    """The model, and a list whose only number is how many samples its network has seen."""
    seen = [0]

    def network(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        seen[0] += len(x)
        return model.network(x, t, cond)

    return replace(model, network=network), seen


def entry(sampler: Sampler, exact: Tensor, settings: Settings, judge: Judge, made: Entry) -> Entry:
    """Quality of a sampler on report noise; `made` says what it cost: calls, processor minutes."""
    row = measure(sampler, exact, settings, judge)
    assert row.images is not None, "measure keeps the images"
    labels = sampler.model.conditions(range(len(row.images)))
    guesses = torch.cat([classifier()(to_uint8(part)).argmax(1) for part in row.images.split(500)])
    agreement = float((guesses == labels).double().mean())
    error = float(np.sqrt(agreement * (1 - agreement) / len(labels)))
    quality = {"fd": row.fd, "fd error": row.fd_error, "agreement": agreement, "agreement error": error}
    near: Entry = {"rms": row.rms, "rms error": row.rms_error, "median": row.median}
    if any(sampler.plan.added):
        near = dict.fromkeys(near)
    return quality | near | made


def fitted(model: Model, name: str, nfe: int) -> tuple[Sampler, Entry]:
    """A distilled solver and what it took."""
    counted, seen = counting(model)
    began = time.process_time()
    sampler = dode.distill(counted, name, nfe=nfe)
    assert isinstance(sampler, Sampler)
    return replace(sampler, model=model), {
        "calls": seen[0],
        "processor minutes": (time.process_time() - began) / 60,
    }


def opened(folder: Path) -> list[tuple[str, int, Sampler, Entry]]:
    """The students of a folder: name without steps, evaluations, sampler, what training took."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        card = students.card_of(path)
        for nfe, sampler in students.samplers(path).items():
            cost = {"calls": card["network calls"], "processor minutes": card["processor minutes"]}
            mark = {"student": sampler.model.fingerprint, "levels": [node.t for node in sampler.plan.nodes]}
            found.append((card["method"], nfe, sampler, cost | mark))
    return found


def measured(records: Records, folder: Path, settings: Settings) -> None:
    """Everything that is not measured yet."""
    model, judge = dode.bundled(MODEL), reporting.bundled_judge()
    exact = reporting.exact(model, settings, lambda done, total: None)
    free: Entry = {"calls": 0, "processor minutes": 0.0}
    if FINE not in records.entries:
        name, evaluations = FINE.split()
        sampler = dode.sampler(model, name, nfe=int(evaluations))
        records.put(FINE, entry(sampler, exact, settings, judge, free))
    for nfe in COUNTS:
        for name in PLAIN:
            if f"{name} {nfe}" not in records.entries:
                records.put(f"{name} {nfe}", entry(dode.sampler(model, name, nfe=nfe), exact, settings, judge, free))
        for name in FITTED if nfe > 1 else ():  # one evaluation has no earlier output to look back at
            if f"{name} {nfe}" not in records.entries:
                sampler, made = fitted(model, name, nfe)
                records.put(f"{name} {nfe}", entry(sampler, exact, settings, judge, made))
    for name, nfe, sampler, made in opened(folder):
        before = records.entries.get(f"{name} {nfe}", {})
        if any(before.get(key) != value for key, value in made.items()):  # trained anew, or not measured yet
            records.put(f"{name} {nfe}", entry(sampler, exact, settings, judge, made))


def line(key: str, said: Entry) -> list[str]:
    """A row; what adds noise on its way has no distance to an exact solution."""
    near = (
        ["–", "–"] if said["rms"] is None else [f"{said['rms']:.3f} ± {said['rms error']:.3f}", f"{said['median']:.3f}"]
    )
    return [
        *key.split(),
        f"{said['fd']:.2f} ± {said['fd error']:.2f}",
        f"{100 * said['agreement']:.1f} ± {100 * said['agreement error']:.1f}",
        *near,
        f"{said['calls']:,}",
        f"{60 * said['processor minutes']:,.0f}",
    ]


def written(records: Records, settings: Settings) -> str:
    """The table, in the order of evaluations."""
    known = sorted(records.entries.items(), key=lambda item: int(item[0].split()[1]))
    head = f"{MODEL}, guidance 1, seed {settings.seed}: FD and class agreement on {settings.fd} samples of report "
    head += f"noise, RMS and median distance to the exact solution on {settings.paired}."
    return f"{head}\n\n" + table(HEADS, [line(key, said) for key, said in known])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=Path, default=Path("students"))
    parser.add_argument("--report", type=int, default=100)
    parser.add_argument("--fd", type=int, default=2000)
    chosen = parser.parse_args(arguments)
    settings = Settings(chosen.report, chosen.fd, 0, 100)
    records = Records("fig2a", {"report": chosen.report, "fd": chosen.fd, "seed": 0, "rtol": settings.rtol})
    with torch.no_grad():
        measured(records, chosen.students, settings)
    replace_text(RESULTS / "fig2a.md", written(records, settings))


if __name__ == "__main__":
    main()
