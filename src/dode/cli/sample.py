"""dode sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dode.cli import common
from dode.errors import DodeError

if TYPE_CHECKING:
    from torch import Tensor

    from dode.model import Model
    from dode.samplers import Sampler


def sample(
    model: common.ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Contact sheet, PNG.")],
    calibration: Annotated[Path | None, typer.Option(help="Calibration file of dode distill.")] = None,
    solver: Annotated[
        str | None, typer.Option(help="A plain solver instead, see dode methods; a student brings its own.")
    ] = None,
    nfe: Annotated[int | None, typer.Option(help="Network evaluations; picks the plan of a file of several.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Samples.")] = 16,
    columns: Annotated[int, typer.Option(help="Samples in a row of the sheet.")] = 10,
    inner: common.Inner = None,
    variable: common.Variable = None,
    gamma: common.Gamma = None,
    eta: Annotated[float | None, typer.Option(help="Noise in ddim: 0 none, 1 DDPM's ancestral sampling.")] = None,
    churn: Annotated[float | None, typer.Option(help="Noise in edm: S_churn.")] = None,
    churn_min: Annotated[float | None, typer.Option(help="No churn below this sigma: S_min.")] = None,
    churn_max: Annotated[float | None, typer.Option(help="No churn above this sigma: S_max.")] = None,
    threshold: common.Threshold = None,
    quantile: common.Quantile = None,
    label: common.Label = None,
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
    grid: common.Grid = None,
    end: common.End = "data",
    seed: common.Seed = 0,
    batch: common.Batch = 64,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """Sample with a calibration, or with a plain solver, into a contact sheet."""
    if calibration is not None and solver is not None:
        raise DodeError("give either --calibration FILE or --solver NAME")
    if number < 1 or columns < 1 or batch < 1:
        raise DodeError(f"--number, --columns and --batch must be at least 1; got {number}, {columns}, {batch}")
    options = common.given(
        inner=inner, variable=variable, gamma=gamma, eta=eta, churn=churn, churn_min=churn_min, churn_max=churn_max
    )
    if calibration is not None and (grid is not None or end != "data" or options):
        raise DodeError(
            "a calibration brings its own grid, end and options; give no --grid, --end and options of solvers with it"
        )
    common.writable(output, ".png")
    from dode import plots, samplers
    from dode.process_group import current

    opened = common.open_model(model, guidance, device, dtype, threshold, quantile, prompt, negative_prompt, label)
    if calibration is not None:
        chosen = samplers.load(calibration, opened, nfe)
    else:
        solver, nfe = _own(opened, solver, nfe)
        chosen = samplers.sampler(opened, written(solver, common.once(solver, options)), nfe=nfe, grid=grid, end=end)
    common.room(number, opened.shape)
    images = _drawn(chosen, number, batch, seed)
    if current().is_first:
        plots.sheet(images, output, columns)
    common.print_notes(chosen, label)
    print(f"{number} samples, {chosen.nfe} evaluations each: {output}")


def _drawn(sampler: "Sampler", number: int, batch: int, seed: int) -> "Tensor":
    """Images of this many samples, the work of several processes if there are any."""
    import torch

    from dode.process_group import current
    from dode.progress import counting

    model, group = sampler.model, current()
    cuts = [range(i, min(i + batch, number)) for i in range(0, number, batch)]
    parts = []
    with common.progress(f"{sampler.name}, NFE {sampler.nfe}") as advance:
        tick = counting(advance, len(group.share(cuts)) * sampler.nfe)
        for cut in group.share(cuts):
            part = sampler.sample(len(cut), seed=seed, batch=batch, callback=lambda _: tick(1), first=cut.start)
            parts.append((part if model.decode is None else model.decode(part)).cpu())
    return torch.cat(group.gather(parts))


def _own(model: "Model", solver: str | None, nfe: int | None) -> tuple[str, int]:
    """The solver and the evaluations that were asked for."""
    if solver is None:
        raise DodeError("give either --calibration FILE or --solver NAME")
    if nfe is None:
        raise DodeError("--solver needs --nfe, the number of network evaluations")
    return solver, nfe


def written(solver: str, options: dict[str, Any]) -> str:
    """The solver's name with these options behind it."""
    return solver + "".join(f":{name}={value}" for name, value in options.items())
