"""dode plot: one picture of a comparison, of runs, of a solver or of grids."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer import Argument, Option

from dode.cli import options
from dode.cli.compare import Measuring, Paired, check_solvers, exact_solution, measure
from dode.cli.output import pooled, progress
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.metrics.estimates import Row
    from dode.metrics.study import Case
    from dode.model import Model
    from dode.plan import Plan
    from dode.samplers import Provenance, Sampler
    from dode.schedule import Node

plot = typer.Typer(no_args_is_help=True, help="Draw one picture, PNG or SVG by the file's name.")

Results = Annotated[str, Argument(help="Results of dode compare (JSON), or a model to measure.")]
Calibrated = Annotated[str, Argument(help="A calibration file, or a model to make samplers of.")]
Solvers = Annotated[str, Option(help="Solvers with options, a grid too: ddim,d-ddim:formulation=sep,edm:grid=karras.")]
Counts = Annotated[str, Option(help="Network evaluations: 5,10,20.")]
Count = Annotated[int, Option(help="Network evaluations.")]
Samples = Annotated[int, Option("--samples", "-n", help="Samples of test noise.")]


@dataclass
class Picture:
    """Where a picture goes."""

    output: Annotated[Path, Option("--output", "-o", help="Picture to write, .png or .svg.")]


@dataclass
class Shown(Picture):
    """The same, and under which guidance, on which grid and noise the samplers of the picture run."""

    guidance: options.Guidance = 1.0
    grid: options.Grid = None
    seed: options.Seed = 0

    def samplers(self, model: str, solvers: str, nfe: str, samples: int = 2) -> "tuple[Model, list[Case]]":
        """The model, and a sampler for each solver and number of evaluations, fitted now where one must be."""
        if samples < 2:
            raise DodeError(f"--samples must be at least 2; got {samples}")
        names, counts = options.parts(solvers), options.counts(nfe)
        check_solvers(names)
        from dode.metrics.evaluation import Settings
        from dode.metrics.results import Results
        from dode.metrics.study import Study, cases

        study = Study(tuple(names), tuple(counts), (self.guidance,), (self.seed,), self.grid)
        opened = options.Opening(model).open(self.guidance)
        return opened, cases(opened, study, self.seed, Results(None, {}), progress, Settings.batch)


def picture(draw: Callable[..., None]) -> Callable[..., None]:
    """A command of dode plot: the picture that it draws is checked before, and named after."""

    @wraps(draw)
    def run(*, shown: Picture, **given: Any) -> None:
        options.check_writable(shown.output, ".png", ".svg")
        draw(shown=shown, **given)
        print(f"written: {shown.output}")

    command: Callable[..., None] = plot.command()(options.grouped(run))
    return command


class FilePlan(NamedTuple):
    """A plan of a calibration file, without its model."""

    plan: "Plan"
    provenance: "Provenance"
    guidance: float | None

    @property
    def nfe(self) -> int:
        """Network evaluations."""
        return self.plan.nfe

    @property
    def name(self) -> str:
        """The solver."""
        return self.provenance.label


@picture
def error(
    source: Results, shown: Shown, solvers: Solvers = "ddim,d-ddim", nfe: Counts = "5,10,20", paired: Paired = 32
) -> None:
    """Distance to the exact solution against network evaluations, a line for each solver."""
    rows, title = _rows(source, shown, solvers, nfe, Measuring(metrics="rms"), paired)
    from dode import plots

    plots.errors(rows, shown.output, title)


@picture
def fd(
    source: Results,
    shown: Shown,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Counts = "5,10,20",
    fd: Annotated[int, Option(help="Samples for the Fréchet distance.")] = 500,
) -> None:
    """Fréchet distance against network evaluations, a line for each solver."""
    rows, title = _rows(source, shown, solvers, nfe, Measuring(metrics="fd", fd=fd), 0)
    from dode import plots

    plots.frechet(rows, shown.output, title)


@picture
def lambdas(
    source: Calibrated,
    shown: Shown,
    solvers: Solvers = "d-ddim",
    nfe: Annotated[str | None, Option(help="Network evaluations; all of a file if left out.")] = None,
) -> None:
    """What was fitted, λ along the run, with two standard errors."""
    counts = options.counts(nfe) if nfe else []
    fitted: list[FilePlan] | list[Sampler]
    if Path(source).suffix == ".json":
        held = [one for one in file_plans(Path(source)) if one.provenance.distilled]
        fitted = [one for one in held if not counts or one.nfe in counts]
        if not fitted:
            there = ", ".join(f"{one.name} NFE {one.nfe}" for one in held) or "nothing that was fitted"
            raise DodeError(f"{source} holds {there}; asked for NFE {nfe or 'any'}")
    else:
        made = [case.sampler for case in shown.samplers(source, solvers, nfe or "5,10,20")[1]]
        fitted = [one for one in made if one.provenance.distilled]
        if not fitted:
            raise DodeError(f"plain solvers have no λ; name distilled ones, d-{solvers}")
    from dode import plots

    plots.lambdas(fitted, shown.output)


@picture
def norm(
    model: options.ModelName,
    shown: Shown,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Count = 10,
    samples: Samples = 32,
) -> None:
    """The size of the state against time, beside the exact solution's."""
    _tracks(model, shown, solvers, nfe, samples, None)


