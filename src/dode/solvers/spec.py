"""Names with options, as users write them: d-dpm-solver-2:inner=time."""

from dataclasses import dataclass
from typing import Any

from dode.errors import DodeError
from dode.messages import unknown
from dode.method import Method
from dode.solvers import METHODS, method

FITTED = ("formulation", "lam", "teacher", "carry", "states")  # options of the distilled form, read by dode.distill


@dataclass(frozen=True)
class Name:
    """A solver as it was asked for."""

    text: str
    method: Method
    distilled: bool
    fitted: dict[str, Any]  # options of the distilled form


def read(text: str, **options: Any) -> Name:
    """[d-]NAME[:option=value …], with the options of the solver and, after d-, those of its distilled form.

    options: the same ones as keywords; the text wins.  Raises ValueError for what does not exist.
    """
    name, *parts = text.split(":")
    found = dict(options)
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise DodeError(f"options are written name=value; got {part!r} in {text!r}")
        if key == "grid":
            raise DodeError(f"a grid is no option of a solver: give it by itself, grid= or --grid; got {text!r}")
        found[key] = value
    distilled = name.startswith("d-")
    if distilled and name.removeprefix("d-") not in METHODS:
        raise unknown("method", name, [f"d-{one}" for one in METHODS])
    fitted = {key: found.pop(key) for key in FITTED if key in found} if distilled else {}
    return Name(text, method(name.removeprefix("d-"), **found), distilled, fitted)


def plain_name(name: str) -> str:
    """The solver that a distilled one is compared with: d-ddim:formulation=sep, d-ddim@FILE → ddim."""
    name, *options = name.partition("@")[0].removeprefix("d-").split(":")
    return ":".join([name, *(option for option in options if option.partition("=")[0] not in FITTED)])
