"""Noise schedules: x = α·x₀ + σ·ε at time t.  log-SNR here is always log(α/σ), half of what some papers use.

A schedule says where a run starts (`t_max`), the smallest noise level the network knows (`t_min`) and the clean end
(`t_end`). Its numbers are plain floats: everything known ahead of a run is computed ahead, in float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from dode.errors import DodeError

TINY, MOST = 1e-12, 1e30  # networks are told times and levels in float32, which ends at 3e38
ROUNDING = 1e-6  # a time that went through float32 may come back this much beyond an end


class Node(NamedTuple):
    """A point of the schedule: the time that the network is told, and x = alpha·x₀ + sigma·noise."""

    t: float
    alpha: float
    sigma: float

    @property
    def logsnr(self) -> float:
        """log(α/σ); +inf at σ = 0, −inf at α = 0."""
        if self.sigma == 0:
            return math.inf
        return -math.inf if self.alpha == 0 else math.log(self.alpha) - math.log(self.sigma)


class Schedule(Protocol):
    """What a model needs to know of its noise schedule."""

    @property
    def t_max(self) -> float:
        """Where sampling starts."""

    @property
    def t_min(self) -> float:
        """The cleanest time that the network was trained on."""

    @property
    def t_end(self) -> float:
        """Where sampling ends (σ = 0, if the schedule has such a point)."""

    @property
    def integer(self) -> bool:
        """Does the network take whole times only?"""

    def node(self, t: float) -> Node:
        """The point at time t."""

    def at(self, logsnr: float) -> Node:
        """The point with this log-SNR: the inverse of `node`."""


def _vp(t: float, log_alpha: float) -> Node:
    """The variance-preserving point with α = exp(log_alpha); expm1 keeps the digits of a small σ."""
    return Node(t, math.exp(log_alpha), math.sqrt(-math.expm1(2 * log_alpha)))


def _log_alpha(logsnr: float) -> float:
    """Log α of the variance-preserving point: α² = sigmoid(2·logsnr)."""
    return -0.5 * (math.log1p(math.exp(-2 * logsnr)) if logsnr > 0 else math.log1p(math.exp(2 * logsnr)) - 2 * logsnr)


def _inside(t: float, low: float, high: float, name: str) -> None:
    if not low <= t <= high:
        raise DodeError(f"{name}: time {t:g} is outside [{low:g}, {high:g}]")


@dataclass(frozen=True, eq=False)
class DiscreteVP:
    """DDPM's schedule: ᾱ at the times 0 … T − 1, α = √ᾱ, σ = √(1 − ᾱ); t = −1 is the data.

    Between whole times log-SNR is linear in t, so that `at` inverts `node` exactly. The last ᾱ may be 0
    (zero terminal SNR); see `zero_terminal_snr`.
    """

    alphas_cumprod: np.ndarray  # (T,) float64, decreasing
    integer: bool = True
    _logsnr: np.ndarray = field(init=False, repr=False)  # (T,), −inf last if the terminal SNR is zero
    _rising: np.ndarray = field(init=False, repr=False)  # −log-SNR where it is finite, from time 0 on

    def __post_init__(self) -> None:
        a = np.asarray(self.alphas_cumprod, dtype=np.float64)
        if a.ndim != 1 or len(a) < 2 or not np.all(np.diff(a) < 0) or not (a[0] < 1 and a[-1] >= 0):
            raise DodeError(
                f"alphas_cumprod must fall strictly, from below 1 to 0 or above; got {a[:1]} … {a[-1:]}, {a.shape}"
            )
        object.__setattr__(self, "alphas_cumprod", a)
        with np.errstate(divide="ignore"):
            object.__setattr__(self, "_logsnr", 0.5 * (np.log(a) - np.log1p(-a)))
        object.__setattr__(self, "_rising", -self._logsnr[np.isfinite(self._logsnr)])

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray, integer: bool = True) -> "DiscreteVP":
        """ᾱ_t = Π (1 − β_s), s ≤ t."""
        return cls(np.cumprod(1 - np.asarray(betas, dtype=np.float64)), integer)

    @property
    def t_max(self) -> float:
        return float(len(self.alphas_cumprod) - 1)

    @property
    def t_min(self) -> float:
        return 0.0

    @property
    def t_end(self) -> float:
        return -1.0

    def node(self, t: float) -> Node:
        if t == -1:
            return Node(-1.0, 1.0, 0.0)
        _inside(t, 0, self.t_max, "discrete VP schedule")
        k = int(t)
        if t == k:
            a = float(self.alphas_cumprod[k])
            return Node(float(t), math.sqrt(a), math.sqrt(1 - a))
        low, high = self._logsnr[k], self._logsnr[k + 1]
        if high == -math.inf:
            raise DodeError(f"time {t:g} lies beside a node of zero SNR; only whole times exist there")
        return _vp(float(t), _log_alpha(float(low + (t - k) * (high - low))))

    def at(self, logsnr: float) -> Node:
        if logsnr in (math.inf, -math.inf):
            return self.node(-1.0 if logsnr > 0 else self.t_max)
        _inside(logsnr, -self._rising[-1] - 1e-9, -self._rising[0] + 1e-9, "log-SNR of the discrete VP schedule")
        t = float(np.interp(-logsnr, self._rising, np.arange(len(self._rising))))
        return self.node(t) if t == int(t) else _vp(t, _log_alpha(logsnr))


@dataclass(frozen=True)
class VP:
    """The continuous limit of DDPM (Song et al. 2021): log α = −t²·(β₁ − β₀)/4 − t·β₀/2."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_max: float = 1.0
    t_min: float = 1e-3
    t_end: float = 0.0
    integer: bool = False

    def node(self, t: float) -> Node:
        _inside(t, 0, 1, "VP schedule")
        return _vp(t, -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2)

    def at(self, logsnr: float) -> Node:
        if logsnr == math.inf:
            return self.node(0.0)
        b, c = self.beta_min, -4 * _log_alpha(logsnr)
        t = c / (b + math.sqrt(b**2 + (self.beta_max - b) * c))  # the root, without cancellation
        return _vp(t, _log_alpha(logsnr))