@picture
def pixels(
    model: options.ModelName,
    shown: Shown,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Count = 10,
    sample: Annotated[int, Option(help="Which sample of test noise, from 0.")] = 0,
) -> None:
    """The path of two pixels of one sample, beside the exact solution's."""
    if sample < 0:
        raise DodeError(f"--sample must be at least 0; got {sample}")
    _tracks(model, shown, solvers, nfe, max(10, sample + 1), sample)


@picture
def wall(
    model: options.ModelName,
    shown: Shown,
    solvers: Solvers = "ddim,d-ddim",
    nfe: Counts = "5,10,20",
    samples: Samples = 10,
) -> None:
    """Pictures, the same noise in a column, the exact solution above."""
    opened, cases = shown.samplers(model, solvers, nfe, samples)
    from dode import plots
    from dode.metrics.evaluation import Settings

    x_T = opened.start(range(samples), shown.seed)
    rows = [("exact", exact_solution(opened, Settings(samples, seed=shown.seed)))]
    rows += [(f"{one.name}, NFE {one.sampler.nfe}", one.sampler.sample(noise=x_T, seed=shown.seed)) for one in cases]
    if opened.decode is not None:
        rows = [(label, opened.decode(images)) for label, images in rows]
    if rows[0][1].ndim != 4 or rows[0][1].shape[1] not in (1, 3):
        raise DodeError(f"a wall shows pictures of 1 or 3 channels; samples of {opened.name} are {opened.shape}")
    plots.comparison(rows, shown.output, f"{opened.name}: the same noise in a column, seed {shown.seed}")


@picture
def tableau(
    source: Calibrated,
    shown: Shown,
    solver: Annotated[str, Option(help="The solver, if SOURCE is a model.")] = "ddim",
    nfe: Annotated[int | None, Option(help="Network evaluations; may be left out if a file holds one.")] = None,
) -> None:
    """A solver as its three matrices, use, mix and blend, with their coefficients."""
    one: FilePlan | Sampler
    if Path(source).suffix == ".json":
        one = _file_plan(source, nfe, shown.guidance)
    elif nfe is None:
        raise DodeError("a tableau of a solver on a model needs --nfe, the number of network evaluations")
    else:
        (case,) = shown.samplers(source, solver, str(nfe))[1]
        one = case.sampler
    from dode import plots

    plots.tableau(one.plan, shown.output, f"{one.name}, NFE {one.nfe}, {one.plan.kind} outputs")


