"""From a network to what a solver evaluates, and what wraps it: guidance, thresholding, a cache.

A denoiser maps (x, node, condition) to an output of its kind.  A wrapper is a function from denoiser to denoiser, and
the caller composes them: ``Thresholded(Guided(NetworkDenoiser(…), null, 3.0), Threshold(1.0))``.  What is not linear in
the outputs happens here, so that the closed form of λ stays exact.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from dode import conditioning
from dode.errors import DodeError
from dode.fingerprint import code_hash, digest
from dode.output_cache import OutputCache
from dode.parameterization import Kind, convert, parts
from dode.sampling import Denoise
from dode.schedule import Node

Network = Callable[[Tensor, Tensor, Any], Tensor]  # (x (B, …), t (B,), cond) → output (B, …)
LogProbability = Callable[[Tensor, Tensor, Any], Tensor]  # (x (B, …), t (B,), cond) → log p(cond | x) (B,)
Json = dict[str, Any]


class Denoiser(Protocol):
    """A network as solvers evaluate it: (x (B, *shape), node, cond) → output (B, *shape) of the kind `prediction`."""

    @property
    def prediction(self) -> Kind:
        """What the output is: noise, data, v, flow or score."""

    @property
    def core(self) -> "NetworkDenoiser":
        """The network inside all wrappers."""

    @property
    def guidance(self) -> float | None:
        """The scale of classifier-free guidance; 1 is none, None is unknown."""

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        """The output at one node."""

    def to(self, device: str, dtype: torch.dtype) -> "Denoiser":
        """A copy on this device and in this precision: modules are copied, moved and cast."""

    def describe(self) -> Json:
        """Everything that outputs depend on, for calibration files and caches."""

    def rewrap(self, core: "NetworkDenoiser") -> "Denoiser":
        """The same wrappers around another network."""


@dataclass(frozen=True, eq=False)
class NetworkDenoiser:
    """A network called at a node: t as (B,), whole where the network takes whole times only.

    Attributes:
        network: (x (B, *shape), t (B,), cond) → output (B, *shape).
        prediction: What the output is.
        whole_times: Whether t is int64 at whole times.
        learned_variance: Whether the network returns variances as further channels (Nichol & Dhariwal 2021); they are
            dropped.
        fingerprint: ``weights:…``, a hash, or ``probe:…``, of some outputs.
        guidance: The scale that is already at work inside the network or its caller; None is unknown.
        guidance_range: The scales that a network takes beside its condition, (cond, scale (B,)), if it was trained with
            guidance inside.
    """

    network: Network
    prediction: Kind
    whole_times: bool = False
    learned_variance: bool = False
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    fingerprint: str = ""
    guidance: float | None = 1.0
    guidance_range: tuple[float, float] | None = None

    @property
    def core(self) -> "NetworkDenoiser":
        """Itself."""
        return self

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        whole = self.whole_times and node.t == round(node.t)
        dtype = torch.int64 if whole else torch.promote_types(x.dtype, torch.float32)  # bfloat16 rounds 999 to 1000
        time = torch.full(x.shape[:1], int(node.t) if whole else node.t, dtype=dtype, device=x.device)
        if self.guidance_range is not None:
            cond = (cond, torch.full((len(x),), self.guidance or 1.0, device=x.device))
        # copies: a network may work in place, or return the same buffer at every call
        output = self.network(x.clone(), time, cond)
        if not isinstance(output, Tensor):
            how = ".sample" if hasattr(output, "sample") else "[0]"
            raise DodeError(
                f"the network must return a tensor; it returned {type(output).__name__}: wrap it, as in "
                f"lambda x, t: network(x, t){how}"
            )
        if self.learned_variance and output.ndim > 1:
            output = output[:, : x.shape[1]]
        if output.shape != x.shape or output.is_complex():
            raise DodeError(f"the network must return the shape of x, {tuple(x.shape)}; got {tuple(output.shape)}")
        return output.to(x.dtype, copy=True)

    def to(self, device: str, dtype: torch.dtype) -> "NetworkDenoiser":
        """A copy elsewhere; a plain function takes what it is given."""
        return replace(self, network=_moved(self.network, device, dtype), device=device, dtype=dtype)

    def describe(self) -> Json:
        """The network's fingerprint, code, kind and precision."""
        return {
            "fingerprint": self.fingerprint,
            "network": code_hash(self.network),
            "prediction": self.prediction,
            "guidance": self.guidance,
            "dtype": str(self.dtype),
            "device": torch.device(self.device).type,
        }

    def rewrap(self, core: "NetworkDenoiser") -> "NetworkDenoiser":
        """The other network."""
        return core


