"""What a pipeline's call costs as a model: an evaluation beside the pipeline's own, and memory after a thousand.

    OMP_NUM_THREADS=1 python benchmarks/paused_call.py

The bundled network as a pipeline, with ten samples a run: DDIM of 20 steps through `from_diffusers(pipe, call)`, beside
the pipeline's own loop under diffusers' DDIMScheduler (budget 1.02).  Memory is what the process holds, in MB.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
from records import Records, table
from timing import machine, paired, said

import dode
from dode.diffusers import fashion_pipeline

SAMPLES, STEPS, PAIRS = 10, 20, 21
MARKS = (100, 400, 700, 1000)


def resting() -> float:
    """Memory that this process holds, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def pipeline(samples: int) -> tuple[Any, Any]:
    """The pipeline and its call."""
    pipe: Any = fashion_pipeline(3)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")

    def call(pipe: Any, generator: torch.Generator, steps: int) -> Any:
        return pipe(batch_size=samples, generator=generator, num_inference_steps=steps, output_type="pt")

    return pipe, call


def cost() -> dict[str, Any]:
    """Runs through the model against the pipeline's own, of as many evaluations."""
    (mine, call), (other, _) = pipeline(SAMPLES), pipeline(SAMPLES)
    with dode.from_diffusers(mine, call) as model:
        sampler = dode.sampler(model, "ddim", nfe=STEPS)
        x_T = model.start(range(SAMPLES), 0)
        found = paired(
            lambda: sampler.sample(noise=x_T), lambda: call(other, torch.Generator().manual_seed(0), STEPS), PAIRS
        )
    return found | {"milliseconds": 1e3 * found["wall"]["theirs"] / STEPS}


def memory() -> dict[str, Any]:
    """What is held after some evaluations of one sample."""
    pipe, call = pipeline(1)
    held = {}
    with dode.from_diffusers(pipe, call) as model:
        x, cond = model.start([0], 0), model.conditions([0])
        for k in range(MARKS[-1]):
            model.network(x, torch.full((1,), float(k % 1000)), cond)
            if k + 1 in MARKS:
                held[str(k + 1)] = round(resting(), 1)
    return held


def main() -> None:
    torch.set_grad_enabled(False)
    records = Records("paused-call", machine())
    held, found = memory(), cost()
    records.put("memory", held)
    records.put("cost", found)
    print(f"an evaluation takes {found['milliseconds']:.1f} ms; through the model {said(found['wall'], 3)} of that")
    print(table(["evaluations", *held], [["MB held", *map(str, held.values())]]))


if __name__ == "__main__":
    main()
