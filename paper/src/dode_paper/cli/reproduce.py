"""dode reproduce."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli.options import make_folder
from dode.cli.output import progress
from dode.errors import DodeError
from dode_paper.reproduce import NAMES

if TYPE_CHECKING:
    from dode.model import Model
    from dode_paper.reproduce.context import Lab
    from dode_paper.reproduce.experiment import Item
    from dode_paper.reproduce.presets import Size

Name = Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}; several as table1,fig3; or all.")]


def reproduce(
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(help="A bundled model, a pipeline, an EDM .safetensors, or a recipe; the item's own by default."),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The recipe's checkpoint, where --model is a recipe.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds an item instead of minutes: one seed, few samples.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; goes on with what is in it.")] = Path(
        "reproduced"
    ),
    seeds: Annotated[int | None, typer.Option(help="Number of seeds: 3, or 1 with --quick.")] = None,
    fd: Annotated[int | None, typer.Option(help="Samples of a Fréchet distance: 1000, or 30 with --quick.")] = None,
    students: Annotated[
        Path | None, typer.Option(help="Folder with students of dode train, for fig2a and the trilemma.")
    ] = None,
) -> None:
    """Repeat a table or figure of the paper: a table, a figure, all numbers as JSON, and what they say."""
    if output.exists() and not output.is_dir():
        raise DodeError(f"cannot use {output} as the folder: it is a file")
    if students is not None and not any(students.glob("*.safetensors")):
        raise DodeError(f"--students is a folder with .safetensors files of dode train; {students} has none")
    from dode_paper.reproduce import run
    from dode_paper.reproduce.presets import FULL, QUICK
    from dode_paper.reproduce.registry import chosen

    size, items, labs = run.limited(QUICK if quick else FULL, seeds, fd), chosen(name), _Labs(students, output)
    words = [*(["--quick"] if quick else []), *([f"--seeds {seeds}"] if seeds else []), *([f"--fd {fd}"] if fd else [])]
    words += [f"--students {students}"] if students else []
    for item in items:
        for one in [model] if model else item.models:
            lab = labs.of(one, checkpoint, size)
            make_folder(output)
            _one(item, lab, output, " ".join([f"dode reproduce {item.name} --model {lab.model.name}", *words]))


class _Labs:
    """Every model is opened once."""

    def __init__(self, students: Path | None, folder: Path) -> None:
        self.students = students
        self.folder = folder
        self.known: dict[str, Lab] = {}

    def of(self, name: str, checkpoint: Path | None, size: "Size") -> "Lab":
        from dode_paper.reproduce.run import lab_for

        if name not in self.known:
            self.known[name] = lab_for(_opened(name, checkpoint), size, self.students, self.folder)
        return self.known[name]


def _opened(name: str, checkpoint: Path | None) -> "Model":
    from dode.opening import open_model
    from dode_paper.checkpoints import registry

    if name in registry.names():
        if checkpoint is None:
            raise DodeError(f"{name} is a recipe: give its file by --checkpoint; docs/checkpoints.md says where it is")
        return registry.read(name).open(checkpoint)
    if checkpoint is not None:
        raise DodeError(f"--checkpoint belongs to a recipe ({', '.join(registry.names())}); {name} is none")
    return open_model(name)


def _one(item: "Item", lab: "Lab", folder: Path, command: str) -> None:
    """An item on a model, with its estimate before and its finding after."""
    from dode_paper.reproduce import run

    records = run.opened(item, lab, folder, command)
    print(f"{item.name} on {lab.model.name}: about {run.outstanding(item, lab, records):,} evaluations", flush=True)
    with progress(f"{item.name} {lab.model.name}") as advance:
        found = run.carry_out(item, lab, records, advance)
    print(found.finding)
    print(f"written: {run.stem(folder, item, lab)}.md", flush=True)
