"""dode cite."""

from typing import Annotated

import typer


def cite(
    name: Annotated[str, typer.Argument(help="A solver, such as d-dpm-solver-3 or ddim:eta=1; or auto.")],
) -> None:
    """Print what to cite for a solver, as BibTeX."""
    from dode.citations import cite as cited

    print(cited(name), end="")
