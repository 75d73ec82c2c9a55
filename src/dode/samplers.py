"""A model with a plan: what a user samples with."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode import calibration, exact
from dode import noise as noises
from dode.conditioning import rows
from dode.errors import DodeError
from dode.model import Model, checked
from dode.plan import Plan
from dode.sampling import Draw, State, run, trajectory
from dode.solvers import METHODS
from dode.solvers.spec import read
from dode.solvers.step_allocation import build
from dode.timesteps import Grid

Callback = Callable[[State], None]


@dataclass(frozen=True)
class Provenance:
    """How a plan was made: everything that its file says beside the numbers."""

    method: str
    distilled: bool
    grid: str | tuple[float, ...]
    end: str = "data"
    options: dict[str, str | float] = field(default_factory=dict)  # of the solver
    formulation: str = "d"
    lam: float | None = None  # of the formulations with one constant
    states: str = "student"  # those that the fit evaluated
    carry: bool = True
    teacher: str | None = None
    teacher_nfe: int | None = None
    align: str | None = None
    scale: int | None = None
    rho: float | None = None
    samples: int | None = None
    batch: int | None = None
    seed: int | None = None
    dtype: str = "float32"
    errors: tuple[float | tuple[float, ...], ...] = ()  # standard error of each evaluation's λ, or of its several
    ratios: tuple[float, ...] = ()  # ‖v‖/‖u‖ of each evaluation
    conditions: tuple[float, ...] = ()  # condition number of each evaluation's slopes
    report: dict[str, Any] = field(default_factory=dict)  # figures on report noise

    @property
    def label(self) -> str:
        """The solver as one asks for it: d-dpm-solver-2:inner=time:formulation=sep."""
        if self.formulation == "auto":
            return "auto"
        own = self.method + _written(self.options)
        said = {"formulation": self.formulation} if self.formulation != "d" else {}
        said |= {"lam": f"{self.lam:g}"} if self.lam is not None else {}
        said |= {"carry": "false"} if not self.carry else {}
        said |= {"states": self.states} if self.states != "student" else {}
        usual = METHODS[self.method].teacher if self.method in METHODS else None
        usual = own if usual == "self" else usual
        said |= {"teacher": self.teacher} if self.teacher not in (None, usual) else {}
        return ("d-" if self.distilled else "") + own + _written(said)

    def lambda_errors(self, nfe: int) -> np.ndarray:
        """(nfe,): the standard error of each evaluation's λ; NaN where several numbers were fitted, or none."""
        known = self.errors or (math.nan,) * nfe
        return np.array([error if isinstance(error, int | float) else math.nan for error in known])


def _written(options: Mapping[str, str | float]) -> str:
    """Options as they stand behind a name."""
    return "".join(f":{key}={str(value).removesuffix('.0')}" for key, value in options.items())


