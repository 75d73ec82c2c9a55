"""A model with a plan: what a user samples with, saves and loads."""

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
from dode.method import Method
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
    """How a plan was made: everything in its file besides the numbers."""

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
    report: dict[str, Any] = field(default_factory=dict)  # figures on test noise

    @property
    def solver(self) -> str:
        """The plain solver's name with its options: dpm-solver-2:inner=time."""
        return self.method + _written(self.options)

    @property
    def label(self) -> str:
        """The solver's name with its options: d-dpm-solver-2:inner=time:formulation=sep."""
        if self.formulation == "auto":
            return "auto"
        solver = self.solver
        options = {"formulation": self.formulation} if self.formulation != "d" else {}
        options |= {"lam": f"{self.lam:g}"} if self.lam is not None else {}
        options |= {"carry": "false"} if not self.carry else {}
        options |= {"states": self.states} if self.states != "student" else {}
        default = METHODS[self.method].teacher if self.method in METHODS else None
        default = solver if default == "self" else default
        options |= {"teacher": self.teacher} if self.teacher not in (None, default) else {}
        return ("d-" if self.distilled else "") + solver + _written(options)

    def lambda_errors(self, nfe: int) -> np.ndarray:
        """(nfe,): the standard error of each evaluation's λ; NaN where several numbers were fitted, or none."""
        errors = self.errors or (math.nan,) * nfe
        return np.array([error if isinstance(error, int | float) else math.nan for error in errors])


def _written(options: Mapping[str, str | float]) -> str:
    """Options as they are written behind a name."""
    return "".join(f":{key}={str(value).removesuffix('.0')}" for key, value in options.items())


@dataclass(frozen=True, eq=False, repr=False)
class Sampler:
    """Samples of one model by one plan.

    Attributes:
        model: What is sampled.
        plan: The solver as numbers; ``print(sampler.plan)`` shows each.
        provenance: How the plan was made.
    """

    model: Model
    plan: Plan
    provenance: Provenance

    def __repr__(self) -> str:
        """One line."""
        return f"Sampler({self.name}, NFE {self.nfe}, {self.model.title})"

    @property
    def nfe(self) -> int:
        """Network evaluations per sample."""
        return self.plan.nfe

    @property
    def stochastic(self) -> bool:
        """Whether sampling adds noise on its way."""
        return any(self.plan.noise_scales)

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
        """Draw samples.

        Args:
            n: How many; their noise comes from the seed.
            seed: Of the noise; a stochastic sampler draws the noise of its states from it, with `noise` too.
            noise: In place of n, x_T (n, *shape): σ_T times standard normal.
            cond: One row a sample; the model's own conditions by default.
            batch: Samples a network call.
            callback: Called with the state after every evaluation.
            first: The number of the first sample, to draw many in several calls: noise and the model's own conditions
                go by it.

        Returns:
            (n, *shape) in the model's range: bitwise equal for equal batch, within 1e-5 otherwise.

        Raises:
            NonFinite: where the network returns NaN or infinity, naming the evaluation.
            DodeError: for noise or conditions of another shape.
        """
        _check_batch(batch)
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
        """The noise whose exact solution is x0, by Heun's method from data to noise.

        Args:
            x0: (n, *shape).
            cond: One row a sample; the model's own by default.
            steps: 50 by default, or as many as the schedule has times.
            batch: Samples a network call.

        Returns:
            x_T (n, *shape).  The model's ODE is inverted, so that ``sample(noise=x_T)`` returns to x0 up to this
            sampler's own error.
        """
        _check_batch(batch)
        x0, schedule = checked(self.model, ode=True).placed(x0), self.model.schedule
        cond = self.model.conditions(range(len(x0)), cond)
        moved = (
            self.plan.noise_scales[0] or self.plan.conditioning_shifts is not None
        )  # then the first time is not the state's
        start = schedule.node(schedule.t_max) if moved else self.plan.nodes[0]
        most = int(schedule.t_max) if schedule.integer else 50
        plan, clean = exact.backward(self.model, min(50, most) if steps is None else steps, start)
        ends = []
        for i in range(0, len(x0), batch):
            part = slice(i, i + batch)
            ends.append(run(plan, self.model.bound(plan.kind, rows(cond, part)), clean.alpha * x0[part]))
        return torch.cat(ends)

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


def _check_batch(batch: int) -> None:
    if batch < 1:
        raise DodeError(f"batch must be at least 1; got {batch}")


