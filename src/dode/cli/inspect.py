"""dode inspect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dode.calibration import Json
    from dode.plan import Plan
    from dode.samplers import Provenance


def _fitted(made: "Provenance", plan: "Plan") -> None:
    """What was fitted: λ ± its error; or, where an evaluation has several coefficients, its row of mix."""
    if made.lam is not None:
        print(f"lambda  {made.lam:g} at every evaluation with a previous output")
        return
    several = any(isinstance(error, tuple) for error in made.errors)
    single = made.samples == 1  # which has no spread to tell an error from
    if not made.errors or (single and not several):
        print("lambda  " + "  ".join(f"{lam:.4f}" for lam in plan.lambdas))
    elif not several:
        shown = (f"{lam:.4f}±{error:.4f}" for lam, error in zip(plan.lambdas, made.errors, strict=True))
        print("lambda  " + "  ".join(shown))
    else:
        for k, (row, error) in enumerate(zip(plan.mix, made.errors, strict=True)):
            said = "  ".join(f"{'x_T/σ_T' if j == 0 else f'D{j - 1}'}: {c:.4f}" for j, c in enumerate(row) if c)
            known = error if isinstance(error, tuple) else [error]
            print(f"O{k} = {said}" + ("" if single else "   ± " + ", ".join(f"{e:.4f}" for e in known)))
    for name, values in (("condition", made.conditions if several else ()), ("‖v‖/‖u‖", made.ratios)):
        if values:
            print(f"{name} " + "  ".join(f"{value:.2g}" for value in values))


def inspect(
    file: Annotated[Path, typer.Argument(help="A calibration file.")],
    explain: Annotated[bool, typer.Option("--explain", help="What was fitted, and if it helped, in words.")] = False,
) -> None:
    """Show what a calibration file holds: for which model, how it was made, every number of its plans."""
    from dode import calibration
    from dode.describe import explain as explained

    content = calibration.read(file)
    if explain:
        print(explained(content))
        return
    model = content["model"]
    shape = "×".join(str(size) for size in model["shape"])
    print(f"model {model['name']} ({model['fingerprint']}), {model['prediction']} prediction, {shape}")
    print(f"schedule {model['schedule']}, schema {content['schema']}, checksum {content['checksum']}")
    if model.get("threshold"):
        limit, share = model["threshold"][:2]
        print(f"x0 clipped to ±{limit:g}" + ("" if share is None else f", or dynamically by the quantile {share:g}"))
    for entry in content["plans"]:
        _print_entry(entry)


def _print_entry(entry: "Json") -> None:
    """One plan of the file: how it was made, what is known of it, its numbers."""
    from dode import calibration
    from dode.samplers import provenance_from_json

    made, plan = provenance_from_json(entry["provenance"]), calibration.plan_from_json(entry["plan"])
    guidance = "not known" if entry["guidance"] is None else f"{entry['guidance']:g}"
    print(f"\n{made.label}, NFE {entry['nfe']}, guidance {guidance}, grid {entry['provenance']['grid']}")
    if made.distilled and made.samples is not None:  # else it is between two that were
        rho = "unknown" if made.rho is None else f"{made.rho:g}"
        how = "" if made.align is None else f"align {made.align}, rho {rho}, "
        print(
            f"teacher {made.teacher} with {made.teacher_nfe} evaluations, {how}"
            f"{made.samples} samples, seed {made.seed}, {made.dtype}"
        )
        _fitted(made, plan)
    _report(made.report)
    print(plan)


IN_WORDS = {  # a search's figures in the file
    "start": "search began with",
    "robust select rms": "RMS on validation noise, outliers held down",
    "evaluations a sample": "evaluations for each sample to fit on",
    "budget": "of these at most so many times those of a C = 10 teacher",
    "errors of log gaps": "± of the logarithms of the gaps in log-SNR between nodes",
    "errors of told": "± of the log-SNR that the network is told",
    "n": "test samples",
    "seed": "their seed",
    "rms": "RMS on test noise",
    "rms error": "its ±",
    "plain": "beside the plain solver",
    "plain rms": "RMS of the plain solver",
    "plain median": "median of the plain solver",
}


def _report(report: "Json") -> None:
    """Figures: of the search, where there was one, and on test noise."""
    for key, value in report.items():
        several = value if isinstance(value, list) else [value]
        print(f"{IN_WORDS.get(key, key)}: {'  '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in several)}")
