"""What the update costs beside the arithmetic that it cannot do without, and beside diffusers' own scheduler.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py

`advance` of D-DDIM against torch.add(a·x, d, alpha=b) and the history term's multiply-add, on the same tensors (budget
1.2); `DODEScheduler.step` of DPM-Solver++ 2M against `DPMSolverMultistepScheduler.step` (budget 0.8).
"""

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from records import Records, table
from timing import machine, paired, said

from dode.diffusers import DODEScheduler
from dode.sampling import advance, begin
from dode.schedule import DiscreteVP, linear_betas
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

SHAPES = ((64, 3, 64, 64), (16, 4, 64, 64), (1, 4, 64, 64))
PAIRS, STEPS = 101, 10


def update(shape: tuple[int, ...]) -> dict[str, Any]:
    """One `advance` in the middle of a run of D-DDIM against the same written by hand."""
    plan, _ = build(METHODS["ddim"], STEPS, DiscreteVP.from_betas(linear_betas()), "noise")
    for k in range(STEPS):
        plan = plan.extrapolate(k, 0.4)
    outputs = [torch.randn(shape) for _ in range(4)]
    state = begin(plan, torch.randn(shape))
    for d in outputs[:3]:
        state = advance(plan, state, d)
    a, row = plan.terms(3)
    (_, c), (_, b) = row
    x, d, before = state.y, outputs[3], outputs[2]

    def by_hand() -> torch.Tensor:
        return torch.add(a * x, d, alpha=b).add_(before, alpha=c)

    torch.testing.assert_close(advance(plan, state, d).y, by_hand())
    return paired(lambda: advance(plan, state, d), by_hand, PAIRS)


def scheduler(shape: tuple[int, ...]) -> dict[str, Any]:
    """All steps of DPM-Solver++ 2M after set_timesteps; both schedulers go through the same times and outputs."""
    ours = DODEScheduler(method="dpm-solver++2m")
    theirs: Any = DPMSolverMultistepScheduler(timestep_spacing="trailing")
    x, outputs = torch.randn(shape), [torch.randn(shape) for _ in range(STEPS)]

    def stepped(one: Any) -> torch.Tensor:
        y = x
        for t, d in zip(one.timesteps, outputs, strict=True):
            y = one.step(d, t, y).prev_sample
        return y

    def ready() -> None:
        ours.set_timesteps(STEPS)
        theirs.set_timesteps(STEPS)

    ready()
    torch.testing.assert_close(stepped(ours), stepped(theirs), rtol=1e-3, atol=1e-3)
    return paired(lambda: stepped(ours), lambda: stepped(theirs), PAIRS, ready)


@torch.no_grad()
def main() -> None:
    records = Records("cost-update", {"pairs": PAIRS, "steps": STEPS} | machine())
    for shape in SHAPES:
        size = "×".join(map(str, shape))
        records.put(f"advance of D-DDIM, {size}", update(shape) | {"budget": 1.2})
        records.put(f"{STEPS} steps of DPM-Solver++ 2M in diffusers, {size}", scheduler(shape) | {"budget": 0.8})
    lines = [
        [
            key,
            f"{1e3 * one['cpu']['ours']:.3f}",
            f"{1e3 * one['cpu']['theirs']:.3f}",
            said(one["cpu"]),
            f"{one['budget']:g}",
        ]
        for key, one in records.entries.items()
    ]
    heads = ["what", "ours, ms", "other, ms", "ratio (quartiles)", "budget"]
    text = f"float32, {records.content['settings']['threads']} thread; CPU time, medians of {PAIRS} pairs.\n\n"
    records.path.with_suffix(".md").write_text(text + table(heads, lines))


if __name__ == "__main__":
    main()