@dataclass(frozen=True, eq=False)
class Wrapper:
    """A denoiser around another; subclasses change its output."""

    inner: Denoiser

    @property
    def prediction(self) -> Kind:
        """The kind of the inner denoiser's output."""
        return self.inner.prediction

    @property
    def core(self) -> NetworkDenoiser:
        """The network inside all wrappers."""
        return self.inner.core

    @property
    def guidance(self) -> float | None:
        """The scale of classifier-free guidance; 1 is none, None is unknown."""
        return self.inner.guidance

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        return self.inner(x, node, cond)

    def to(self, device: str, dtype: torch.dtype) -> Self:
        """A copy on this device and in this precision."""
        return replace(self, inner=self.inner.to(device, dtype))

    def describe(self) -> Json:
        """Everything that outputs depend on."""
        return self.inner.describe()

    def rewrap(self, core: NetworkDenoiser) -> Denoiser:
        """The same wrappers around another network."""
        return replace(self, inner=self.inner.rewrap(core))


def classifier_free(outputs: Tensor, scale: float | Tensor) -> Tensor:
    """Ho & Salimans 2022: the guided output (B, …) of outputs (2B, …) with the condition, then without."""
    conditional, unconditional = outputs.chunk(2)
    return unconditional + scale * (conditional - unconditional)


