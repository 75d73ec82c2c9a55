"""What the executor costs: one `advance` of DDIM against the update written by hand on the same tensors.

    python benchmarks/overhead.py

The budget is a ratio of 1.2; the two alternate in one run, and the median of the pairs counts.
"""

import time

import numpy as np
import torch

from dode.sampling import advance, begin
from dode.schedule import DiscreteVP, linear_betas
from dode.solvers import METHODS
from dode.solvers.budget import build

SHAPE, ROUNDS = (16, 4, 64, 64), 400


@torch.no_grad()
def main() -> None:
    schedule = DiscreteVP.from_betas(linear_betas())
    plan, _ = build(METHODS["ddim"], 10, schedule, "noise")
    x, d = torch.randn(SHAPE), torch.randn(SHAPE)
    state = begin(plan, x)
    s, t = plan.nodes[0], plan.nodes[1]
    assert plan.table[0, 0] == 0, "plain DDIM reads no x_T/σ_T"
    ratios = []
    for i in range(ROUNDS):
        began = time.perf_counter()
        moved = advance(plan, state, d).y
        middle = time.perf_counter()
        by_hand = t.alpha * ((x - s.sigma * d) / s.alpha) + t.sigma * d
        ratios.append((middle - began) / (time.perf_counter() - middle))
        if i == 0:
            torch.testing.assert_close(moved, by_hand, rtol=1e-4, atol=1e-4)
    low, median, high = np.percentile(ratios, (25, 50, 75))
    print(f"advance / by hand: median {median:.2f}, quartiles {low:.2f} to {high:.2f} ({ROUNDS} pairs, {SHAPE})")


if __name__ == "__main__":
    main()
