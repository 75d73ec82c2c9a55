"""What dode plot does: gather, then draw."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dode.cli import common

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.comparison import Row
    from dode.model import Model
    from dode.plan import Plan
    from dode.samplers import Provenance, Sampler

FORMATS = (".png", ".svg")


class Asked(NamedTuple):
    """What is to be measured, as it was typed."""

    solvers: str
    nfe: str
    samples: int  # of report noise
    fd: int
    guidance: float
    grid: str | None
    seed: int


class Filed(NamedTuple):
    """A plan of a calibration file, without its model."""

    plan: "Plan"
    provenance: "Provenance"

    @property
    def nfe(self) -> int:
        """Network evaluations."""
        return self.plan.nfe

    @property
    def name(self) -> str:
        """The solver."""
        return self.provenance.label


def curves(which: str, source: str, output: Path, asked: Asked) -> None:
    """Errors or Fréchet distances of a file, or measured."""
    common.writable(output, *FORMATS)
    if Path(source).suffix == ".json":
        rows, title = _rows_of(Path(source)), ""
    else:
        rows, title = _measured(source, asked)
    from dode import plots

    draw = {"errors": plots.errors, "frechet": plots.frechet}[which]
    draw(rows, output, title)
    print(f"written: {output}")


def lambdas(
    source: str, output: Path, solvers: str, nfe: str | None, guidance: float, grid: str | None, seed: int
) -> None:
    """λ of the fitted plans of a file, or of samplers made now."""
    common.writable(output, *FORMATS)
    counts = common.counts(nfe) if nfe else []
    chosen: list[Filed] | list[Sampler]
    if Path(source).suffix == ".json":
        known = [one for one in filed(Path(source)) if one.provenance.distilled]
        chosen = [one for one in known if not counts or one.nfe in counts]
        if not chosen:
            there = ", ".join(f"{one.name} NFE {one.nfe}" for one in known) or "nothing that was fitted"
            raise ValueError(f"{source} holds {there}; asked for NFE {nfe or 'any'}")
    else:
        asked = Asked(solvers, nfe or "5,10,20", 2, 0, guidance, grid, seed)
        chosen = [one for one in _made(source, asked)[1] if one.provenance.distilled]
        if not chosen:
            raise ValueError(f"plain solvers have no λ; name distilled ones, d-{solvers}")
    from dode import plots

    plots.lambdas(chosen, output)
    print(f"written: {output}")


def runs(name: str, output: Path, asked: Asked, sample: int | None = None) -> None:
    """The size of the state of every run, or the two pixels of one sample."""
    common.writable(output, *FORMATS)
    model, made = _made(name, asked)
    from dode import paths, plots

    x_T = model.start(range(asked.samples), asked.seed)
    with common.progress("exact solution and runs"):
        pixels = paths.watched(_exact(model, asked))
        exact = paths.exact_track(model, x_T, pixels)
        tracks = {one.name: paths.track(one, x_T, pixels, asked.seed) for one in made}
    title = f"{model.name}, NFE {asked.nfe}, {asked.samples} samples, seed {asked.seed}"
    if sample is None:
        plots.norm(tracks, exact, output, paths.axis(model), title)
    else:
        plots.pixels(tracks, exact, output, sample, f"{model.name}, NFE {asked.nfe}, sample {sample}")
    print(f"written: {output}")


def wall(name: str, output: Path, asked: Asked) -> None:
    """A row of pictures for each sampler, below the exact solution's."""
    common.writable(output, *FORMATS)
    model, made = _made(name, asked)
    from dode import plots

    x_T, cond = model.start(range(asked.samples), asked.seed), model.conditions(range(asked.samples))
    rows = [("exact", _exact(model, asked))]
    rows += [(f"{one.name}, NFE {one.nfe}", one.sample(noise=x_T, cond=cond, seed=asked.seed)) for one in made]
    if model.decode is not None:
        rows = [(label, model.decode(images)) for label, images in rows]
    if rows[0][1].ndim != 4 or rows[0][1].shape[1] not in (1, 3):
        raise ValueError(f"a wall shows pictures of 1 or 3 channels; samples of {model.name} are {model.shape}")
    plots.comparison(rows, output, f"{model.name}: the same noise in a column, seed {asked.seed}")
    print(f"written: {output}")


