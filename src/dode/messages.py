"""How to say a small number, a name that does not exist, and packages that are not installed."""

import math
from collections.abc import Iterable
from difflib import get_close_matches

from dode.errors import DodeError

ELSEWHERE = {  # other tools' names for what has one here
    **{"euler": "ddim", "heun": "edm", "plms": "pndm", "lms": "ipndm", "dpm++2m": "dpm-solver++2m"},
    **{"dpmpp_2m": "dpm-solver++2m", "dpmpp_3m": "dpm-solver++3m", "dpmpp_2s": "dpm-solver++2s"},
}


def extra(name: str) -> str:
    """How to get the packages of one of the extras in pyproject.toml."""
    return f"pip install '.[{name}]' in dode's folder"


def distance(value: float, of: float | None = None) -> str:
    """Four decimals, more where those would leave less than two digits; of: a number that has as many."""
    least = abs(value if of is None else of)
    if not 0 < least < 1e-3:
        return f"{value:.4f}"
    return f"{value:.{1 - math.floor(math.log10(least))}f}" if least >= 1e-6 else f"{value:.1e}"


def beside(value: float, error: float) -> str:
    """A distance and its standard error, of which one digit is enough: 0.0123 ± 0.0004."""
    least = min((abs(one) for one in (value, 10 * error) if one), default=0.0)
    if least < 1e-6 <= abs(value):
        return f"{distance(value)} ± {error:.1e}"
    return f"{distance(value, least)} ± {distance(error, least)}"


def unknown(what: str, name: str, known: Iterable[str]) -> DodeError:
    """The error for a name that is none of the known ones: "unknown grid 'karas'; did you mean karras?"."""
    known = list(known)
    other = ELSEWHERE.get(name.removeprefix("d-"))
    prefix = "d-" if name.startswith("d-") else ""
    near = [prefix + other] if other and prefix + other in known else get_close_matches(name, known, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return DodeError(f"unknown {what} {name[:60]!r}; {hint}")