@picture
def grid(
    model: options.ModelName,
    shown: Picture,
    grids: Annotated[
        str, Option(help="Grids by name, lists of dode import, calibration files.")
    ] = "trailing,karras,logsnr",
    nfe: Count = 10,
) -> None:
    """Where grids place their nodes, against log-SNR."""
    from dode import plots, samplers
    from dode.calibration import is_calibration

    opened = options.Opening(model).open()
    nodes: dict[str, tuple[Node, ...]] = {}
    for name in options.parts(grids):
        if is_calibration(name):
            held = {f"{Path(name).name}, NFE {nfe}": one.plan.nodes for one in file_plans(Path(name)) if one.nfe == nfe}
            if not held:
                raise DodeError(f"{name} has no plan for NFE {nfe}; ask for one that it has, or leave it out")
            nodes |= held
        else:
            nodes[name] = samplers.sampler(opened, "ddim", nfe=nfe, grid=name).plan.nodes
    plots.grids(nodes, shown.output, f"{opened.name}: {nfe} evaluations")


def file_plans(path: Path) -> list[FilePlan]:
    """Every plan of a calibration file."""
    from dode import calibration
    from dode.samplers import provenance_from_json

    return [
        FilePlan(calibration.plan_from_json(one["plan"]), provenance_from_json(one["provenance"]), one["guidance"])
        for one in calibration.read(path)["plans"]
    ]


def file_rows(path: Path, guidance: float) -> "tuple[list[Row], str]":
    """The rows of a file of dode compare at this guidance, several seeds as one, and a title."""
    from dode.metrics import results

    held = results.read(path)
    rows = [row for row in held.rows.values() if row.guidance in (guidance, None)]
    if not rows:
        scales = sorted({f"{row.guidance:g}" for row in held.rows.values()}) or ["none yet"]
        raise DodeError(f"{path} holds rows at guidance {', '.join(scales)}; asked for {guidance:g}")
    return pooled(rows), f"{held.settings['name']}, guidance {guidance:g}"


def _rows(
    source: str, shown: Shown, solvers: str, nfe: str, measuring: Measuring, paired: int
) -> "tuple[list[Row], str]":
    """The rows of a file, or measured now, and a title."""
    if Path(source).suffix == ".json":
        return file_rows(Path(source), shown.guidance)
    measuring.guidance, measuring.grid, measuring.seed = repr(shown.guidance), shown.grid, str(shown.seed)
    study = measuring.study(options.parts(solvers), options.counts(nfe))
    model, _, found = measure(options.Opening(source), measuring, study, paired)
    return [row for row, _ in found], f"{model.name}, guidance {shown.guidance:g}, seed {shown.seed}"


def _tracks(name: str, shown: Shown, solvers: str, nfe: int, samples: int, sample: int | None) -> None:
    """The size of the state of every run, or two pixels of one sample."""
    model, cases = shown.samplers(name, solvers, str(nfe), samples)
    from dode import plots, trajectories

    x_T = model.start(range(samples), shown.seed)
    with progress("exact solution and runs") as advance:
        exact, watched = trajectories.exact_track(model, x_T)
        tracks = {}
        for i, case in enumerate(cases):
            tracks[case.name] = trajectories.track(case.sampler, x_T, watched, shown.seed)
            advance(i + 1, len(cases))
    if sample is None:
        title = f"{model.name}, NFE {nfe}, {samples} samples, seed {shown.seed}"
        plots.norm(tracks, exact, shown.output, trajectories.axis(model), title)
    else:
        plots.pixels(tracks, exact, shown.output, sample, f"{model.name}, NFE {nfe}, sample {sample}")


def _file_plan(source: str, nfe: int | None, guidance: float) -> FilePlan:
    """The one plan of a file for these evaluations, and for this guidance where there are several."""
    held = file_plans(Path(source))
    same = [one for one in held if nfe in (None, one.nfe)]
    same = same if len(same) == 1 else [one for one in same if one.guidance in (None, guidance)]
    if len(same) != 1:
        scales = ["" if one.guidance is None else f" at guidance {one.guidance:g}" for one in held]
        there = ", ".join(f"NFE {one.nfe}{scale}" for one, scale in zip(held, scales, strict=True))
        asked = "" if nfe is None else f"not for NFE {nfe} at guidance {guidance:g}; "
        raise DodeError(f"{source} holds plans for {there}; {asked}say which one with --nfe and --guidance")
    return same[0]
