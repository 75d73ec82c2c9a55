"""What the commands share: parsing of options, the model by name, progress bars, tables."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from dode.errors import DodeError

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from dode.model import Model
    from dode.progress import Progress
    from dode.samplers import Sampler

EVERY = 30.0  # seconds between lines of progress where no bar can be shown

ModelName = Annotated[
    str,
    typer.Argument(
        help="fashion, fashion-edm, fashion-mixture; a diffusers pipeline, by folder or hub name; a .safetensors of "
        "dode convert edm or dode train."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]
Dtype = Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")]
Batch = Annotated[int, typer.Option(help="Samples per network call.")]
CacheFolder = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder of network outputs: a killed run goes on, others share what they can."),
]
CacheDtype = Annotated[
    str | None, typer.Option(help="Digits of the cache: float32 or float16; as the network gives them if left out.")
]
Offload = Annotated[
    str | None, typer.Option(help="Where states of resting batches wait: cpu, or disk, as with --cache.")
]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale; 1 is none.")]
Label = Annotated[int | None, typer.Option(help="Class of every sample; without it the classes in turn.")]
Inner = Annotated[str | None, typer.Option(help="Inner nodes of dpm-solver-2, -3, ++2s, ++3s: logsnr or time.")]
Variable = Annotated[str | None, typer.Option(help="Polynomials of deis: t (tAB) or rho (rhoAB).")]
Gamma = Annotated[float | None, typer.Option(help="Weight of the newest output in gradient-estimation.")]
Prompt = Annotated[
    list[str] | None, typer.Option(help="Text to draw, for text-to-image pipelines; several are taken in turn.")
]
Negative = Annotated[
    str | None, typer.Option(help="What guidance steers away from; as the pipeline has it if left out.")
]
Threshold = Annotated[float | None, typer.Option(help="Clip the predicted data to ±THRESHOLD.")]
Quantile = Annotated[float | None, typer.Option(help="With --threshold: dynamic thresholding at this quantile.")]
End = Annotated[str, typer.Option(help="Where sampling ends: data, or t_min, the cleanest time of the network.")]
Grid = Annotated[
    str | None,
    typer.Option(
        help="trailing, leading, linspace, logsnr, logsnr-trailing, karras, published, a list or file of dode import."
    ),
]


def room(number: int, shape: tuple[int, ...]) -> None:
    """MemoryError for more samples than there is memory for; asked before the first is made."""
    import numpy as np

    try:
        np.empty((number, *shape), np.float32)
    except ValueError as error:  # more than an array can count
        raise MemoryError from error


def counts(text: str) -> list[int]:
    """'5,10,20' → [5, 10, 20]."""
    numbers = whole(text, "--nfe")
    if any(n < 1 for n in numbers):
        raise DodeError(f"--nfe must be at least 1; got {text}")
    return sorted(numbers)


def whole(text: str, option: str) -> list[int]:
    """'0,1,2' → [0, 1, 2], each once."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise DodeError(f"{option} takes whole numbers like 5,10,20; got {text!r}") from error


def scales(text: str) -> list[float]:
    """'1,3' → [1.0, 3.0], each once."""
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise DodeError(f"--guidance takes numbers like 1,3; got {text!r}") from error


