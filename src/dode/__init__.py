"""Distil the ODE solver of any pre-trained diffusion or flow model.

Public names load on first use, so that ``dode --help`` needs neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dode import (
        analytic,
        calibration,
        errors,
        integrations,
        metrics,
        parameterization,
        plan,
        sampling,
        schedule,
        sigma_tables,
        solvers,
        timesteps,
        tracing,
    )
    from dode.bundled_models import bundled
    from dode.citations import cite
    from dode.distillation.api import distill
    from dode.integrations.azula import from_azula
    from dode.integrations.diffusers.from_pipeline import from_diffusers
    from dode.integrations.edm import from_edm
    from dode.integrations.k_diffusion import from_kdiffusion
    from dode.method import Method
    from dode.metrics.evaluation import evaluate
    from dode.model import Model, from_callable
    from dode.opening import open_model
    from dode.plan import Plan
    from dode.samplers import Sampler, load, sampler, save
    from dode.search.api import auto
    from dode.search.interpolation import interpolate
    from dode.solvers import METHODS

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "solvers",
    "Method": "method",
    "Model": "model",
    "Plan": "plan",
    "Sampler": "samplers",
    "auto": "search.api",
    "bundled": "bundled_models",
    "cite": "citations",
    "distill": "distillation.api",
    "evaluate": "metrics.evaluation",
    "from_azula": "integrations.azula",
    "from_callable": "model",
    "from_diffusers": "integrations.diffusers.from_pipeline",
    "from_edm": "integrations.edm",
    "from_kdiffusion": "integrations.k_diffusion",
    "interpolate": "search.interpolation",
    "load": "samplers",
    "open_model": "opening",
    "sampler": "samplers",
    "save": "samplers",
}
_MODULES = (
    "analytic",
    "calibration",
    "errors",
    "hub",
    "integrations",
    "metrics",
    "parameterization",
    "plan",
    "plots",
    "report",
    "sampling",
    "schedule",
    "sigma_tables",
    "solvers",
    "timesteps",
    "tracing",
)

__all__ = [
    "METHODS",
    "Method",
    "Model",
    "Plan",
    "Sampler",
    "analytic",
    "auto",
    "bundled",
    "calibration",
    "cite",
    "distill",
    "errors",
    "evaluate",
    "from_azula",
    "from_callable",
    "from_diffusers",
    "from_edm",
    "from_kdiffusion",
    "integrations",
    "interpolate",
    "load",
    "metrics",
    "open_model",
    "parameterization",
    "plan",
    "sampler",
    "sampling",
    "save",
    "schedule",
    "sigma_tables",
    "solvers",
    "timesteps",
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
