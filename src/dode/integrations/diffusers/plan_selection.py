"""Which plan a scheduler runs: a calibration's for this number of evaluations, or a plain one on the grid asked for."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from dode import calibration
from dode.calibration import Json
from dode.errors import DodeError
from dode.fingerprint import schedule_hash, schedule_name
from dode.integrations.diffusers import config as settings
from dode.integrations.resume import tail
from dode.messages import unknown
from dode.method import Method
from dode.plan import Plan
from dode.schedule import Schedule
from dode.solvers.spec import read
from dode.solvers.step_allocation import build, steps
from dode.timesteps import Grid, same

TAKEN = ("use_flow_sigmas", "flow_shift", "timestep_type")  # other schedulers' options that mean something to us


def asked(options: settings.Config, kind: type) -> None:
    """ValueError for a misspelt option of a scheduler, which diffusers would pass over; a warning for a foreign one."""
    known = [*inspect.signature(kind).parameters, *TAKEN]
    for name in options:
        if name in known or name.startswith("_") or name in settings.UNSUPPORTED:
            continue
        if get_close_matches(name, known, cutoff=0.8):
            raise unknown("option of DODEScheduler", name, known)
        warnings.warn(f"{name} is no option of DODEScheduler and has no effect", stacklevel=3)


@dataclass(frozen=True, eq=False)
class Choice:
    """The plan of a run, and what is needed to begin it in the middle."""

    plan: Plan
    schedule: Schedule
    method: Method
    shape: tuple[int, ...] | None = None  # of a sample, if a calibration says so

    def starting_at(self, first: int) -> Plan:
        """The plan from evaluation `first` on."""
        if not first:
            return self.plan
        return tail(self.plan, first, self.method, self.schedule)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """ValueError for states of another shape than what was calibrated."""
        if self.shape is not None and shape != self.shape:
            ours, theirs = ("×".join(map(str, one)) for one in (self.shape, shape))
            raise DodeError(f"calibrated for states of shape {ours}; this run has {theirs}; calibrate at this size")


def choose(
    config: settings.Config,
    count: int | None,
    times: Sequence[float] | None,
    levels: Sequence[float] | None,
    mu: float | None,
    pipe: Any,
) -> Choice:
    """The run that `set_timesteps` asks for; pipe is the running pipeline if its guidance is checked, or None."""
    schedule = settings.schedule(config, mu)
    fitted = config.get("calibration") is not None  # which brings its own times, whatever a pipeline gives
    if times is not None and levels is not None and not fitted:
        raise DodeError("give timesteps or sigmas, not both")
    values, given = levels if times is None else times, None
    if values is not None:
        listed = [float(value) for value in values]
        listed = listed if levels is None else [level for level in listed if level]  # the end, 0, is understood
        if not listed or count not in (None, len(listed)):
            raise DodeError(f"{len(listed)} times or noise levels were given for {count} evaluations; give one of them")
        count = len(listed)
        if times is None or levels is None:  # both describe no grid of ours, only how many steps there are
            given = settings.given_grid(config, schedule, listed, levels is not None)
    if count is None:
        raise DodeError("set_timesteps needs the number of inference steps, timesteps, or sigmas")
    if not fitted:
        return _plain(config, schedule, config["method"], count, given)
    return _calibrated(config, schedule, count, given, guidance_of(pipe))


def _plain(config: settings.Config, schedule: Schedule, name: str, count: int, given: Grid | None) -> Choice:
    method = read(name).method
    where: Grid | list[float] | None = given
    if given is None and method.warmup:  # its first steps take several evaluations each: one node a step
        whole = len(steps(method, count, schedule.node(schedule.t_max), schedule.node(schedule.t_end)))
        where = [node.t for node in settings.default_grid(config, schedule, whole).nodes]
    plan, _ = build(
        method,
        count,
        schedule,
        settings.prediction(config),
        where or settings.default_grid(config, schedule, count),
    )
    return Choice(plan, schedule, method)


def _calibrated(
    config: settings.Config, schedule: Schedule, count: int, given: Grid | None, seen: float | None
) -> Choice:
    known = calibration.checked(config["calibration"], "the calibration in this scheduler's configuration")
    try:
        entry = _entry(config, known, schedule, count, seen)
    except ValueError:
        if config["on_missing"] != "base":
            raise
        return _plain(config, schedule, _base(known["plans"][0]), count, given)
    plan = calibration.plan_from_json(entry["plan"])
    if given is not None and not (len(given.nodes) == len(plan.nodes) and all(map(same_time, given.nodes, plan.nodes))):
        ours, theirs = (", ".join(f"{settings.told(config, n):g}" for n in g.nodes[:-1]) for g in (plan, given))
        warnings.warn(
            f"the calibration's own times stand, {ours}; those that the call gives, {theirs}, are passed over",
            stacklevel=2,
        )
    return Choice(plan, schedule, read(_base(entry)).method, tuple(known["model"]["shape"]))


def same_time(a: Any, b: Any) -> bool:
    """The same node, for lists that people wrote with a few digits."""
    return same(a, b) or abs(a.t - b.t) <= 1e-3 * max(abs(a.t), abs(b.t))


def _base(entry: Json) -> str:
    """The plain solver under a plan, by name."""
    made = entry["provenance"]
    return str(made["method"]) + "".join(f":{key}={value}" for key, value in made.get("options", {}).items())


def _entry(config: settings.Config, known: Json, schedule: Schedule, count: int, seen: float | None) -> Json:
    threshold = settings.threshold(config)
    calibration.match(
        known,
        {
            "prediction": settings.prediction(config),
            "form": settings.form(config),
            "schedule": schedule_hash(schedule),
            "noise": schedule_name(schedule),
            "threshold": None if threshold is None else threshold.to_json(),
        },
    )
    asked = config.get("guidance")
    if asked is not None and seen is not None and asked != seen:
        raise DodeError(f"the scheduler is set to guidance {asked:g}; the pipeline runs at {seen:g}")
    return calibration.pick(known, seen if asked is None else asked, count)


def running(scheduler: Any) -> Any:
    """The pipeline whose call has brought us here: a copy, or one that shares the scheduler, is looked at itself."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if owner is not scheduler and getattr(owner, "scheduler", None) is scheduler:
            return owner
        frame = frame.f_back
    return None