def pairs(paired: int) -> None:
    """ValueError for a number of samples that distances cannot be measured on; 0 measures none."""
    if paired < 0 or paired == 1:
        raise DodeError(f"--paired must be 0 or at least 2; got {paired}")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def once(solver: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, if none of them stands behind the solver's name too: ValueError."""
    for name in options:
        if f":{name}=" in solver:
            raise DodeError(f"{name} is given twice, in {solver} and as --{name.replace('_', '-')}: give it once")
    return options


def open_model(
    name: str,
    guidance: float = 1.0,
    device: str = "cpu",
    dtype: str = "float32",
    threshold: float | None = None,
    quantile: float | None = None,
    prompts: Sequence[str] | None = None,
    negative: str | None = None,
    label: int | None = None,
) -> "Model":
    """The model by name or path, on its device, in its precision, under its guidance and thresholding, of one class."""
    import torch

    from dode import opening

    kinds = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in kinds:
        raise DodeError(f"--dtype must be one of {', '.join(kinds)}; got {dtype!r}")
    try:
        float(torch.ones(1, device=device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's, by what it was built without
        reason = str(error).splitlines()[0]
        raise DodeError(f"--device {device!r} cannot be used here ({reason})") from error
    if quantile is not None and threshold is None:
        raise DodeError("--quantile needs --threshold, the range of the data")
    model = opening.open_model(name, prompts, negative).to(device, kinds[dtype]).guided(guidance)
    model = model if label is None else model.labelled(label)
    return model if threshold is None else model.thresholded(threshold, quantile)


def cached(model: "Model", folder: Path | None, dtype: str | None) -> "Model":
    """The model whose outputs are kept in a folder, if there is one."""
    if folder is None and dtype is not None:
        raise DodeError("--cache-dtype needs --cache FOLDER")
    return model.cached(folder, dtype)


def of_class(sampler: "Sampler", label: int | None) -> "Sampler":
    """The sampler with the class that it was found for in its provenance, if it was one."""
    from dataclasses import replace

    report = sampler.provenance.report | given(label=label)
    return replace(sampler, provenance=replace(sampler.provenance, report=report))


def same_class(samplers: "Iterable[Sampler]", label: int | None, path: Path) -> None:
    """ValueError unless all these of a file were found for this class, or for all if it is None."""
    for one in samplers:
        if (known := one.provenance.report.get("label")) != label:
            found, asked = ("all classes" if value is None else f"class {value}" for value in (known, label))
            what = "leave --label out" if known is None else f"give --label {known}"
            raise DodeError(
                f"the plan for NFE {one.nfe} in {path} was found for {found}, not for {asked}; {what}, or take "
                "another file"
            )


def writable(path: Path, *suffixes: str) -> None:
    """ValueError unless a file of these kinds can be put there; asked before long work, not after."""
    if not path.parent.is_dir():
        raise DodeError(f"cannot write {path}: the folder {path.parent} does not exist")
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        raise DodeError(f"cannot write {path}: it is a folder or a device, or its folder is read-only")
    if suffixes and path.suffix.lower() not in suffixes:
        raise DodeError(f"cannot write {path}: its name must end with {' or '.join(suffixes)}")


def print_notes(sampler: "Sampler", label: int | None = None) -> None:
    """A note where a grid that starts below t_max misreads x_T, and where a plan was found for another class."""
    from dode.solvers.step_allocation import bias

    if (known := sampler.provenance.report.get("label")) not in (None, label):
        print(f"note: the plan was found for class {known} alone")
    biased = bias(sampler.plan, sampler.model.schedule)
    if biased:
        print(f"note: {biased}")


class Tell(Protocol):
    """What shows how far some work is: what is done now, and how much of it."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@contextmanager
def bar(what: str, *columns: "ProgressColumn") -> Iterator[Tell]:
    """A bar on stderr, for this at first.

    A file or a pipe, which shows no bar before its end, gets a line every half minute.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("{task.description:<28}"), BarColumn(), *columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=None)
        told, begun = time.monotonic(), False

        def tell(what: str, done: int, total: int) -> None:
            nonlocal told, begun
            begun = True
            shown.update(task, description=what, completed=done, total=total)
            if not shown.console.is_terminal and time.monotonic() > told + EVERY:
                told = time.monotonic()
                print(f"{what}: {done / max(1, total):.0%}", file=sys.stderr, flush=True)

        try:
            yield tell
        finally:
            shown.update(task, visible=begun)  # input that was refused has nothing to show


@contextmanager
def progress(what: str) -> Iterator["Progress"]:
    """A bar on stderr, of the first process if there are several; call it with (done, total)."""
    from dode.process_group import current

    if not current().is_first:
        yield lambda done, total: None
        return
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    with bar(what, MofNCompleteColumn(), TimeRemainingColumn()) as tell:
        yield lambda done, total: tell(what, done, total)


@contextmanager
def shares(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar for work that tells what it does and the share that is done; for this at first."""
    from rich.progress import TaskProgressColumn, TimeRemainingColumn

    with bar(what, TaskProgressColumn(), TimeRemainingColumn()) as tell:
        yield lambda now, share: tell(now, round(1000 * share), 1000)
