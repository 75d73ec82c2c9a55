"""One item from beginning to end: entries that are missing, then table, finding and figure."""

from dataclasses import replace
from pathlib import Path

from dode.bundled_models import BUNDLED
from dode.errors import DodeError
from dode.files import replace_text
from dode.metrics import evaluation
from dode.model import Model
from dode.progress import Progress
from dode_paper.reproduce import ABOUT, drawing
from dode_paper.reproduce.context import Lab
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.presets import Size
from dode_paper.reproduce.result_store import Records


def lab_for(model: Model, size: Size, students: Path | None = None, folder: Path | None = None) -> Lab:
    """A model with the bundled judge where that knows the images; folders of students and for exact solutions."""
    return Lab(model, size, evaluation.bundled_evaluator() if model.name in BUNDLED else None, students, folder)


def limited(size: Size, seeds: int | None, fd: int | None) -> Size:
    """The size with another number of seeds, or other samples for its Fréchet distances."""
    if seeds is not None and seeds < 1:
        raise DodeError(f"--seeds must be at least 1; got {seeds}")
    if fd is not None and fd < 20:
        raise DodeError(f"--fd must be at least 20; got {fd}")
    size = size if seeds is None else replace(size, seeds=tuple(range(seeds)))
    return size if fd is None else replace(size, fd=fd, curve_fd=min(fd, size.curve_fd), search=min(fd, size.search))


def stem(folder: Path, item: Item, lab: Lab) -> Path:
    """Where an item's files are, without their endings."""
    name = lab.model.name.replace("/", "-").strip("-.") or "model"
    return folder / f"{item.name}-{name}"


def opened(item: Item, lab: Lab, folder: Path, command: str) -> Records:
    """The item's entries so far; ValueError if they were made with other settings."""
    said = lab.size.said() | {"model": lab.model.fingerprint, "guidance": lab.model.guidance}
    return Records(Path(f"{stem(folder, item, lab)}.json"), said, command, loud=False)


def outstanding(item: Item, lab: Lab, records: Records) -> int:
    """Evaluations that the item still takes, about."""
    return sum(task.evaluations for task in item.tasks(lab) if task.key not in records.entries)


def carry_out(item: Item, lab: Lab, records: Records, progress: Progress) -> Result:
    """Make the entries that are missing, one by one, and write what comes of all."""
    todo = [task for task in item.tasks(lab) if task.key not in records.entries]
    total, done = sum(task.evaluations for task in todo), 0
    for task in todo:
        progress(done, total)
        records.put(task.key, task.make())
        done += task.evaluations
    progress(total, total)
    found = item.result(lab, records.entries)
    _write(item, lab, records, found)
    return found


def _write(item: Item, lab: Lab, records: Records, found: Result) -> None:
    base = records.path.with_suffix("")
    records.content["finding"] = found.finding
    records.write()
    if found.figure is not None:
        drawing.save(found.figure, base)
    replace_text(base.with_name(base.name + ".md"), f"{head(item, lab)}\n\n{found.finding}\n\n{found.table}")


def head(item: Item, lab: Lab) -> str:
    """What the numbers are of: model, seeds, samples."""
    return f"{item.name} on {lab.model.name}, {lab.size.name} ({ABOUT[item.name]}): {item.said(lab)}."
