"""dode train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli import options
from dode.cli.output import Tell, bar
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode_paper.baselines.train_state import Run
    from dode_paper.baselines.training import Reports
    from dode_paper.baselines.training_methods import Task


def train(
    method: Annotated[
        str,
        typer.Argument(help="pd: progressive, cd: consistency, direct: one step from pairs, guided: guidance inside."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the students; goes on with what is in it.")],
    model: Annotated[str, typer.Option(help="The teacher: fashion-edm.")] = "fashion-edm",
    minutes: Annotated[float | None, typer.Option(help="Minutes of training.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of training instead: the same bits on every run.")] = None,
    every: Annotated[float, typer.Option(help="Minutes between checkpoints, each with a sheet of samples.")] = 3.0,
    teacher_steps: Annotated[int, typer.Option(help="DDIM steps of the first teacher; of pd a power of two.")] = 64,
    pairs: Annotated[int, typer.Option(help="Pairs of noise and sample for direct.")] = 4000,
    from_data: Annotated[
        bool, typer.Option("--from-data", help="cd without its teacher: consistency training.")
    ] = False,
    batch: options.Batch = 64,
    seed: options.Seed = 0,
) -> None:
    """Train a student that needs few steps: the methods that D-ODE solvers are compared with."""
    from dode.bundled_models import bundled
    from dode_paper.baselines import training
    from dode_paper.baselines.train_state import Budget

    if not every > 0:
        raise DodeError(f"--every must be above 0; got {every:g}")
    if (minutes is None) == (steps is None):
        raise DodeError("give --minutes or --steps, one of the two")
    budget = Budget(minutes, steps)
    request = training.Request(method, batch, seed, teacher_steps, pairs, from_data)
    teacher = bundled(model)
    training.teacher_of(teacher)
    from rich.progress import TaskProgressColumn, TimeElapsedColumn

    with bar(f"{method}: beginning", TaskProgressColumn(), TimeElapsedColumn()) as tell:
        files = training.train(request, teacher, budget, output, _reports(method, 60 * every, tell))
    for path in files:
        print(f"written: {path}")


def _reports(method: str, seconds: float, tell: Tell) -> "Reports":
    """What a training tells: a bar of its pairs and steps, a sheet of samples with every checkpoint."""
    from dode import plots
    from dode_paper.baselines.training import Reports

    def step(run: "Run", doing: "Task", done: float) -> None:
        what = f"{method}, {doing.stage.name}: step {run.steps}, loss {run.smooth or 0:.4f}"
        tell(what, round(1000 * done), 1000)

    return Reports(
        pairs=lambda done, total: tell(f"{method}, pairs", done, total),
        step=step,
        sheet=lambda images, path: plots.sheet(images, path, 10),
        every=seconds,
    )
