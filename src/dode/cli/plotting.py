"""What dode plot does: gather, then draw."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dode.cli import common, measuring, tables
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.metrics.estimates import Row
    from dode.metrics.study import Case, Study
    from dode.model import Model
    from dode.plan import Plan
    from dode.samplers import Provenance, Sampler
    from dode.schedule import Node

FORMATS = (".png", ".svg")


class Asked(NamedTuple):
    """What is to be measured, as it was typed."""

    solvers: str
    nfe: str
    samples: int  # of test noise
    fd: int
    guidance: float
    grid: str | None
    seed: int

    def checked(self) -> "Asked":
        """Itself, if it has samples to show."""
        if self.samples < 2:
            raise DodeError(f"--samples must be at least 2; got {self.samples}")
        return self


class Filed(NamedTuple):
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


def curves(which: str, source: str, output: Path, asked: Asked) -> None:
    """Errors or Fréchet distances of a file, or measured."""
    common.writable(output, *FORMATS)
    if Path(source).suffix == ".json":
        rows, title = _kept(Path(source), asked.guidance)
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
            raise DodeError(f"{source} holds {there}; asked for NFE {nfe or 'any'}")
    else:
        asked = Asked(solvers, nfe or "5,10,20", 2, 0, guidance, grid, seed)
        chosen = [one.sampler for one in _made(source, asked)[1] if one.sampler.provenance.distilled]
        if not chosen:
            raise DodeError(f"plain solvers have no λ; name distilled ones, d-{solvers}")
    from dode import plots

    plots.lambdas(chosen, output)
    print(f"written: {output}")


def runs(name: str, output: Path, asked: Asked, sample: int | None = None) -> None:
    """The size of the state of every run, or the two pixels of one sample."""
    common.writable(output, *FORMATS)
    model, made = _made(name, asked.checked())
    from dode import plots, trajectories

    x_T = model.start(range(asked.samples), asked.seed)
    with common.progress("exact solution and runs") as advance:
        exact, pixels = trajectories.exact_track(model, x_T)
        tracks = {}
        for i, one in enumerate(made):
            tracks[one.name] = trajectories.track(one.sampler, x_T, pixels, asked.seed)
            advance(i + 1, len(made))
    title = f"{model.name}, NFE {asked.nfe}, {asked.samples} samples, seed {asked.seed}"
    if sample is None:
        plots.norm(tracks, exact, output, trajectories.axis(model), title)
    else:
        plots.pixels(tracks, exact, output, sample, f"{model.name}, NFE {asked.nfe}, sample {sample}")
    print(f"written: {output}")


def wall(name: str, output: Path, asked: Asked) -> None:
    """A row of pictures for each sampler, below the exact solution's."""
    common.writable(output, *FORMATS)
    model, made = _made(name, asked.checked())
    from dode import plots
    from dode.metrics import evaluation
    from dode.metrics.evaluation import Settings

    x_T = model.start(range(asked.samples), asked.seed)
    with common.progress("exact solution") as advance:
        rows = [("exact", evaluation.exact_ends(model, Settings(asked.samples, seed=asked.seed), advance))]
    rows += [(f"{one.name}, NFE {one.sampler.nfe}", one.sampler.sample(noise=x_T, seed=asked.seed)) for one in made]
    if model.decode is not None:
        rows = [(label, model.decode(images)) for label, images in rows]
    if rows[0][1].ndim != 4 or rows[0][1].shape[1] not in (1, 3):
        raise DodeError(f"a wall shows pictures of 1 or 3 channels; samples of {model.name} are {model.shape}")
    plots.comparison(rows, output, f"{model.name}: the same noise in a column, seed {asked.seed}")
    print(f"written: {output}")


