"""dode interpolate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli import common
from dode.errors import DodeError
from dode.messages import distance

if TYPE_CHECKING:
    from dode.samplers import Sampler


def interpolate(
    model: common.ModelName,
    calibration: Annotated[Path, typer.Argument(help="File of dode auto, with plans on both sides.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Calibration file to write.")],
    nfe: Annotated[int, typer.Option(help="Network evaluations.")],
    label: common.Label = None,
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
    seed: common.Seed = 0,
    batch: common.Batch = 64,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """A sampler between two of auto's, at another NFE or guidance scale; refused where it does not hold."""
    common.writable(output, ".json")
    if not calibration.is_file():
        raise DodeError(f"{calibration} is not a file; make it with dode auto {model} -o {calibration}")
    from dode import samplers
    from dode.search import interpolation

    opened = common.open_model(model, guidance, device, dtype, prompts=prompt, negative=negative_prompt, label=label)
    found = samplers.load_all(calibration, opened)
    common.same_class(found, label, calibration)
    here = output.exists() and output.samefile(calibration)  # then what is in it stays
    others = [one for one in found if here and not _again(one, nfe, opened.guidance)]
    if any("between" not in one.provenance.report for one in found if _again(one, nfe, opened.guidance)):
        raise DodeError(f"{calibration} holds what was found for NFE {nfe} under guidance {guidance:g}: nothing to do")
    made = common.of_class(interpolation.interpolate(found, opened, nfe, seed, batch), label)
    samplers.save(output, *sorted([*others, made], key=lambda one: one.nfe))
    report = made.provenance.report
    (name,) = (key for key in report if key.startswith("tried "))
    near, far = distance(report["robust select rms"]), distance(report[name])
    print(f"between {' and '.join(report['between'])}: {near} on validation noise, {name.removeprefix('tried ')} {far}")
    print(f"written: {output}")


def _again(one: "Sampler", nfe: int, guidance: float | None) -> bool:
    """Is it for these evaluations and this guidance?"""
    return (one.nfe, one.model.guidance) == (nfe, guidance)
