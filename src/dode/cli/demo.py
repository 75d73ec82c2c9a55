"""dode demo: the main job, end to end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from dode.cli import options
from dode.cli.output import print_rows, progress

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.estimates import Row

SHOWN = 10  # samples of a row of the picture
SCALE = 10  # teacher steps for one of a student's: the default of `dode distill`


def demo(
    output: Annotated[Path, Option("--output", "-o", help="Folder for the pictures and the file.")] = Path("demo"),
    model: Annotated[str, Option(help="fashion, fashion-edm or fashion-mixture.")] = "fashion",
    nfe: Annotated[str, Option(help="Network evaluations.")] = "5,10,20",
    paired: Annotated[int, Option(help="Samples of test noise for the distances.")] = 32,
    fd: Annotated[int, Option(help="Samples for the Fréchet distance.")] = 500,
    samples: Annotated[int, Option(help="Samples to fit on.")] = 100,
    guidance: options.Guidance = 1.0,
    seed: options.Seed = 0,
) -> None:
    """Distil DDIM on a bundled model at 5, 10 and 20 evaluations; a table, pictures and the calibration file."""
    numbers = options.counts(nfe)
    options.check_paired(paired, least=2)
    options.check_room(max(paired, fd, samples))
    import dode
    from dode import plots
    from dode.metrics import evaluation
    from dode.metrics.evaluation import Settings

    settings = Settings(paired, fd, seed, rtol=1e-3)  # exact to well below the errors in the table
    opened = options.Opening(model).open(guidance)
    options.make_folder(output)
    evaluations = samples * (SCALE * max(numbers) + sum(numbers)) + 2 * sum(numbers) * max(fd, paired)
    print(f"about {evaluations:,} network evaluations, and the exact solutions of {paired} samples", flush=True)
    with progress("1/3 teacher and fit") as advance:
        fitted = dode.distill(opened, "ddim", nfe=numbers, samples=samples, scale=SCALE, seed=seed, progress=advance)
    dode.save(output / "d-ddim.json", *fitted.values())
    samplers = [one for n in numbers for one in (dode.sampler(opened, "ddim", nfe=n), fitted[n])]
    with progress("2/3 exact solution") as advance:
        exact = evaluation.exact_ends(opened, settings, advance)
    with progress("3/3 samples to compare") as advance:
        rows = evaluation.measured(samplers, exact, settings, advance)
    print_rows(rows, f"{opened.name}: DDIM beside D-DDIM, guidance {guidance:g}, seed {seed}")
    _draw(output, opened.name, exact, rows)
    plots.lambdas(list(fitted.values()), output / "lambdas.png")
    for name in ("comparison.png", "lambdas.png", "d-ddim.json"):
        print(f"written: {output / name}")


def _draw(folder: Path, name: str, exact: "Tensor", rows: "Sequence[Row]") -> None:
    """The first samples of every row below the exact ones."""
    from dode import plots

    images = [("exact", exact)]
    images += [(f"{row.solver.upper()}, NFE {row.nfe}", row.images) for row in rows if row.images is not None]
    first = [(title, samples[:SHOWN]) for title, samples in images]
    plots.comparison(first, folder / "comparison.png", f"{name}: the same noise in a column")