@dataclass(frozen=True, eq=False)
class Guided(Wrapper):
    """Classifier-free guidance (Ho & Salimans 2022): out = uncond + scale·(cond − uncond), in one call of two batches.

    Attributes:
        null: sample numbers → the condition that means "none", alike for all samples.
        scale: One for all samples, or (B, 1, …).
    """

    null: Callable[[Sequence[int]], Any]
    scale: float | Tensor
    _rows: Callable[[int], Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        null, core = self.null, self.core
        rows = cache(lambda n: conditioning.prepared(null(range(n)), n, core.device, core.dtype))
        object.__setattr__(self, "_rows", rows)

    @property
    def guidance(self) -> float | None:
        """The scale, if it is one for all samples."""
        return float(self.scale) if isinstance(self.scale, int | float) else None

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        both = conditioning.joined(cond, self._rows(len(x)))
        return classifier_free(self.inner(torch.cat([x, x]), node, both), self.scale)

    def describe(self) -> Json:
        """The scale and the condition that means "none" besides."""
        return self.inner.describe() | {"guidance": self.guidance, "none": digest(self._rows(1))}


@dataclass(frozen=True, eq=False)
class ClassifierGuided(Wrapper):
    """Classifier guidance (Dhariwal & Nichol 2021): ε̂ − scale·σ·∇ log p(cond | x).

    An output p·x₀ + q·ε moves by (q − p·σ/α) times what ε̂ moves; at α = 0, where x says nothing, it stays.  The
    gradient is the only one that is ever taken.
    """

    log_probability: LogProbability
    scale: float

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        output = self.inner(x, node, cond)
        if node.alpha == 0:
            return output
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            time = torch.full((len(x),), node.t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
            (gradient,) = torch.autograd.grad(self.log_probability(leaf, time, cond).sum(), leaf)
        p, q = parts(self.prediction, node)
        return output - (q - p * node.sigma / node.alpha) * self.scale * node.sigma * gradient

    def to(self, device: str, dtype: torch.dtype) -> "ClassifierGuided":
        """A copy elsewhere, the classifier with it."""
        moved = _moved(self.log_probability, device, dtype)
        return replace(self, inner=self.inner.to(device, dtype), log_probability=moved)

    def describe(self) -> Json:
        """The scale and the classifier besides."""
        classifier = {"classifier_scale": self.scale, "classifier": code_hash(self.log_probability)}
        return self.inner.describe() | classifier


@dataclass(frozen=True)
class Threshold:
    """Clips x̂₀: to ±limit, or with a quantile to the sample's own quantile of |x̂₀|, divided by it afterwards.

    The second is dynamic thresholding (Saharia et al. 2022): s = quantile within [limit, most]; clip(x̂₀, ±s)·limit/s.
    """

    limit: float = 1.0
    quantile: float | None = None
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.limit > 0 or not (self.quantile is None or 0 <= self.quantile <= 1):
            raise DodeError(f"limit must be above 0 and quantile within [0, 1]; got {self.limit}, {self.quantile}")

    def __call__(self, x0: Tensor) -> Tensor:
        if self.quantile is None:
            return x0.clamp(-self.limit, self.limit)
        s = torch.quantile(x0.abs().flatten(1).float(), self.quantile, dim=1).clamp(self.limit, self.most)
        s = s.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-s, s) * (self.limit / s)

    def of_output(self, x: Tensor, output: Tensor, kind: Kind, node: Node) -> Tensor:
        """An output of this kind with its x̂₀ clipped."""
        return convert(x, self(convert(x, output, kind, "data", node)), "data", kind, node)

    def to_json(self) -> list[float | None]:
        """Limit, quantile and, where there is one, the most that the quantile may be."""
        return [self.limit, self.quantile, *([self.most] if math.isfinite(self.most) else [])]


@dataclass(frozen=True, eq=False)
class Thresholded(Wrapper):
    """Clips x̂₀."""

    threshold: Threshold

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        return self.threshold.of_output(x, self.inner(x, node, cond), self.prediction, node)

    def describe(self) -> Json:
        """The threshold besides."""
        return self.inner.describe() | {"threshold": self.threshold.to_json()}


@dataclass(frozen=True, eq=False)
class Cached(Wrapper):
    """Reads outputs from a folder where they are there, and asks the inner denoiser for the others.

    Attributes:
        folder: The cache.
        probe: denoiser → what it answers at some fixed states, for functions whose code is no fingerprint.
    """

    folder: OutputCache
    probe: Callable[[Denoiser], str]
    _mark: list[Json] = field(init=False, repr=False, default_factory=list)

    @property
    def mark(self) -> Json:
        """Everything that the cached outputs depend on but the state, the node and the condition."""
        if not self._mark:
            described = self.inner.describe()
            if "classifier" in described or not described["fingerprint"]:
                described["probe"] = self.probe(self.inner)
            self._mark.append(described | {"kept as": str(self.folder.dtype or self.core.dtype)})
        return self._mark[0]

    def __call__(self, x: Tensor, node: Node, cond: Any) -> Tensor:
        return self.folder.recall(self.mark, x, node, cond, lambda: self.inner(x, node, cond))


@dataclass(frozen=True)
class CallableNetwork:
    """A user's function as a network: with or without a condition, on tensors or on numpy arrays."""

    fn: Callable[..., Any]
    conditional: bool
    numpy: bool = False

    def __call__(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        given = (x.numpy(force=True), t.numpy(force=True)) if self.numpy else (x, t)
        if self.numpy:
            cond = conditioning.as_numpy(cond)
        output = self.fn(*given, cond) if self.conditional else self.fn(*given)
        if self.numpy and not isinstance(output, Tensor):
            output = np.array(output)  # a copy: arrays of JAX are read-only
        return torch.as_tensor(output, device=x.device) if isinstance(output, np.ndarray) else output

    def to(self, device: str, dtype: torch.dtype) -> "CallableNetwork":
        """A copy elsewhere, if the function is a module."""
        return replace(self, fn=_moved(self.fn, device, dtype))


def _moved(function: Any, device: str, dtype: torch.dtype) -> Any:
    """A module's copy on the device; a method of a module likewise; any other function as it is."""
    owner = getattr(function, "__self__", None)
    if isinstance(function, CallableNetwork):
        return function.to(device, dtype)
    if isinstance(owner, nn.Module):
        return getattr(deepcopy(owner).to(device, dtype), function.__name__)
    return deepcopy(function).to(device, dtype) if isinstance(function, nn.Module) else function


def guide(denoiser: Denoiser, null: Callable[[Sequence[int]], Any], scale: float) -> Denoiser:
    """The denoiser under guidance of this scale in place of its own, next to the network; 1 is none."""
    if isinstance(denoiser, Guided):
        return guide(denoiser.inner, null, scale)
    if isinstance(denoiser, Wrapper):
        return replace(denoiser, inner=guide(denoiser.inner, null, scale))
    return denoiser if scale == 1 else Guided(denoiser, null, scale)


def bound(denoiser: Denoiser, kind: Kind, cond: Any) -> Denoise:
    """The denoiser with its condition, as a plan calls it: (x, node) → output of this kind."""

    def denoise(x: Tensor, node: Node) -> Tensor:
        return convert(x, denoiser(x, node, cond), denoiser.prediction, kind, node)

    return denoise
