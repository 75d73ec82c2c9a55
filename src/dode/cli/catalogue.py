"""dode methods and dode cite: the solvers that there are, and what to cite for them."""

from collections.abc import Iterator
from typing import Annotated

from typer import Argument


def methods() -> None:
    """List the solvers of the catalogue."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dode.distillation.formulations import FORMULATIONS
    from dode.solvers import METHODS

    table = Table(box=box.SIMPLE)
    for column in ("name", "order", "calls", "outputs", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for name, method in METHODS.items():
        kinds = ", ".join(method.kinds) or "any"
        about = method.about if name == method.name else f"the same as {method.name}"
        table.add_row(name, str(method.order), ", ".join(map(str, (*method.warmup, method.stages))), kinds, about)
    wide = Console(width=max(Console().width, 110), highlight=False)
    wide.print(table)
    wide.print("calls: network evaluations a step. A d- before a name asks for the distilled form.")
    wide.print("Options stand behind the name, NAME:option=value:")
    for line in _options():
        wide.print(f"  {line}")
    for name, form in FORMULATIONS.items():
        wide.print(f"  d-NAME:formulation={name}: {form.about}")


def _options() -> Iterator[str]:
    """A line for each option of solvers: which have it, its values, what it does."""
    from dode.solvers import METHODS

    owners: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        for option in method.options:
            owners.setdefault(option, []).append(name)
    for option, names in owners.items():
        about = METHODS[names[0]].options[option]
        values = " or ".join(about.words) or f"a number, {about.default:g} by default"
        yield f"{option} of {', '.join(names)}: {values}; {about.about}"


def cite(
    name: Annotated[str, Argument(help="A solver, such as d-dpm-solver-3 or ddim:eta=1; or auto.")],
) -> None:
    """Print what to cite for a solver, as BibTeX."""
    from dode.citations import cite

    print(cite(name), end="")
