"""A comparison: solvers × evaluations × guidance × seeds, measured row by row, so that it can be stopped."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from dode import calibration
from dode import samplers as plain
from dode.distillation.api import distill
from dode.distillation.config import DistillConfig, fit_targets
from dode.errors import DodeError
from dode.metrics.estimates import Row
from dode.metrics.evaluation import Evaluator, Settings, exact_ends, measured
from dode.metrics.results import Results, key
from dode.model import Model
from dode.progress import Progress
from dode.samplers import Sampler
from dode.search.api import auto

Bar = Callable[[str], AbstractContextManager[Progress]]  # a progress bar with this title


@dataclass(frozen=True)
class Study:
    """What is compared: every solver at every number of evaluations, guidance scale and seed (of fit and test noise).

    Raises:
        DodeError: Something is missing, or a grid is given for auto.
    """

    names: tuple[str, ...]  # of solvers with options, grid=karras too, or calibration files
    nfe: tuple[int, ...] | None  # None: those of the calibration files
    guidance: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    grid: str | None = None

    def __post_init__(self) -> None:
        solvers = [name for name in self.names if not is_file(name)]
        if not self.names or not self.guidance or not self.seeds:
            raise DodeError("give at least one solver, guidance scale and seed")
        if self.grid is not None and "auto" in self.names:
            raise DodeError("auto finds its grid itself: give the others theirs behind their names, ddim:grid=karras")
        if self.nfe is None and solvers:
            raise DodeError(f"{solvers[0]} needs the number of network evaluations")


@dataclass(frozen=True)
class Case:
    """A row to be measured: a sampler under its name in the study."""

    name: str
    sampler: Sampler
    seed: int

    @property
    def key(self) -> str:
        """The key of its row."""
        return key(self.name, self.sampler.nfe, self.sampler.model.guidance, self.seed)


def is_file(name: str) -> bool:
    """Whether this is a calibration file, not the name of a solver."""
    return name.endswith(".json") and ":grid=" not in name


def placed(name: str, default: str | None) -> tuple[str, str | None]:
    """Split a solver's name and grid: ddim:grid=karras → ddim, karras; the default grid where the name has none.

    Raises:
        DodeError: There are two grids, an empty one, or one for auto.
    """
    head, *options = name.split(":")
    grids = [option.removeprefix("grid=") for option in options if option.startswith("grid=")]
    rest = [option for option in options if not option.startswith("grid=")]
    if len(grids) > 1 or "" in grids:
        raise DodeError(f"give one grid behind a name, ddim:grid=karras; got {name!r}")
    if grids and head in ("auto", "d-auto"):
        raise DodeError(f"auto finds its grid itself; leave it out of {name!r}")
    return ":".join([head, *rest]), grids[0] if grids else default


def run(
    model: Model, study: Study, settings: Settings, evaluator: Evaluator | None, results: Results, bar: Bar
) -> list[tuple[Row, Sampler]]:
    """Measure what the results do not have yet, and put it there row by row; every row of the study with its sampler.

    Raises:
        DodeError: An evaluator, solver or grid does not fit, before anything long.
    """
    if evaluator is not None:
        evaluator.probe(settings.wanted, model)
    for scale in study.guidance:
        _plain(model.guided(scale), study, 0, Results(None, {}))  # nothing of it is kept
    for (searched, grid), group in _groups(study).items():
        if not searched:  # whose plans are made, so that no grid is refused after other fits
            fit_targets(model, list(group.values()), study.nfe or (), grid, DistillConfig())
    rows = []
    for scale in study.guidance:
        for seed in study.seeds:
            guided, seeded = model.guided(scale), replace(settings, seed=seed)
            exact = None
            if settings.paired and _fits_are_missing(guided, study, seed, results):
                exact = _exact(guided, seeded, bar)  # a network that does not reach its accuracy fails before the fits
            chosen = cases(guided, study, seed, results, bar, settings.batch)
            for case in chosen:
                if case.key not in results.rows:
                    if settings.paired and exact is None:
                        exact = _exact(guided, seeded, bar)
                    with bar(case.key) as advance:
                        (row,) = measured([case.sampler], exact, seeded, advance, evaluator)
                    row.solver = case.name
                    results.put(case.key, row)
            rows += [(results.rows[case.key], case.sampler) for case in chosen]
    return rows


def _fits_are_missing(model: Model, study: Study, seed: int, results: Results) -> bool:
    names = filter(is_fitted, study.names)
    return any(key(name, nfe, model.guidance, seed) not in results.rows for name in names for nfe in study.nfe or ())


def _exact(model: Model, settings: Settings, bar: Bar) -> Tensor:
    with bar("exact solution") as advance:
        return exact_ends(model, settings, advance)


def cases(model: Model, study: Study, seed: int, results: Results, bar: Bar, batch: int) -> list[Case]:
    """The samplers of one guidance scale and seed; those that must be fitted are fitted together, and kept."""
    by_name = _plain(model, study, seed, results) | _fitted(model, study, seed, results, bar, batch)
    return [case for name in study.names for case in by_name[name]]


def is_fitted(name: str) -> bool:
    """Whether this solver is to be distilled or searched for."""
    return not is_file(name) and (name == "auto" or name.startswith("d-"))


def _plain(model: Model, study: Study, seed: int, results: Results) -> dict[str, list[Case]]:
    """The samplers that need no fit, by name."""
    by_name = {}
    for name in study.names:
        if is_file(name):
            by_name[name] = _calibrated(model, name, study.nfe, seed, results)
        elif not is_fitted(name):
            solver, grid = placed(name, study.grid)
            samplers = [plain.sampler(model, solver, nfe=nfe, grid=grid) for nfe in study.nfe or ()]
            by_name[name] = [Case(name, sampler, seed) for sampler in samplers]
    return by_name


def _fitted(model: Model, study: Study, seed: int, results: Results, bar: Bar, batch: int) -> dict[str, list[Case]]:
    """Distilled solvers and auto, by name: from the results, or fitted now and kept there.

    All of one grid share the teacher's run whenever one of them is missing, so that a fit does not depend on where a
    run was stopped.  Auto, which takes longest, is kept by itself.
    """
    counts = list(study.nfe or ())
    by_name: dict[str, list[Case]] = {}
    for (searched, grid), group in _groups(study).items():
        keys = {(name, nfe): key(name, nfe, model.guidance, seed) for name in group for nfe in counts}
        if any(row not in results.plans for row in keys.values()):
            with bar("teachers and fits") as advance:
                if searched:
                    fits = {"auto": auto(model, counts, seed=seed, batch=batch, progress=advance)}
                else:
                    solvers = list(group.values())
                    fits = distill(model, solvers, counts, grid=grid, seed=seed, batch=batch, progress=advance)
            fitted = {row: plain.content(fits[group[name]][nfe]) for (name, nfe), row in keys.items()}
            results.plans = fitted | results.plans
            results.write()
        for (name, _), row in keys.items():
            content = calibration.checked(results.plans[row], f"the plan of {row}")
            by_name.setdefault(name, []).append(Case(name, plain.load(content, model), seed))
    return by_name


def _groups(study: Study) -> dict[tuple[bool, str | None], dict[str, str]]:
    """What is fitted together, by (is searched for, grid): the solvers by their names in the study; auto comes last."""
    groups: dict[tuple[bool, str | None], dict[str, str]] = {}
    for name in sorted(filter(is_fitted, study.names), key=lambda name: name == "auto"):
        solver, grid = placed(name, study.grid)
        groups.setdefault((name == "auto", grid), {})[name] = solver
    return groups


def _calibrated(model: Model, name: str, nfe: Sequence[int] | None, seed: int, results: Results) -> list[Case]:
    """The samplers of a calibration file at those of the numbers asked for that it has."""
    content = calibration.read(name)
    held = {entry["nfe"] for entry in content["plans"] if entry["guidance"] in (model.guidance, None)}
    counts = sorted(held if nfe is None else held & set(nfe)) or [None if nfe is None else nfe[0]]  # load says why not
    chosen = []
    for count in counts:
        try:
            sampler = plain.load(content, model, count)
        except DodeError as error:
            raise type(error)(f"{name}: {error}") from error
        case = Case(f"{sampler.name}@{Path(name).as_posix()}", sampler, seed)
        plan = plain.content(sampler)
        if results.plans.setdefault(case.key, plan)["checksum"] != plan["checksum"]:
            raise DodeError(f"{results.path} has results of another {name}; write to another file")
        chosen.append(case)
    return chosen
