"""dode evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from dode.cli import common, measuring, tables
from dode.errors import DodeError


def evaluate(
    model: common.ModelName,
    calibration: Annotated[Path | None, typer.Option(help="Calibration file of dode distill or dode auto.")] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="A solver instead, plain or distilled now, with options: ddim, d-ddim, edm:grid=karras."),
    ] = None,
    nfe: Annotated[str | None, typer.Option(help="Network evaluations; without it all that the file holds.")] = None,
    metrics: measuring.Metrics = None,
    paired: measuring.Paired = 64,
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
) -> None:
    """Measure one sampler: distance to the exact solution, and figures of features."""
    name = _asked(calibration, solver, nfe, grid)
    numbers, seeds = None if nfe is None else tuple(common.counts(nfe)), common.whole(seed, "--seed")
    scales = common.scales(guidance)
    measuring.check(output, csv, [name])
    from dode.metrics.study import Study

    study = Study((name,), numbers, tuple(scales), tuple(seeds), grid)
    settings = measuring.settings(metrics, paired, fd, batch, rtol)
    opened = common.open_model(model, 1.0, device, dtype, threshold, quantile, prompt, negative_prompt, label)
    opened = common.cached(opened, cache, cache_dtype)
    features = measuring.Features(extractor, statistics, classifier, device)
    given = measuring.conditioned(prompt, negative_prompt, label)
    found = measuring.run(opened, study, settings, features, given, output, csv)
    tables.print_figures([row for row, _ in found], tables.features_of(extractor, statistics), label)
    print("".join(f"{line}\n" for line in measuring.notes(found, label, statistics)), end="")


def _asked(calibration: Path | None, solver: str | None, nfe: str | None, grid: str | None) -> str:
    """The one sampler to measure, a file or a solver; ValueError for options that do not go together."""
    if (calibration is None) == (solver is None):
        raise DodeError("give either --calibration FILE or --solver NAME")
    if calibration is not None and calibration.suffix != ".json":
        raise DodeError(f"a calibration file's name ends with .json; got {calibration}")
    if calibration is not None and grid is not None:
        raise DodeError("a calibration brings its own grid; give no --grid with it")
    if solver is not None and nfe is None:
        raise DodeError("--solver needs --nfe, the number of network evaluations")
    return str(calibration) if solver is None else solver
