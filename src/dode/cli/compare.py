"""dode compare and dode evaluate: rows of a sweep, through a file of results if there is one, and what they show."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from dode.cli import options, output
from dode.errors import DodeError

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.estimates import Row
    from dode.metrics.evaluation import Evaluator, Settings
    from dode.metrics.study import Study
    from dode.model import Model
    from dode.samplers import Sampler

Paired = Annotated[int, Option(help="Samples of test noise for the distances.")]
Nfe = Annotated[
    str | None, Option(help="Network evaluations: 5,10,20; of a calibration file all that it holds if left out.")
]


@dataclass
class Measuring:
    """What is measured, on what, and where the rows go."""

    metrics: Annotated[
        str | None,
        Option(
            help="rms, fd, kid, pr (precision and recall), agreement (of classes); rms if left out, and fd with --fd."
        ),
    ] = None
    rtol: options.Rtol = None
    fd: Annotated[int, Option(help="Samples for fd, kid, pr and agreement; 0 for none.")] = 0
    extractor: Annotated[
        str,
        Option(
            help="Features: bundled; MODULE:NAME or FILE.py:NAME, a function or module of yours; "
            "torch-fidelity:NETWORK[:LAYER[:WEIGHTS]]."
        ),
    ] = "bundled"
    statistics: Annotated[
        Path | None, Option(help="Reference of these features, .npz; the bundled one's if left out.")
    ] = None
    classifier: Annotated[
        str | None,
        Option(help="For agreement: bundled, as with bundled features; MODULE:NAME or FILE.py:NAME, to logits."),
    ] = None
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Results, JSON, written after every row; goes on with what is there."),
    ] = None
    csv: Annotated[Path | None, Option(help="The rows as a table for other programs.")] = None
    guidance: Annotated[str, Option(help="Classifier-free guidance scales, 1,3; 1 is none.")] = "1"
    grid: options.Grid = None
    seed: Annotated[str, Option(help="Seed of fits and of test noise; several, 0,1,2, give means.")] = "0"
    batch: options.Batch = 100

    def study(self, names: Sequence[str], nfe: Sequence[int] | None) -> "Study":
        """What is compared; solvers that do not exist and files that cannot be written are refused here."""
        seeds, scales = options.whole(self.seed, "--seed"), options.scales(self.guidance)
        for path, suffix in ((self.output, ".json"), (self.csv, ".csv")):
            if path is not None:
                options.check_writable(path, suffix)
        check_solvers(names)
        from dode.metrics.study import Study

        return Study(tuple(names), None if nfe is None else tuple(nfe), tuple(scales), tuple(seeds), self.grid)

    def settings(self, paired: int) -> "Settings":
        """What is measured of each sampler."""
        from dode.metrics.estimates import METRICS, metric_names

        metrics = ["rms", *(["fd"] if self.fd else [])] if self.metrics is None else options.parts(self.metrics)
        if not self.fd and (lacking := [name for name in metric_names(metrics) if METRICS[name].needs != "exact"]):
            raise DodeError(f"{', '.join(lacking)} needs samples: give --fd, 5000 say")
        return settings(metrics, paired, self.fd, self.batch, self.rtol)

    def judge(self, device: str) -> "Evaluator":
        """What takes the features and compares them."""
        from dode.bundled_models import classifier
        from dode.metrics.evaluation import open_evaluator
        from dode.metrics.feature_extractors import open_extractor

        if self.classifier == "bundled":
            return open_evaluator(self.extractor, self.statistics, classifier(), device)
        classes = None if self.classifier is None else open_extractor(self.classifier, device)
        return open_evaluator(self.extractor, self.statistics, classes, device)

    @property
    def features(self) -> str:
        """The features, for the notes under a table."""
        return output.features_of(self.extractor, self.statistics)


@options.grouped
def compare(
    opening: options.CachedOpening,
    measuring: Measuring,
    nfe: Annotated[str, Option(help="Network evaluations.")] = "5,10,20",
    solvers: Annotated[
        str,
        Option(
            help="Solvers with options, a grid too, and calibration files: ddim,d-ddim:formulation=sep,edm:grid=karras,"
            "auto.json."
        ),
    ] = "ddim,d-ddim",
    paired: Paired = 32,
    report: Annotated[Path | None, Option(help="Page of figures and pictures to write, HTML.")] = None,
) -> None:
    """Compare solvers at equal network evaluations on equal noise, against the exact solution."""
    study = measuring.study(options.parts(solvers), options.counts(nfe))
    if report is not None:
        options.check_writable(report, ".html")
        if not paired or len(study.guidance) > 1:
            raise DodeError(
                "a report shows distances at one guidance scale: give --paired at least 2 and one --guidance"
            )
    model, settings, found = measure(opening, measuring, study, paired)
    rows = sorted((row for row, _ in found), key=lambda row: (row.guidance, row.nfe))
    title = f"{model.name}{output.of_class(opening.label)}, guidance {measuring.guidance}, seed {measuring.seed}"
    output.print_rows(rows, title, measuring.features)
    for line in [*_remarks(found, study), *_class_notes(found, opening.label, measuring.statistics)]:
        print(line)
    if report is not None and settings.group.is_first:
        _report(report, found)


@options.grouped
def evaluate(
    opening: options.CachedOpening,
    measuring: Measuring,
    calibration: Annotated[Path | None, Option(help="Calibration file of dode distill or dode auto.")] = None,
    solver: Annotated[
        str | None,
        Option(help="A solver instead, plain or distilled now, with options: ddim, d-ddim, edm:grid=karras."),
    ] = None,
    nfe: Nfe = None,
    paired: Paired = 64,
) -> None:
    """Measure one sampler: distance to the exact solution, and estimates from features."""
    name = _single(calibration, solver, nfe, measuring.grid)
    study = measuring.study([name], None if nfe is None else options.counts(nfe))
    _, _, found = measure(opening, measuring, study, paired)
    output.print_estimates([row for row, _ in found], measuring.features, opening.label)
    for line in _class_notes(found, opening.label, measuring.statistics):
        print(line)


def settings(metrics: Sequence[str], paired: int, fd: int, batch: int, rtol: float | None, seed: int = 0) -> "Settings":
    """What is measured; rtol is the usual one if it is None."""
    from dode.metrics.evaluation import Settings, settings_of

    options.check_room(max(paired, fd))
    return settings_of(metrics, paired, fd, seed, batch, Settings.rtol if rtol is None else rtol)


def exact_solution(model: "Model", settings: "Settings") -> "Tensor":
    """The exact solutions from the test noise, with a bar."""
    from dode.metrics import evaluation

    with output.progress("exact solution") as advance:
        return evaluation.exact_ends(model, settings, advance)


def check_solvers(names: Sequence[str]) -> None:
    """DodeError for solvers that do not exist; calibration files are read later."""
    from dode.metrics.study import is_file, placed
    from dode.solvers.spec import read

    for name in names:
        if name != "auto" and not is_file(name):
            read(placed(name, None)[0])


def measure(
    opening: options.Opening, measuring: Measuring, study: "Study", paired: int
) -> "tuple[Model, Settings, list[tuple[Row, Sampler]]]":
    """The rows of the study with their samplers, through the file of results if there is one; the CSV at the end."""
    from dode.metrics import results
    from dode.metrics.study import run

    settings = measuring.settings(paired)
    model, group = opening.open(), settings.group
    judge = measuring.judge(opening.device) if settings.fd else None
    common = _in_common(model, opening, measuring, settings, judge)
    file = group.broadcast(results.opened(measuring.output if group.is_first else None, common))
    file = file if group.is_first else replace(file, path=None)  # one process writes
    rows = run(model, study, settings, judge, file, output.progress)
    if measuring.csv is not None and group.is_first:
        results.write_csv(measuring.csv, [row for row, _ in rows])
    for path in (measuring.output, measuring.csv):
        if path is not None:
            print(f"written: {path}")
    return model, settings, rows


def _in_common(
    model: "Model", opening: options.Opening, measuring: Measuring, settings: "Settings", judge: "Evaluator | None"
) -> dict[str, Any]:
    """What all rows of one file of results have in common."""
    from dode.samplers import dtype_name

    common = {key: value for key, value in model.describe().items() if key != "noise"}
    common |= {"dtype": dtype_name(model), "metrics": sorted(settings.metrics), "paired": settings.paired}
    if model.cache is not None and model.cache.dtype is not None:
        common |= {"cache": str(model.cache.dtype).removeprefix("torch.")}  # outputs have fewer digits
    common |= {"fd": settings.fd, "rtol": settings.rtol, "reference": None if judge is None else judge.statistics.mark}
    common |= {"prompts": opening.prompt, "negative": opening.negative_prompt if opening.prompt else ""}
    common |= {} if opening.label is None else {"label": opening.label}
    return common | {"extractor": measuring.extractor, "classifier": measuring.classifier, "grid": measuring.grid}


def _single(calibration: Path | None, solver: str | None, nfe: str | None, grid: str | None) -> str:
    """The one sampler to measure, a file or a solver; DodeError for options that do not go together."""
    if (calibration is None) == (solver is None):
        raise DodeError("give either --calibration FILE or --solver NAME")
    if calibration is not None and calibration.suffix != ".json":
        raise DodeError(f"a calibration file's name ends with .json; got {calibration}")
    if calibration is not None and grid is not None:
        raise DodeError("a calibration brings its own grid; give no --grid with it")
    if solver is not None and nfe is None:
        raise DodeError("--solver needs --nfe, the number of network evaluations")
    return str(calibration) if solver is None else solver


def _class_notes(found: "Sequence[tuple[Row, Sampler]]", label: int | None, statistics: Path | None) -> list[str]:
    """Of plans that were fitted for another class, and of one class beside a reference of all."""
    classes = {row.solver: sampler.provenance.report.get("label") for row, sampler in found}
    lines = [f"{name} was found for class {k} alone." for name, k in classes.items() if k not in (None, label)]
    if label is not None and statistics is None and any(row.samples for row, _ in found):
        lines.append(f"The samples are of class {label}, the reference is of all: give --statistics of that class.")
    return lines


def _remarks(found: "Sequence[tuple[Row, Sampler]]", study: "Study") -> list[str]:
    """Where solvers stand on different grids, and what a calibration file had no plan for."""
    from dode.metrics.study import is_file

    grids: dict[str, dict[str, None]] = {}
    for row, sampler in found:
        grid = sampler.provenance.grid
        grids.setdefault(grid if isinstance(grid, str) else "times of its own", {})[row.solver] = None
    groups = "; ".join(f"{grid}: {', '.join(solvers)}" for grid, solvers in grids.items())
    lines = [f"Not all on one grid. {groups}."] if len(grids) > 1 else []
    for name in filter(is_file, study.names):
        held = {row.nfe for row, _ in found if row.solver.endswith(f"@{Path(name).as_posix()}")}
        lacking = [str(count) for count in study.nfe or () if count not in held]
        lines += [f"{name} has no plan for NFE {', '.join(lacking)}."] if lacking else []
    return lines


def _report(path: Path, found: "Sequence[tuple[Row, Sampler]]") -> None:
    """The page; of several seeds it shows the runs of the first."""
    from dode.report import write

    first: dict[tuple[str, int], Sampler] = {}
    for row, sampler in found:
        first.setdefault((row.solver, row.nfe), sampler)
    rows = output.pooled([row for row, _ in found])
    command = shlex.join(["dode", *sys.argv[1:]])
    with output.progress("paths for the report") as advance:
        write(path, rows, [first[row.solver, row.nfe] for row in rows], command=command, progress=advance)
    print(f"written: {path}")
