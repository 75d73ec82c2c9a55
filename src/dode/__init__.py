"""Distil the ODE solver of any pre-trained diffusion or flow model.

Public names load on first use, so that ``dode --help`` needs neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dode import (
        analytic,
        distillation,
        edm,
        grid,
        kdiffusion,
        lists,
        metrics,
        plan,
        prediction,
        recipes,
        sampling,
        schedule,
        solvers,
        tracing,
    )
    from dode.azula import from_azula
    from dode.citations import cite
    from dode.distilled import distill
    from dode.edm import from_edm
    from dode.kdiffusion import from_kdiffusion
    from dode.methods import Method
    from dode.metrics.evaluation import evaluate
    from dode.model import Model, from_callable
    from dode.pipeline.model import from_diffusers
    from dode.plan import Plan
    from dode.samplers import Sampler, load, sampler, save
    from dode.search.interpolation import interpolate
    from dode.solvers import METHODS
    from dode.weights import bundled

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "solvers",
    "Method": "methods",
    "Model": "model",
    "Plan": "plan",
    "Sampler": "samplers",
    "bundled": "weights",
    "cite": "citations",
    "distill": "distilled",
    "evaluate": "metrics.evaluation",
    "from_azula": "azula",
    "from_callable": "model",
    "from_diffusers": "pipeline.model",
    "from_kdiffusion": "kdiffusion",
    "from_edm": "edm",
    "interpolate": "search.interpolation",
    "load": "samplers",
    "sampler": "samplers",
    "save": "samplers",
}
_MODULES = (
    "analytic",
    "azula",
    "distillation",
    "edm",
    "grid",
    "hub",
    "kdiffusion",
    "lists",
    "metrics",
    "plan",
    "plots",
    "prediction",
    "recipes",
    "report",
    "sampling",
    "schedule",
    "solvers",
    "tracing",
)

__all__ = [
    "METHODS",
    "Method",
    "Model",
    "Plan",
    "Sampler",
    "analytic",
    "bundled",
    "cite",
    "distill",
    "distillation",
    "edm",
    "evaluate",
    "from_azula",
    "from_callable",
    "from_diffusers",
    "from_edm",
    "from_kdiffusion",
    "grid",
    "interpolate",
    "kdiffusion",
    "lists",
    "load",
    "metrics",
    "plan",
    "prediction",
    "recipes",
    "sampler",
    "sampling",
    "save",
    "schedule",
    "solvers",
    "tracing",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"dode.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"dode.{name}")
    raise AttributeError(f"module 'dode' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
