"""What a pipeline's calibration is worth, through the pipeline's own call, on noise that nothing was fitted on."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from dode.errors import DodeError
from dode.integrations.diffusers.recording import Call, evaluating
from dode.metrics.estimates import Distance, distance
from dode.samplers import Sampler
from dode.solvers.spec import plain_name

FAR = 0.5  # share of a distance that the reference may be off by
FINE = "dpm-solver++3m"  # the many steps that the others are held against


class Apart(NamedTuple):
    """How far from the pipeline's own run with many steps, at one number of evaluations; in the units of the states."""

    nfe: int
    plain: Distance  # of the solver that was distilled, on the pipeline's own spacing of times
    distilled: Distance
    reference: Distance  # of a run with half of the many steps: what is not much larger cannot be told apart


@overload
def distances(pipe: Any, call: Call, made: Sampler, *, seed: int = 1, steps: int = 100) -> Apart: ...
@overload
def distances(
    pipe: Any, call: Call, made: Mapping[int, Sampler], *, seed: int = 1, steps: int = 100
) -> dict[int, Apart]: ...
def distances(
    pipe: Any, call: Call, made: Sampler | Mapping[int, Sampler], *, seed: int = 1, steps: int = 100
) -> Apart | dict[int, Apart]:
    """A calibration beside its plain solver, both against many steps from the same noise; {nfe: Apart} for several.

    call(pipe, generator, num_inference_steps): as for `calibrate`, whose result is `made`; seed: of noise that was not
    fitted on; steps: of the reference (DPM-Solver++ 3M).  Takes 1.5·steps + 2·(sum of evaluations) evaluations of every
    sample; the pipeline's scheduler is there again afterwards.  `Apart.distilled.error` is a standard error, which one
    sample does not give.  Warns where the reference is no better than what it judges.  Raises ValueError for the seed
    of the fit.
    """
    several = {made.nfe: made} if isinstance(made, Sampler) else made
    if fitted := [nfe for nfe, one in several.items() if one.provenance.seed == seed]:
        raise DodeError(f"seed {seed} is what the calibration for {fitted[0]} evaluations was fitted on; take another")
    if steps < 2:
        raise DodeError(f"the reference takes at least 2 steps; got {steps}")

    def run(count: int, **options: Any) -> Tensor:
        return _end(pipe, call, count, seed, options)

    exact = run(steps, method=FINE)
    rough = distance(run(steps // 2, method=FINE), exact)
    found = {}
    for nfe, one in several.items():
        base, fast = run(nfe, method=plain_name(one.provenance.label)), run(nfe, calibration=one)
        found[nfe] = apart = Apart(nfe, distance(base, exact), distance(fast, exact), rough)
        if rough.rms > FAR * min(apart.plain.rms, apart.distilled.rms):
            warnings.warn(
                f"at {nfe} evaluations the distances, {apart.plain.rms:.2g} and {apart.distilled.rms:.2g}, are not "
                f"much larger than {rough.rms:.2g}, by which the reference's {steps} steps differ from half as many: "
                "give more steps",
                stacklevel=2,
            )
    return found[made.nfe] if isinstance(made, Sampler) else found


@torch.no_grad()
def _end(pipe: Any, call: Call, count: int, seed: int, options: dict[str, Any]) -> Tensor:
    """The last state of a call under this scheduler: (samples, *shape)."""
    from dode.integrations.diffusers.scheduler import DODEScheduler

    before = pipe.scheduler
    config = {key: value for key, value in before.config.items() if key != "calibration"}
    pipe.scheduler = own = DODEScheduler.from_config(config, **options)
    try:
        with evaluating(pipe):
            call(pipe, torch.Generator("cpu").manual_seed(seed * 1000), count)
    finally:
        pipe.scheduler = before
    state = own._state
    if state is None or own.plan.nfe != count or state.k != count:
        raise DodeError(f"the call was asked for {count} steps and made {0 if state is None else state.k}")
    end: Tensor = state.y
    return end
