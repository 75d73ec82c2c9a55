"""dode inspect."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(file: Annotated[Path, typer.Argument(help="A calibration file.")]) -> None:
    """Show what a calibration file holds: for which model, how it was made, every number of its plans."""
    from dode import calibration

    content = calibration.read(file)
    model = content["model"]
    shape = "×".join(str(size) for size in model["shape"])
    print(f"model {model['name']} ({model['fingerprint']}), {model['prediction']} prediction, {shape}")
    print(f"schedule {model['schedule']}, schema {content['schema']}, checksum {content['checksum']}")
    for entry in content["plans"]:
        made = entry["provenance"]
        name = ("d-" if made["distilled"] else "") + made["method"]
        print(f"\n{name}, NFE {entry['nfe']}, guidance {entry['guidance']:g}, grid {made['grid']}")
        if made["distilled"]:
            print(
                f"teacher {made['teacher']} with {made['teacher_nfe']} evaluations, align {made['align']}, "
                f"rho {made['rho']:g}, {made['samples']} samples, seed {made['seed']}, {made['dtype']}"
            )
            errors = "  ".join(
                f"{lam:.4f}±{e:.4f}" for lam, e in zip(entry["plan"]["lambda"], made["errors"], strict=True)
            )
            print(f"lambda  {errors}")
            print("‖v‖/‖u‖ " + "  ".join(f"{ratio:.2g}" for ratio in made["ratios"]))
        for key, value in made["report"].items():
            print(f"{key}: {value}")
        print(calibration.plan_from_json(entry["plan"]))
