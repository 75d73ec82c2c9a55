"""A diffusers pipeline as it is used: the swap of its scheduler with every check, and calibration through its own call.

`calibrate` knows nothing of the network's signature: it watches the pipeline at its scheduler.  One run with many steps
is the teacher; then the fit asks for outputs, and the pipeline's own call answers.  With one call that takes a second
run; several calls are fitted jointly, each run again up to the evaluation that is asked for and stopped there.
"""

import weakref
from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any, overload

import torch

from dode import calibration
from dode.distillation.api import warn_of_little
from dode.distillation.config import RHO, DistillConfig, fit_targets
from dode.errors import DodeError
from dode.fingerprint import schedule_hash, weights_hash
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.recording import Call, Job, denoiser_of, evaluating
from dode.messages import unknown
from dode.method import Method
from dode.progress import Progress
from dode.samplers import Sampler, as_content

NOT_DROP_IN = ("CogVideoXPipeline", "StableCascadePipeline")  # they need a scheduler of their own


def attach(pipe: Any, calibration_or_file: Any, **config: Any) -> Any:
    """The pipeline with a calibrated DODEScheduler, once it is certain that they belong together.

    calibration_or_file: what `DODEScheduler` takes; config: options of the scheduler, such as on_missing="base".  The
    network is checked now, by its weights; the guidance scale in every call, for pipelines that show it.  Raises
    ValueError, with what was calibrated and what this is, and leaves the pipeline as it was.
    """
    from dode.integrations.diffusers.scheduler import DODEScheduler

    _drop_in(pipe)
    known_options = signature(DODEScheduler).parameters
    for name in config:
        if name not in known_options:  # which diffusers would pass over
            raise unknown("option of DODEScheduler", name, known_options)
    made = DODEScheduler.from_config(pipe.scheduler.config, calibration=as_content(calibration_or_file), **config)
    known = made.config["calibration"]
    calibration.recognise(known, type(pipe).__name__, weights_hash(denoiser_of(pipe)))
    calibration.match(known, {"prediction": settings.prediction(made.config)})
    if not made.config["use_dynamic_shifting"]:
        calibration.match(known, {"schedule": schedule_hash(made.schedule)})
    made._pipe = weakref.ref(pipe)
    pipe.scheduler = made
    return pipe


def _drop_in(pipe: Any) -> None:
    if type(pipe).__name__ in NOT_DROP_IN:
        raise DodeError(
            f"{type(pipe).__name__} works with a scheduler of its own only; dode.distill takes the network itself, "
            "wrapped by dode.from_callable"
        )


WRONG = {  # what `dode.distill` and the command line call what is said otherwise here
    "samples": "the calls make the samples; give [call] * 8 for eight times as many",
    "solver": "method names the solver",
    "batch": "the call decides how many samples it makes at once",
}


@overload
def calibrate(pipe: Any, call: Call | Sequence[Call], nfe: int, **options: Any) -> Sampler: ...
@overload
def calibrate(pipe: Any, call: Call | Sequence[Call], nfe: Sequence[int], **options: Any) -> dict[int, Sampler]: ...
def calibrate(
    pipe: Any,
    call: Call | Sequence[Call],
    nfe: int | Sequence[int],
    *,
    method: str | Method = "ddim",
    teacher: str | Method | None = None,
    scale: int = 10,
    seed: int = 0,
    rho: float = RHO,
    formulation: str = "d",
    grid: str | Sequence[float] | None = None,
    end: str = "data",
    progress: Progress | None = None,
    **options: Any,
) -> Sampler | dict[int, Sampler]:
    """Distil a solver through a pipeline's own calls: a Sampler, to be saved or attached; {nfe: Sampler} for several.

    call(pipe, generator, num_inference_steps) runs the pipeline once, with this generator and nothing else random; or
    several of them (other prompts, or [call] * 8 for more samples), fitted jointly.  The pipeline's scheduler says
    which noise schedule; it is there again afterwards.  method, teacher, scale, rho, formulation, grid, end: as
    for `dode.distill`.  progress(network evaluations done, in all).  `made.save(path)`, or
    `dode.save(path, *made.values())` of several, writes a file; `dode.diffusers.attach(pipe, made)` uses them.  The
    samplers hold plans, not the network: sample with the pipeline.  Raises ValueError if a call is not repeatable.
    """
    from dode.integrations.diffusers.scheduler import DODEScheduler

    _drop_in(pipe)
    _check(method, options)
    counts = sorted(set(nfe)) if isinstance(nfe, Iterable) else [nfe]
    calls = [call] if callable(call) else list(call)
    if not counts or not calls:
        raise DodeError("calibrate needs a call and a number of network evaluations")
    config = DistillConfig(teacher, scale, rho=rho, seed=seed, end=end, formulation=formulation)
    before = pipe.scheduler
    plain = {key: value for key, value in before.config.items() if key != "calibration"}
    own = DODEScheduler.from_config(plain, method="ddim")
    job = Job(pipe, own, calls, seed, config.scale * max(counts), progress, weights_hash(denoiser_of(pipe)))
    job.ask = lambda model: fit_targets(model, [method], counts, grid, config)
    try:
        pipe.scheduler = own
        with evaluating(pipe), torch.no_grad():
            made = job.run()
    finally:
        pipe.scheduler = before
    warn_of_little(made.values())
    return made if isinstance(nfe, Iterable) else made[counts[0]]


def _check(method: Any, options: dict[str, Any]) -> None:
    """ValueError for what `dode.distill` takes and a call cannot have."""
    if not isinstance(method, str | Method):
        raise DodeError("calibrate fits one method; call it once for each")
    for name in options:
        raise DodeError(f"calibrate has no {name}: {WRONG.get(name, 'options of a solver stand behind its name')}")
    if isinstance(method, str) and method.removeprefix("d-") == "auto":
        raise DodeError("auto asks the network itself, not through a call: dode.auto(dode.from_diffusers(pipe), nfe)")
