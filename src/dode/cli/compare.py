"""dode compare."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dode.cli import common, measuring, tables
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.metrics.estimates import Row
    from dode.metrics.study import Study
    from dode.samplers import Sampler


def compare(
    model: common.ModelName,
    nfe: Annotated[
        str | None, typer.Option(help="Network evaluations: 5,10,20, which is usual; a student has its own.")
    ] = None,
    solvers: Annotated[
        str | None,
        typer.Option(
            help="Solvers with options, a grid too, and calibration files: ddim,d-ddim:formulation=sep,edm:grid=karras,"
            "auto.json."
        ),
    ] = None,
    metrics: measuring.Metrics = None,
    paired: measuring.Paired = 32,
    rtol: measuring.Rtol = None,
    fd: measuring.Samples = 0,
    extractor: measuring.Extractor = "bundled",
    statistics: measuring.Reference = None,
    classifier: measuring.Classify = None,
    output: measuring.Output = None,
    csv: measuring.Csv = None,
    threshold: common.Threshold = None,
    quantile: common.Quantile = None,
    label: common.Label = None,
    guidance: measuring.Scales = "1",
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
    grid: common.Grid = None,
    seed: measuring.Seeds = "0",
    batch: common.Batch = 100,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
    cache: common.CacheFolder = None,
    cache_dtype: common.CacheDtype = None,
    report: Annotated[Path | None, typer.Option(help="Page of figures and pictures to write, HTML.")] = None,
) -> None:
    """Compare solvers at equal network evaluations on equal noise, against the exact solution."""
    numbers = None if nfe is None else common.counts(nfe)
    seeds, scales = common.whole(seed, "--seed"), common.scales(guidance)
    names = None if solvers is None else tuple(dict.fromkeys(name.strip() for name in solvers.split(",")))
    measuring.check(output, csv, names or ())
    _check_report(report, paired, scales)
    from dode.metrics.study import Study

    settings = measuring.settings(metrics, paired, fd, batch, rtol)
    opened = common.open_model(model, 1.0, device, dtype, threshold, quantile, prompt, negative_prompt, label)
    opened = common.cached(opened, cache, cache_dtype)
    names = names or (("ddim", "d-ddim"))
    numbers = numbers or ([5, 10, 20])
    study = Study(names, tuple(numbers), tuple(scales), tuple(seeds), grid)
    features = measuring.Features(extractor, statistics, classifier, device)
    given = measuring.conditioned(prompt, negative_prompt, label)
    found = measuring.run(opened, study, settings, features, given, output, csv)
    rows = sorted((row for row, _ in found), key=lambda row: (row.guidance, row.nfe))
    title = f"{opened.name}{tables.of_class(label)}, guidance {guidance}, seed {seed}"
    tables.print_rows(rows, title, tables.features_of(extractor, statistics))
    lines = [*_remarks(found, study), *measuring.notes(found, label, statistics)]
    print("".join(f"{line}\n" for line in lines), end="")
    if report is not None and settings.group.is_first:
        _report(report, found)


def _check_report(path: Path | None, paired: int, scales: list[float]) -> None:
    """ValueError for a page that cannot be written or has nothing to show."""
    if path is None:
        return
    common.writable(path, ".html")
    if not paired or len(scales) > 1:
        raise DodeError("a report shows distances at one guidance scale: give --paired at least 2 and one --guidance")


def _remarks(found: "list[tuple[Row, Sampler]]", study: "Study") -> list[str]:
    """Where solvers stand on different grids, and what a calibration file had no plan for."""
    from dode.metrics.study import is_file

    names: dict[str, dict[str, None]] = {}
    for row, sampler in found:
        where = sampler.provenance.grid
        names.setdefault(where if isinstance(where, str) else "times of its own", {})[row.solver] = None
    said = [f"{where}: {', '.join(solvers)}" for where, solvers in names.items()]
    lines = [f"Not all on one grid. {'; '.join(said)}."] if len(said) > 1 else []
    for name in filter(is_file, study.names):
        held = {row.nfe for row, _ in found if row.solver.endswith(f"@{Path(name).as_posix()}")}
        lacking = [str(count) for count in study.nfe or () if count not in held]
        lines += [f"{name} has no plan for NFE {', '.join(lacking)}."] if lacking else []
    return lines


def _report(path: Path, found: "list[tuple[Row, Sampler]]") -> None:
    """The page; of several seeds it shows the runs of the first."""
    from dode.report import write

    first: dict[tuple[str, int], Sampler] = {}
    for row, sampler in found:
        first.setdefault((row.solver, row.nfe), sampler)
    rows = tables.together([row for row, _ in found])
    command = shlex.join(["dode", *sys.argv[1:]])
    with common.progress("paths for the report") as advance:
        write(path, rows, [first[row.solver, row.nfe] for row in rows], command=command, progress=advance)
    print(f"written: {path}")
