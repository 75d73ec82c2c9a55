"""dode methods."""


def methods() -> None:
    """List the solvers of the catalogue."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dode.formulations import FORMULATIONS
    from dode.solvers import METHODS

    table = Table(box=box.SIMPLE)
    for column in ("name", "order", "evaluations a step", "outputs", "options", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for name, method in METHODS.items():
        kinds = ", ".join(method.kinds) or "any"
        about = method.about if name == method.name else f"the same as {method.name}"
        options = " ".join(method.options)
        stages = ", ".join(map(str, (*method.warmup, method.stages)))
        table.add_row(name, str(method.order), stages, kinds, options, about)
    wide = Console(width=max(Console().width, 110))
    wide.print(table)
    wide.print("A d- before a name asks for the distilled form. Options are written name:option=value, or as --option.")
    options_of = {name: option for method in METHODS.values() for name, option in method.options.items()}
    for name, option in options_of.items():
        values = " or ".join(option.words) or f"a number, {option.default:g} by default"
        wide.print(f"  {name}: {values}; {option.about}", highlight=False)
    for name, form in FORMULATIONS.items():
        wide.print(f"  d-NAME:formulation={name}: {form.about}", highlight=False)
