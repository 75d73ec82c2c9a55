"""dode compare."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from dode.cli import common


def compare(
    model: common.ModelName,
    nfe: Annotated[str, typer.Option(help="Network evaluations: 5,10,20.")] = "5,10,20",
    solvers: Annotated[
        str, typer.Option(help="Solvers with options: ddim,d-ddim,d-ddim:formulation=sep.")
    ] = "ddim,d-ddim",
    paired: Annotated[int, typer.Option(help="Samples of report noise for the distances.")] = 32,
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
    report: Annotated[Path | None, typer.Option(help="Page of figures and pictures to write, HTML.")] = None,
) -> None:
    """Compare solvers at equal network evaluations on equal noise, against the exact solution."""
    numbers = common.counts(nfe)
    if report is not None:
        common.writable(report, ".html")
    names = [name.strip() for name in solvers.split(",")]
    from dode.metrics import reporting
    from dode.metrics.comparison import Settings
    from dode.solvers.names import read

    for name in names:
        read(name)
    settings = Settings(paired, fd, seed, batch)
    opened = common.open_model(model, guidance, device, dtype, threshold, quantile, prompt, negative_prompt)
    with common.progress("teachers and fits") as advance:
        made = reporting.samplers(opened, names, numbers, grid, seed, advance)
    with common.progress("exact solution") as advance:
        exact = reporting.exact(opened, settings, advance)
    with common.progress("samples to compare") as advance:
        rows = reporting.measured(made, exact, settings, advance)
    rows.sort(key=lambda row: row.nfe)
    common.print_rows(rows, fd, paired, f"{opened.name}, guidance {guidance:g}, seed {seed}")
    if report is not None:
        from dode.report import write

        command = shlex.join(["dode", *sys.argv[1:]])
        with common.progress("paths for the report") as advance:
            write(report, rows, made, exact, seed=seed, fd=fd, command=command, progress=advance)
        print(f"written: {report}")