def guidance_of(pipe: Any) -> float | None:
    """The guidance scale of a pipeline's present call, 1 for none; None where pipelines do not show it."""
    # a property that does not exist everywhere, and has no value before the first call
    scale = getattr(pipe, "guidance_scale", None)
    return None if scale is None else max(1.0, float(scale))


def same_shape(name: str, given: Tensor, state: Tensor) -> None:
    """ValueError for another shape than the run's, which arithmetic would stretch silently."""
    if given.shape != state.shape:
        hint = "; learned variances need variance_type='learned'" if given.shape[1] == 2 * state.shape[1] else ""
        raise DodeError(f"{name} has shape {tuple(given.shape)}; this run has states of {tuple(state.shape)}{hint}")


def network_output(config: settings.Config, output: Tensor, sample: Tensor, t: float) -> Tensor:
    """What a pipeline hands to a step, as the network's output: without learned variances and preconditioning.

    Raises DodeError for another shape than the state's.
    """
    if output.shape[1] == 2 * sample.shape[1] and str(config["variance_type"]).startswith("learned"):
        output = output[:, : sample.shape[1]]
    same_shape("model_output", output, sample)
    return settings.unpreconditioned(config, output, sample, t)


def as_planned(eta: float, clipped: bool | None, clips: bool) -> None:
    """ValueError for a pipeline's option of DDIM that would change what the plan does; clips: are predictions clipped?

    A clipped prediction is the whole output here, with the noise that belongs to it, as that option of DDIM has it.
    """
    if eta:
        raise DodeError(f"eta={eta:g} asks for DDIM's noise; make the DODEScheduler with method='ddim:eta={eta:g}'")
    if clipped and not clips:
        raise DodeError("use_clipped_model_output asks for clipped predictions; give DODEScheduler clip_sample=True")


def drawn(like: Tensor, generator: Any) -> Tensor:
    """Standard normal noise (B, …) from the pipeline's generator, float32."""
    noise: Tensor = randn_tensor(like.shape, generator=generator, device=like.device, dtype=torch.float32)
    return noise


def untouched(sample: Tensor, state: Tensor) -> None:
    """DodeError if a call that answers questions changed the state that it was asked at."""
    if not torch.allclose(sample, state.to(sample.dtype), rtol=0, atol=0, equal_nan=True):
        raise DodeError(
            "the call changes the states between evaluations (inpainting, a callback?), which no fit can follow; "
            "give a call of the same network that leaves them as they are"
        )
