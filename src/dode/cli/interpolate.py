"""dode interpolate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli import common

if TYPE_CHECKING:
    from dode.samplers import Sampler


def interpolate(
    model: common.ModelName,
    calibration: Annotated[Path, typer.Argument(help="File of dode auto, with plans on both sides.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Calibration file to write.")],
    nfe: Annotated[int, typer.Option(help="Network evaluations.")],
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
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
    here = output.exists() and output.samefile(calibration)  # then what is in it stays
    others = [one for one in found if here and not _same(one, made)]
    samplers.save(output, *sorted([*others, made], key=lambda one: one.nfe))
    low, high = made.provenance.report["between"]
    print(f"between {low} and {high}")
    print(f"written: {output}")


def _same(one: "Sampler", other: "Sampler") -> bool:
    """Are both for the same evaluations and guidance?"""
    return (one.nfe, one.model.guidance) == (other.nfe, other.model.guidance)
