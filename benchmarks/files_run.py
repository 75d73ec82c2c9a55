"""How many files of dode run: python benchmarks/files_run.py [--names]

In ``dode.distill(model, "ddim", nfe=10)`` on a network of two numbers, and in one step of `DODEScheduler`.  Each runs
once before it is counted, so that no import counts.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import dode
from dode.diffusers import DODEScheduler

HOME = Path(dode.__file__).parent


def files_run(work: Callable[[], Any]) -> list[str]:
    """The files of dode in which a function is called while `work` runs."""
    names: set[str] = set()

    def call(frame: FrameType, event: str, argument: Any) -> None:
        names.add(frame.f_code.co_filename)

    sys.setprofile(call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return sorted(str(Path(name).relative_to(HOME)) for name in names if name.startswith(str(HOME)))


def in_distillation() -> list[str]:
    """Of a distillation of DDIM on a network of two numbers."""
    schedule = dode.schedule.VP()

    def network(x: Tensor, t: Tensor) -> Tensor:
        return x * t[:, None] / (1 + t[:, None])

    model = dode.from_callable(network, schedule=schedule, prediction="noise", shape=(2,))
    distill = dode.distill
    distill(model, "ddim", nfe=10)
    return files_run(lambda: distill(model, "ddim", nfe=10))


def in_step() -> list[str]:
    """Of one step of a scheduler, the second of ten."""
    scheduler, output, sample = DODEScheduler(method="ddim"), torch.zeros(1, 2), torch.ones(1, 2)
    for _ in range(2):
        scheduler.set_timesteps(10)
        scheduler.step(output, scheduler.timesteps[0], sample)
        files = files_run(lambda: scheduler.step(output, scheduler.timesteps[1], sample))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true", help="print the files too")
    arguments = parser.parse_args()
    counts = {'dode.distill(model, "ddim", nfe=10)': in_distillation(), "DODEScheduler.step": in_step()}
    for name, files in counts.items():
        print(f"{len(files):3d} files run in {name}")
        if arguments.names:
            print("\n".join(f"      {file}" for file in files))


if __name__ == "__main__":
    main()
