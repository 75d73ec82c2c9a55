"""Many solvers beside each other: solvers × evaluations × guidance × seeds, row by row, so that it can be stopped."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from dode import calibration
from dode import samplers as plain
from dode.calibration import Json
from dode.distillation.api import distill
from dode.distillation.config import DistillConfig, fit_targets
from dode.errors import DodeError
from dode.metrics.comparison import Row, Settings
from dode.metrics.figures import Judge, probe
from dode.metrics.reporting import exact_ends, measured, solutions
from dode.metrics.results import Results, key
from dode.model import Model
from dode.progress import Progress
from dode.samplers import Sampler
from dode.search.api import auto

Bar = Callable[[str], AbstractContextManager[Progress]]  # a progress bar with this title


@dataclass(frozen=True)
class Study:
    """What is compared; every solver is measured at every number of evaluations, guidance and seed.

    A seed is that of the fit and of the test noise.
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
    """One row to come: a sampler under its name in the study, with its guidance and seed."""

    name: str
    sampler: Sampler
    seed: int

    @property
    def key(self) -> str:
        """What its row is kept by."""
        return key(self.name, self.sampler.nfe, self.sampler.model.guidance, self.seed)


def is_file(name: str) -> bool:
    """Is this a calibration file, not the name of a solver?"""
    return name.endswith(".json") and ":grid=" not in name


def placed(name: str, usual: str | None) -> tuple[str, str | None]:
    """A solver's name and its grid: ddim:grid=karras → ddim, karras; the usual grid where the name has none.

    Raises ValueError for two grids, an empty one, and one for auto.
    """
    head, *options = name.split(":")
    grids = [option.removeprefix("grid=") for option in options if option.startswith("grid=")]
    rest = [option for option in options if not option.startswith("grid=")]
    if len(grids) > 1 or "" in grids:
        raise DodeError(f"give one grid behind a name, ddim:grid=karras; got {name!r}")
    if grids and head in ("auto", "d-auto"):
        raise DodeError(f"auto finds its grid itself; leave it out of {name!r}")
    return ":".join([head, *rest]), grids[0] if grids else usual


def run(
    model: Model, study: Study, settings: Settings, judge: Judge | None, results: Results, bar: Bar
) -> list[tuple[Row, Sampler]]:
    """Every row of the study with its sampler, those that the results have already as they are there.

    Rows go into the results one by one.  Raises ValueError for a judge that does not fit, before anything long.
    """
    if judge is not None:
        probe(judge, settings.of_features, model)
    for scale in study.guidance:
        _plain(model.guided(scale), study, 0, Results(None, {}))  # nothing of it is kept
    for (searched, where), group in _groups(study).items():
        if not searched:  # whose plans are made, so that no grid is refused after other fits
            fit_targets(model, list(group.values()), study.nfe or (), where, DistillConfig())
    found = []
    for scale in study.guidance:
        for seed in study.seeds:
            one = replace(settings, seed=seed)
            end = _before(model.guided(scale), study, one, results, bar)
            chosen = cases(model.guided(scale), study, seed, results, bar, settings.batch)
            missing = [case for case in chosen if case.key not in results.rows]
            if missing:
                _measure(missing, one, judge, results, bar, end)
            found += [(results.rows[case.key], case.sampler) for case in chosen]
    return found


def _before(model: Model, study: Study, settings: Settings, results: Results, bar: Bar) -> Tensor | None:
    """The exact solution, if a solver is to be fitted and measured: a network that does not reach its accuracy is told
    of before the fits.  None where it can wait, as for a path, which needs the nodes of what is fitted.
    """
    keys = [
        key(name, n, model.guidance, settings.seed) for name in filter(is_fitted, study.names) for n in study.nfe or ()
    ]
    if not settings.paired or settings.wants("path") or all(one in results.rows for one in keys):
        return None
    with bar("exact solution") as advance:
        return exact_ends(model, settings, advance)


def _measure(
    missing: Sequence[Case], settings: Settings, judge: Judge | None, results: Results, bar: Bar, end: Tensor | None
) -> None:
    path = None
    if settings.paired and end is None:
        with bar("exact solution") as advance:
            end, path = solutions([case.sampler for case in missing], settings, advance)
    for case in missing:
        with bar(case.key) as advance:
            (row,) = measured([case.sampler], end, settings, advance, judge, path)
        row.solver = case.name
        results.put(case.key, row)


