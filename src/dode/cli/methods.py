"""dode methods."""


def methods() -> None:
    """List the solvers of the catalogue."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dode.solvers import METHODS

    table = Table(box=box.SIMPLE)
    for name in ("name", "order", "evaluations a step", "outputs", "what it is"):
        table.add_column(name)
    for name, method in METHODS.items():
        kinds = ", ".join(method.kinds) or "any"
        about = method.about if name == method.name else f"the same as {method.name}"
        table.add_row(name, str(method.order), str(method.stages), kinds, about)
    Console().print(table)
    Console().print("A d- before a name asks for the distilled form, fitted by dode distill.")
