"""dode compare."""

from typing import Annotated

import typer

from dode.cli import common


def compare(
    model: common.ModelName,
    nfe: Annotated[
        str | None, typer.Option(help="Network evaluations: 5,10,20, which is usual; a student has its own.")
    ] = None,
    solvers: Annotated[
        str | None,
        typer.Option(help="Solvers with options: ddim,d-ddim,d-ddim:formulation=sep; ddim,d-ddim if left out."),
    ] = None,
    report: Annotated[int, typer.Option(help="Samples of report noise for the distances.")] = 32,
    fd: Annotated[int, typer.Option(help="Samples for the Fréchet distance; 0 for none.")] = 0,
    threshold: common.Threshold = None,
    quantile: common.Quantile = None,
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = "",
    grid: common.Grid = None,
    seed: common.Seed = 0,
    batch: common.Batch = 100,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """Compare solvers at equal network evaluations on equal noise, against the exact solution."""
    numbers = common.counts(nfe) if nfe is not None else None
    names = [name.strip() for name in solvers.split(",")] if solvers is not None else None
    from dode.evaluate import reporting
    from dode.evaluate.comparison import Settings
    from dode.solvers.names import read

    for name in names or ():
        read(name)
    settings = Settings(report, fd, seed, batch)
    opened = common.open_model(model, guidance, device, dtype, threshold, quantile, prompt, negative_prompt)
    names = names or (["ddim", "d-ddim"] if opened.trained is None else [opened.trained.solver])
    numbers = numbers or ([5, 10, 20] if opened.trained is None else sorted(opened.trained.times))
    with common.progress("teachers and fits") as advance:
        made = reporting.samplers(opened, names, numbers, grid, seed, advance)
    with common.progress("exact solution") as advance:
        exact = reporting.exact(opened, settings, advance)
    with common.progress("samples to compare") as advance:
        rows = reporting.measured(made, exact, settings, advance)
    rows.sort(key=lambda row: row.nfe)
    common.print_rows(rows, fd, report, f"{opened.name}, guidance {guidance:g}, seed {seed}")
