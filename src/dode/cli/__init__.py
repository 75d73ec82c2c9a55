"""The command line.  Help must stay light: every command imports what it needs when it runs."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Annotated

from dode.errors import DodeError, Unsupported
from dode.messages import extra

try:
    import typer
except ModuleNotFoundError as error:
    print(f"error: the command line needs packages that are not installed: {extra('cli')}", file=sys.stderr)
    raise SystemExit(2) from error


from dode.cli import (
    auto,
    cite,
    compare,
    demo,
    distill,
    evaluate,
    export,
    import_,
    inspect,
    interpolate,
    methods,
    plot,
    sample,
)


def _version(wanted: bool) -> None:
    if wanted:
        from dode import __version__

        print(f"dode {__version__}")
        raise typer.Exit


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Distil the ODE solver of a pre-trained diffusion or flow model, and sample with it.",
)


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which dode.")
    ] = False,
) -> None:
    """What is asked of no command."""


for command in (demo.demo, distill.distill, auto.auto, sample.sample, compare.compare, inspect.inspect):
    app.command()(command)
app.command()(evaluate.evaluate)
app.command()(interpolate.interpolate)
app.command()(methods.methods)
app.command()(cite.cite)
app.command()(export.export)
app.command("import")(import_.import_)  # no function can have that name
app.add_typer(plot.plot, name="plot")


PAPER = ("convert", "reproduce", "train")  # commands of the package dode-paper


def _add_commands() -> None:
    """Commands that other packages bring: the entry points "dode.commands", a function or a Typer application each."""
    found = {entry.name: entry for entry in entry_points(group="dode.commands")}
    for name in sorted({*found, *PAPER}):
        command = found[name].load() if name in found else _missing(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def _missing(name: str) -> Callable[[], None]:
    def missing() -> None:
        raise Unsupported(f"dode {name} is a command of dode-paper, which is not installed: pip install ./paper")

    missing.__doc__ = "Of the package dode-paper, which is not installed."
    return missing


_add_commands()

TOGETHER = ("distill", "evaluate", "compare", "sample")  # what several processes do together
MEMORY = "not enough memory; ask for fewer samples, or a smaller --batch"


def main() -> None:
    """Entry point: bad input is one line on stderr and exit code 2, a warning is one line."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        with _company():
            code = app(standalone_mode=False)
    except (ValueError, OSError) as error:
        code = _complain(str(error))
    except (MemoryError, OverflowError):  # the second: more than any memory can hold
        code = _complain(MEMORY)
    except typer.Abort:
        code = _complain("stopped")
    except KeyboardInterrupt:
        _complain("stopped")
        code = 130
    except Exception as error:
        # typer's own complaints about the command line (a missing option, a wrong type) are not exported by name
        if hasattr(error, "format_message"):
            code = _complain(error.format_message())
        elif isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error)):
            code = _complain(MEMORY)  # torch's own
        else:
            raise
    sys.exit(code or 0)


def _rank() -> int | None:
    """Which of the processes of `torchrun` this is; None if there is one."""
    size, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return int(rank) if size.isdecimal() and int(size) > 1 and rank.isdecimal() else None


@contextmanager
def _company() -> Iterator[None]:
    """Meet the other processes, if there are any; the first alone prints."""
    rank = _rank()
    if rank is None:
        yield
        return
    if not set(sys.argv[1:2]) & set(TOGETHER):
        raise DodeError(f"several processes share the work of {', '.join(TOGETHER)}; run this in one, without torchrun")
    from dode import process_group

    process_group.join()
    if rank > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, until the process ends
        warnings.simplefilter("ignore")
    yield
    process_group.destroy()


def _complain(message: str) -> int:
    rank = _rank()
    if rank:
        time.sleep(2)  # what the first process complains of too it says alone: torchrun ends the others
    if message.strip():  # without arguments typer has shown the help and has nothing to add
        who = f"process {rank}: " if rank else ""
        print(f"error: {who}" + " ".join(message.split()), file=sys.stderr)
    return 2
