"""dode plot: one picture of a comparison, of runs, of a solver or of grids."""

from pathlib import Path
from typing import Annotated

import typer

from dode.cli import common, plotting
from dode.errors import DodeError

plot = typer.Typer(no_args_is_help=True, help="Draw one picture, PNG or SVG by the file's name.")

Output = Annotated[Path, typer.Option("--output", "-o", help="Picture to write, .png or .svg.")]
Results = Annotated[str, typer.Argument(help="Results of dode compare (JSON), or a model to measure.")]
Calibrated = Annotated[str, typer.Argument(help="A calibration file, or a model to make samplers of.")]
Solvers = Annotated[
    str, typer.Option(help="Solvers with options, a grid too: ddim,d-ddim:formulation=sep,edm:grid=karras.")
]
Counts = Annotated[str, typer.Option(help="Network evaluations: 5,10,20.")]
Count = Annotated[int, typer.Option(help="Network evaluations.")]
Samples = Annotated[int, typer.Option("--samples", "-n", help="Samples of test noise.")]


@plot.command()
def error(
    source: Results,
    output: Output,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Counts = "5,10,20",
    paired: Annotated[int, typer.Option(help="Samples of test noise for the distances.")] = 32,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """Distance to the exact solution against network evaluations, a line for each solver."""
    plotting.curves("errors", source, output, plotting.Asked(solvers, nfe, paired, 0, guidance, grid, seed))


@plot.command()
def fd(
    source: Results,
    output: Output,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Counts = "5,10,20",
    fd: Annotated[int, typer.Option(help="Samples for the Fréchet distance.")] = 500,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """Fréchet distance against network evaluations, a line for each solver."""
    plotting.curves("frechet", source, output, plotting.Asked(solvers, nfe, 0, fd, guidance, grid, seed))


@plot.command()
def lambdas(
    source: Calibrated,
    output: Output,
    solvers: Solvers = "d-ddim",
    nfe: Annotated[str | None, typer.Option(help="Network evaluations; all of a file if left out.")] = None,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """What was fitted, λ along the run, with two standard errors."""
    plotting.lambdas(source, output, solvers, nfe, guidance, grid, seed)


@plot.command()
def norm(
    model: common.ModelName,
    output: Output,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Count = 10,
    samples: Samples = 32,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """The size of the state against time, beside the exact solution's."""
    asked = plotting.Asked(solvers, str(nfe), samples, 0, guidance, grid, seed)
    plotting.runs(model, output, asked)


@plot.command()
def pixels(
    model: common.ModelName,
    output: Output,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Count = 10,
    sample: Annotated[int, typer.Option(help="Which sample of test noise, from 0.")] = 0,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """The path of two pixels of one sample, beside the exact solution's."""
    if sample < 0:
        raise DodeError(f"--sample must be at least 0; got {sample}")
    asked = plotting.Asked(solvers, str(nfe), max(10, sample + 1), 0, guidance, grid, seed)
    plotting.runs(model, output, asked, sample)


@plot.command()
def wall(
    model: common.ModelName,
    output: Output,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Counts = "5,10,20",
    samples: Samples = 10,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """Pictures, the same noise in a column, the exact solution above."""
    plotting.wall(model, output, plotting.Asked(solvers, nfe, samples, 0, guidance, grid, seed))


@plot.command()
def tableau(
    source: Calibrated,
    output: Output,
    solver: Annotated[str, typer.Option(help="The solver, if SOURCE is a model.")] = "ddim",
    nfe: Annotated[int | None, typer.Option(help="Network evaluations; may be left out if a file holds one.")] = None,
    guidance: common.Guidance = 1.0,
    grid: common.Grid = None,
    seed: common.Seed = 0,
) -> None:
    """A solver as its three matrices, use, mix and blend, with their coefficients."""
    plotting.tableau(source, output, solver, nfe, guidance, grid, seed)


@plot.command()
def grid(
    model: common.ModelName,
    output: Output,
    grids: Annotated[
        str, typer.Option(help="Grids by name, lists of dode import, calibration files.")
    ] = "trailing,karras,logsnr",
    nfe: Count = 10,
) -> None:
    """Where grids place their nodes, against log-SNR."""
    plotting.grids(model, output, grids, nfe)