@dataclass(frozen=True)
class Cosine:
    """Nichol & Dhariwal 2021: α = cos(π/2·(t + s)/(1 + s)) / cos(π/2·s/(1 + s)).

    It starts a little before t = 1, where α = 0 (0.9946 is DPM-Solver's choice).
    """

    s: float = 0.008
    t_max: float = 0.9946
    t_min: float = 1e-3
    t_end: float = 0.0
    integer: bool = False

    def _angle(self, t: float) -> float:
        return math.pi / 2 * (t + self.s) / (1 + self.s)

    def node(self, t: float) -> Node:
        _inside(t, 0, self.t_max + ROUNDING, "cosine schedule")
        return _vp(t, math.log(math.cos(self._angle(t))) - math.log(math.cos(self._angle(0)))) if t else Node(0.0, 1, 0)

    def at(self, logsnr: float) -> Node:
        if logsnr == math.inf:
            return self.node(0.0)
        log_alpha = _log_alpha(logsnr)
        angle = math.acos(min(1.0, math.exp(log_alpha) * math.cos(self._angle(0))))
        return _vp(angle * 2 / math.pi * (1 + self.s) - self.s, log_alpha)


@dataclass(frozen=True)
class EDM:
    """Variance exploding, time is the noise level: α = 1, σ = t (Karras et al. 2022)."""

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    t_end: float = 0.0
    integer: bool = False

    @property
    def t_max(self) -> float:
        return self.sigma_max

    @property
    def t_min(self) -> float:
        return self.sigma_min

    def node(self, t: float) -> Node:
        _inside(t, 0, MOST, "EDM schedule")
        return Node(float(t), 1.0, float(t))

    def at(self, logsnr: float) -> Node:
        return self.node(math.exp(-logsnr))