def cases(model: Model, study: Study, seed: int, results: Results, bar: Bar, batch: int) -> list[Case]:
    """The samplers of one guidance and seed; those that must be fitted are fitted together, and kept."""
    made = _plain(model, study, seed, results) | _fitted(model, study, seed, results, bar, batch)
    return [case for name in study.names for case in made[name]]


def is_fitted(name: str) -> bool:
    """Is this to be distilled or searched for?"""
    return not is_file(name) and (name == "auto" or name.startswith("d-"))


def _plain(model: Model, study: Study, seed: int, results: Results) -> dict[str, list[Case]]:
    """The samplers that need no fit, by name."""
    found = {}
    for name in study.names:
        if is_file(name):
            found[name] = _calibrated(model, name, study.nfe, seed, results)
        elif not is_fitted(name):
            solver, where = placed(name, study.grid)
            samplers = [plain.sampler(model, solver, nfe=nfe, grid=where) for nfe in study.nfe or ()]
            found[name] = [Case(name, one, seed) for one in samplers]
    return found


def _fitted(model: Model, study: Study, seed: int, results: Results, bar: Bar, batch: int) -> dict[str, list[Case]]:
    """Distilled solvers and auto, by name: from the results, or fitted now and kept there.

    All of one grid share the teacher's run whenever one of them is missing, so that a fit does not depend on where a
    run was stopped.  Auto, which takes longest, is kept by itself.
    """
    counts = list(study.nfe or ())
    found: dict[str, list[Case]] = {}
    for (searched, where), group in _groups(study).items():
        keys = {(name, nfe): key(name, nfe, model.guidance, seed) for name in group for nfe in counts}
        if any(one not in results.plans for one in keys.values()):
            with bar("teachers and fits") as advance:
                if searched:
                    made = {"auto": auto(model, counts, seed=seed, batch=batch, progress=advance)}
                else:
                    solvers = list(group.values())
                    made = distill(model, solvers, counts, grid=where, seed=seed, batch=batch, progress=advance)
            fitted = {one: plain.content(made[group[name]][nfe]) for (name, nfe), one in keys.items()}
            results.plans = fitted | results.plans
            results.write()
        for (name, _), one in keys.items():
            content = calibration.checked(results.plans[one], f"the plan of {one}")
            found.setdefault(name, []).append(Case(name, plain.load(content, model), seed))
    return found


def _groups(study: Study) -> dict[tuple[bool, str | None], dict[str, str]]:
    """What is fitted together, by (is it auto?, grid): the solvers by their names in the study; auto is the last."""
    found: dict[tuple[bool, str | None], dict[str, str]] = {}
    for name in sorted(filter(is_fitted, study.names), key=lambda name: name == "auto"):
        solver, where = placed(name, study.grid)
        found.setdefault((name == "auto", where), {})[name] = solver
    return found


def _calibrated(model: Model, name: str, nfe: Sequence[int] | None, seed: int, results: Results) -> list[Case]:
    """The samplers of a calibration file at those of the numbers asked for that it has."""
    content = calibration.read(name)
    held = {entry["nfe"] for entry in content["plans"] if entry["guidance"] in (model.guidance, None)}
    counts = sorted(held if nfe is None else held & set(nfe))
    if not counts:
        raise DodeError(
            f"{name} holds plans for {_held(content)}; asked for NFE {', '.join(map(str, nfe or ()))} "
            f"at guidance {model.guidance:g}"
        )
    found = []
    for count in counts:
        made = plain.load(content, model, count)
        case = Case(f"{made.name}@{Path(name).as_posix()}", made, seed)
        mine = plain.content(made)
        if results.plans.setdefault(case.key, mine)["checksum"] != mine["checksum"]:
            raise DodeError(f"{results.path} has results of another {name}; write to another file")
        found.append(case)
    return found


def _held(content: Json) -> str:
    """NFE 5, 10 at guidance 1."""
    by_scale: dict[float | None, list[int]] = {}
    for entry in content["plans"]:
        by_scale.setdefault(entry["guidance"], []).append(entry["nfe"])
    parts = [
        f"NFE {', '.join(map(str, sorted(counts)))} at guidance {'any' if scale is None else f'{scale:g}'}"
        for scale, counts in by_scale.items()
    ]
    return "; ".join(parts)
