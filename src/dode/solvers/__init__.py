"""The catalogue: every solver by name, in reading order."""

from difflib import get_close_matches

from dode.solvers.ddim import DDIM
from dode.solvers.edm import EDM
from dode.tracing import Method

METHODS: dict[str, Method] = {method.name: method for method in (DDIM, EDM)}
METHODS["dpm-solver-1"] = DDIM  # the same method, under the name of Lu et al. 2022


def method(name: str) -> Method:
    """The method of this name; ValueError with the nearest names."""
    if name not in METHODS:
        near = get_close_matches(name, METHODS, cutoff=0.4) or list(METHODS)
        raise ValueError(f"unknown method {name!r}; did you mean {' or '.join(near)}?")
    return METHODS[name]
