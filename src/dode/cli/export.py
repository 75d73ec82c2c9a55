"""dode export."""

import json
from typing import Annotated

import typer

from dode.errors import DodeError


def export(
    file: Annotated[str, typer.Argument(help="A calibration file, a grid file, or a list of dode import.")],
    sigmas: Annotated[bool, typer.Option("--sigmas", help="Noise levels sigma/alpha, the last 0.")] = False,
    timesteps: Annotated[bool, typer.Option("--timesteps", help="The model's own times, without the end.")] = False,
    nfe: Annotated[int | None, typer.Option(help="Network evaluations, if the file holds several.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale, if the file holds several.")] = None,
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
        values = _of_plan(file, sigmas, nfe, guidance)
    else:
        listed = sigma_tables.read(file)
        if sigmas != (listed.unit == "sigmas"):
            raise DodeError(f"{file} holds {listed.unit}; only a model turns them into others")
        if nfe is None and len(listed.lists) > 1:
            raise DodeError(f"{file} holds lists for NFE {', '.join(map(str, listed.lists))}; say which with --nfe")
        count = nfe or min(listed.lists)
        values = list(sigma_tables.sigmas(listed, count)) if sigmas else list(sigma_tables.times(listed, count))
    print(json.dumps([int(value) if value == int(value) and timesteps else value for value in values]))


def _of_plan(file: str, sigmas: bool, nfe: int | None, guidance: float | None) -> list[float]:
    """Where the steps of the calibrated plan start, and with sigmas the end."""
    from dode.integrations.sigmas import chosen, known
    from dode.state_scaling import OTHER_TIMES

    plans = chosen(known(file), guidance)
    counts = sorted(one.plan.nfe for one in plans)
    if (nfe is None and len(counts) > 1) or nfe not in (None, *counts):
        asked = "say which with --nfe" if nfe is None else f"asked for {nfe}"
        raise DodeError(f"{file} holds plans for NFE {', '.join(map(str, counts))}; {asked}")
    (one,) = [one for one in plans if nfe in (None, one.plan.nfe)]
    fresh = (*one.plan.step_starts, True)
    if not sigmas and one.plan.conditioning_shifts is not None:
        raise DodeError(OTHER_TIMES)
    if not sigmas:
        return [node.t for node, opens in zip(one.plan.nodes[:-1], fresh, strict=False) if opens]
    return [node.sigma for node, opens in zip(one.scaled(one.flow).nodes, fresh, strict=True) if opens]
