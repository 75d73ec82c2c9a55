"""What the items share: a model, how much to measure, and what has been made already.

Everything that is kept depends on nothing but its key, so a run that was killed and begins again finds the same.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from dode import samplers
from dode.distillation import api
from dode.distillation.formulations import FORMULATIONS
from dode.metrics.estimates import SPLITS
from dode.metrics.evaluation import Evaluator, Settings, measure
from dode.model import Model
from dode.parameterization import Kind
from dode.samplers import Provenance, Sampler
from dode.search.api import auto
from dode.search.budget import QUICK, Budget
from dode.solvers import METHODS
from dode.solvers.spec import plain_name
from dode.solvers.step_allocation import build
from dode_paper.reproduce import exact_cache
from dode_paper.reproduce.presets import Size
from dode_paper.reproduce.result_store import Entry

QUICKLY = 8  # samples of a quick search
BATCH = 100


class Task(NamedTuple):
    """One entry of an item."""

    key: str
    evaluations: int  # of the network, about
    make: Callable[[], Entry]


@dataclass(frozen=True, eq=False)
class Lab:
    """A model to try things on; judge: the features of its Fréchet distance, None where there are none."""

    model: Model
    size: Size
    judge: Evaluator | None
    students: Path | None = None  # folder with those of `dode train`
    folder: Path | None = None  # where exact solutions are kept for another run
    kept: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made under this key, made now if it was not."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


def exact(lab: Lab, seed: int, stream: str = "test") -> Tensor:
    """The exact solutions of the first `report` samples of a noise: (report, *shape)."""
    settings = Settings(lab.size.report, 0, seed, BATCH, lab.size.rtol, stream)
    found: Tensor = lab.once(("exact", seed, stream), lambda: exact_cache.exact(lab.model, settings, lab.folder))
    return found


def plain(lab: Lab, name: str, nfe: int, grid: str | None = None) -> Sampler:
    """The plain solver."""
    made: Sampler = lab.once(("plain", name, nfe, grid), lambda: samplers.sampler(lab.model, name, nfe=nfe, grid=grid))
    return made


def constant(lab: Lab, form: str, lam: float, nfe: int) -> Sampler:
    """DDIM with one λ at every evaluation: formulation fixed or la, which need no teacher once λ is given."""
    made: Sampler = lab.once(("constant", form, lam, nfe), lambda: _constant(lab.model, form, lam, nfe))
    return made


def _constant(model: Model, form: str, lam: float, nfe: int) -> Sampler:
    kind: Kind | None = "data" if form == "la" else None  # lookahead is written for x̂₀
    plan, made = build(METHODS["ddim"], nfe, model.schedule, model.prediction, kind=kind)
    make = FORMULATIONS[form].constant
    assert make is not None, f"{form} has one constant"
    return Sampler(model, make(plan, lam), Provenance("ddim", True, made.name, formulation=form, lam=lam))


@dataclass(frozen=True)
class Fitting:
    """How solvers are distilled; the defaults are the paper's, without a ridge."""

    seed: int
    samples: int
    scale: int = 10
    align: str = "time"
    rho: float = 0.0


def fitted(lab: Lab, names: Sequence[str], nfe: int, how: Fitting) -> list[Sampler]:
    """Distilled solvers at one number of evaluations from one teacher run.

    Formulations of one solver have the same nodes, so each is what it would be alone, and is kept by itself.  Of
    several solvers the run has the nodes of all, so that what is kept belongs to all these names together.
    """
    alike = len({plain_name(name) for name in names}) == 1
    keys = [("fitted", (name,) if alike else tuple(names), name, nfe, how) for name in names]
    missing = [name for name, key in zip(names, keys, strict=True) if key not in lab.kept]
    if missing:
        made = _fitted(lab, missing, nfe, how)
        lab.kept.update(zip([key for key in keys if key not in lab.kept], made, strict=True))
    return [lab.kept[key] for key in keys]


def _fitted(lab: Lab, names: Sequence[str], nfe: int, how: Fitting) -> list[Sampler]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* lambda .* is large", category=UserWarning)  # tables show it
        made = api.distill(
            lab.model,
            list(names),
            nfe=nfe,
            seed=how.seed,
            samples=how.samples,
            scale=how.scale,
            align=how.align,
            rho=how.rho,
            batch=BATCH,
        )
    return [made[name][nfe] for name in names]


def found_by_auto(lab: Lab, nfe: int) -> Sampler:
    """What `auto` finds with the first seed: one search, which is long; short where all is quick."""
    made: Sampler = lab.once(("auto", nfe), lambda: _search(lab, nfe, lab.size.seeds[0]))
    return made


def _search(lab: Lab, nfe: int, seed: int) -> Sampler:
    quick, samples = lab.size.quick, QUICKLY if lab.size.quick else None
    return auto(lab.model, nfe, seed=seed, samples=samples, quick=quick, batch=BATCH)


def searching(lab: Lab, nfe: int) -> int:
    """Evaluations of a search, about."""
    return int((replace(QUICK, samples=QUICKLY) if lab.size.quick else Budget()).allowed(nfe))


def teaching(lab: Lab, nfe: int, how: Fitting, students: int = 1) -> int:
    """Evaluations of a teacher and its students."""
    whole = int(lab.model.schedule.t_max - lab.model.schedule.t_end) if lab.model.schedule.integer else how.scale * nfe
    return how.samples * (min(how.scale * nfe, whole) + students * nfe)


def cost(lab: Lab, nfe: int, fd: int, report: int | None = None) -> int:
    """Evaluations of a measurement."""
    return nfe * max(report or lab.size.report, judged(lab, nfe, fd))


def judged(lab: Lab, nfe: int, fd: int) -> int:
    """Samples of the Fréchet distance; 0 without a judge."""
    return lab.size.judged(nfe, fd) if lab.judge and fd else 0


def measured(
    lab: Lab,
    one: Sampler,
    seed: int,
    fd: int,
    stream: str = "test",
    report: int | None = None,
    metrics: tuple[str, ...] = ("rms", "fd"),
) -> Entry:
    """Distance to the exact solution and Fréchet distance on the noise of a seed, with parts for paired errors.

    fd: its samples at ten evaluations or fewer, 0 for none; report: samples of the distance, the size's own by default;
    metrics: "agreement" too, where wanted.
    """
    n = report or lab.size.report
    key = (one, seed, fd, stream, n, metrics)
    made: Entry = lab.once(key, lambda: _measured(lab, one, seed, fd, stream, n, metrics))
    return dict(made)


def _measured(lab: Lab, one: Sampler, seed: int, fd: int, stream: str, report: int, metrics: tuple[str, ...]) -> Entry:
    settings = Settings(report, judged(lab, one.nfe, fd), seed, BATCH, lab.size.rtol, stream, metrics)
    row = measure(one, exact(lab, seed, stream)[:report], settings, lab.judge if settings.fd else None)
    assert row.each is not None, "measure keeps each sample's distance"
    squares = [float(part.mean()) for part in np.array_split(row.each**2, min(SPLITS, len(row.each)))]
    entry: Entry = {"rms": row.rms, "rms error": row.rms_error, "median": row.median, "square parts": squares}
    for name in ("fd", "agreement"):
        if name in row.estimates:
            entry |= {name: row[name].value, f"{name} error": row[name].error}
    if "fd" in row.estimates and row["fd"].parts is not None:
        entry |= {"fd parts": row["fd"].parts.tolist(), "fd n": settings.fd}
    return entry
