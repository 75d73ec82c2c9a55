"""From a step function to a plan: run it once, in float64, on linear forms instead of tensors.

A step function ``step(x, s, t, net)`` writes one solver step from node s to node t as its equation: it asks ``net`` for
outputs and returns the next state.  It may add states and scale them by floats, so the same function runs on tensors.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from dode.errors import DodeError
from dode.method import Method
from dode.parameterization import Kind, express
from dode.plan import Plan
from dode.schedule import Node, Schedule

NUMBERS = (float, int, np.floating)
INNER = ("logsnr", "time", "rho")  # what the fraction of a step may be taken in
NOISE = -1  # the key of fresh noise in a Form


class Form:
    """A linear combination of the step's start state (0), the outputs O_k (1 + k) and fresh noise (NOISE).

    Nothing but adding and scaling: ``x * x`` or ``x + 1`` in a step function is a TypeError when it is traced.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None  # numpy floats defer to __rmul__

    def __init__(self, terms: dict[int, float]) -> None:
        self.terms = terms

    def __add__(self, other: "Form") -> "Form":
        if not isinstance(other, Form):
            return NotImplemented
        terms = dict(self.terms)
        for key, value in other.terms.items():
            terms[key] = terms.get(key, 0.0) + value
        return Form(terms)

    def __mul__(self, factor: float) -> "Form":
        if not isinstance(factor, NUMBERS):
            return NotImplemented
        return Form({key: float(value * factor) for key, value in self.terms.items()})

    __rmul__ = __mul__

    def __neg__(self) -> "Form":
        return self * -1.0

    def __sub__(self, other: "Form") -> "Form":
        return self + -other if isinstance(other, Form) else NotImplemented

    def __truediv__(self, factor: float) -> "Form":
        return self * (1.0 / factor) if isinstance(factor, NUMBERS) else NotImplemented

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a step adds states and outputs and scales them, nothing else; it asked for .{name}")


