"""A network made usable: what it predicts, on which schedule, of which shape, under which conditions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dode import conditioning, denoisers, exact, noise
from dode.conditioning import Conditioning, Default
from dode.denoisers import CallableNetwork, Denoiser, LogProbability, Network, NetworkDenoiser, Threshold, Wrapper
from dode.errors import DodeError, Unsupported
from dode.fingerprint import probe, schedule_hash, schedule_name, weights_hash
from dode.output_cache import OutputCache, open_cache
from dode.parameterization import KINDS, Kind
from dode.process_group import ALONE, ProcessGroup
from dode.sampling import Denoise
from dode.schedule import Schedule, checked_schedule

OTHER_NAMES = {"epsilon": "noise", "eps": "noise", "sample": "data", "x0": "data"}
OTHER_NAMES |= {"v_prediction": "v", "velocity": "flow"}
Json = dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A pre-trained network and everything that a solver must know of it.

    Attributes:
        denoiser: The network with what wraps it (`dode.denoisers`).
        schedule: Its noise levels.
        shape: Of one sample.
        name: In files and tables.
        conditioning: Its default conditions; None for a network that takes none.
        solution: (model, x_T (n, *shape), cond) → the exact solution, where it is known otherwise than from the ODE.
        decode: States → images in [−1, 1], where states are latents.
        form: How a pipeline's scheduler calls the network, where the schedule does not say it.
    """

    denoiser: Denoiser
    schedule: Schedule
    shape: tuple[int, ...]
    name: str = "model"
    conditioning: Conditioning | None = None
    solution: Callable[["Model", Tensor, Any], Tensor] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    form: str = ""

    def __repr__(self) -> str:
        """One line; the fields have the rest."""
        where = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        return f"Model({self.title}, {self.prediction} on {type(self.schedule).__name__}, {self.shape}, {where})"

    @property
    def prediction(self) -> Kind:
        """What the network predicts: noise, data, v, flow or score."""
        return self.denoiser.prediction

    @property
    def network(self) -> Network:
        """The network inside all wrappers: (x (B, *shape), t (B,), cond) → output."""
        return self.denoiser.core.network

    @property
    def fingerprint(self) -> str:
        """What the network is known again by: weights:…, a hash, or probe:…, of some outputs."""
        return self.denoiser.core.fingerprint

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its states."""
        return self.denoiser.core.dtype

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.denoiser.core.device

    @property
    def guidance(self) -> float | None:
        """The scale of classifier-free guidance; 1 is none, None is unknown."""
        return self.denoiser.guidance

    @property
    def title(self) -> str:
        """Its name, and the guidance scale if it is guided."""
        return self.name if self.guidance in (None, 1) else f"{self.name}, guidance {self.guidance:g}"

    @property
    def cache(self) -> OutputCache | None:
        """Where outputs are kept, if they are."""
        wrapped = self.denoiser
        while isinstance(wrapped, Wrapper):
            if isinstance(wrapped, denoisers.Cached):
                return wrapped.folder
            wrapped = wrapped.inner
        return None

    @property
    def labels(self) -> int:
        """How many classes there are, with the one for "none"; 0 where conditions are no classes."""
        return 0 if self.conditioning is None else self.conditioning.labels

    def describe(self) -> Json:
        """What a calibration must know its model again by."""
        wrapped = self.denoiser.describe()
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "schedule": schedule_hash(self.schedule),
            "noise": schedule_name(self.schedule),
            "prediction": self.prediction,
            "form": self.form,
            "shape": list(self.shape),
            "threshold": wrapped.get("threshold"),
            "classifier_scale": wrapped.get("classifier_scale"),
        }

    def guided(self, scale: float) -> "Model":
        """The model under classifier-free guidance.

        Args:
            scale: Of out = uncond + scale·(cond − uncond); 1 is none.  A guided pair of calls is one evaluation.

        Raises:
            DodeError: for a scale that is no finite number, and for a model without a condition that means "none".
        """
        if isinstance(scale, str) or scale is None or not math.isfinite(scale):
            raise DodeError(f"the guidance scale must be a number; got {scale!r}")
        null = None if self.conditioning is None else self.conditioning.null
        if self.denoiser.core.guidance_range is not None:
            low, high = self.denoiser.core.guidance_range
            if not low <= scale <= high:
                raise DodeError(f"{self.name} was trained for guidance from {low:g} to {high:g}; got {scale:g}")
            return self.declared(float(scale))
        if null is None:
            if scale == self.guidance or scale == 1:
                return self
            raise DodeError(f"{self.name} has no condition that means 'none', so it cannot be guided")
        guided = denoisers.guide(self.denoiser, null, float(scale))
        return replace(self, denoiser=guided, solution=self.solution if scale == 1 else None)

    def declared(self, scale: float | None) -> "Model":
        """The model whose caller already applies guidance of this scale, None if unknown: for files to say."""
        core = replace(self.denoiser.core, guidance=scale)
        return replace(self, denoiser=self.denoiser.rewrap(core))

    def classifier_guided(self, log_probability: LogProbability, scale: float) -> "Model":
        """The model under classifier guidance (Dhariwal & Nichol 2021).

        Args:
            log_probability: (x (B, *shape), t (B,), cond) → log p(cond | x) (B,), differentiable in x; a module, or a
                method of one, moves with the model.
            scale: Of the gradient.
        """
        wrapped = denoisers.ClassifierGuided(self.denoiser, log_probability, float(scale))
        return replace(self, denoiser=wrapped, solution=None)

    def thresholded(self, threshold: float = 1.0, quantile: float | None = None) -> "Model":
        """The model with x̂₀ clipped to ±threshold, or dynamically by a quantile (Saharia et al. 2022)."""
        wrapped = denoisers.Thresholded(self.denoiser, Threshold(threshold, quantile))
        return replace(self, denoiser=wrapped, solution=None)

    def cached(self, folder: str | Path | None, dtype: str | None = None) -> "Model":
        """The model whose outputs are kept in a folder, so that a killed run goes on from them.

        Args:
            folder: Made if it does not exist; None keeps nothing.
            dtype: float32 or float16, to keep fewer digits than the network gives.

        Raises:
            DodeError: where the folder cannot be written to, or a dtype is given without a folder.
        """
        if folder is None:
            if dtype is not None:
                raise DodeError("a cache's dtype needs a cache: give its folder too")
            return self
        wrapped = denoisers.Cached(self.denoiser, open_cache(folder, dtype), self._probe)
        return replace(self, denoiser=wrapped)

    def labelled(self, label: int) -> "Model":
        """The model with every sample of this class unless `sample` is given conditions; or DodeError."""
        if self.conditioning is None or not self.conditioning.by_class:
            raise DodeError(f"{self.name} has no classes, one number a sample; leave the label out")
        count = self.conditioning.labels
        if not isinstance(label, int | np.integer) or isinstance(label, bool) or not 0 <= label < count:
            last = f"{count - 2}, or {count - 1} for none" if self.conditioning.null else f"{count - 1}"
            raise DodeError(f"the label must be 0 … {last}; got {label!r}")
        return replace(self, conditioning=replace(self.conditioning, default=lambda indices: [label] * len(indices)))

    def to(self, device: str | None = None, dtype: torch.dtype | None = None) -> "Model":
        """The model on another device or in another precision; modules, a classifier's too, are copied and moved."""
        device, dtype = device or self.device, dtype or self.dtype
        if (device, dtype) == (self.device, self.dtype):
            return self
        return replace(self, denoiser=self.denoiser.to(device, dtype))

    def conditions(self, indices: Sequence[int], cond: Any = None) -> Any:
        """The condition of these samples: the caller's, one row a sample, or the model's own; DodeError if unfit."""
        known = self.conditioning
        if cond is not None and known is None:
            raise DodeError(f"{self.name} takes no condition; give from_callable a default, cond=…, if it should")
        chosen = known.default(indices) if cond is None and known is not None else cond
        chosen = conditioning.prepared(chosen, len(indices), self.device, self.dtype)
        if cond is not None and known is not None and known.by_class:
            conditioning.classes(chosen, known.labels)
        return chosen

    def placed(self, x: Any) -> Tensor:
        """States (n, *shape) as tensors of the model's device and dtype; DodeError for another shape."""
        x = torch.as_tensor(x)
        if x.ndim < 1 or len(x) < 1 or tuple(x.shape[1:]) != self.shape:
            raise DodeError(f"noise must be (n, {', '.join(map(str, self.shape))}); got {tuple(x.shape)}")
        placed: Tensor = x.to(self.dtype).to(self.device)  # in this order: some devices have no float64
        return placed

    def start(self, indices: Sequence[int], seed: int, stream: str = "test") -> Tensor:
        """x_T of these samples: (n, *shape) at the schedule's t_max."""
        drawn = noise.start(indices, self.shape, self.schedule, seed, stream)
        return drawn.to(self.dtype).to(self.device)

    def bound(self, kind: Kind, cond: Any) -> Denoise:
        """The denoiser with its condition, as a plan calls it: (x, node) → output of this kind."""
        return denoisers.bound(self.denoiser, kind, cond)

    def exact(
        self,
        x_T: Tensor,
        rtol: float = 1e-3,
        cond: Any = None,
        batch: int = 64,
        progress: Callable[[int, int], None] | None = None,
        group: ProcessGroup = ALONE,
    ) -> Tensor:
        """The exact solution of the model's ODE.

        Args:
            x_T: (n, *shape), where the runs start.
            rtol: Halving the steps moves the solution by at most this share of its RMS.
            cond: One row a sample; the model's own by default.
            batch: Samples a network call.
            progress: Told (network calls done, in all), after a pilot run.
            group: Processes that share the batches.

        Returns:
            (n, *shape), as the model knows it, else by `dode.exact.solve`.

        Raises:
            DodeError: where the most steps there are do not reach rtol.
        """
        x_T = self.placed(x_T)
        cond = self.conditions(range(len(x_T)), cond)
        if self.solution is not None:
            return self.solution(self, x_T, cond)
        return exact.solve(self, x_T, cond, rtol, batch, progress, group)

    def _probe(self, denoiser: Denoiser) -> str:
        """What the denoiser answers at fixed states."""
        denoise = denoisers.bound(denoiser, denoiser.prediction, self.conditions([0]))
        return probe(denoise, self.schedule, self.shape, lambda x: x.to(self.dtype).to(self.device))


