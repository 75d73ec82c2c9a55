"""What to say of a name that does not exist, and of packages that are not installed."""

from collections.abc import Iterable
from difflib import get_close_matches


def extra(name: str) -> str:
    """How to get the packages of one of the extras in pyproject.toml."""
    return f"pip install '.[{name}]' in dode's folder"


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones: "unknown grid 'karas'; did you mean karras?"."""
    known = list(known)
    near = get_close_matches(name, known, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return ValueError(f"unknown {what} {name[:60]!r}; {hint}")
