"""A solver of the catalogue: its step function, its order, its options."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from dode.errors import DodeError
from dode.parameterization import KINDS, Kind
from dode.schedule import Schedule

Step = Callable[..., Any]  # (x, s, t, net, **options), x and net: Form and Tracer, or tensors and anything like one
Value = str | float | int

STEADY: dict[Kind, Kind] = {"v": "data", "score": "noise"}
ELSEWHERE = {  # options of the fit or of the model that are often given to a solver
    **{name: f"{name}, of dode.distill" for name in ("samples", "scale", "teacher", "formulation", "batch", "quick")},
    **{name: f"{name}, of dode.sampler and dode.distill" for name in ("grid", "nfe", "end")},
    **{"guidance": "model.guided(scale)", "label": "model.labelled(label)", "threshold": "model.thresholded(limit)"},
}


@dataclass(frozen=True)
class Option:
    """An option of a solver: one of some words, or a number within limits."""

    default: Value
    words: tuple[str, ...] = ()
    least: float = 0.0
    most: float = float("inf")
    about: str = ""

    def read(self, name: str, value: Any) -> Value:
        """The value of a Python object or of a command line's text; DodeError says what is allowed."""
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
    """A solver: a row of the catalogue, or your own.

    Raises:
        DodeError: for unknown outputs, and for several stages without a ``lower`` method.
    """

    name: str
    step: Step
    kinds: tuple[Kind, ...]  # the outputs it is written in, the best first; empty: any
    stages: int  # the most evaluations of a step
    order: int  # measured by tests/test_order.py
    about: str  # one line with the reference
    options: Mapping[str, Option] = field(default_factory=dict)
    lower: "Method | None" = None  # the same with one evaluation less a step, for the rest of the evaluations
    warmup: tuple[int, ...] = ()  # evaluations of its first steps, if they differ
    even: bool = False  # whether its weights suppose steps of one length
    teacher: str = "ddim"  # by name; "self": the method with more steps
    chosen: Mapping[str, Value] = field(default_factory=dict)  # options that differ from their defaults

    def __post_init__(self) -> None:
        if wrong := set(self.kinds) - set(KINDS):
            raise DodeError(f"{self.name}: outputs are {', '.join(KINDS)}; got {', '.join(map(repr, wrong))}")
        if self.stages < 1 or self.order < 1 or (self.stages > 1 and self.lower is None and not self.warmup):
            raise DodeError(
                f"{self.name}: stages and order must be at least 1, and a method of several stages needs lower; "
                f"got stages={self.stages}, order={self.order}, lower={self.lower and self.lower.name}"
            )

    def configured(self, **options: Any) -> "Method":
        """The method with these options; DodeError names those that it has."""
        chosen = dict(self.chosen)
        for name, value in options.items():
            if name not in self.options:
                near = get_close_matches(name, ELSEWHERE, 1, 0.75)
                own = f"its options: {', '.join(self.options) or 'none'}"
                hint = f"did you mean {ELSEWHERE[near[0]]}?" if near else own
                raise DodeError(f"{self.name} has no option {name!r}; {hint}")
            chosen.pop(name, None)
            if (option := self.options[name].read(name, value)) != self.options[name].default:
                chosen[name] = option
        step = self.step.func if isinstance(self.step, partial) else self.step
        shared = {name: value for name, value in chosen.items() if self.lower and name in self.lower.options}
        lower = self.lower.configured(**shared) if self.lower else None
        return replace(self, step=partial(step, **chosen) if chosen else step, lower=lower, chosen=chosen)

    @property
    def label(self) -> str:
        """The name with its options: dpm-solver-2:inner=time."""
        return self.name + "".join(f":{name}={str(v).removesuffix('.0')}" for name, v in self.chosen.items())

    def kind(self, prediction: Kind, schedule: Schedule) -> Kind:
        """The outputs to use for a network of this prediction on this schedule.

        A method written in any outputs takes the network's own, and so does a network of flows; else it takes the first
        of its kinds that exists where sampling starts: noise does not where α = 0. v and score change along straight
        paths, so their differences would not vanish there: data and noise instead.
        """
        own = STEADY.get(prediction, prediction)
        if not self.kinds or (own == "flow" and own in self.kinds):
            return own
        if schedule.node(schedule.t_max).alpha > 0:
            return self.kinds[0]
        return next((kind for kind in self.kinds if kind != "noise"), self.kinds[0])
