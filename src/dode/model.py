"""A network made usable: what it predicts, on which schedule, of which shape, under which guidance."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dode import conditioning, denoisers, exact, noise
from dode.denoisers import LogProbability, Network, Threshold
from dode.errors import DodeError
from dode.fingerprint import probe, weights_hash
from dode.parameterization import KINDS, Kind
from dode.process_group import ALONE, Team
from dode.sampling import Denoise
from dode.schedule import Schedule

if TYPE_CHECKING:
    from dode.output_cache import Cache

OTHERS = {"epsilon": "noise", "eps": "noise", "sample": "data", "x0": "data", "v_prediction": "v", "velocity": "flow"}
Default = Callable[[Sequence[int]], Any]  # sample numbers → their condition


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A pre-trained network and everything a solver must know of it."""

    network: Network  # (x (B, *shape), t (B,), cond) → output
    schedule: Schedule
    prediction: Kind
    shape: tuple[int, ...]  # of one sample
    name: str = "model"
    fingerprint: str = ""  # weights:… (a hash) or probe:… (of some outputs)
    cond: Default | None = None  # the condition of sample i if the caller gives none
    classes: int = 0  # how many labels there are, 0 … classes − 1 with the one for "none", if conditions are labels
    null: Default | None = None  # range(n) → n rows that mean "none", the same for all: makes guidance possible
    form: str = ""  # how a pipeline's scheduler calls the network, where its schedule does not say it
    guidance: float | None = 1.0  # None: not known, as in a calibration through a pipeline that does not show it
    threshold: Threshold | None = None
    variance: bool = False  # does the network return learned variances as further channels?
    classifier: tuple[LogProbability, float] | None = None  # classifier guidance and its scale
    decode: Callable[[Tensor], Tensor] | None = None  # states → images in [−1, 1], where states are latents
    flow: Callable[[Tensor, Any], Tensor] | None = None  # the exact solution, where it is known in closed form
    trained: Any = None  # of a student, which answers at the times of its training alone
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    cache: "Cache | None" = None  # outputs that are on disk

    def __post_init__(self) -> None:
        if self.prediction not in KINDS:
            here = f", which is {OTHERS[self.prediction]!r} here" if self.prediction in OTHERS else ""
            raise DodeError(f"prediction must be one of {', '.join(KINDS)}; got {self.prediction!r}{here}")

    def __repr__(self) -> str:
        """One line; the fields have the rest."""
        where = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        return f"Model({self.title}, {self.prediction} on {type(self.schedule).__name__}, {self.shape}, {where})"

    @property
    def title(self) -> str:
        """Its name, and the guidance scale if it is guided."""
        return self.name if self.guidance in (None, 1) else f"{self.name}, guidance {self.guidance:g}"

    def guided(self, scale: float) -> "Model":
        """The model under classifier-free guidance; 1 is none. A guided pair of calls counts as one evaluation."""
        if isinstance(scale, str) or scale is None or not math.isfinite(scale):
            raise DodeError(f"the guidance scale must be a number; got {scale!r}")
        if self.trained is not None and self.trained.guidance is not None:
            return replace(self, guidance=self.trained.scale(self.name, scale))
        if self.null is None and scale != 1:
            raise DodeError(f"{self.name} has no condition that means 'none', so it cannot be guided")
        return replace(self, guidance=float(scale), flow=self.flow if scale == 1 else None)

    def classifier_guided(self, log_probability: LogProbability, scale: float) -> "Model":
        """The model under classifier guidance: log_probability(x, t, cond) → (B,), differentiable in x."""
        return replace(self, classifier=(log_probability, float(scale)), flow=None)

    def thresholded(self, threshold: float = 1.0, quantile: float | None = None) -> "Model":
        """The model with x̂₀ clipped to ±threshold, or dynamically by a quantile (Saharia et al. 2022)."""
        return replace(self, threshold=Threshold(threshold, quantile), flow=None)

    def labelled(self, label: int) -> "Model":
        """The model with every sample of this class, where the caller of `sample` gives no condition."""
        if not self._by_label:
            raise DodeError(f"{self.name} has no classes, one number a sample; leave the label out")
        if not isinstance(label, int | np.integer) or isinstance(label, bool) or not 0 <= label < self.classes:
            last = f"{self.classes - 2}, or {self.classes - 1} for none" if self.null else f"{self.classes - 1}"
            raise DodeError(f"the label must be 0 … {last}; got {label!r}")
        return replace(self, cond=lambda indices: [label] * len(indices))

    def to(self, device: str | None = None, dtype: torch.dtype | None = None) -> "Model":
        """The model run elsewhere or in another precision; a network that is a module is copied, moved and cast."""
        device, dtype = device or self.device, dtype or self.dtype
        if (device, dtype) == (self.device, self.dtype):
            return self
        network = self.network.to(device, dtype) if isinstance(self.network, Called) else self.network
        return replace(self, network=network, device=device, dtype=dtype)

    def conditions(self, indices: Sequence[int], cond: Any = None) -> Any:
        """The condition of these samples: the caller's (one row a sample), or the model's own."""
        if cond is not None and self.cond is None:
            raise DodeError(f"{self.name} takes no condition; give from_callable a default, cond=…, if it should")
        chosen = self.cond(indices) if cond is None and self.cond is not None else cond
        chosen = conditioning.prepared(chosen, len(indices), self.device, self.dtype)
        if cond is not None and self._by_label:
            conditioning.classes(chosen, self.classes)
        return chosen

    def placed(self, x: Any) -> Tensor:
        """States (n, *shape) as tensors of the model's device and dtype; ValueError for another shape."""
        x = torch.as_tensor(x)
        if x.ndim < 1 or len(x) < 1 or tuple(x.shape[1:]) != self.shape:
            raise DodeError(f"noise must be (n, {', '.join(map(str, self.shape))}); got {tuple(x.shape)}")
        placed: Tensor = x.to(self.dtype).to(self.device)  # in this order: some devices have no float64
        return placed

    def start(self, indices: Sequence[int], seed: int, stream: str = "report") -> Tensor:
        """x_T of these samples: (n, *shape) at the schedule's t_max."""
        drawn = noise.start(indices, self.shape, self.schedule, seed, stream)
        return drawn.to(self.dtype).to(self.device)

    def bound(self, kind: Kind, cond: Any) -> Denoise:
        """The network as a plan calls it: (x, node) → output of this kind, guidance and thresholding applied."""
        network = self.network
        if self.trained is not None and self.trained.guidance is not None:
            network = denoisers.with_scale(network, self.trained.scale(self.name, self._scale))
        elif self.guidance is not None and self.guidance != 1 and self.null is not None:
            null = self.null
            network = denoisers.classifier_free(
                network,
                cache(lambda n: conditioning.prepared(null(range(n)), n, self.device, self.dtype)),
                self.guidance,
            )
        made = denoisers.called(network, cond, self.schedule.integer, self.variance)
        if self.classifier is not None:
            made = denoisers.classifier_guided(made, self.prediction, self.classifier[0], cond, self.classifier[1])
        if self.threshold is not None:
            made = denoisers.thresholded(made, self.prediction, self.threshold)
        if self.cache is not None:
            made = self.cache.remembered(made, self, cond)
        return denoisers.expressed(made, self.prediction, kind)

    def exact(
        self,
        x_T: Tensor,
        rtol: float = 1e-3,
        cond: Any = None,
        batch: int = 64,
        progress: Callable[[int, int], None] | None = None,
        team: Team = ALONE,
    ) -> Tensor:
        """The exact solution of the ODE from x_T (n, *shape): halving its steps moves it by at most rtol of its RMS.

        In closed form where the model has one, else by `dode.exact.solve`, which says how it converges.  A student
        has no ODE of its own: the solution is its teacher's.  team: processes that share the batches.
        """
        x_T, model = self.placed(x_T), self.ode()
        cond = self.conditions(range(len(x_T)), cond)
        if model.flow is not None:
            return model.flow(x_T, cond)
        return exact.solve(model, x_T, cond, rtol, batch, progress, team)

    def ode(self) -> "Model":
        """The model whose ODE its exact solutions follow: itself, or a student's teacher, as the student is run."""
        if self.trained is None:
            return self
        teacher: Model = self.trained.teacher().to(self.device, self.dtype).guided(self._scale)
        return replace(teacher, cache=self.cache)

    @property
    def _by_label(self) -> bool:
        """Are its conditions classes, one whole number a sample?"""
        if not self.classes or self.cond is None:
            return False
        own = conditioning.prepared(self.cond(range(1)), 1, "cpu")
        return isinstance(own, Tensor) and own.ndim == 1 and not own.is_floating_point()

    @property
    def _scale(self) -> float:
        """The guidance scale; 1, none, where it is not known."""
        return 1.0 if self.guidance is None else self.guidance


