"""Texts of messages: small numbers, unknown names, and packages that are not installed."""

import math
from collections.abc import Iterable
from difflib import get_close_matches

from dode.errors import DodeError

OTHER_NAMES = {  # of other tools, for solvers of the catalogue
    **{"euler": "ddim", "heun": "edm", "plms": "pndm", "lms": "ipndm", "dpm++2m": "dpm-solver++2m"},
    **{"dpmpp_2m": "dpm-solver++2m", "dpmpp_3m": "dpm-solver++3m", "dpmpp_2s": "dpm-solver++2s"},
}


def extra(name: str) -> str:
    """How to get the packages of one of the extras in pyproject.toml."""
    return f"pip install '.[{name}]' in dode's folder"


def distance(value: float, of: float | None = None) -> str:
    """Four decimals, more where those would leave less than two digits of the value, or of another number, ``of``."""
    size = abs(value if of is None else of)
    if not 0 < size < 1e-3:
        return f"{value:.4f}"
    return f"{value:.{1 - math.floor(math.log10(size))}f}" if size >= 1e-6 else f"{value:.1e}"


def beside(value: float, error: float) -> str:
    """A distance and its standard error, to one digit of the error: 0.0123 ± 0.0004."""
    smallest = min((abs(number) for number in (value, 10 * error) if number), default=0.0)
    if smallest < 1e-6 <= abs(value):
        return f"{distance(value)} ± {error:.1e}"
    return f"{distance(value, smallest)} ± {distance(error, smallest)}"


def unknown(what: str, name: str, known: Iterable[str]) -> DodeError:
    """The error for an unknown name, with near ones: "unknown grid 'karas'; did you mean karras?"."""
    names = list(known)
    prefix = "d-" if name.startswith("d-") else ""
    other = prefix + OTHER_NAMES.get(name.removeprefix("d-"), "")
    near = [other] if other in names else get_close_matches(name, names, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return DodeError(f"unknown {what} {name[:60]!r}; {hint}")
