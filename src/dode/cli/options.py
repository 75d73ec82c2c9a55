"""Options of the commands: each is typed once, and checked before long work, not after."""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.model import Model
    from dode.samplers import Sampler

DTYPES = ("float32", "float64", "bfloat16", "float16")
MEMORY = "not enough memory; ask for fewer samples, or a smaller --batch"

ModelName = Annotated[
    str,
    Argument(
        help="fashion, fashion-edm, fashion-mixture; a diffusers pipeline, by folder or hub name; a .safetensors of "
        "dode convert edm or dode train."
    ),
]
Calibration = Annotated[Path, Option("--output", "-o", help="Calibration file to write.")]
Seed = Annotated[int, Option(help="Seed of the noise.")]
Batch = Annotated[int, Option(help="Samples per network call.")]
Guidance = Annotated[float, Option(help="Classifier-free guidance scale; 1 is none.")]
End = Annotated[str, Option(help="Where sampling ends: data, or t_min, the cleanest time of the network.")]
Grid = Annotated[
    str | None,
    Option(
        help="trailing, leading, linspace, logsnr, logsnr-trailing, karras, published, a list or file of dode import."
    ),
]
Rtol = Annotated[
    float | None, Option(help="Accuracy of the exact solution, 4e-4; larger where a network does not reach it.")
]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its groups, parameters that are dataclasses, as options after its own."""
    parameters = list(inspect.signature(command).parameters.values())
    groups: dict[str, Any] = {one.name: one.annotation for one in parameters if is_dataclass(one.annotation)}
    own = [one for one in parameters if one.name not in groups]
    of_groups = [_parameter(field) for group in reversed(groups.values()) for field in fields(group)]
    flat = sorted([*own, *of_groups], key=lambda one: (one.default is not one.empty, one.name != "model"))
    signature = inspect.Signature(flat)

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        values = bound.arguments
        made = {name: kind(**{one.name: values.pop(one.name) for one in fields(kind)}) for name, kind in groups.items()}
        command(**values, **made)

    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in flat}
    return run


def _parameter(field: "Field[Any]") -> inspect.Parameter:
    kind, default = inspect.Parameter.POSITIONAL_OR_KEYWORD, field.default
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(field.name, kind, default=default, annotation=field.type)


CALLS = ExitStack()  # calls of pipelines that are the models of a command, and end with it


@dataclass
class Opening:
    """A model, and how it is opened."""

    model: ModelName
    label: Annotated[int | None, Option(help="Class of every sample; without it the classes in turn.")] = None
    prompt: Annotated[
        list[str] | None, Option(help="Text to draw, for text-to-image pipelines; several are taken in turn.")
    ] = None
    negative_prompt: Annotated[
        str | None, Option(help="What guidance steers away from; as the pipeline has it if left out.")
    ] = None
    device: Annotated[str, Option(help="cpu, cuda, cuda:1, mps …")] = "cpu"
    dtype: Annotated[str, Option(help=f"{', '.join(DTYPES)}.")] = "float32"

    def open(self, guidance: float = 1.0) -> "Model":
        """The model on its device, in its precision, under this guidance scale."""
        import torch

        from dode.opening import Use, open_model

        if self.dtype not in DTYPES:
            raise DodeError(f"--dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}")
        try:
            float(torch.ones(1, device=self.device))
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's, by what it was built without
            reason = str(error).splitlines()[0]
            raise DodeError(f"--device {self.device!r} cannot be used here ({reason})") from error
        use = Use(guidance, self.device, getattr(torch, self.dtype), CALLS)
        model = open_model(self.model, self.prompt, self.negative_prompt, use)
        return model if self.label is None else model.labelled(self.label)

    def sign(self, sampler: "Sampler") -> "Sampler":
        """The sampler with the class that it was fitted for, if there is one, in its provenance."""
        report = sampler.provenance.report | given(label=self.label)
        return replace(sampler, provenance=replace(sampler.provenance, report=report))

    def check_class(self, samplers: "Iterable[Sampler]", path: Path) -> None:
        """DodeError unless all these samplers of a file were fitted for this class, or all for every class."""
        for sampler in samplers:
            label = sampler.provenance.report.get("label")
            if label != self.label:
                fitted, asked = ("all classes" if value is None else f"class {value}" for value in (label, self.label))
                hint = "leave --label out" if label is None else f"give --label {label}"
                raise DodeError(
                    f"the plan for NFE {sampler.nfe} in {path} was found for {fitted}, not for {asked}; {hint}, or "
                    "take another file"
                )


@dataclass
class ClippedOpening(Opening):
    """The same, with predicted data that may be clipped."""

    threshold: Annotated[float | None, Option(help="Clip the predicted data to ±THRESHOLD.")] = None
    quantile: Annotated[float | None, Option(help="With --threshold: dynamic thresholding at this quantile.")] = None

    def open(self, guidance: float = 1.0) -> "Model":
        """The model, thresholded where that was asked for."""
        if self.quantile is not None and self.threshold is None:
            raise DodeError("--quantile needs --threshold, the range of the data")
        model = super().open(guidance)
        return model if self.threshold is None else model.thresholded(self.threshold, self.quantile)


@dataclass
class CachedOpening(ClippedOpening):
    """The same, with network outputs that may be kept in a folder."""

    cache: Annotated[
        Path | None, Option(help="Folder of network outputs: a killed run goes on, others share what they can.")
    ] = None
    cache_dtype: Annotated[
        str | None, Option(help="Digits of the cache: float32 or float16; as the network gives them if left out.")
    ] = None

    def open(self, guidance: float = 1.0) -> "Model":
        """The model, with its cache if there is one."""
        if self.cache is None and self.cache_dtype is not None:
            raise DodeError("--cache-dtype needs --cache FOLDER")
        return super().open(guidance).cached(self.cache, self.cache_dtype)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def parts(text: str) -> list[str]:
    """'ddim, d-ddim' → ['ddim', 'd-ddim'], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


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


def check_paired(paired: int, least: int = 0) -> None:
    """DodeError for a number of samples that distances cannot be measured on; 0 measures none."""
    if paired < least or paired == 1:
        raise DodeError(f"--paired must be {'' if least else '0 or '}at least 2; got {paired}")


def check_room(number: int, shape: Sequence[int] = ()) -> None:
    """DodeError for more samples than there is memory for; asked before the first is made."""
    import numpy as np

    try:
        np.empty((number, *shape), np.float32)
    except (MemoryError, ValueError, OverflowError) as error:  # the last two: more than an array can count
        raise DodeError(MEMORY) from error


def check_writable(path: Path, *suffixes: str) -> None:
    """DodeError unless a file of these kinds can be put there."""
    try:
        if not path.parent.is_dir():
            raise DodeError(f"cannot write {path}: the folder {path.parent} does not exist")
        if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
            raise DodeError(f"cannot write {path}: it is a folder or a device, or its folder is read-only")
    except OSError as error:  # a name that is too long, say
        raise DodeError(f"cannot write {path}: {error.strerror}") from error
    if suffixes and path.suffix.lower() not in suffixes:
        raise DodeError(f"cannot write {path}: its name must end with {' or '.join(suffixes)}")


def make_folder(path: Path) -> None:
    """A folder, made if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise DodeError(f"cannot use {path} as the folder: {why}") from error