@dataclass(frozen=True)
class Flow:
    """Straight paths (rectified flow): α = 1 − t, σ = t; the start t = 1 is pure noise, α = 0.

    shift: where grids spend their steps (Esser et al. 2024): they are even in u, and t = shift·u/(1 + (shift − 1)·u).
    """

    t_max: float = 1.0
    t_min: float = 1e-3
    t_end: float = 0.0
    integer: bool = False
    shift: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.shift < math.inf:
            raise DodeError(f"the shift of a flow schedule must be above 0; got {self.shift:g}")

    def node(self, t: float) -> Node:
        _inside(t, 0, 1, "flow schedule")
        return Node(float(t), 1.0 - t, float(t))

    def at(self, logsnr: float) -> Node:
        return self.node(1 / (1 + math.exp(logsnr)) if logsnr < 700 else 0.0)


@dataclass(frozen=True, eq=False)
class Functions:
    """A schedule from two functions of time; `from_functions` makes it."""

    alpha: Callable[[float], float]
    sigma: Callable[[float], float]
    t_max: float
    t_min: float
    integer: bool = False

    @property
    def t_end(self) -> float:
        return self.t_min

    def node(self, t: float) -> Node:
        _inside(t, self.t_min - ROUNDING, self.t_max + ROUNDING * max(1.0, abs(self.t_max)), "schedule")
        alpha, sigma = float(self.alpha(t)), float(self.sigma(t))
        # cos(π/2) is 6e-17, not 0: what is rounding is an end
        return Node(float(t), 0.0 if alpha < TINY * sigma else alpha, 0.0 if sigma < TINY * alpha else sigma)

    def at(self, logsnr: float) -> Node:
        low, high = self.t_min, self.t_max  # log-SNR falls with t: bisect to the last bit
        if not self.node(high).logsnr <= logsnr <= self.node(low).logsnr:
            raise DodeError(f"log-SNR {logsnr:g} is outside the schedule")
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self.node(middle).logsnr < logsnr else (middle, high)
        return self.node(low)


def from_functions(
    *, alpha: Callable[[float], float], sigma: Callable[[float], float], t_max: float, t_min: float
) -> Functions:
    """States x = alpha(t)·x₀ + sigma(t)·ε for t in [t_min, t_max], sampled from t_max to t_min.

    Raises ValueError unless log(alpha/sigma) falls strictly with t.
    """
    if not t_min < t_max:
        raise DodeError(f"t_min must be below t_max; got t_min={t_min:g}, t_max={t_max:g}")
    made = Functions(alpha, sigma, float(t_max), float(t_min))
    nodes = [made.node(t_min + (t_max - t_min) * i / 256) for i in range(257)]
    for s, t in pairwise(nodes):
        if not (min(s.alpha, s.sigma, t.alpha, t.sigma) >= 0 and t.logsnr < s.logsnr):
            raise DodeError(
                f"log(alpha/sigma) must fall strictly with t, alpha and sigma ≥ 0; it does not near t={s.t:g}"
            )
    return made


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """DDPM's betas: (steps,) from `first` to `last`."""
    return np.linspace(first, last, steps)


def zero_terminal_snr(alphas_cumprod: Sequence[float] | np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Shift and scale √ᾱ so that the last is 0 and the first stays: Lin et al. 2024, algorithm 1.

    Solvers in noise form cannot start at ᾱ = 0; `floor=2**-24` starts them just beside it.
    """
    root = np.sqrt(np.asarray(alphas_cumprod, dtype=np.float64))
    low = math.sqrt(floor)
    share = (root - root[-1]) / (root[0] - root[-1])  # 1 first, 0 last
    scaled: np.ndarray = (low + share * (root[0] - low)) ** 2
    return scaled
