"""Noise schedules: x = α·x₀ + σ·ε at time t.  log-SNR here is always log(α/σ), half of what some papers use.

All numbers are plain floats: everything known ahead of a run is computed ahead, in float64.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dode.errors import DodeError

TINY, MOST = 1e-12, 1e30  # networks get times and levels in float32, which ends at 3e38
ROUNDING = 1e-6  # a time that went through float32 may come back this much beyond an end


class Node(NamedTuple):
    """A point of a schedule: the time that the network is given, and x = alpha·x₀ + sigma·noise."""

    t: float
    alpha: float
    sigma: float

    @property
    def logsnr(self) -> float:
        """log(α/σ); +inf at σ = 0, −inf at α = 0."""
        if self.sigma == 0:
            return math.inf
        return -math.inf if self.alpha == 0 else math.log(self.alpha) - math.log(self.sigma)


class Schedule(ABC):
    """A noise schedule, and everything that grids, solvers, fits and adapters ask about it.

    A schedule of your own derives from this class and defines ``t_max``, ``t_min`` and ``node``; all else has an
    answer here, and is redefined where another answer is right or quicker.  log-SNR falls strictly with time.

    Attributes:
        t_max: where sampling starts.
        t_min: the cleanest time that the network was trained on.
        t_end: where sampling ends, the data (σ = 0) if the schedule has such a point; `t_min` if not given.
        t_limit: the largest time for which `node` answers; `t_max` if not given.
        integer: whether the network takes whole times only.
        knots: for schedules from a table, the times of its rows, rising. Between them log-SNR is smooth, below the
            first there is only `t_end`. Grids of the published code count these rows.
        default_grid: the name of the grid to use when none is asked for; "karras" for noise levels as times.
        continuous_path: whether the network follows an ODE between its times; one that was distilled to few steps does
            not, and nothing can be fitted to it.
        shift: where even grids spend their steps (Esser et al. 2024): even in u, t = shift·u/(1 + (shift − 1)·u); for
            times in [0, 1].
    """

    integer: bool = False
    default_grid: str = "trailing"
    shift: float = 1.0
    continuous_path: bool = True

    if TYPE_CHECKING:  # attributes, fields of a dataclass or properties, as a subclass likes

        @property
        def t_max(self) -> float: ...
        @property
        def t_min(self) -> float: ...

    @cached_property
    def knots(self) -> Sequence[float]:
        return ()

    @cached_property
    def t_end(self) -> float:
        return self.t_min

    @cached_property
    def t_limit(self) -> float:
        return self.t_max

    @abstractmethod
    def node(self, t: float) -> Node:
        """The point at time t, t_end ≤ t ≤ t_limit; between whole times too, even if `integer`."""

    def at(self, logsnr: float) -> Node:
        """The point with this log-SNR, the inverse of `node`; here by bisection to the last bit.

        Raises DodeError for a log-SNR outside the schedule.
        """
        low, high = self.knots[0] if self.knots else self.t_end, self.t_max
        ends = [self.node(low), self.node(high)]
        if not ends[1].logsnr <= logsnr <= ends[0].logsnr:
            ends = [self.node(self.t_end)]
        for end in ends:
            if logsnr == end.logsnr:
                return end
        if len(ends) == 1:
            raise DodeError(f"log-SNR {logsnr:g} is outside the schedule")
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self.node(middle).logsnr < logsnr else (middle, high)
        return self.node(low)

    def default_times(self, steps: int) -> str | Sequence[float]:
        """The grid of this many steps when none is asked for: its name, or the times themselves, steps + 1."""
        return self.default_grid

    def continuous(self) -> "Schedule":
        """The schedule of the same network called at times between whole ones; itself where `integer` is False."""
        if not self.integer:
            return self
        schedule = copy(self)
        object.__setattr__(schedule, "integer", False)
        return schedule


def checked_schedule(schedule: Any) -> Schedule:
    """The schedule; DodeError for anything else."""
    if not isinstance(schedule, Schedule):
        raise DodeError(
            "schedule must be an object of dode.schedule, such as VP() or EDM(), or of a class derived from "
            f"dode.schedule.Schedule; got {schedule!r}"
        )
    return schedule


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
class DiscreteVP(Schedule):
    """DDPM's schedule: ᾱ at the times 0 … T − 1, α = √ᾱ, σ = √(1 − ᾱ); t = −1 is the data.

    Between whole times log-SNR is linear in t, so that `at` inverts `node` exactly. The last ᾱ may be 0
    (zero terminal SNR); see `zero_terminal_snr`.
    """

    t_min, t_end = 0.0, -1.0

    alphas_cumprod: np.ndarray  # (T,) float64, decreasing
    integer: bool = True

    def __post_init__(self) -> None:
        a = np.asarray(self.alphas_cumprod, dtype=np.float64)
        if a.ndim != 1 or len(a) < 2 or not np.all(np.diff(a) < 0) or not (a[0] < 1 and a[-1] >= 0):
            raise DodeError(
                f"alphas_cumprod must fall strictly, from below 1 to 0 or above; got {a[:1]} … {a[-1:]}, {a.shape}"
            )
        object.__setattr__(self, "alphas_cumprod", a)

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray, integer: bool = True) -> "DiscreteVP":
        """ᾱ_t = Π (1 − β_s), s ≤ t."""
        return cls(np.cumprod(1 - np.asarray(betas, dtype=np.float64)), integer)

    @cached_property
    def knots(self) -> Sequence[float]:
        return tuple(map(float, range(len(self.alphas_cumprod))))

    @cached_property
    def t_max(self) -> float:
        return self.knots[-1]

    @cached_property
    def _logsnr(self) -> np.ndarray:
        """(T,): −inf last if the terminal SNR is zero."""
        with np.errstate(divide="ignore"):
            levels: np.ndarray = 0.5 * (np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod))
        return levels

    @cached_property
    def _rising(self) -> np.ndarray:
        """−log-SNR where it is finite, from time 0 on."""
        rising: np.ndarray = -self._logsnr[np.isfinite(self._logsnr)]
        return rising

    def node(self, t: float) -> Node:
        """The point at time t; DodeError outside the schedule, and beside a node of zero SNR."""
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
class VP(Schedule):
    """The continuous limit of DDPM (Song et al. 2021): log α = −t²·(β₁ − β₀)/4 − t·β₀/2."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_max: float = 1.0
    t_min: float = 1e-3
    t_end: float = 0.0

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
class Cosine(Schedule):
    """Nichol & Dhariwal 2021: α = cos(π/2·(t + s)/(1 + s)) / cos(π/2·s/(1 + s)).

    It starts a little before t = 1, where α = 0 (0.9946 is DPM-Solver's choice).
    """

    s: float = 0.008
    t_max: float = 0.9946
    t_min: float = 1e-3
    t_end: float = 0.0

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
class EDM(Schedule):
    """Variance exploding, time is the noise level: α = 1, σ = t (Karras et al. 2022)."""

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    t_end: float = 0.0
    t_limit, default_grid = MOST, "karras"

    @cached_property
    def t_max(self) -> float:
        return self.sigma_max

    @cached_property
    def t_min(self) -> float:
        return self.sigma_min

    def node(self, t: float) -> Node:
        _inside(t, 0, MOST, "EDM schedule")
        return Node(float(t), 1.0, float(t))

    def at(self, logsnr: float) -> Node:
        return self.node(math.exp(-logsnr))


