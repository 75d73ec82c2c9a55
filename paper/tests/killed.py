"""A training that is killed (kill -9) at random moments and begun again, beside one that is left alone.

    python paper/tests/killed.py FOLDER KILLS [SEED]

A network call takes a millisecond.  Prints JSON: what each kill met, and whether the two end alike.
"""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from problems import SCHEDULES

from dode import from_callable
from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.conditioning import classes_in_turn
from dode_paper.baselines import checkpoints, student_file, training
from dode_paper.baselines.train_state import Budget
from dode_paper.checkpoints.loading import opened

STEPS, EVERY = 60, 0.05  # steps of training, seconds between checkpoints
REQUEST = training.Request("direct", batch=2, teacher_steps=2, pairs=8, bfloat16=False)


class Slow(Folded):
    """A network of a millisecond."""

    def forward(self, x, t, label):
        time.sleep(0.001)
        return super().forward(x, t, label)


def teacher():
    torch.manual_seed(0)
    net = Preconditioned(Slow(UNet(widths=(8,), groups=2)), 0.5).requires_grad_(False)
    made = from_callable(
        net, schedule=SCHEDULES["edm"], prediction="data", shape=(1, 32, 32), cond=classes_in_turn(10), classes=10
    )
    return replace(made, name="fashion-edm")


def train(model, folder):
    """As `dode train` does it; what is safe is said in a file beside, as soon as it is."""
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    keep = training.trainer.save

    def saved(path, run, about):
        keep(path, run, about)
        os.write(log, f"{run.steps}\n".encode())

    training.trainer.save = saved
    training.show = lambda *_: None  # pictures take longer than all the rest
    training.train(REQUEST, model, Budget(steps=STEPS), folder, training.Reports(every=EVERY))


def child(model, folder):
    """A process of its own that trains."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            train(model, folder)
            code = 0
        finally:
            os._exit(code)
    return number


def ended(number):
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def safe(folder):
    """Steps that were said to be safe, and those that the checkpoint has: the second may never be the less."""
    log, path = folder.with_suffix(".log"), folder / training.CHECKPOINT
    said = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
    return max(said, default=0), checkpoints.read(path)["steps"] if path.exists() else 0


def weights(folder):
    """Everything that a training leaves: the student's weights, and the networks of the checkpoint."""
    tensors = opened(folder / "direct-1.safetensors", student_file.WHAT, student_file.FIELDS, "dode train")[1]
    saved = checkpoints.read(folder / training.CHECKPOINT)
    for name in checkpoints.NETS:
        tensors |= {f"{name}.{key}": value for key, value in saved[name].items()}
    return tensors, saved["steps"], saved["calls"]


def alike(part, whole):
    """Do the two end with the same bits?"""
    ours, theirs = weights(part), weights(whole)
    same = ours[1:] == theirs[1:] and ours[0].keys() == theirs[0].keys()
    return same and all(torch.equal(ours[0][key], theirs[0][key]) for key in theirs[0])


def main(home, kills, seed=0):
    """Runs are killed and begun again until they end; then others are, until all kills are done."""
    student_file.UNet = partial(UNet, widths=(8,), groups=2)
    model, home = teacher(), Path(home)
    began = time.monotonic()
    assert ended(child(model, home / "whole")) == 0
    most, chance, met, same, alive = time.monotonic() - began, Random(seed), [], [], False
    while len(met) < kills or alive:
        folder = home / f"part{len(same)}"
        process = child(model, folder)
        if len(met) < kills:
            time.sleep(chance.uniform(0, most))
            os.kill(process, signal.SIGKILL)
        code = ended(process)
        alive = code != 0
        if alive:
            met.append([code, *safe(folder)])
        else:  # it was at its end before
            same.append(alike(folder, home / "whole"))
    print(json.dumps({"kills": met, "same": same}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
