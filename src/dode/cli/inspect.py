"""dode inspect."""

from pathlib import Path
from typing import Annotated

import typer


def _error(error: float | list[float]) -> str:
    """± of an evaluation's λ; of several coefficients, that of each."""
    return "±" + "/".join(f"{e:.4f}" for e in (error if isinstance(error, list) else [error]))


def inspect(file: Annotated[Path, typer.Argument(help="A calibration file.")]) -> None:
    """Show what a calibration file holds: for which model, how it was made, every number of its plans."""
    from dode import calibration
    from dode.samplers import Provenance

    content = calibration.read(file)
    model = content["model"]
    shape = "×".join(str(size) for size in model["shape"])
    print(f"model {model['name']} ({model['fingerprint']}), {model['prediction']} prediction, {shape}")
    print(f"schedule {model['schedule']}, schema {content['schema']}, checksum {content['checksum']}")
    for entry in content["plans"]:
        made = entry["provenance"]
        errors = made.pop("errors")
        label = Provenance(**made).label
        print(f"\n{label}, NFE {entry['nfe']}, guidance {entry['guidance']:g}, grid {made['grid']}")
        if made["distilled"]:
            print(
                f"teacher {made['teacher']} with {made['teacher_nfe']} evaluations, align {made['align']}, "
                f"rho {made['rho']:g}, {made['samples']} samples, seed {made['seed']}, {made['dtype']}"
            )
            lambdas = zip(entry["plan"]["lambda"], errors, strict=True)
            print("lambda  " + "  ".join(f"{lam:.4f}{_error(error)}" for lam, error in lambdas))
            print("‖v‖/‖u‖ " + "  ".join(f"{ratio:.2g}" for ratio in made["ratios"]))
        for key, value in made["report"].items():
            print(f"{key}: {value}")
        print(calibration.plan_from_json(entry["plan"]))
