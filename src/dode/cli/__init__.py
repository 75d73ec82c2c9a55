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


from dode.cli import auto, catalogue, compare, demo, distill, files, plot, sample
from dode.cli.options import CALLS, MEMORY

TOGETHER = ("distill", "evaluate", "compare", "sample")  # what several processes do together
PAPER = ("convert", "reproduce", "train")  # commands of the package dode-paper


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


for command in (demo.demo, distill.distill, auto.auto, sample.sample, compare.compare, files.inspect, compare.evaluate):
    app.command()(command)
for command in (auto.interpolate, catalogue.methods, catalogue.cite, files.export):
    app.command()(command)
app.command("import")(files.import_)  # no function can have that name
app.add_typer(plot.plot, name="plot")


def _add_commands() -> None:
    """Commands that other packages bring: the entry points "dode.commands", a function or a Typer application each."""
    brought = {entry.name: entry for entry in entry_points(group="dode.commands")}
    for name in sorted({*brought, *PAPER}):
        if name not in brought:  # whatever is typed after it, the answer is how to install it
            anything = {"allow_extra_args": True, "ignore_unknown_options": True}
            app.command(name, context_settings=anything)(_missing(name))
            continue
        command = brought[name].load()
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


def main() -> None:
    """Entry point: a DodeError is one line on stderr and exit code 2, any other exception a traceback.

    Two more are one line: a command line that typer refuses, and memory that has run out, which numpy, torch and a
    network say each in its own way.  A warning is one line.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        with _process_group(), CALLS:
            code = app(standalone_mode=False) or 0
    except DodeError as error:
        code = _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        _complain("stopped")
        code = 130
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's refusals of a command line are not exported by name
            code = _complain(error.format_message())
        elif _out_of_memory(error):
            code = _complain(MEMORY)
        else:
            raise
    sys.exit(code)


def _out_of_memory(error: Exception) -> bool:
    torchs = isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))
    return torchs or isinstance(error, MemoryError)


def _rank() -> int | None:
    """Which of the processes of `torchrun` this is; None if there is one."""
    size, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return int(rank) if size.isdecimal() and int(size) > 1 and rank.isdecimal() else None


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the process group under torchrun; only rank 0 prints."""
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
        time.sleep(2)  # rank 0 says alone what all of them complain of: torchrun ends the others
    if message.strip():  # without arguments typer has shown the help and has nothing to add
        who = f"process {rank}: " if rank else ""
        print(f"error: {who}" + " ".join(message.split()), file=sys.stderr)
    return 2
