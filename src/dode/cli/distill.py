"""dode distill."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from dode.cli import options
from dode.cli.compare import settings
from dode.cli.output import print_notes, progress
from dode.errors import DodeError
from dode.messages import beside, distance

if TYPE_CHECKING:
    from dode.samplers import Sampler


@options.grouped
def distill(
    opening: options.CachedOpening,
    output: options.Calibration,
    solver: Annotated[
        str,
        Option(
            help="The solver to distil, with options: dpm-solver-2:inner=time, ddim:formulation=la:lam=0.2; dode "
            "methods lists them."
        ),
    ] = "ddim",
    nfe: Annotated[str, Option(help="Network evaluations: 10, or 5,10,20 in one file.")] = "10",
    teacher: Annotated[
        str | None, Option(help="The teacher's solver; the paper's if left out: ddim, ipndm and deis themselves.")
    ] = None,
    scale: Annotated[int, Option(help="Teacher steps per student step (the paper's C).")] = 10,
    samples: Annotated[int, Option(help="Samples to fit on (the paper's |B|).")] = 100,
    rho: Annotated[float, Option(help="Ridge; 0 is the paper.")] = 1e-4,
    align: Annotated[str, Option(help="time, or count for the published pairing and its grids.")] = "time",
    formulation: Annotated[str, Option(help="d, 2, sep, all, verbatim, fixed or la.")] = "d",
    paired: Annotated[int, Option(help="Samples of test noise for the file's figures; 0 for none.")] = 32,
    rtol: options.Rtol = None,
    guidance: options.Guidance = 1.0,
    grid: options.Grid = None,
    end: options.End = "data",
    seed: options.Seed = 0,
    batch: options.Batch = 50,
    offload: Annotated[
        str | None, Option(help="Where states of resting batches wait: cpu, or disk, as with --cache.")
    ] = None,
) -> None:
    """Distil a solver: one teacher run, one least-squares fit, one calibration file."""
    numbers = options.counts(nfe)
    options.check_writable(output, ".json")
    options.check_paired(paired)
    import dode
    from dode.process_group import current

    model = opening.open(guidance)
    with progress(f"teacher and fit, NFE {nfe}") as advance:
        fitted = dode.distill(
            model,
            solver,
            numbers,
            teacher=teacher,
            scale=scale,
            samples=samples,
            seed=seed,
            rho=rho,
            align=align,
            formulation=formulation,
            grid=grid,
            end=end,
            batch=batch,
            offload=offload,
            progress=advance,
        )
    fitted = {count: opening.sign(sampler) for count, sampler in fitted.items()}
    if current().is_first:  # before the figures, which may fail or be stopped: the fit is what took long
        dode.save(output, *fitted.values())
    if paired:
        fitted = _measure(fitted, output, paired, seed, batch, rtol)
    for count, sampler in fitted.items():
        print(f"{sampler.name} NFE {count}{_worth(sampler.provenance.report)}")
        print_notes(sampler, opening.label)
    print(f"written: {output}")


def _measure(
    fitted: "dict[int, Sampler]", output: Path, paired: int, seed: int, batch: int, rtol: float | None
) -> "dict[int, Sampler]":
    """The samplers with their distances on test noise, in the file too."""
    import dode
    from dode.metrics import reporting
    from dode.process_group import current

    try:
        with progress(f"figures on {paired} samples") as advance:
            fitted = reporting.with_figures(fitted, settings(["rms"], paired, 0, batch, rtol, seed), advance)
    except DodeError as error:
        raise DodeError(f"{error}; the fit is in {output}, without figures") from error
    if current().is_first:
        dode.save(output, *fitted.values())
    return fitted


def _worth(report: dict[str, Any]) -> str:
    """What a fit was worth, where it was measured."""
    if "rms" not in report:
        return ""
    plain = report["plain rms"]
    ratio = f", {report['rms'] / plain:.2f} times" if plain else ""
    return f": RMS to the exact solution {beside(report['rms'], report['rms error'])}, plain {distance(plain)}{ratio}"
