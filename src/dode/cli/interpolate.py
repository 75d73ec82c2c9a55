"""dode interpolate."""

from pathlib import Path
from typing import Annotated

import typer

from dode.cli import common


def interpolate(
    model: common.ModelName,
    calibration: Annotated[Path, typer.Argument(help="File of dode auto, with plans on both sides.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Calibration file to write.")],
    nfe: Annotated[int, typer.Option(help="Network evaluations.")],
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = "",
    seed: common.Seed = 0,
    batch: common.Batch = 64,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """A sampler between two of auto's, at another NFE or guidance scale; refused where it does not hold."""
    common.writable(output)
    if not calibration.is_file():
        raise ValueError(f"{calibration} is not a file; make it with dode auto {model} -o {calibration}")
    from dode import samplers
    from dode.search import interpolation

    opened = common.open_model(model, guidance, device, dtype, prompts=prompt, negative=negative_prompt)
    found = samplers.every(calibration, opened)
    made = interpolation.interpolate(found, opened, nfe, seed, batch)
    samplers.save(output, made)
    low, high = made.provenance.report["between"]
    print(f"between {low} and {high}")
    print(f"written: {output}")
