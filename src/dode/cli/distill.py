"""dode distill."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dode.cli import common, measuring
from dode.cli.sample import written
from dode.errors import DodeError
from dode.messages import beside, distance

if TYPE_CHECKING:
    from dode.samplers import Sampler


def distill(
    model: common.ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Calibration file to write.")],
    solver: Annotated[str, typer.Option(help="The solver to distil: see dode methods.")] = "ddim",
    nfe: Annotated[str, typer.Option(help="Network evaluations: 10, or 5,10,20 in one file.")] = "10",
    teacher: Annotated[
        str | None, typer.Option(help="The teacher's solver; the paper's if left out: ddim, ipndm and deis themselves.")
    ] = None,
    scale: Annotated[int, typer.Option(help="Teacher steps per student step (the paper's C).")] = 10,
    samples: Annotated[
        int | None, typer.Option(help="Samples to fit on (the paper's |B|): 100 if left out, of auto 64.")
    ] = None,
    rho: Annotated[float | None, typer.Option(help="Ridge, 1e-4 if left out; 0 is the paper.")] = None,
    align: Annotated[str, typer.Option(help="time, or count for the published pairing and its grids.")] = "time",
    formulation: Annotated[str, typer.Option(help="d, 2, sep, all, verbatim, fixed or la.")] = "d",
    lam: Annotated[str | None, typer.Option(help="The constant of fixed and la, or search.")] = None,
    carry: Annotated[bool, typer.Option(help="Later stages of a step see mixed outputs, as in the paper.")] = True,
    states: Annotated[str, typer.Option(help="The states that the fit evaluates: student or teacher.")] = "student",
    inner: common.Inner = None,
    variable: common.Variable = None,
    gamma: common.Gamma = None,
    eta: Annotated[
        float | None, typer.Option(help="Refused above 0: only a deterministic sampler is distilled.")
    ] = None,
    churn: Annotated[float | None, typer.Option(help="Refused above 0, as eta.")] = None,
    threshold: common.Threshold = None,
    quantile: common.Quantile = None,
    paired: Annotated[int, typer.Option(help="Samples of test noise for the file's figures; 0 for none.")] = 32,
    rtol: measuring.Rtol = None,
    label: common.Label = None,
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
    grid: common.Grid = None,
    end: common.End = "data",
    seed: common.Seed = 0,
    batch: common.Batch = 50,
    cache: common.CacheFolder = None,
    cache_dtype: common.CacheDtype = None,
    offload: common.Offload = None,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """Distil a solver: one teacher run, one least-squares fit, one calibration file."""
    numbers = common.counts(nfe)
    common.writable(output, ".json")
    common.pairs(paired)
    import dode
    from dode.distillation.config import RHO
    from dode.process_group import current

    opened = common.open_model(model, guidance, device, dtype, threshold, quantile, prompt, negative_prompt, label)
    opened = common.cached(opened, cache, cache_dtype)
    with common.progress(f"teacher and fit, NFE {nfe}") as advance:
        options = common.given(inner=inner, variable=variable, gamma=gamma, eta=eta, churn=churn, lam=lam)
        options |= ({} if carry else {"carry": "false"}) | ({} if states == "student" else {"states": states})
        made = dode.distill(
            opened,
            written(solver, common.once(solver, options)),
            nfe=numbers,
            teacher=teacher,
            scale=scale,
            samples=samples,
            seed=seed,
            rho=RHO if rho is None else rho,
            align=align,
            formulation=formulation,
            grid=grid,
            end=end,
            batch=batch,
            offload=offload,
            progress=advance,
        )
    made = {count: common.of_class(one, label) for count, one in made.items()}
    if current().is_first:  # before the figures, which may fail or be stopped: the fit is what took long
        dode.save(output, *made.values())
    made = _measured(made, output, paired, seed, batch, rtol) if paired else made
    for count, one in made.items():
        print(f"{one.name} NFE {count}{_said(one.provenance.report)}")
        common.print_notes(one, label)
    print(f"written: {output}")


def _measured(
    made: "dict[int, Sampler]",
    output: Path,
    paired: int,
    seed: int,
    batch: int,
    rtol: float | None,
) -> "dict[int, Sampler]":
    """The samplers with their distances on test noise, in the file too."""
    import dode
    from dode.metrics import evaluation
    from dode.process_group import current

    settings = replace(measuring.settings(None, paired, 0, batch, rtol), seed=seed, group=current())
    try:
        with common.progress(f"figures on {paired} samples") as advance:
            made = evaluation.with_distances(made, settings, advance)
    except ValueError as error:
        raise DodeError(f"{error}; the fit is in {output}, without figures") from error
    if current().is_first:
        dode.save(output, *made.values())
    return made


def _said(figures: dict[str, Any]) -> str:
    """What a fit was worth, where it was measured."""
    if "rms" not in figures:
        return ""
    said = f": RMS to the exact solution {beside(figures['rms'], figures['rms error'])}"
    if "plain rms" not in figures:  # of auto, which has no one plain solver
        return said
    ratio = f", {figures['rms'] / figures['plain rms']:.2f} times" if figures["plain rms"] else ""
    return f"{said}, plain {distance(figures['plain rms'])}{ratio}"
