"""From a step function to a plan: run it once, in float64, on linear forms instead of tensors.

A step function ``step(x, s, t, net)`` writes one solver step from node s to node t as its equation: it asks ``net`` for
outputs and returns the next state.  It may add states and scale them by floats, so the same function runs on tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dode.plan import Plan
from dode.prediction import Kind, express
from dode.schedule import Node, Schedule


class Form:
    """A linear combination of the step's start state (0) and the outputs O_k (1 + k).

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
        if not isinstance(factor, float | int | np.floating):
            return NotImplemented
        return Form({key: float(value * factor) for key, value in self.terms.items()})

    __rmul__ = __mul__

    def __neg__(self) -> "Form":
        return self * -1.0

    def __sub__(self, other: "Form") -> "Form":
        return self + -other if isinstance(other, Form) else NotImplemented

    def __truediv__(self, factor: float) -> "Form":
        return self * (1.0 / factor) if isinstance(factor, float | int | np.floating) else NotImplemented


class Tracer:
    """What a step function calls ``net``; it records every evaluation."""

    def __init__(self, kind: Kind, schedule: Schedule) -> None:
        self.kind = kind
        self.schedule = schedule
        self.nodes: list[Node] = []  # where evaluations happened
        self.rows: list[Form] = []  # the state after each evaluation
        self.weights: list[Sequence[float]] = []
        self.fresh: list[bool] = []
        self._opened = False

    def __call__(self, y: Form, node: Node, weights: Sequence[float] = (1.0,)) -> Form:
        """Evaluate at node on the state y; weights, newest first, blend this raw output with earlier ones."""
        if len(weights) > len(self.nodes) + 1:
            raise ValueError(f"{len(weights)} weights at evaluation {len(self.nodes)}: there are not so many outputs")
        if self._opened:
            self.rows.append(y)
        elif y.terms != {0: 1.0}:
            raise ValueError("the first evaluation of a step must be at the state where the step starts")
        self.fresh.append(not self._opened)
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

    def between(self, s: Node, t: Node, r: float) -> Node:
        """The node at the fraction r of the log-SNR step; at the nearest whole time if the network needs one."""
        node = self.schedule.at(s.logsnr + r * (t.logsnr - s.logsnr))
        return self.schedule.node(float(round(node.t))) if self.schedule.integer else node

    def step(self, method: "Method", s: Node, t: Node) -> None:
        """Run one step from s to t."""
        self._opened = False
        state = method.step(Form({0: 1.0}), s, t, self)
        if not self._opened:
            raise ValueError(f"a step of {method.name} made no evaluation")
        self.rows.append(state)

    def plan(self, end: Node) -> Plan:
        """The matrices of everything recorded."""
        n = len(self.nodes)
        start, use, blend = np.zeros(n), np.zeros((n, n)), np.zeros((n, n))
        for k, (row, weights) in enumerate(zip(self.rows, self.weights, strict=True)):
            start[k] = row.terms.get(0, 0.0)
            for key, value in row.terms.items():
                if key:
                    use[k, key - 1] = value
            blend[k, k - len(weights) + 1 : k + 1] = weights[::-1]
        mix = np.eye(n, 1 + n, 1)
        return Plan(self.kind, (*self.nodes, end), tuple(self.fresh), start, use, mix, blend)


Step = Callable[[Any, Node, Node, Any], Any]  # on Forms and a Tracer, or on tensors and anything that acts as one

STEADY: dict[Kind, Kind] = {"v": "data", "score": "noise"}


@dataclass(frozen=True)
class Method:
    """A row of the catalogue."""

    name: str
    step: Step
    kinds: tuple[Kind, ...]  # the outputs it is written in; empty: any
    stages: int  # most evaluations a step asks for
    order: int  # measured by tests/test_order.py
    about: str  # one line with the reference

    def kind(self, prediction: Kind) -> Kind:
        """The outputs to use for a network of this prediction: its own if the method is written in them.

        v and score change along a straight line, so differences of them would not vanish there: data and noise instead.
        """
        steady = STEADY.get(prediction, prediction)
        return steady if not self.kinds or steady in self.kinds else self.kinds[0]


def trace(methods: Method | Sequence[Method], nodes: Sequence[Node], schedule: Schedule, kind: Kind) -> Plan:
    """One method for every step, or one for all, on the given nodes (steps + 1 of them)."""
    if isinstance(methods, Method):
        methods = [methods] * (len(nodes) - 1)
    if len(methods) != len(nodes) - 1:
        raise ValueError(f"{len(methods)} methods for {len(nodes) - 1} steps")
    tracer = Tracer(kind, schedule)
    for method, (s, t) in zip(methods, pairwise(nodes), strict=True):
        tracer.step(method, s, t)
    return tracer.plan(nodes[-1])
