"""BibTeX of the papers that a solver's line in the catalogue names."""

import re
from importlib.resources import files

from dode.distillation.formulations import formulation
from dode.errors import DodeError
from dode.search.initial_candidates import TRIED
from dode.solvers import METHODS, spec

PAPER = "Kim, Tang & Yu 2024"
ALIASES = {"dpm-solver-1": "Lu et al. 2022a"}  # names from other papers than the solver's own


def cite(name: str) -> str:
    """BibTeX of a solver's paper and those of its options; for a d- name the D-ODE paper comes first.

    Args:
        name: As in `dode.METHODS`, plain or with d- before it and with options after it ("d-ddim:formulation=la"), a
            sampler's own `name`, or "auto", which builds on D-ODE and on every solver that its search begins with.

    Raises:
        DodeError: The name does not exist, or is a solver of your own that names none of these papers.
    """
    entries = bibliography()
    if name == "auto":
        return _joined([PAPER, *(label for one in TRIED for label in _named(METHODS[one].about, entries))], entries)
    read = spec.read(name)
    own = _named(read.method.about, entries)
    if not own:
        raise DodeError(f"{read.method.name} names as its source {read.method.about!r}, which dode has no entry for")
    own += [label for alias, label in ALIASES.items() if alias == name.partition(":")[0].removeprefix("d-")]
    own += [label for option in read.method.chosen for label in _named(read.method.options[option].about, entries)]
    if read.distilled:
        form = formulation(read.fit_options.get("formulation", "d"))
        own = [PAPER, *own, *_named(form.about, entries)]
    return _joined(own, entries)


def _named(text: str, entries: dict[str, str]) -> list[str]:
    """Labels of the papers that a line names, in its order."""
    return sorted((label for label in entries if label in text), key=text.index)


def _joined(labels: list[str], entries: dict[str, str]) -> str:
    return "\n\n".join(entries[label] for label in dict.fromkeys(labels)) + "\n"


def bibliography() -> dict[str, str]:
    """Every entry of sources.bib by its label, the words that solvers name it with."""
    text = (files("dode") / "sources.bib").read_text(encoding="utf-8")
    return dict(re.findall(r"^([^\n]+ \d{4}[ab]?)\n(@\w+\{.+?^\})", text, re.M | re.S))