class Tracer:
    """The ``net`` of a step function, which records every evaluation."""

    def __init__(self, kind: Kind, schedule: Schedule, steps: int) -> None:
        self.kind = kind
        self.schedule = schedule
        self.steps = steps  # of the whole run; churn is shared out over them
        self.nodes: list[Node] = []  # where evaluations happened
        self.rows: list[Form] = []  # the state after each evaluation
        self.first = 0.0  # the noise added to x_T
        self.weights: list[Sequence[float]] = []
        self.step_starts: list[bool] = []
        self._opened = False

    def __call__(self, y: Form, node: Node, weights: Sequence[float] = (1.0,)) -> Form:
        """An evaluation.

        Args:
            y: the state.
            node: where the network is evaluated.
            weights: of this output and the earlier ones, newest first.

        Returns:
            The blended output.
        """
        if len(weights) > len(self.nodes) + 1:
            raise DodeError(
                f"{len(weights)} weights at evaluation {len(self.nodes)}, which has {len(self.nodes) + 1} outputs"
            )
        if self._opened:
            self.rows.append(y)
        elif y.terms != {0: 1.0}:
            raise DodeError("the first evaluation of a step must be at the state where the step starts")
        self.step_starts.append(not self._opened)
        self._opened = True
        self.nodes.append(node)
        self.weights.append(weights)
        return Form({len(self.nodes): 1.0})

    @property
    def past(self) -> tuple[Node, ...]:
        """Nodes of the evaluations so far, newest first."""
        return tuple(reversed(self.nodes))

    def split(self, x: Any, output: Any, node: Node) -> tuple[Any, Any]:
        """(x̂₀, ε̂) from a state and an output at a node."""
        (a, b), (c, d) = express((1.0, 0.0), self.kind, node), express((0.0, 1.0), self.kind, node)
        return a * x + b * output, c * x + d * output

    def move(self, x: Any, output: Any, s: Node, t: Node) -> Any:
        """The state at t if the output at s stays the same from s to t: DDIM's step, (3)."""
        x0, noise = self.split(x, output, s)
        return t.alpha * x0 + t.sigma * noise

    def between(self, s: Node, t: Node, r: float, inner: str) -> Node | None:
        """A node inside a step, at a whole time if the network takes no others.

        Args:
            s: where the step starts.
            t: where it ends.
            r: the fraction of the step.
            inner: what the fraction is taken in, "logsnr", "time", or "rho", which is σ/α.

        Returns:
            The node; None in a step to σ = 0, in one from α = 0 unless in time, and between neighbouring whole times.

        Raises:
            DodeError: for another word.
        """
        if inner not in INNER:
            raise DodeError(f"a node between two others is at a fraction in {', '.join(INNER)}; got {inner!r}")
        if t.sigma == 0 or (s.alpha == 0 and inner != "time"):
            return None
        if inner == "time":
            time = s.t + r * (t.t - s.t)
            node = self.schedule.node(float(round(time)) if self.schedule.integer else time)
        elif inner == "rho":
            node = _at(-math.log((1 - r) * s.sigma / s.alpha + r * t.sigma / t.alpha), self.schedule)
        else:
            node = _at(s.logsnr + r * (t.logsnr - s.logsnr), self.schedule)
        return node if s.logsnr < node.logsnr < t.logsnr else None

    def noise(self) -> Form:
        """Fresh standard normal noise, for samplers that are not distilled."""
        return Form({NOISE: 1.0})

    def raised(self, s: Node, factor: float) -> Node:
        """Add noise to the state at the step's start until its σ/α is ``factor`` times larger, and return the node."""
        if self.rows:
            noisiest = self.schedule.node(self.schedule.t_max - (1 if self.schedule.integer else 0))
            m = _at(max(s.logsnr - math.log(factor), noisiest.logsnr), self.schedule)
            keep = m.alpha / s.alpha
            self.rows[-1] = keep * self.rows[-1] + _root(m.sigma**2 - (keep * s.sigma) ** 2) * self.noise()
            return m
        if s.alpha != 1 or self.schedule.t_limit == self.schedule.t_max:  # x_T stands where the schedule begins
            return s
        self.first = s.sigma * _root(factor**2 - 1)
        return self.schedule.at(s.logsnr - math.log(factor))

    def step(self, method: Method, s: Node, t: Node) -> None:
        """Run one step from s to t; DodeError if it makes no evaluation or returns no state."""
        self._opened = False
        state = method.step(Form({0: 1.0}), s, t, self)
        if not isinstance(state, Form):
            raise DodeError(f"a step of {method.name} must return the next state; it returned {type(state).__name__}")
        if not self._opened:
            raise DodeError(f"a step of {method.name} made no evaluation")
        self.rows.append(state)

    def plan(self, end: Node) -> Plan:
        """The matrices of everything recorded."""
        n = len(self.nodes)
        start, use, blend, noise = np.zeros(n), np.zeros((n, n)), np.zeros((n, n)), np.zeros(n + 1)
        noise[0] = self.first
        for k, (row, weights) in enumerate(zip(self.rows, self.weights, strict=True)):
            for key, value in row.terms.items():
                if key == NOISE:
                    noise[k + 1] = value
                elif key:
                    use[k, key - 1] = value
                else:
                    start[k] = value
            blend[k, k - len(weights) + 1 : k + 1] = weights[::-1]
        mix = np.eye(n, 1 + n, 1)
        return Plan(self.kind, (*self.nodes, end), tuple(self.step_starts), start, use, mix, blend, noise)


def _at(logsnr: float, schedule: Schedule) -> Node:
    """The node of a log-SNR, at the nearest whole time if the network takes no others."""
    node = schedule.at(logsnr)
    return schedule.node(float(round(node.t))) if schedule.integer else node


def _root(square: float) -> float:
    """The square root; rounding below 0 is 0."""
    return math.sqrt(max(0.0, square))


def trace(methods: Method | Sequence[Method], nodes: Sequence[Node], schedule: Schedule, kind: Kind) -> Plan:
    """The plan of a solver.

    Args:
        methods: one for every step, or one for all steps.
        nodes: where steps start, and the end: steps + 1 of them.
        schedule: where inner nodes are found.
        kind: the outputs that the steps are written in.

    Raises:
        DodeError: for another number of methods than steps, and for a step that is not consistent.
    """
    if isinstance(methods, Method):
        methods = [methods] * (len(nodes) - 1)
    if len(methods) != len(nodes) - 1:
        raise DodeError(f"{len(methods)} methods for {len(nodes) - 1} steps")
    tracer = Tracer(kind, schedule, len(methods))
    for method, (s, t) in zip(methods, pairwise(nodes), strict=True):
        tracer.step(method, s, t)
    return tracer.plan(nodes[-1])
