"""dode methods."""

from collections.abc import Iterator


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
    wide.print("Options, written name:option=value or as --option:")
    for line in _options():
        wide.print(f"  {line}")
    for name, form in FORMULATIONS.items():
        wide.print(f"  d-NAME:formulation={name}: {form.about}")


def _options() -> Iterator[str]:
    """A line for each option of solvers: whose it is, its values, what it does."""
    from dode.solvers import METHODS

    having: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        for option in method.options:
            having.setdefault(option, []).append(name)
    for option, names in having.items():
        one = METHODS[names[0]].options[option]
        values = " or ".join(one.words) or f"a number, {one.default:g} by default"
        yield f"{option} of {', '.join(names)}: {values}; {one.about}"
