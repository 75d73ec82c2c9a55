"""dode compare."""

from typing import Annotated

import typer

from dode.cli import common, measuring, tables


def compare(
    model: common.ModelName,
    nfe: Annotated[str, typer.Option(help="Network evaluations: 5,10,20.")] = "5,10,20",
    solvers: Annotated[
        str,
        typer.Option(help="Solvers with options, and calibration files: ddim,d-ddim,d-ddim:formulation=sep,auto.json."),
    ] = "ddim,d-ddim",
    metrics: measuring.Metrics = None,
    paired: measuring.Paired = 32,
    fd: measuring.Samples = 0,
    extractor: measuring.Extractor = "bundled",
    statistics: measuring.Reference = None,
    classifier: measuring.Classify = None,
    output: measuring.Output = None,
    csv: measuring.Csv = None,
    threshold: common.Threshold = None,
    quantile: common.Quantile = None,
    guidance: measuring.Scales = "1",
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = "",
    grid: common.Grid = None,
    seed: measuring.Seeds = "0",
    batch: common.Batch = 100,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """Compare solvers at equal network evaluations on equal noise, against the exact solution."""
    numbers, seeds, scales = common.counts(nfe), common.whole(seed, "--seed"), common.scales(guidance)
    names = tuple(dict.fromkeys(name.strip() for name in solvers.split(",")))
    measuring.check(output, csv, names)
    from dode.metrics.study import Study

    study = Study(names, tuple(numbers), tuple(scales), tuple(seeds), grid)
    settings = measuring.settings(metrics, paired, fd, batch)
    opened = common.open_model(model, 1.0, device, dtype, threshold, quantile, prompt, negative_prompt)
    judge = measuring.judge(settings, extractor, statistics, classifier, device)
    more = {
        "extractor": extractor,
        "classifier": classifier,
        "grid": grid,
        "prompts": prompt,
        "negative": negative_prompt,
    }
    said = measuring.described(opened, settings, judge, more)
    found = measuring.run(opened, study, settings, judge, said, output, csv)
    rows = sorted((row for row, _ in found), key=lambda row: (row.guidance, row.nfe))
    tables.print_rows(
        rows, f"{opened.name}, guidance {guidance}, seed {seed}", tables.features_of(extractor, statistics)
    )
