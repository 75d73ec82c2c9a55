"""dode inspect, export and import: what files of plans and of grids hold, and grids made from other tools' numbers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from dode.cli import options
from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.calibration import Json
    from dode.plan import Plan
    from dode.samplers import Provenance

REPORT = {  # a report's keys in the file, in words
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


def inspect(
    file: Annotated[Path, Argument(help="A calibration file.")],
    explain: Annotated[bool, Option("--explain", help="What was fitted, and if it helped, in words.")] = False,
) -> None:
    """Show what a calibration file holds: for which model, how it was made, every number of its plans."""
    from dode import calibration, describe

    content = calibration.read(file)
    if explain:
        print(describe.explain(content))
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
    """One plan of the file: how it was made, what was measured of it, its numbers."""
    from dode import calibration
    from dode.samplers import provenance_from_json

    made, plan = provenance_from_json(entry["provenance"]), calibration.plan_from_json(entry["plan"])
    guidance = "not known" if entry["guidance"] is None else f"{entry['guidance']:g}"
    print(f"\n{made.label}, NFE {entry['nfe']}, guidance {guidance}, grid {entry['provenance']['grid']}")
    if made.distilled and made.samples is not None:  # else it is between two that were
        rho = "unknown" if made.rho is None else f"{made.rho:g}"
        how = "" if made.align is None else f"align {made.align}, rho {rho}, "
        teacher = f"teacher {made.teacher} with {made.teacher_nfe} evaluations"
        print(f"{teacher}, {how}{made.samples} samples, seed {made.seed}, {made.dtype}")
        _print_fit(made, plan)
    for key, value in made.report.items():
        values = value if isinstance(value, list) else [value]
        print(f"{REPORT.get(key, key)}: {'  '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in values)}")
    print(plan)


def _print_fit(made: "Provenance", plan: "Plan") -> None:
    """What was fitted: λ ± its error; or, where an evaluation has several coefficients, its row of mix."""
    if made.lam is not None:
        print(f"lambda  {made.lam:g} at every evaluation with a previous output")
        return
    several = any(isinstance(error, tuple) for error in made.errors)
    single = made.samples == 1  # which has no spread to tell an error from
    if not made.errors or (single and not several):
        print("lambda  " + "  ".join(f"{lam:.4f}" for lam in plan.lambdas))
    elif not several:
        pairs = zip(plan.lambdas, made.errors, strict=True)
        print("lambda  " + "  ".join(f"{lam:.4f}±{error:.4f}" for lam, error in pairs))
    else:
        for k, (row, error) in enumerate(zip(plan.mix, made.errors, strict=True)):
            terms = "  ".join(f"{'x_T/σ_T' if j == 0 else f'D{j - 1}'}: {c:.4f}" for j, c in enumerate(row) if c)
            errors = error if isinstance(error, tuple) else [error]
            print(f"O{k} = {terms}" + ("" if single else "   ± " + ", ".join(f"{e:.4f}" for e in errors)))
    for name, values in (("condition", made.conditions if several else ()), ("‖v‖/‖u‖", made.ratios)):
        if values:
            print(f"{name} " + "  ".join(f"{value:.2g}" for value in values))


def export(
    file: Annotated[str, Argument(help="A calibration file, a grid file, or a list of dode import.")],
    sigmas: Annotated[bool, Option("--sigmas", help="Noise levels sigma/alpha, the last 0.")] = False,
    timesteps: Annotated[bool, Option("--timesteps", help="The model's own times, without the end.")] = False,
    nfe: Annotated[int | None, Option(help="Network evaluations, if the file holds several.")] = None,
    guidance: Annotated[float | None, Option(help="Guidance scale, if the file holds several.")] = None,
) -> None:
    """Print where a solver's steps stand, as a plain list for other tools.

    Flow models (alpha = 1 - sigma) have sigmas from 1 to 0, as in diffusers and ComfyUI. Inner nodes of solvers with
    several stages are left out.
    """
    if sigmas == timesteps:
        raise DodeError("give either --sigmas or --timesteps")
    from dode import sigma_tables
    from dode.calibration import is_calibration

    if file not in sigma_tables.NAMES and is_calibration(file):
        values = _steps(file, sigmas, nfe, guidance)
    else:
        listed = sigma_tables.read(file)
        if sigmas != (listed.unit == "sigmas"):
            raise DodeError(f"{file} holds {listed.unit}; only a model turns them into others")
        if nfe is None and len(listed.lists) > 1:
            raise DodeError(f"{file} holds lists for NFE {', '.join(map(str, listed.lists))}; say which with --nfe")
        count = nfe or min(listed.lists)
        values = list(sigma_tables.sigmas(listed, count)) if sigmas else list(sigma_tables.times(listed, count))
    print(json.dumps([int(value) if value == int(value) and timesteps else value for value in values]))


def _steps(file: str, sigmas: bool, nfe: int | None, guidance: float | None) -> list[float]:
    """Where the steps of a calibrated plan start, and with sigmas the end."""
    from dode.integrations.sigmas import chosen, known
    from dode.state_scaling import OTHER_TIMES

    plans = chosen(known(file), guidance)
    counts = sorted(one.plan.nfe for one in plans)
    if (nfe is None and len(counts) > 1) or nfe not in (None, *counts):
        asked = "say which with --nfe" if nfe is None else f"asked for {nfe}"
        raise DodeError(f"{file} holds plans for NFE {', '.join(map(str, counts))}; {asked}")
    (calibrated,) = [one for one in plans if nfe in (None, one.plan.nfe)]
    starts = (*calibrated.plan.step_starts, True)
    if sigmas:
        nodes = calibrated.scaled(calibrated.flow).nodes
        return [node.sigma for node, start in zip(nodes, starts, strict=True) if start]
    if calibrated.plan.conditioning_shifts is not None:
        raise DodeError(OTHER_TIMES)
    return [node.t for node, start in zip(calibrated.plan.nodes[:-1], starts, strict=False) if start]


def import_(
    numbers: Annotated[
        str | None, Argument(help="A list: 14.6,6.5,…,0, or a text file of it, or a published one by name.")
    ] = None,
    output: Annotated[Path | None, Option("--output", "-o", help="Grid file to write, for --grid.")] = None,
    times: Annotated[bool, Option("--times", help="The numbers are the model's times, not sigma/alpha.")] = False,
    name: Annotated[str, Option(help="What to call the list.")] = "list",
    about: Annotated[str, Option(help="The model that it is for.")] = "",
    source: Annotated[str, Option(help="Where it is from.")] = "",
) -> None:
    """Make a grid for --grid from a list of sigmas or times; without a list, show the published ones."""
    from dode import sigma_tables
    from dode.files import replace_text

    if numbers is None:
        for published in sigma_tables.NAMES:
            listed = sigma_tables.read(published)
            print(f"{published}: {listed.about}. NFE {', '.join(map(str, listed.lists))}. {listed.source}")
        return
    if output is None:
        raise DodeError("give -o FILE.json, the grid file to write; dode export shows the numbers of a list")
    options.check_writable(output)
    if output.suffix != ".json":
        raise DodeError(f"a grid file ends with .json, so that --grid knows it; got {output}")
    if numbers in sigma_tables.NAMES:
        listed = sigma_tables.read(numbers)
    else:
        listed = sigma_tables.parsed(_text(numbers), "times" if times else "sigmas", name)
        listed = replace(listed, about=about, source=source)
    replace_text(output, json.dumps(sigma_tables.as_json(listed), indent=1) + "\n")
    print(f"written: {output}; use it with --grid {output}")


def _text(numbers: str) -> str:
    """The list itself, or the text of the file that it names; a list may be longer than a file's name can be."""
    from dode.files import read_bytes

    if not os.path.isfile(numbers):
        return numbers
    try:
        return read_bytes(numbers).decode()
    except UnicodeDecodeError as error:
        raise DodeError(f"{numbers} is not a text file ({error})") from error