def checked(model: Any) -> Model:
    """The model; ValueError for anything else, such as its name."""
    if isinstance(model, Model):
        return model
    text = repr(model)
    how = f"dode.bundled({text})" if isinstance(model, str) else "dode.from_callable or dode.from_diffusers"
    raise DodeError(f"a model is needed, as {how} makes it; got {text[:60]}")


@dataclass(frozen=True)
class Called:
    """A user's function as a network: with or without a condition, on tensors or on numpy arrays."""

    fn: Callable[..., Any]
    conditional: bool
    numpy: bool

    def __call__(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        given = (x.numpy(force=True), t.numpy(force=True)) if self.numpy else (x, t)
        if self.numpy:
            cond = conditioning.as_numpy(cond)
        output = self.fn(*given, cond) if self.conditional else self.fn(*given)
        if self.numpy and not isinstance(output, Tensor):
            output = np.array(output)  # of numpy already, or JAX's, which may not be written to
        return torch.as_tensor(output, device=x.device) if isinstance(output, np.ndarray) else output

    def to(self, device: str, dtype: torch.dtype) -> "Called":
        """A copy elsewhere, if the function is a module; functions take what they are given."""
        return replace(self, fn=deepcopy(self.fn).to(device, dtype)) if isinstance(self.fn, nn.Module) else self


def _callable(fn: Any, names: tuple[str, ...]) -> None:
    """ValueError for a network that cannot be called with these arguments."""
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
    trained: Any = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """A model from fn(x, t), or fn(x, t, cond) if `cond` is given: x (B, *shape), t (B,) → output (B, *shape).

    prediction: "noise", "data", "v", "flow" or "score"; cond: sample numbers → the condition to use when the caller of
    `sample` gives none; null: the same for "no condition", alike for all samples, which makes guidance possible;
    classes: how many labels there are, with the one for none, if conditions are labels; numpy: fn works on numpy
    arrays; variance: fn returns learned variances as further channels; trained: how a student is sampled; schedule: the
    noise levels at its times; name: in files and tables; dtype, device: of its states, and of conditions that are not
    whole numbers.  A module is put into evaluation mode.
    Raises ValueError if a first call fails to return the shape of x.
    """
    if isinstance(schedule, str | type) or not hasattr(schedule, "node"):
        raise DodeError(f"schedule must be an object of dode.schedule, as VP() or EDM(); got {schedule!r}")
    shape = shape if isinstance(shape, int) else tuple(shape)
    if isinstance(shape, int) or not all(isinstance(size, int | np.integer) and size > 0 for size in shape):
        raise DodeError(f"shape must be the sizes of one sample, as (3, 64, 64) or (2,); got {shape}")
    if not isinstance(dtype, torch.dtype):
        raise DodeError(f"dtype must be one of torch's, as torch.float32; got {dtype!r}")
    if null is not None and cond is None:
        raise DodeError("null says which condition means 'none'; it needs cond, the default condition, too")
    if null is not None and null(range(1)) is None:  # which would be taken for no wish, and cond be used
        raise DodeError("null must give a condition that means 'none', a row for each sample; got None")
    if isinstance(fn, nn.Module):
        fn = fn.eval()
    _callable(fn, ("x", "t") if cond is None else ("x", "t", "cond"))
    made = Model(
        Called(fn, cond is not None, numpy),
        schedule,
        prediction,
        shape,
        name,
        cond=cond,
        null=null,
        classes=classes,
        variance=variance,
        trained=trained,
        dtype=dtype,
        device=device,
    )
    mark = probe(made)  # also a first call, which tells a wrong shape now
    if isinstance(fn, nn.Module) and fn.state_dict():
        mark = weights_hash(fn)
    return replace(made, fingerprint=mark)