def sampler(
    model: Model,
    solver: str | Method,
    nfe: int,
    *,
    grid: str | Sequence[float] | Grid | None = None,
    end: str = "data",
) -> Sampler:
    """The plain solver; `dode.distill` gives the distilled one.

    Args:
        model: What to sample from, guided or not.
        solver: A name in `dode.METHODS`, with its options behind it, as "dpm-solver-2:inner=time"; or a `Method`.
        nfe: Network evaluations per sample.
        grid: trailing, leading, linspace, logsnr, logsnr-trailing, karras, published, a published list
            (`dode.sigma_tables.NAMES`), a grid file, the times themselves, or a Grid; the schedule's own by default.
        end: "data", or "t_min", the cleanest time of the network.

    Raises:
        DodeError: for a name or option that does not exist, and for evaluations that the solver cannot spend.
    """
    if isinstance(solver, str) and solver.startswith("d-"):
        raise DodeError(f"{solver} must be fitted: dode.distill(model, {solver[2:]!r}, nfe={nfe}), or dode distill")
    model, method = checked(model), solver if isinstance(solver, Method) else read(solver).method
    plan, made = build(method, nfe, model.schedule, model.prediction, grid, end)
    provenance = Provenance(method.name, False, where_made(made), end, dict(method.chosen), dtype=dtype_name(model))
    return Sampler(model, plan, provenance)


def where_made(grid: Grid) -> str | tuple[float, ...]:
    """A grid's name, or its times if they were given by hand."""
    return grid.name if grid.name != "times" else tuple(node.t for node in grid.nodes)


def dtype_name(model: Model) -> str:
    """float32 for torch.float32."""
    return str(model.dtype).removeprefix("torch.")


def save(path: str | Path, *samplers: Sampler | Mapping[int, Sampler]) -> None:
    """Write a calibration file, whole or not at all.

    Args:
        path: Of the file.
        samplers: Of one model, each for another number of evaluations or guidance scale; mappings give their values.

    Raises:
        DodeError: for samplers of several models, two for the same budget, or a file that cannot be written.
    """
    several = [one for some in samplers for one in (some.values() if isinstance(some, Mapping) else [some])]
    calibration.write(path, content(*several))


def content(*samplers: Sampler) -> calibration.Json:
    """What `save` writes."""
    if not samplers or not all(isinstance(sampler, Sampler) for sampler in samplers):
        raise DodeError("give a path and at least one sampler to save, as dode.save(path, sampler)")
    entries = []
    for sampler in samplers:
        entry = {"nfe": sampler.nfe, "guidance": sampler.model.guidance, "plan": calibration.plan_to_json(sampler.plan)}
        entries.append(entry | {"provenance": asdict(sampler.provenance)})
    models = [sampler.model.describe() for sampler in samplers]
    return calibration.compose(models[0], entries, models)


def as_content(given: Any) -> calibration.Json:
    """What a calibration file holds: from a path, such content, a Sampler, or several Samplers in a list or dict."""
    if isinstance(given, str | Path):
        return calibration.read(given)
    if isinstance(given, Sampler):
        return content(given)
    several = list(given.values()) if isinstance(given, Mapping) else given
    if isinstance(several, list | tuple) and several and all(isinstance(sampler, Sampler) for sampler in several):
        return content(*several)
    return calibration.checked(given, "the calibration")


def load_all(calibrated: str | Path | calibration.Json, model: Model) -> list[Sampler]:
    """All samplers of a calibration file, or of its content, each at its own guidance scale."""
    file = as_content(calibrated)
    calibration.belongs(file, model.describe())
    return [_of(entry, _at_guidance(model, entry["guidance"])) for entry in file["plans"]]


def _at_guidance(model: Model, scale: float | None) -> Model:
    """The model at the guidance scale of a plan; None is unknown, and leaves it."""
    if scale is None or scale == model.guidance:
        return model
    guidable = model.conditioning is not None and model.conditioning.null is not None
    return model.guided(scale) if guidable else model.declared(scale)


def load(path: str | Path | calibration.Json, model: Model, nfe: int | None = None) -> Sampler:
    """The sampler of a calibration for this model at its guidance scale.

    Args:
        path: Of a file, or what such a file holds, as `dode.hub.pull` brings it.
        model: The network that was calibrated.
        nfe: Which of the file's budgets; may be left out if it holds one.

    Raises:
        CalibrationMismatch: for another model, schedule, guidance or budget; says which was calibrated and asked for.
        DodeError: for a damaged file.
    """
    if isinstance(path, Model):
        raise DodeError("give the file first, and then the model: dode.load(path, model)")
    model = checked(model)
    return _of(calibration.choose(as_content(path), model.describe(), model.guidance, nfe), model)


def _of(entry: calibration.Json, model: Model) -> Sampler:
    return Sampler(model, calibration.plan_from_json(entry["plan"]), provenance_from_json(entry["provenance"]))


def provenance_from_json(data: calibration.Json) -> Provenance:
    """How a plan of a calibration file was made."""
    fields = dict(data)
    for key in ("errors", "ratios", "conditions"):
        fields[key] = tuple(tuple(value) if isinstance(value, list) else value for value in fields.get(key, ()))
    if isinstance(fields["grid"], list):
        fields["grid"] = tuple(fields["grid"])
    return Provenance(**fields)
