"""dode demo: the main job, end to end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli import common, tables
from dode.errors import DodeError

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.estimates import Row
    from dode.metrics.evaluation import Settings
    from dode.samplers import Sampler

SHOWN = 10  # samples of a row of the picture
SCALE = 10  # teacher steps for one of a student's: the default of `dode distill`


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and the file.")] = Path(
        "demo"
    ),
    model: Annotated[str, typer.Option(help="fashion, fashion-edm or fashion-mixture.")] = "fashion",
    nfe: Annotated[str, typer.Option(help="Network evaluations.")] = "5,10,20",
    paired: Annotated[int, typer.Option(help="Samples of test noise for the distances.")] = 32,
    fd: Annotated[int, typer.Option(help="Samples for the Fréchet distance.")] = 500,
    samples: Annotated[int, typer.Option(help="Samples to fit on.")] = 100,
    guidance: common.Guidance = 1.0,
    seed: common.Seed = 0,
) -> None:
    """Distil DDIM on a bundled model at 5, 10 and 20 evaluations; a table, pictures and the calibration file."""
    numbers = common.counts(nfe)
    if paired < 2:
        raise DodeError(f"--paired must be at least 2; got {paired}")
    import dode
    from dode import plots
    from dode.metrics.evaluation import Settings

    settings = Settings(paired, fd, seed, rtol=1e-3)  # ends that are told apart to a hundredth
    if output.exists() and not output.is_dir():
        raise DodeError(f"cannot use {output} as the folder: it is a file")
    opened = common.open_model(model, guidance)
    output.mkdir(parents=True, exist_ok=True)
    evaluations = samples * (SCALE * max(numbers) + sum(numbers)) + 2 * sum(numbers) * max(fd, paired)
    print(f"about {evaluations:,} network evaluations, and the exact solutions of {paired} samples", flush=True)
    with common.progress("1/3 teacher and fit") as advance:
        fitted = dode.distill(opened, "ddim", nfe=numbers, samples=samples, scale=SCALE, seed=seed, progress=advance)
    dode.save(output / "d-ddim.json", *fitted.values())
    chosen = [one for n in numbers for one in (dode.sampler(opened, "ddim", nfe=n), fitted[n])]
    exact, rows = _measured(chosen, settings)
    tables.print_rows(rows, f"{opened.name}: DDIM beside D-DDIM, guidance {guidance:g}, seed {seed}")
    _draw(output, opened.name, exact, rows)
    plots.lambdas(list(fitted.values()), output / "lambdas.png")
    for name in ("comparison.png", "lambdas.png", "d-ddim.json"):
        print(f"written: {output / name}")


def _measured(chosen: "list[Sampler]", settings: "Settings") -> "tuple[Tensor, list[Row]]":
    """The exact samples, and what each sampler is worth beside them."""
    from dode.metrics import evaluation

    with common.progress("2/3 exact solution") as advance:
        exact = evaluation.exact_ends(chosen[0].model, settings, advance)
    with common.progress("3/3 samples to compare") as advance:
        return exact, evaluation.measured(chosen, exact, settings, advance)


def _draw(folder: Path, name: str, exact: "Tensor", rows: "Sequence[Row]") -> None:
    """The first samples of every row below the exact ones."""
    from dode import plots

    named = [("exact", exact)]
    named += [(f"{row.solver.upper()}, NFE {row.nfe}", row.images) for row in rows if row.images is not None]
    first = [(title, images[:SHOWN]) for title, images in named]
    plots.comparison(first, folder / "comparison.png", f"{name}: the same noise in a column")
