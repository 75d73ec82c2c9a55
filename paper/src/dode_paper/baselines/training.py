"""From a request to students in a folder: what `dode train` does."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dode import noise, samplers
from dode.bundled_models.wrappers import Preconditioned
from dode.calibration import Json
from dode.denoisers import CallableNetwork
from dode.errors import DodeError
from dode.files import replace_text
from dode.model import Model
from dode.schedule import Schedule
from dode_paper.baselines import direct, model_card, student_file, trainer, training_methods
from dode_paper.baselines.data import FOLDER, fashion
from dode_paper.baselines.student_file import Form
from dode_paper.baselines.train_state import Budget, Run
from dode_paper.baselines.trainer import Watch
from dode_paper.baselines.training_methods import Data, Task

METHODS = ("pd", "cd", "direct", "guided")
CHECKPOINT = "checkpoint.pt"
SHOWN = 20  # samples, two of each class


@dataclass(frozen=True)
class Request:
    """What to train; a folder goes on with the same request alone, whatever its budget."""

    method: str
    batch: int = 64
    seed: int = 0
    teacher_steps: int = 64  # DDIM steps of the first teacher
    pairs: int = 4000  # of direct distillation
    from_data: bool = False  # consistency training, without a teacher
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DodeError(f"method must be one of {', '.join(METHODS)}; got {self.method!r}")
        if self.batch < 1 or self.pairs < 1 or self.teacher_steps < 1:
            raise DodeError(
                f"batch, pairs and teacher steps must be at least 1; got {self.batch}, {self.pairs}, "
                f"{self.teacher_steps}"
            )
        noise.whole(self.seed)
        if self.from_data and self.method != "cd":
            raise DodeError(f"only cd can be trained from data alone; got {self.method}")

    @property
    def name(self) -> str:
        """Of the method, in files."""
        return "ct" if self.from_data else self.method


@dataclass(frozen=True, eq=False)
class Reports:
    """What a caller is told."""

    pairs: Callable[[int, int], None] = lambda done, total: None
    step: Callable[[Run, Task, float], None] = lambda run, task, done: None  # the float: of the stage
    sheet: Callable[[Tensor, Path], None] = lambda images, path: None
    every: float = 180.0  # seconds between checkpoints, and sheets of samples


def teacher_of(model: Model) -> tuple[Preconditioned, Schedule]:
    """The network to learn from, in its own right.  Raises ValueError for models of another form."""
    net = model.network.fn if isinstance(model.network, CallableNetwork) else None
    levels = model.schedule.default_grid == "karras"  # its times are noise levels
    if not isinstance(net, Preconditioned) or not levels or not model.schedule.continuous_path:
        raise DodeError(
            f"{model.name} cannot be the teacher: students are data networks on EDM's noise levels, in the form of the "
            "bundled fashion-edm; give --model fashion-edm"
        )
    net = copy.deepcopy(net)
    for parameter in net.parameters():  # bfloat16 training is faster with the channels first
        parameter.data = parameter.data.contiguous()
    return net, model.schedule


def tasks_of(request: Request, model: Model, folder: Path, data: Path, reports: Reports) -> list[Task]:
    """The stages of a method; direct distillation makes its pairs first."""
    schedule = teacher_of(model)[1]
    if request.method == "direct":
        folder.mkdir(parents=True, exist_ok=True)
        steps, path = request.teacher_steps, folder / "pairs.safetensors"
        made = direct.pairs(model, request.pairs, steps, request.seed, path, reports.pairs)
        return [training_methods.direct_task(schedule, made, request.batch)]
    images, labels = fashion("train", data)
    drawn = Data(images, labels, request.batch)
    if request.method == "cd":
        return [training_methods.consistency_task(schedule, drawn, request.from_data)]
    many = training_methods.progressive_tasks if request.method == "pd" else training_methods.guided_tasks
    return many(schedule, model.prediction, request.teacher_steps, drawn)


def train(
    request: Request, model: Model, budget: Budget, folder: Path, reports: Reports | None = None, data: Path = FOLDER
) -> list[Path]:
    """Train, or go on in a folder where it was stopped; the files of the students that this call finished.

    Raises ValueError if the model is of another form, the data is not there, or the folder belongs to another request.
    """
    reports = reports or Reports()
    net, _ = teacher_of(model)
    if folder.exists() and not folder.is_dir():
        raise DodeError(f"cannot train into {folder}: it is a file; give a folder")
    made = tasks_of(request, model, folder, data, reports)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []

    def finished(run: Run) -> None:
        if made[run.stage].kept:
            files.append(keep(request, model, made[run.stage], run, folder, reports))

    watch = Watch(
        tell=lambda run, loss, done: reports.step(run, made[run.stage], done),
        finished=finished,
        saved=lambda run: show(run.average, made[run.stage].form, model, folder / "now.png", reports),
        every=reports.every,
    )
    stages, about = [task.stage for task in made], asdict(request) | {"teacher": model.fingerprint}
    path = folder / CHECKPOINT
    trainer.train(stages, net, budget, path, seed=request.seed, bfloat16=request.bfloat16, about=about, watch=watch)
    return files


def keep(request: Request, model: Model, task: Task, run: Run, folder: Path, reports: Reports) -> Path:
    """Write the averaged student of a finished stage, its card and its samples."""
    path = folder / f"{request.name}{task.suffix}.safetensors"
    extra = request.pairs * request.teacher_steps if request.method == "direct" else 0
    said = model_card.card(request.name, model, task.form, run, extra, request.seed, options_of(request))
    student_file.write(path, run.average, task.form, model, said)
    replace_text(path.with_suffix(".md"), model_card.markdown(path.stem, said, task.form))
    show(run.average, task.form, model, path.with_suffix(".png"), reports)
    return path


def options_of(request: Request) -> Json:
    """What else a card says of a request."""
    said: Json = {"batch": request.batch}
    if request.method != "cd":
        said["teacher steps"] = request.teacher_steps
    return said | ({"pairs": request.pairs} if request.method == "direct" else {})


def show(net: nn.Module, form: Form, model: Model, path: Path, reports: Reports) -> None:
    """Two rows of samples for each number of evaluations, the same noise."""
    student = student_file.model_of(copy.deepcopy(net), form, model.name, model.fingerprint, path.stem)
    made = [samplers.sampler(student, form.solver, nfe=nfe) for nfe in sorted(form.times)]
    reports.sheet(torch.cat([one.sample(SHOWN) for one in made]), path)