def checked(model: Any, ode: bool = False) -> Model:
    """The model; DodeError for anything else, such as its name; ode: Unsupported too where it follows no ODE."""
    if isinstance(model, Model):
        if ode and not model.schedule.continuous_path:
            raise Unsupported(
                f"{model.name} was trained for few steps and follows no ODE between them: fit a solver to its teacher"
            )
        return model
    text = repr(model)
    how = f"dode.bundled({text})" if isinstance(model, str) else "dode.from_callable or dode.from_diffusers"
    raise DodeError(f"a model is needed, as {how} makes it; got {text[:60]}")


def build(
    network: Network,
    schedule: Schedule,
    prediction: Kind,
    shape: Sequence[int],
    name: str = "model",
    *,
    conditions: Conditioning | None = None,
    variance: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    fingerprint: str | None = None,
    guidance_range: tuple[float, float] | None = None,
    **fields: Any,
) -> Model:
    """A model of a network (x, t, cond) → output, with a fingerprint of some outputs unless given; or DodeError."""
    if prediction not in KINDS:
        here = f", which is {OTHER_NAMES[prediction]!r} here" if prediction in OTHER_NAMES else ""
        raise DodeError(f"prediction must be one of {', '.join(KINDS)}; got {prediction!r}{here}")
    core = NetworkDenoiser(network, prediction, schedule.integer, variance, dtype, device, fingerprint or "")
    core = replace(core, guidance_range=guidance_range)
    model = Model(core, schedule, tuple(shape), name, conditions, **fields)
    if fingerprint is None:
        model = replace(model, denoiser=replace(core, fingerprint=model._probe(core)))
    return model


