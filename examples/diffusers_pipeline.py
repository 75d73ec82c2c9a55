"""A diffusers pipeline whose own call is the model, and the one-line swap that then makes it better.

The pipeline is the bundled network (`dode.diffusers.fashion_pipeline`); any other pipeline takes its place, with a
`call` that runs it as you do: prompts, guidance and image size are yours.

    python examples/diffusers_pipeline.py
"""

from tempfile import TemporaryDirectory
from typing import Any

import torch

import dode
from dode.diffusers import DODEScheduler, fashion_pipeline


def generators(first: int, count: int) -> list[torch.Generator]:
    """One for each sample, so that a sample does not depend on the batch that it is in."""
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def main(samples: int = 50, report: int = 16, nfe: int = 5) -> tuple[float, float]:
    """RMS distance to the exact solution, before and after the swap, on noise that nothing was fitted on."""
    pipe: Any = fashion_pipeline(label=7)  # sneakers
    config = pipe.scheduler.config
    pipe.set_progress_bar_config(disable=True)

    def call(pipe: Any, generator: torch.Generator, steps: int) -> torch.Tensor:
        return torch.as_tensor(
            pipe(batch_size=10, generator=generator, num_inference_steps=steps, output_type="pt").images
        )

    with TemporaryDirectory() as folder:
        with dode.from_diffusers(pipe, call) as model:
            dode.distill(model, "ddim", nfe=nfe, samples=samples, batch=10).save(f"{folder}/d-ddim.json")

        model = dode.from_diffusers(pipe)
        noise = torch.cat([torch.randn(1, *model.shape, generator=g) for g in generators(0, report)])
        exact = (model.exact(noise, rtol=2e-3) / 2 + 0.5).clamp(0, 1)

        distances = []
        for how in ({"method": "ddim"}, {"calibration": f"{folder}/d-ddim.json"}):
            pipe.scheduler = DODEScheduler.from_config(config, **how)
            images = pipe(
                batch_size=report, generator=generators(0, report), num_inference_steps=nfe, output_type="pt"
            ).images
            distances.append(float((images - exact).square().mean().sqrt()))
    print(f"{nfe} evaluations: DDIM {distances[0]:.4f}, D-DDIM {distances[1]:.4f}")
    return distances[0], distances[1]


if __name__ == "__main__":
    main()
