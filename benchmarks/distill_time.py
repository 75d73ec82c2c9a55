"""The wall time of `dode.distill` beside the same number of bare calls of the same network.

    OMP_NUM_THREADS=1 python benchmarks/distill_time.py

The budget is a ratio of 1.10.  The networks: a sleep of 1 ms; two modules of about 1 ms; the bundled "fashion".
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from records import Records, table
from timing import machine, paired, said
from torch import Tensor, nn

import dode
from dode.model import Model
from dode.schedule import DiscreteVP, linear_betas

SHAPE, PAIRS = (3, 8, 8), 15
ASLEEP = "a sleep of 1 ms"


class Convolutions(nn.Module):
    """Two of them; their inner tensor is large, so that the allocator gives memory back after every call."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        d: Tensor = 0.8 * x + 0.1 * self.last(torch.tanh(self.first(x)))
        return d


class Layers(nn.Module):
    """A residual perceptron, whose inner tensors are no larger than the data."""

    def __init__(self, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        size = math.prod(SHAPE)
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(count))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = x.flatten(1)
        for layer in self.layers:
            y = y + 0.1 * torch.tanh(layer(y))
        return y.reshape(x.shape)


def asleep(x: Tensor, t: Tensor) -> Tensor:
    time.sleep(1e-3)
    return x


def of(fn: Callable[..., Any]) -> Model:
    schedule = DiscreteVP.from_betas(linear_betas())
    return dode.from_callable(fn, schedule=schedule, prediction="noise", shape=SHAPE)


def measured(model: Model, nfe: int, samples: int, batch: int, pairs: int) -> dict[str, Any]:
    """Seconds of a distillation against those of as many calls, on inputs that are ready."""
    calls = [0]

    def count(done: int, total: int) -> None:
        calls[0] = done

    def distilled() -> None:
        dode.distill(model, "ddim", nfe=nfe, samples=samples, batch=batch, progress=count)

    distilled()
    x, time = model.start(range(batch), 0), torch.full((batch,), 500)
    cond = model.conditions(range(batch))

    @torch.no_grad()
    def bare() -> None:
        for _ in range(calls[0]):
            model.network(x, time, cond)

    found = paired(distilled, bare, pairs)
    settings = {"nfe": nfe, "samples": samples, "batch": batch, "calls": calls[0], "budget": 1.1}
    return (
        found
        | settings
        | {
            "ms a call": 1e3 * found["wall"]["theirs"] / calls[0],
            "CPU ms a call": 1e3 * found["cpu"]["theirs"] / calls[0],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="for the bundled network, which is slow")
    pairs = parser.parse_args().pairs
    records = Records("cost-distill", {"shape": SHAPE, "pairs": [PAIRS, pairs]} | machine())
    records.put(ASLEEP, measured(of(asleep), 10, 100, 50, PAIRS))
    records.put("ten linear layers", measured(of(Layers(10)), 10, 100, 50, PAIRS))
    records.put("two convolutions", measured(of(Convolutions(24)), 10, 100, 50, PAIRS))
    records.put("fashion", measured(dode.bundled("fashion"), 5, 16, 16, pairs))
    write(records)


def write(records: Records) -> None:
    lines = [
        [
            key,
            f"{one['ms a call']:.2f} ({one['CPU ms a call']:.2f})",
            str(one["calls"]),
            f"{one['samples']} in batches of {one['batch']}",
            said(one["wall"]),
            said(one["cpu"]) if key != ASLEEP else "",
            f"{1e3 * (one['cpu']['ours'] - one['cpu']['theirs']) / one['calls']:.2f}",
        ]
        for key, one in records.entries.items()
    ]
    heads = [
        "network",
        "ms a call (CPU)",
        "calls",
        "samples",
        "wall: ratio to bare calls (quartiles)",
        "CPU: ratio",
        "CPU ms beside a call",
    ]
    text = f"D-DDIM, C = 10, {records.content['settings']['threads']} thread; medians; the budget is 1.10.\n\n"
    records.path.with_suffix(".md").write_text(text + table(heads, lines))


if __name__ == "__main__":
    main()
