"""What `dode compare` and `dode evaluate` share: options of measuring, and the run that can be stopped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dode.cli import common
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.metrics.estimates import Row
    from dode.metrics.evaluation import Evaluator, Settings
    from dode.metrics.study import Study
    from dode.model import Model
    from dode.samplers import Sampler

Metrics = Annotated[
    str | None,
    typer.Option(
        help="rms, fd, kid, pr (precision and recall), agreement (of classes); rms if left out, and fd with --fd."
    ),
]
Paired = Annotated[int, typer.Option(help="Samples of test noise for the distances.")]
Rtol = Annotated[
    float | None, typer.Option(help="Accuracy of the exact solution, 4e-4; larger where a network does not reach it.")
]
Samples = Annotated[int, typer.Option("--fd", help="Samples for fd, kid, pr and agreement; 0 for none.")]
Extractor = Annotated[
    str,
    typer.Option(
        help="Features: bundled; MODULE:NAME or FILE.py:NAME, a function or module of yours; "
        "torch-fidelity:NETWORK[:LAYER[:WEIGHTS]]."
    ),
]
Reference = Annotated[
    Path | None, typer.Option("--statistics", help="Reference of these features, .npz; the bundled one's if left out.")
]
Classify = Annotated[
    str | None,
    typer.Option(
        "--classifier", help="For agreement: bundled, as with bundled features; MODULE:NAME or FILE.py:NAME, to logits."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Results, JSON, written after every row; goes on with what is there."),
]
Csv = Annotated[Path | None, typer.Option("--csv", help="The rows as a table for other programs.")]
Seeds = Annotated[str, typer.Option("--seed", help="Seed of fits and of test noise; several, 0,1,2, give means.")]
Scales = Annotated[str, typer.Option("--guidance", help="Classifier-free guidance scales, 1,3; 1 is none.")]


def check(output: Path | None, table: Path | None, names: Sequence[str]) -> None:
    """ValueError for files that cannot be written and solvers that do not exist; asked before long work, not after."""
    from dode.metrics.study import is_file, placed
    from dode.solvers.spec import read

    for path, suffix in ((output, ".json"), (table, ".csv")):
        if path is not None:
            common.writable(path, suffix)
    for name in names:
        if name != "auto" and not is_file(name):
            read(placed(name, None)[0])


def settings(metrics: str | None, paired: int, fd: int, batch: int, rtol: float | None = None) -> "Settings":
    """What is measured, from the options."""
    from dode.metrics.estimates import METRICS, metric_names
    from dode.metrics.evaluation import Settings, settings_of

    wanted = ["rms", "fd"] if fd else ["rms"]
    if metrics is not None:
        wanted = [name.strip() for name in metrics.split(",")]
    if not fd and (lacking := [name for name in metric_names(wanted) if METRICS[name].needs != "exact"]):
        raise DodeError(f"{', '.join(lacking)} needs samples: give --fd, 5000 say")
    return settings_of(wanted, paired, fd, 0, batch, Settings.rtol if rtol is None else rtol)


def conditioned(prompts: Sequence[str] | None, negative: str | None, label: int | None) -> dict[str, Any]:
    """What the samples are of, as a file of results says it."""
    said = {"prompts": prompts, "negative": negative if prompts else ""}
    return said if label is None else said | {"label": label}


def notes(found: "Sequence[tuple[Row, Sampler]]", label: int | None, statistics: Path | None) -> list[str]:
    """Of plans that were found for another class, and of one class beside a reference of all."""
    classes = {name: sampler.provenance.report.get("label") for name, sampler in ((r.solver, s) for r, s in found)}
    said = [f"{name} was found for class {one} alone." for name, one in classes.items() if one not in (None, label)]
    if label is not None and statistics is None and any(row.samples for row, _ in found):
        said.append(f"The samples are of class {label}, the reference is of all: give --statistics of that class.")
    return said


class Features(NamedTuple):
    """What figures of features are made with, as the options say it."""

    extractor: str
    statistics: Path | None
    classifier: str | None
    device: str

    def judge(self) -> "Evaluator":
        """What takes the features and compares them."""
        from dode.bundled_models import classifier
        from dode.metrics.evaluation import open_evaluator
        from dode.metrics.feature_extractors import open_extractor

        if self.classifier == "bundled":
            return open_evaluator(self.extractor, self.statistics, classifier(), self.device)
        classes = None if self.classifier is None else open_extractor(self.classifier, self.device)
        return open_evaluator(self.extractor, self.statistics, classes, self.device)


def described(model: "Model", settings: "Settings", judge: "Evaluator | None") -> dict[str, Any]:
    """What all rows of one file of results have in common."""
    from dode.samplers import dtype_name

    said = {key: value for key, value in model.describe().items() if key != "noise"}
    said |= {"dtype": dtype_name(model), "metrics": sorted(settings.metrics), "paired": settings.paired}
    if model.cache is not None and model.cache.dtype is not None:
        said |= {"cache": str(model.cache.dtype).removeprefix("torch.")}  # outputs have fewer digits
    return said | {
        "fd": settings.fd,
        "rtol": settings.rtol,
        "reference": None if judge is None else judge.statistics.mark,
    }


def run(
    model: "Model",
    study: "Study",
    settings: "Settings",
    features: Features,
    given: dict[str, Any],
    output: Path | None,
    table: Path | None,
) -> "list[tuple[Row, Sampler]]":
    """The rows of the study with their samplers, through the file of results if there is one; the CSV at the end."""
    from dode.metrics import results
    from dode.metrics.study import run as study_rows

    judge, group = features.judge() if settings.fd else None, settings.group
    said = described(model, settings, judge) | given
    said |= {"extractor": features.extractor, "classifier": features.classifier, "grid": study.grid}
    kept = group.broadcast(results.opened(output, said) if group.is_first else results.opened(None, said))
    kept = kept if group.is_first else replace(kept, path=None)  # one process writes
    found = study_rows(model, study, settings, judge, kept, common.progress)
    if table is not None and group.is_first:
        results.write_csv(table, [row for row, _ in found])
    for path in (output, table):
        if path is not None:
            print(f"written: {path}")
    return found
