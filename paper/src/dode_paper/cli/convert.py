"""dode convert: other people's files as files that dode opens."""

from pathlib import Path
from typing import Annotated

import typer

from dode.cli.options import check_writable
from dode.errors import DodeError

convert = typer.Typer(no_args_is_help=True, help="Turn published checkpoint files into safetensors.")


@convert.callback()
def _convert() -> None:
    """A group, though it has one command so far."""


@convert.command()
def edm(
    source: Annotated[Path, typer.Argument(help="An EDM pickle, network-snapshot-….pkl.")],
    target: Annotated[Path, typer.Argument(help="The file to write, .safetensors.")],
    key: Annotated[str, typer.Option(help="Which network of the pickle.")] = "ema",
) -> None:
    """Take tensors and constructor arguments out of an EDM pickle.  Nothing that the pickle holds is run."""
    if target.suffix.lower() != ".safetensors":
        raise DodeError(f"cannot write {target}: its name must end with .safetensors")
    check_writable(target)
    from dode_paper.checkpoints.edm_file import convert as written

    network = written(source, target, key)
    count = sum(tensor.numel() for tensor in network.tensors.values())
    print(f"{network.class_name}, {len(network.tensors)} tensors, {count:,} numbers: {target}")