def _callable(fn: Any, names: tuple[str, ...]) -> None:
    """DodeError for a network that cannot be called with these arguments."""
    try:
        signature(fn.forward if isinstance(fn, nn.Module) else fn).bind(*names)
    except ValueError:  # of a built-in function, which does not say what it takes
        return
    except TypeError as error:
        call = ", ".join(names)
        why = "because cond was given" if "cond" in names else "because no cond was given"
        raise DodeError(
            f"the network is called as network({call}), {why}, and cannot be ({error}): wrap it, lambda {call}: …"
        ) from error


def from_callable(
    fn: Callable[..., Any],
    *,
    schedule: Schedule,
    prediction: Kind,
    shape: Sequence[int],
    cond: Default | None = None,
    null: Default | None = None,
    classes: int = 0,
    numpy: bool = False,
    variance: bool = False,
    name: str = "callable",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """A model of a function or module.

    Args:
        fn: fn(x, t), or fn(x, t, cond) if `cond` is given: x (B, *shape), t (B,) → output (B, *shape).  A module is
            put into evaluation mode.
        schedule: The noise levels at its times.
        prediction: "noise", "data", "v", "flow" or "score".
        shape: Of one sample.
        cond: Sample numbers → the condition to use when the caller of `sample` gives none.
        null: Sample numbers → a condition that means "none", alike for all samples; it makes guidance possible.
        classes: How many labels there are, with the one for "none", if conditions are labels.
        numpy: fn works on numpy arrays.
        variance: fn returns learned variances as further channels.
        name: In files and tables.
        dtype: Of its states, and of conditions that are not whole numbers.
        device: Of its states and conditions.

    Raises:
        DodeError: for arguments of another kind, or if a first call does not return the shape of x.
    """
    shape = shape if isinstance(shape, int) else tuple(shape)
    if isinstance(shape, int) or not all(isinstance(size, int | np.integer) and size > 0 for size in shape):
        raise DodeError(f"shape must be the sizes of one sample, as (3, 64, 64) or (2,); got {shape}")
    if not isinstance(dtype, torch.dtype):
        raise DodeError(f"dtype must be one of torch's, as torch.float32; got {dtype!r}")
    if null is not None and cond is None:
        raise DodeError("null says which condition means 'none'; it needs cond, the default condition, too")
    if null is not None and null(range(1)) is None:  # a default of None would mean the model's own condition
        raise DodeError("null must give a condition that means 'none', a row for each sample; got None")
    if isinstance(fn, nn.Module):
        fn = fn.eval()
    _callable(fn, ("x", "t") if cond is None else ("x", "t", "cond"))
    model = build(
        CallableNetwork(fn, cond is not None, numpy),
        checked_schedule(schedule),
        prediction,
        shape,
        name,
        conditions=None if cond is None else Conditioning(cond, null, classes),
        variance=variance,
        dtype=dtype,
        device=device,
    )  # with a first call, which finds a wrong shape now
    if isinstance(fn, nn.Module) and fn.state_dict():
        core = replace(model.denoiser.core, fingerprint=weights_hash(fn))
        return replace(model, denoiser=core)
    return model