def tableau(
    source: str, output: Path, solver: str, nfe: int | None, guidance: float, grid: str | None, seed: int
) -> None:
    """The matrices of one plan of a file, or of a solver on a model."""
    common.writable(output, *FORMATS)
    if Path(source).suffix == ".json":
        known = filed(Path(source))
        found = [one for one in known if nfe in (None, one.nfe)]
        found = found if len(found) == 1 else [one for one in found if one.guidance in (None, guidance)]
        if len(found) != 1:
            scales = ["" if one.guidance is None else f" at guidance {one.guidance:g}" for one in known]
            there = ", ".join(f"NFE {one.nfe}{scale}" for one, scale in zip(known, scales, strict=True))
            asked = "" if nfe is None else f"not for NFE {nfe} at guidance {guidance:g}; "
            raise DodeError(f"{source} holds plans for {there}; {asked}say which one with --nfe and --guidance")
        one: Filed | Sampler = found[0]
    else:
        if nfe is None:
            raise DodeError("a tableau of a solver on a model needs --nfe, the number of network evaluations")
        (case,) = _made(source, Asked(solver, str(nfe), 2, 0, guidance, grid, seed))[1]
        one = case.sampler
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
    named: dict[str, tuple[Node, ...]] = {}
    for one in (part.strip() for part in asked.split(",")):
        if is_calibration(one):
            held = {f"{Path(one).name}, NFE {f.nfe}": f.plan.nodes for f in filed(Path(one)) if f.nfe == nfe}
            if not held:
                raise DodeError(f"{one} has no plan for NFE {nfe}; ask for one that it has, or leave it out")
            named |= held
        else:
            named[one] = plain.sampler(model, "ddim", nfe=nfe, grid=one).plan.nodes
    plots.grids(named, output, f"{model.name}: {nfe} evaluations")
    print(f"written: {output}")


def filed(path: Path) -> list[Filed]:
    """Every plan of a calibration file."""
    from dode import calibration
    from dode.samplers import provenance_from_json

    entries = calibration.read(path)["plans"]
    return [
        Filed(calibration.plan_from_json(e["plan"]), provenance_from_json(e["provenance"]), e["guidance"])
        for e in entries
    ]


def _kept(path: Path, guidance: float) -> "tuple[list[Row], str]":
    """The rows of a file of dode compare at this guidance, several seeds as one, and a title."""
    from dode.metrics import results

    found = results.read(path)
    rows = [row for row in found.rows.values() if row.guidance in (guidance, None)]
    if not rows:
        held = sorted({f"{row.guidance:g}" for row in found.rows.values()}) or ["none yet"]
        raise DodeError(f"{path} holds rows at guidance {', '.join(held)}; asked for {guidance:g}")
    return tables.together(rows), f"{found.settings['name']}, guidance {guidance:g}"


def _study(asked: Asked) -> "Study":
    """What is compared, checked before anything long."""
    from dode.metrics.study import Study

    names, counts = tuple(part.strip() for part in asked.solvers.split(",")), common.counts(asked.nfe)
    measuring.check(None, None, names)
    return Study(names, tuple(counts), (asked.guidance,), (asked.seed,), asked.grid)


def _made(name: str, asked: Asked) -> "tuple[Model, list[Case]]":
    """The model and a sampler for each solver and number of evaluations."""
    from dode.metrics.evaluation import Settings
    from dode.metrics.results import Results
    from dode.metrics.study import cases

    study = _study(asked)
    model, settings = common.open_model(name, asked.guidance), Settings(asked.samples, seed=asked.seed)
    return model, cases(model, study, asked.seed, Results(None, {}), common.progress, settings.batch)


def _measured(name: str, asked: Asked) -> "tuple[list[Row], str]":
    """Rows measured now, and a title."""
    study = _study(asked)
    settings = measuring.settings("fd" if asked.fd else "rms", asked.samples, asked.fd, 100)
    model = common.open_model(name)
    features = measuring.Features("bundled", None, None, "cpu")
    found = measuring.run(model, study, settings, features, {}, None, None)
    return [row for row, _ in found], f"{model.name}, guidance {asked.guidance:g}, seed {asked.seed}"
