"""Runs that are killed and begun again, each in a process of its own; prints what came of it as JSON.

The network takes a millisecond, and leaves a byte in a file at every call: what is written is there even if the process
is killed next.
"""

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from problems import SCHEDULES

import dode
from dode.schedule import DiscreteVP, linear_betas


class Network:
    """A millisecond a call; calls are counted in a file that all processes share."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def __call__(self, x, t):
        os.write(self.file, b".")
        time.sleep(0.001)
        return torch.sin(x + t.reshape(-1, 1, 1, 1) / 300)

    @property
    def calls(self):
        return os.fstat(self.file).st_size


def distil(model, cache):
    """A fit of three batches, as bits."""
    made = dode.distill(model, "ddim", nfe=4, scale=4, samples=9, batch=3, cache=cache)
    return hashlib.sha256(made.plan.table.tobytes() + repr(made.provenance).encode()).hexdigest()


def evaluate(model, cache):
    """Distances at the end and along the way of three batches, and the exact solution before."""
    short = DiscreteVP.from_betas(
        [b * 20 for b in linear_betas()[::20]]
    )  # fifty times: the exact solution is soon found
    sampler = dode.sampler(replace(model, schedule=short), "ipndm-2", nfe=5)
    row = dode.evaluate(sampler, ["rms"], paired=8, batch=3, rtol=0.5, cache=cache)
    return hashlib.sha256(repr(row.each.tolist()).encode()).hexdigest()


WORK = {"distil": distil, "evaluate": evaluate}


def killed(work, model, cache, seconds):
    """Begin the work in a process of its own and kill it after so many seconds; was it killed before its end?"""
    child = os.fork()
    if not child:
        work(model, cache)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(name, kills):
    """Rounds of two kills at random moments and a run to the end, until there are so many kills."""
    torch.set_num_threads(1)
    work, draw, rounds = WORK[name], random.Random(os.environ.get("DODE_KILL_SEED", "0")), []
    with tempfile.TemporaryDirectory() as folder:
        network = Network(Path(folder) / "calls")
        options = {"schedule": SCHEDULES["discrete"], "prediction": "noise", "shape": (1, 4, 4)}
        model = dode.from_callable(network, **options)
        bits = work(model, None)
        began, before = time.monotonic(), network.calls
        assert work(model, Path(folder) / "whole") == bits
        seconds, calls = time.monotonic() - began, network.calls - before
        while sum(kills for _, kills, _ in rounds) < kills:
            cache, before = Path(folder) / str(len(rounds)), network.calls
            deaths = sum(killed(work, model, cache, draw.uniform(0, seconds)) for _ in range(2))
            rounds.append((work(model, cache), deaths, network.calls - before))
    print(json.dumps({"bits": bits, "calls": calls, "rounds": rounds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
