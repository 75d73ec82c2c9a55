"""Solvers as users write them: [d-]NAME[:option=value …], such as d-dpm-solver-2:inner=time, or a `Method`."""

from dataclasses import dataclass, field

from dode.errors import DodeError
from dode.messages import unknown
from dode.method import Method
from dode.solvers import METHODS, method

FIT_OPTIONS = ("formulation", "lam", "teacher", "carry", "states")  # of the distilled form, for dode.distill


@dataclass(frozen=True)
class SolverSpec:
    """A solver as it was asked for.

    Attributes:
        text: The name with its options.
        method: The method, with its options chosen.
        distilled: Whether its distilled form is meant.
        fit_options: Options of the distilled form, as they were written.
    """

    text: str
    method: Method
    distilled: bool
    fit_options: dict[str, str] = field(default_factory=dict)


def read(solver: str | Method, distilled: bool = False) -> SolverSpec:
    """The solver of a name with its options, or of a Method.

    Args:
        solver: [d-]NAME[:option=value …], or a Method as it is.
        distilled: Whether the distilled form is meant without a d- before the name, too.

    Raises:
        DodeError: for a name or an option that does not exist.
    """
    if isinstance(solver, Method):
        return SolverSpec(solver.label, solver, distilled)
    if not isinstance(solver, str):
        raise DodeError(f"a solver is a name, as in dode.METHODS, or a dode.Method; got {solver!r}")
    name, *parts = solver.split(":")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise DodeError(f"options are written name=value; got {part!r} in {solver!r}")
        if key == "grid":
            raise DodeError(f"a grid is no option of a solver: give it by itself, grid= or --grid; got {solver!r}")
        options[key] = value
    base = name.removeprefix("d-")
    if base == "auto":
        raise DodeError("auto is a search, not a solver: dode.auto(model, nfe), or dode auto")
    if base not in METHODS:
        raise unknown("method", name, METHODS if base == name else [f"d-{known}" for known in METHODS])
    distilled = distilled or base != name
    fit_options = {key: options.pop(key) for key in FIT_OPTIONS if key in options} if distilled else {}
    return SolverSpec(solver, method(base, **options), distilled, fit_options)


def plain_name(name: str) -> str:
    """The solver that a distilled one is compared with: d-ddim:formulation=sep, d-ddim@FILE → ddim."""
    name, *options = name.partition("@")[0].removeprefix("d-").split(":")
    return ":".join([name, *(option for option in options if option.partition("=")[0] not in FIT_OPTIONS)])
