"""dode inspect."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _fitted(entry: dict[str, Any], errors: list[float | list[float]]) -> None:
    """What was fitted: λ ± its error; or, where an evaluation has several coefficients, its row of mix."""
    made, plan = entry["provenance"], entry["plan"]
    if made.get("lam") is not None:
        print(f"lambda  {made['lam']:g} at every evaluation with a previous output")
        return
    if not errors:
        print("lambda  " + "  ".join(f"{lam:.4f}" for lam in plan["lambda"]))
    elif not any(isinstance(error, list) for error in errors):
        shown = (f"{lam:.4f}±{error:.4f}" for lam, error in zip(plan["lambda"], errors, strict=True))
        print("lambda  " + "  ".join(shown))
    else:
        for k, (row, error) in enumerate(zip(plan["mix"], errors, strict=True)):
            said = "  ".join(f"{'x_T/σ_T' if j == 0 else f'D{j - 1}'}: {c:.4f}" for j, c in enumerate(row) if c)
            print(
                f"O{k} = {said}   ± " + ", ".join(f"{e:.4f}" for e in (error if isinstance(error, list) else [error]))
            )
    for name, key in (("condition", "conditions"), ("‖v‖/‖u‖", "ratios")):
        if made[key] and (key == "ratios" or any(isinstance(error, list) for error in errors)):
            print(f"{name} " + "  ".join(f"{value:.2g}" for value in made[key]))


def inspect(
    file: Annotated[Path, typer.Argument(help="A calibration file.")],
    explain: Annotated[bool, typer.Option("--explain", help="What was fitted, and if it helped, in words.")] = False,
) -> None:
    """Show what a calibration file holds: for which model, how it was made, every number of its plans."""
    from dode import calibration
    from dode.explanation import explain as explained
    from dode.samplers import Provenance

    content = calibration.read(file)
    if explain:
        print(explained(content))
        return
    model = content["model"]
    shape = "×".join(str(size) for size in model["shape"])
    print(f"model {model['name']} ({model['fingerprint']}), {model['prediction']} prediction, {shape}")
    print(f"schedule {model['schedule']}, schema {content['schema']}, checksum {content['checksum']}")
    for entry in content["plans"]:
        made = entry["provenance"]
        errors = made.pop("errors")
        label = Provenance(**made).label
        guidance = "not known" if entry["guidance"] is None else f"{entry['guidance']:g}"
        print(f"\n{label}, NFE {entry['nfe']}, guidance {guidance}, grid {made['grid']}")
        if made["distilled"]:
            how = "" if made["align"] is None else f"align {made['align']}, rho {made['rho']:g}, "
            print(
                f"teacher {made['teacher']} with {made['teacher_nfe']} evaluations, {how}"
                f"{made['samples']} samples, seed {made['seed']}, {made['dtype']}"
            )
            _fitted(entry, errors)
        for key, value in made["report"].items():
            shown = [f"{v:.3g}" for v in value] if isinstance(value, list) else [f"{value}"]
            print(f"{key}: {'  '.join(shown)}")
        print(calibration.plan_from_json(entry["plan"]))
