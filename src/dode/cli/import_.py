"""dode import."""

from pathlib import Path
from typing import Annotated

import typer

from dode.cli import common
from dode.errors import DodeError


def import_(
    numbers: Annotated[
        str | None, typer.Argument(help="A list: 14.6,6.5,…,0, or a text file of it, or a published one by name.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Grid file to write, for --grid.")] = None,
    times: Annotated[bool, typer.Option("--times", help="The numbers are the model's times, not sigma/alpha.")] = False,
    name: Annotated[str, typer.Option(help="What to call the list.")] = "list",
    about: Annotated[str, typer.Option(help="The model that it is for.")] = "",
    source: Annotated[str, typer.Option(help="Where it is from.")] = "",
) -> None:
    """Make a grid for --grid from a list of sigmas or times; without a list, show the published ones."""
    import json
    from dataclasses import replace

    from dode import sigma_tables
    from dode.calibration import replace_text

    if numbers is None:
        for known in sigma_tables.NAMES:
            one = sigma_tables.read(known)
            print(f"{known}: {one.about}. NFE {', '.join(map(str, one.lists))}. {one.source}")
        return
    if output is None:
        raise DodeError("give -o FILE.json, the grid file to write; dode export shows the numbers of a list")
    common.writable(output)
    if output.suffix != ".json":
        raise DodeError(f"a grid file ends with .json, so that --grid knows it; got {output}")
    if numbers in sigma_tables.NAMES:
        listed = sigma_tables.read(numbers)
    else:
        text = Path(numbers).read_text() if _is_file(numbers) else numbers
        listed = replace(sigma_tables.parsed(text, "times" if times else "sigmas", name), about=about, source=source)
    replace_text(output, json.dumps(sigma_tables.as_json(listed), indent=1) + "\n")
    print(f"written: {output}; use it with --grid {output}")


def _is_file(text: str) -> bool:
    """Is this a file's name, and no list of numbers, which may be longer than a name can be?"""
    try:
        return Path(text).is_file()
    except OSError:
        return False
