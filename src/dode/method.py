"""What a row of the catalogue says of a solver: its step function, its order, its options."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from dode.errors import DodeError
from dode.parameterization import KINDS, Kind
from dode.schedule import Schedule

Step = Callable[
    ..., Any
]  # (x, s, t, net, **options) on Forms and a Tracer, or on tensors and anything that acts as one
Value = str | float | int

STEADY: dict[Kind, Kind] = {"v": "data", "score": "noise"}


ELSEWHERE = {  # what is often asked of a solver and belongs to its fit or to the model
    **{name: f"{name}, of dode.distill" for name in ("samples", "scale", "teacher", "formulation", "batch", "quick")},
    **{name: f"{name}, of dode.sampler and dode.distill" for name in ("grid", "nfe", "end")},
    **{"guidance": "model.guided(scale)", "label": "model.labelled(label)", "threshold": "model.thresholded(limit)"},
}


@dataclass(frozen=True)
class Option:
    """Something of a solver that may be chosen: one of some words, or a number within limits."""

    default: Value
    words: tuple[str, ...] = ()
    least: float = 0.0
    most: float = float("inf")
    about: str = ""

    def read(self, name: str, value: Any) -> Value:
        """The value, from Python or from a command line; ValueError says what is allowed."""
        if self.words:
            if value not in self.words:
                raise DodeError(f"{name} must be one of {', '.join(self.words)}; got {value!r}")
            return str(value)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise DodeError(f"{name} must be a number; got {value!r}") from error
        if not self.least <= number <= self.most or not (math.isfinite(number) or number == self.default):
            raise DodeError(f"{name} must be from {self.least:g} to {self.most:g}; got {value!r}")
        return number


@dataclass(frozen=True)
class Method:
    """A row of the catalogue."""

    name: str
    step: Step
    kinds: tuple[Kind, ...]  # the outputs it is written in, the best first; empty: any
    stages: int  # most evaluations a step asks for
    order: int  # measured by tests/test_order.py
    about: str  # one line with the reference
    options: Mapping[str, Option] = field(default_factory=dict)
    lower: "Method | None" = None  # for the rest of a budget: the same with one evaluation less a step
    warmup: tuple[int, ...] = ()  # evaluations of its first steps, if they differ
    even: bool = False  # do its weights suppose steps of one length?
    teacher: str = "ddim"  # the paper's, by name; "self": the method with more steps
    chosen: Mapping[str, Value] = field(default_factory=dict)  # options that differ from their defaults

    def __post_init__(self) -> None:
        if wrong := set(self.kinds) - set(KINDS):
            raise DodeError(f"{self.name}: outputs are {', '.join(KINDS)}; got {', '.join(map(repr, wrong))}")
        if self.stages < 1 or self.order < 1 or (self.stages > 1 and self.lower is None and not self.warmup):
            raise DodeError(
                f"{self.name}: stages and order are at least 1, and with several stages lower is needed, for the rest "
                f"of a budget; got stages={self.stages}, order={self.order}, lower={self.lower and self.lower.name}"
            )

    def configured(self, **options: Any) -> "Method":
        """The method with some options chosen; ValueError names those it has."""
        chosen = dict(self.chosen)
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                near = get_close_matches(name, ELSEWHERE, 1, 0.75)
                hint = f"did you mean {ELSEWHERE[near[0]]}?" if near else f"its options: {known}"
                raise DodeError(f"{self.name} has no option {name!r}; {hint}")
            read = self.options[name].read(name, value)
            chosen.pop(name, None)
            if read != self.options[name].default:
                chosen[name] = read
        step = self.step.func if isinstance(self.step, partial) else self.step
        shared = {name: value for name, value in chosen.items() if self.lower and name in self.lower.options}
        lower = self.lower.configured(**shared) if self.lower else None
        return replace(self, step=partial(step, **chosen) if chosen else step, lower=lower, chosen=chosen)

    @property
    def label(self) -> str:
        """The name with the options that were chosen: dpm-solver-2:inner=time."""
        return self.name + "".join(f":{name}={_text(value)}" for name, value in self.chosen.items())

    def kind(self, prediction: Kind, schedule: Schedule) -> Kind:
        """The outputs to use for a network of this prediction on this schedule.

        A method that is written in any outputs takes the network's own, and so do flow networks; else the first of its
        kinds that exists where sampling starts: noise does not where α = 0. v and score change along a straight line,
        so differences of them would not vanish there: data and noise instead.
        """
        own = STEADY.get(prediction, prediction)
        if not self.kinds or (own == "flow" and own in self.kinds):
            return own
        if schedule.node(schedule.t_max).alpha > 0:
            return self.kinds[0]
        return next((kind for kind in self.kinds if kind != "noise"), self.kinds[0])


def _text(value: Value) -> str:
    return str(value).removesuffix(".0")