def tableau(
    source: str, output: Path, solver: str, nfe: int | None, guidance: float, grid: str | None, seed: int
) -> None:
    """The matrices of one plan of a file, or of a solver on a model."""
    common.writable(output, *FORMATS)
    if Path(source).suffix == ".json":
        known = filed(Path(source))
        counts = ", ".join(str(one.nfe) for one in known)
        found = [one for one in known if nfe in (None, one.nfe)]
        if len(found) != 1:
            raise ValueError(f"{source} holds plans for NFE {counts}; say which one with --nfe")
        one: Filed | Sampler = found[0]
    else:
        if nfe is None:
            raise ValueError("a tableau of a solver on a model needs --nfe, the number of network evaluations")
        (one,) = _made(source, Asked(solver, str(nfe), 2, 0, guidance, grid, seed))[1]
    from dode import plots

    plots.tableau(one.plan, output, f"{one.name}, NFE {one.nfe}, {one.plan.kind} outputs")
    print(f"written: {output}")


def grids(name: str, output: Path, asked: str, nfe: int) -> None:
    """The nodes of grids by name, of published lists and of calibration files."""
    common.writable(output, *FORMATS)
    from dode import plots
    from dode import samplers as plain
    from dode.calibration import is_calibration

    model = common.open_model(name)
    named = {}
    for one in (part.strip() for part in asked.split(",")):
        if is_calibration(one):
            named |= {f"{Path(one).name}, NFE {f.nfe}": f.plan.nodes for f in filed(Path(one)) if f.nfe == nfe}
        else:
            named[one] = plain.sampler(model, "ddim", nfe=nfe, grid=one).plan.nodes
    plots.grids(named, output, f"{model.name}: {nfe} evaluations")
    print(f"written: {output}")


def filed(path: Path) -> list[Filed]:
    """Every plan of a calibration file."""
    from dode import calibration
    from dode.samplers import provenance_from_json

    entries = calibration.read(path)["plans"]
    return [Filed(calibration.plan_from_json(e["plan"]), provenance_from_json(e["provenance"])) for e in entries]


def _rows_of(path: Path) -> "list[Row]":
    """The rows of a file of dode compare."""
    from dode.metrics import results

    return list(results.read(path).rows.values())


def _made(name: str, asked: Asked) -> "tuple[Model, list[Sampler]]":
    """The model and a sampler for each solver and number of evaluations."""
    from dode.metrics import reporting
    from dode.solvers.names import read

    names, counts = [part.strip() for part in asked.solvers.split(",")], common.counts(asked.nfe)
    for one in names:
        read(one)
    model = common.open_model(name, asked.guidance)
    with common.progress("teachers and fits") as advance:
        return model, reporting.samplers(model, names, counts, asked.grid, asked.seed, advance)


def _exact(model: "Model", asked: Asked) -> "Tensor":
    """The exact solutions of the report noise that was asked for."""
    from dode.metrics import reporting
    from dode.metrics.comparison import Settings

    with common.progress("exact solution") as advance:
        return reporting.exact(model, Settings(asked.samples, seed=asked.seed), advance)


def _measured(name: str, asked: Asked) -> "tuple[list[Row], str]":
    """Rows measured now, and a title."""
    from dode.metrics import reporting
    from dode.metrics.comparison import Settings

    settings = Settings(asked.samples, asked.fd, asked.seed)
    model, made = _made(name, asked)
    exact = _exact(model, asked)
    with common.progress("samples to compare") as advance:
        rows = reporting.measured(made, exact, settings, advance)
    return rows, f"{model.name}, guidance {asked.guidance:g}, seed {asked.seed}"