@dataclass(frozen=True, eq=False, repr=False)
class Sampler:
    """Samples of one model by one plan."""

    model: Model
    plan: Plan
    provenance: Provenance

    def __repr__(self) -> str:
        """One line; print(sampler.plan) shows every number."""
        return f"Sampler({self.name}, NFE {self.nfe}, {self.model.title})"

    @property
    def nfe(self) -> int:
        """Network evaluations per sample."""
        return self.plan.nfe

    @property
    def stochastic(self) -> bool:
        """Does it add noise on its way?"""
        return any(self.plan.added)

    @property
    def name(self) -> str:
        """The method with its options, d- in front if it is distilled."""
        return self.provenance.label

    @torch.no_grad()
    def sample(
        self,
        n: int | None = None,
        *,
        seed: int = 0,
        noise: Tensor | None = None,
        cond: Any = None,
        batch: int = 64,
        callback: Callback | None = None,
        first: int = 0,
    ) -> Tensor:
        """Samples (n, *shape) in the model's range.

        Give n and a seed, or noise: x_T (n, *shape), that is σ_T times standard normal. cond: one row a sample.
        Results are bitwise equal for equal batch, and within 1e-5 otherwise.  callback(state) after every evaluation.
        A stochastic sampler draws the noise of its states from the seed, with noise= too.  first: the number of the
        first sample, to make many in several calls: noise and the model's own conditions go by it.
        """
        if batch < 1:
            raise DodeError(f"batch must be at least 1; got {batch}")
        x_T, cond = self._begin(n, seed, noise, cond, first)
        parts = []
        for i in range(0, len(x_T), batch):
            part = slice(i, i + batch)
            denoise = self.model.bound(self.plan.kind, rows(cond, part))
            draw = self._draws(range(first, first + len(x_T))[part], seed)
            if callback is None:
                parts.append(run(self.plan, denoise, x_T[part], draw))
                continue
            for state in trajectory(self.plan, denoise, x_T[part], draw):
                if state.k:
                    callback(state)
            parts.append(state.y)
        return torch.cat(parts)

    @torch.no_grad()
    def trajectory(
        self, n: int | None = None, *, seed: int = 0, noise: Tensor | None = None, cond: Any = None
    ) -> Iterator[State]:
        """Every state of a run of all samples at once, the first before any evaluation; arguments as for `sample`."""
        x_T, cond = self._begin(n, seed, noise, cond)
        draw = self._draws(range(len(x_T)), seed)
        yield from trajectory(self.plan, self.model.bound(self.plan.kind, cond), x_T, draw)

    @torch.no_grad()
    def invert(self, x0: Tensor, cond: Any = None, steps: int | None = None, batch: int = 64) -> Tensor:
        """x_T (n, *shape) whose exact solution is x0: Heun's method from data to noise; batch: samples a network call.

        steps: 50 if left out, or as many as the schedule has times.

        It inverts the model's ODE, so `sample(noise=x_T)` returns to x0 up to this sampler's own error.
        """
        if batch < 1:
            raise DodeError(f"batch must be at least 1; got {batch}")
        x0 = self.model.placed(x0)
        cond = self.model.conditions(range(len(x0)), cond)
        opening = self.plan.added[0] or self.plan.told is not None  # then its first time is not its state's
        start = self.model.schedule.node(self.model.schedule.t_max) if opening else self.plan.nodes[0]
        most = int(self.model.schedule.t_max) if self.model.schedule.integer else 50
        plan, first = exact.backward(self.model, min(50, most) if steps is None else steps, start)
        parts = [slice(i, i + batch) for i in range(0, len(x0), batch)]
        denoise = [self.model.bound(plan.kind, rows(cond, part)) for part in parts]
        return torch.cat([run(plan, one, first.alpha * x0[part]) for one, part in zip(denoise, parts, strict=True)])

    def save(self, path: str | Path) -> None:
        """Write the calibration file; several samplers go into one with `dode.save`."""
        save(path, self)

    def _draws(self, indices: range, seed: int) -> Draw:
        """Fresh noise for the states of these samples."""
        return lambda state: noises.noise(indices, self.model.shape, seed, "added", state)

    def _begin(self, n: int | None, seed: int, noise: Tensor | None, cond: Any, first: int = 0) -> tuple[Tensor, Any]:
        if (n is None) == (noise is None):
            raise DodeError("give either the number of samples or noise=x_T")
        if n is not None and (not isinstance(n, int | np.integer) or n < 1):
            raise DodeError(f"the number of samples must be a whole number and at least 1; got {n}")
        if first < 0:
            raise DodeError(f"the number of the first sample must be at least 0; got {first}")
        x_T = self.model.start(range(first, first + (n or 0)), seed) if noise is None else noise
        x_T = self.model.placed(x_T)
        return x_T, self.model.conditions(range(first, first + len(x_T)), cond)


def sampler(
    model: Model,
    method: str,
    *,
    nfe: int,
    grid: str | Sequence[float] | Grid | None = None,
    end: str = "data",
    **options: Any,
) -> Sampler:
    """The plain solver with nfe network evaluations; `dode.distill` gives the distilled one.

    model: what to sample from, guided or not. method: a name in `dode.METHODS`, with options like
    "dpm-solver-2:inner=time" if you like; options: the same as keywords, inner="time". grid: trailing, leading,
    linspace, logsnr, logsnr-trailing, karras, published, a list that others published (`sigma_tables.NAMES`), a grid
    file, the times themselves, or a Grid. end: "data" or "t_min".
    docs/solvers.md has the options of every solver. Raises ValueError for a name or option that does not exist, and for
    a number of evaluations that it cannot spend.
    """
    if method.startswith("d-"):
        raise DodeError(f"{method} must be fitted: dode.distill(model, {method[2:]!r}, nfe={nfe}), or dode distill")
    model, chosen = checked(model), read(method, **options).method
    plan, made = build(chosen, nfe, model.schedule, model.prediction, grid, end)
    provenance = Provenance(chosen.name, False, where_made(made), end, dict(chosen.chosen), dtype=dtype_name(model))
    return Sampler(model, plan, provenance)


