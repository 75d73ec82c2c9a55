"""How a calibration knows its network and schedule again: hashes, or for functions what they answer."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from dode import noise
from dode.errors import DodeError
from dode.schedule import DiscreteVP, Flow, Schedule
from dode.timesteps import grid

if TYPE_CHECKING:
    from dode.model import Model


def schedule_hash(schedule: Schedule) -> str:
    """Sixteen hexadecimal digits that say which schedule this is: α, σ at 33 times to ten digits, a flow's shift."""
    times = [schedule.t_min + (schedule.t_max - schedule.t_min) * i / 32 for i in range(33)]
    if isinstance(schedule, DiscreteVP):
        times = [float(round(t)) for t in times]
    numbers = [str(schedule.integer), *(f"{value:.9e}" for t in times for value in schedule.node(t))]
    if isinstance(schedule, Flow) and schedule.shift != 1:
        numbers.append(f"shift {schedule.shift:.6e}")
    return hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]


def schedule_name(schedule: Schedule) -> str:
    """What a person calls it: the class with its ends, and a flow's shift."""
    first = schedule.node(schedule.t_max)
    shift = f", shift {schedule.shift:.4g}" if isinstance(schedule, Flow) else ""
    return (
        f"{type(schedule).__name__} from t = {first.t:g}, alpha = {first.alpha:.4g}, sigma = {first.sigma:.4g}{shift}"
    )


def weights_hash(module: nn.Module) -> str:
    """weights:… of every parameter and buffer, by name, in float32; a compiled module is the one that was compiled.

    Raises ValueError for weights that are elsewhere (offloaded).
    """
    digest = hashlib.sha256()
    state = {key.replace("_orig_mod.", ""): value for key, value in module.state_dict().items()}
    for key, value in sorted(state.items()):
        if value.is_meta:
            raise DodeError(f"the weights {key} are offloaded; calibrate or attach before offloading")
        digest.update(key.encode())
        digest.update(value.detach().to("cpu", torch.float32).numpy().tobytes())
    return f"weights:{digest.hexdigest()[:16]}"


@torch.no_grad()
def probe(model: "Model") -> str:
    """probe:… at up to four inner nodes the RMS of the output on one sample, and its product with a fixed direction.

    Raises ValueError if the network returns another shape, or NaN.
    """
    schedule = model.schedule
    steps = int(min(6, schedule.t_max - schedule.t_end)) if schedule.integer else 6
    data, error, direction = noise.noise([0, 1, 2], model.shape, seed=0, stream="fit").split(1)
    denoise = model.bound(model.prediction, model.conditions([0]))
    numbers = []
    for node in grid(schedule, steps).nodes[1:5]:
        if node.sigma == 0:
            continue
        x = (node.alpha * data + node.sigma * error).to(model.dtype).to(model.device)
        d = denoise(x, node).cpu().double()
        if not torch.isfinite(d).all():
            raise DodeError(f"the network returned NaN or infinity at t = {node.t:g}; check its range and dtype")
        numbers += [float(d.square().mean().sqrt()), float((d * direction).mean())]
    return "probe:" + ",".join(f"{value:.6g}" for value in numbers)


def alike(mine: str, other: str) -> bool:
    """Do two fingerprints mean the same network? Hashes must be equal, probes within 1e-3 of each node's RMS."""
    if not (mine.startswith("probe:") and other.startswith("probe:")):
        return mine == other
    try:
        a, b = (np.array([float(v) for v in mark.removeprefix("probe:").split(",")]) for mark in (mine, other))
    except ValueError:  # one of them is from a file, and no mark
        return False
    if a.shape != b.shape or len(a) % 2:
        return False
    scale = np.maximum(a[::2], b[::2]).repeat(2)
    return bool(np.all(np.abs(a - b) <= 1e-3 * scale))
