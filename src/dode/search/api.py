"""`dode.auto`: the search for the best sampler, as users call it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from dode.errors import DodeError
from dode.model import Model, checked
from dode.noise import whole as whole_seed
from dode.progress import Progress
from dode.samplers import Sampler
from dode.search.auto import tuned
from dode.search.budget import QUICK, Budget


@overload
def auto(model: Model, nfe: int, **options: Any) -> Sampler: ...
@overload
def auto(model: Model, nfe: Sequence[int], **options: Any) -> dict[int, Sampler]: ...
def auto(  # type: ignore[misc]  # its options are listed once
    model: Model,
    nfe: int | Sequence[int],
    *,
    samples: int | None = None,
    seed: int = 0,
    cond: Any = None,
    batch: int = 50,
    quick: bool = False,
    free_times: bool = True,
    whole_times: bool = False,
    cache: str | Path | None = None,
    cache_dtype: str | None = None,
    progress: Progress | None = None,
) -> Sampler | dict[int, Sampler]:
    """Search grid, solver, weights and times together for the best sampler, by forward passes alone.

    Args:
        model: What to sample from, guided or not.
        nfe: Network evaluations, or several numbers of them, which share the teacher's run.
        samples: How many to fit on; None is 64, or 32 if quick.
        seed: Of the noise to fit on and to judge on.
        cond: One row for each of the samples; the model's own by default.
        batch: Samples a network call.
        quick: Whether to spend a fifth of the evaluations.
        free_times: Whether the network may be given other conditioning times than its states' own, which other tools'
            wrappers cannot follow.
        whole_times: Whether all times are whole, for networks and tools that know no others.
        cache: A folder for the network's outputs, from which a search that was killed goes on.
        cache_dtype: float32 or float16, to keep fewer digits.
        progress: Called with (thousandths done, 1000).

    Returns:
        A Sampler; {nfe: Sampler} for several numbers of evaluations.  It is never further from the teacher, on samples
        that nothing is fitted on, than the plain solvers that were tried.

    Raises:
        NonFinite: where no solver ends in finite samples.
        DodeError: for options that do not exist, and for a network that cannot be asked between whole times.
    """
    model, several = checked(model, ode=True), isinstance(nfe, Iterable)
    counts = sorted(set(nfe)) if isinstance(nfe, Iterable) else [nfe]
    if not counts:
        raise DodeError("give a number of network evaluations, or several; got none")
    budget = replace(QUICK if quick else Budget(), batch=batch, told=free_times, whole=whole_times)
    budget = budget if samples is None else replace(budget, samples=samples)
    tell = None if progress is None else lambda what, share: progress(round(1000 * share), 1000)
    searched = tuned(model.cached(cache, cache_dtype), counts, budget, whole_seed(seed), cond, tell)
    samplers = {count: replace(sampler, model=model) for count, (sampler, _) in searched.items()}
    return samplers if several else samplers[counts[0]]