def where_made(made: Grid) -> str | tuple[float, ...]:
    """A grid's name, or its times if they were given by hand."""
    return made.name if made.name != "times" else tuple(node.t for node in made.nodes)


def dtype_name(model: Model) -> str:
    """float32 for torch.float32."""
    return str(model.dtype).removeprefix("torch.")


def save(path: str | Path, *samplers: Sampler | Mapping[int, Sampler]) -> None:
    """Write the calibration file at path, of all these samplers, or those of a dict; it appears whole or not at all.

    Raises ValueError if they are of several models, if two are for the same number of evaluations and guidance, and
    where it cannot be written.
    """
    every = [one for some in samplers for one in (some.values() if isinstance(some, Mapping) else [some])]
    calibration.write(path, content(*every))


def content(*samplers: Sampler) -> calibration.Json:
    """What `save` writes."""
    if not samplers or not all(isinstance(one, Sampler) for one in samplers):
        raise DodeError("give a path and at least one sampler to save, as dode.save(path, sampler)")
    entries = []
    for one in samplers:
        entry = {"nfe": one.nfe, "guidance": one.model.guidance, "plan": calibration.plan_to_json(one.plan)}
        entries.append(entry | {"provenance": asdict(one.provenance)})
    described = [one.model.describe() for one in samplers]
    return calibration.compose(described[0], entries, described)


def as_content(given: Any) -> calibration.Json:
    """What a calibration file holds: from a path, such content, a Sampler, or several Samplers in a list or dict."""
    if isinstance(given, str | Path):
        return calibration.read(given)
    if isinstance(given, Sampler):
        return content(given)
    several = list(given.values()) if isinstance(given, Mapping) else given
    if isinstance(several, list | tuple) and several and all(isinstance(one, Sampler) for one in several):
        return content(*several)
    return calibration.checked(given, "the calibration")


def every(given: str | Path | calibration.Json, model: Model) -> list[Sampler]:
    """All samplers of a file, or of its content, under their own guidance scales."""
    known = as_content(given)
    calibration.belongs(known, model.describe())
    scales = [entry["guidance"] for entry in known["plans"]]
    models = [_under(model, scale) for scale in scales]
    return [_of(entry, one) for entry, one in zip(known["plans"], models, strict=True)]


def _under(model: Model, scale: float | None) -> Model:
    """The model at the guidance that a plan was made for; None is unknown, and leaves it."""
    if scale is None or scale == model.guidance:
        return model
    guidable = model.conditioning is not None and model.conditioning.null is not None
    return model.guided(scale) if guidable else model.declared(scale)


def load(path: str | Path | calibration.Json, model: Model, nfe: int | None = None) -> Sampler:
    """The sampler of a calibration for this model, its guidance and this number of evaluations.

    path: of a file, or what such a file holds, as `dode.hub.pull` brings it; nfe may be left out if it holds
    one. Raises ValueError, with what was calibrated and what was asked, if the file is damaged or belongs to another
    model, schedule, guidance or number of evaluations.
    """
    if isinstance(path, Model):
        raise DodeError("give the file first, and then the model: dode.load(path, model)")
    model = checked(model)
    return _of(calibration.choose(as_content(path), model.describe(), model.guidance, nfe), model)


def _of(entry: calibration.Json, model: Model) -> Sampler:
    return Sampler(model, calibration.plan_from_json(entry["plan"]), provenance_from_json(entry["provenance"]))


def provenance_from_json(data: calibration.Json) -> Provenance:
    """How a plan of a calibration file was made."""
    made = dict(data)
    for key in ("errors", "ratios", "conditions"):
        made[key] = tuple(tuple(value) if isinstance(value, list) else value for value in made.get(key, ()))
    if isinstance(made["grid"], list):
        made["grid"] = tuple(made["grid"])
    return Provenance(**made)