@dataclass(frozen=True)
class Flow(Schedule):
    """Straight paths (rectified flow): α = 1 − t, σ = t; the start t = 1 is pure noise, α = 0."""

    t_max: float = 1.0
    t_min: float = 1e-3
    t_end: float = 0.0
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
class Functions(Schedule):
    """A schedule from two functions of time; `from_functions` makes it."""

    alpha: Callable[[float], float]
    sigma: Callable[[float], float]
    t_max: float
    t_min: float

    def __post_init__(self) -> None:
        if not self.t_min < self.t_max:
            raise DodeError(f"t_min must be below t_max; got t_min={self.t_min:g}, t_max={self.t_max:g}")
        nodes = [self.node(self.t_min + (self.t_max - self.t_min) * i / 256) for i in range(257)]
        for s, t in pairwise(nodes):
            if not (min(s.alpha, s.sigma, t.alpha, t.sigma) >= 0 and t.logsnr < s.logsnr):
                raise DodeError(
                    f"log(alpha/sigma) must fall strictly with t, alpha and sigma ≥ 0; it does not near t={s.t:g}"
                )

    def node(self, t: float) -> Node:
        _inside(t, self.t_min - ROUNDING, self.t_max + ROUNDING * max(1.0, abs(self.t_max)), "schedule")
        alpha, sigma = float(self.alpha(t)), float(self.sigma(t))
        # cos(π/2) is 6e-17, not 0: what is rounding is an end
        return Node(float(t), 0.0 if alpha < TINY * sigma else alpha, 0.0 if sigma < TINY * alpha else sigma)


def from_functions(
    *, alpha: Callable[[float], float], sigma: Callable[[float], float], t_max: float, t_min: float
) -> Functions:
    """States x = alpha(t)·x₀ + sigma(t)·ε for t in [t_min, t_max], sampled from t_max to t_min.

    Raises DodeError unless log(alpha/sigma) falls strictly with t.
    """
    return Functions(alpha, sigma, float(t_max), float(t_min))


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
