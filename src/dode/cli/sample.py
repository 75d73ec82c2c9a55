"""dode sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from dode.cli import options
from dode.cli.output import print_notes, progress
from dode.errors import DodeError

if TYPE_CHECKING:
    from torch import Tensor

    from dode.samplers import Sampler


@options.grouped
def sample(
    opening: options.ClippedOpening,
    output: Annotated[Path, Option("--output", "-o", help="Contact sheet, PNG.")],
    calibration: Annotated[Path | None, Option(help="Calibration file of dode distill.")] = None,
    solver: Annotated[
        str | None, Option(help="A plain solver instead, with its options: ddim, edm:churn=20; see dode methods.")
    ] = None,
    nfe: Annotated[int | None, Option(help="Network evaluations; picks the plan of a file of several.")] = None,
    number: Annotated[int, Option("--number", "-n", help="Samples.")] = 16,
    columns: Annotated[int, Option(help="Samples in a row of the sheet.")] = 10,
    guidance: options.Guidance = 1.0,
    grid: options.Grid = None,
    end: options.End = "data",
    seed: options.Seed = 0,
    batch: options.Batch = 64,
) -> None:
    """Sample with a calibration, or with a plain solver, into a contact sheet."""
    _check(calibration, solver, nfe, grid, end)
    if number < 1 or columns < 1 or batch < 1:
        raise DodeError(f"--number, --columns and --batch must be at least 1; got {number}, {columns}, {batch}")
    options.check_writable(output, ".png")
    from dode import plots, samplers
    from dode.process_group import current

    model = opening.open(guidance)
    if calibration is not None:
        sampler = samplers.load(calibration, model, nfe)
    else:
        assert solver is not None
        assert nfe is not None
        sampler = samplers.sampler(model, solver, nfe=nfe, grid=grid, end=end)
    options.check_room(number, model.shape)
    images = _draw(sampler, number, batch, seed)
    if current().is_first:
        plots.sheet(images, output, columns)
    print_notes(sampler, opening.label)
    print(f"{number} samples, {sampler.nfe} evaluations each: {output}")


def _check(calibration: Path | None, solver: str | None, nfe: int | None, grid: str | None, end: str) -> None:
    """DodeError for options that do not go together."""
    if (calibration is None) == (solver is None):
        raise DodeError("give either --calibration FILE or --solver NAME")
    if solver is not None and nfe is None:
        raise DodeError("--solver needs --nfe, the number of network evaluations")
    if calibration is not None and (grid is not None or end != "data"):
        raise DodeError("a calibration brings its own grid and end; give no --grid, --end with it")


def _draw(sampler: "Sampler", number: int, batch: int, seed: int) -> "Tensor":
    """Images of this many samples, the work of several processes if there are any."""
    import torch

    from dode.process_group import current
    from dode.progress import counting

    model, group = sampler.model, current()
    batches = group.share([range(i, min(i + batch, number)) for i in range(0, number, batch)])
    images = []
    with progress(f"{sampler.name}, NFE {sampler.nfe}") as advance:
        tick = counting(advance, len(batches) * sampler.nfe)
        for one in batches:
            states = sampler.sample(len(one), seed=seed, batch=batch, callback=lambda _: tick(1), first=one.start)
            images.append((states if model.decode is None else model.decode(states)).cpu())
    return torch.cat(group.gather(images))
