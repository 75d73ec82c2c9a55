"""How a calibration knows its network and schedule again: hashes, or for functions what they answer."""

import hashlib
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dode import noise
from dode.errors import DodeError, NonFinite
from dode.sampling import Denoise
from dode.schedule import Schedule
from dode.timesteps import grid


def schedule_hash(schedule: Schedule) -> str:
    """Sixteen hexadecimal digits that say which schedule this is: α, σ at 33 times to ten digits, a flow's shift."""
    times = [schedule.t_min + (schedule.t_max - schedule.t_min) * i / 32 for i in range(33)]
    if schedule.knots:
        times = [float(round(t)) for t in times]
    numbers = [str(schedule.integer), *(f"{value:.9e}" for t in times for value in schedule.node(t))]
    if schedule.shift != 1:
        numbers.append(f"shift {schedule.shift:.6e}")
    return hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]


def schedule_name(schedule: Schedule) -> str:
    """What a person calls it: the class with its ends, and a flow's shift."""
    first = schedule.node(schedule.t_max)
    shift = f", shift {schedule.shift:.4g}" if schedule.shift != 1 else ""
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
def probe(denoise: Denoise, schedule: Schedule, shape: Sequence[int], place: Callable[[Tensor], Tensor]) -> str:
    """probe:… at up to four inner nodes the RMS of the output on one sample, and its product with a fixed direction.

    Args:
        denoise: (x (1, *shape), node) → output (1, *shape), for the first sample's condition.
        schedule: Where the nodes are.
        shape: Of one sample.
        place: Moves a state to the network's device and precision.

    Raises:
        NonFinite: where the network returns NaN or infinity.
        DodeError: where it returns another shape.
    """
    steps = int(min(6, schedule.t_max - schedule.t_end)) if schedule.integer else 6
    data, error, direction = noise.noise([0, 1, 2], shape, seed=0, stream="fit").split(1)
    numbers = []
    for node in grid(schedule, steps).nodes[1:5]:
        if node.sigma == 0:
            continue
        output = denoise(place(node.alpha * data + node.sigma * error), node).cpu().double()
        if not torch.isfinite(output).all():
            raise NonFinite(f"the network returned NaN or infinity at t = {node.t:g}; check its range and dtype")
        numbers += [float(output.square().mean().sqrt()), float((output * direction).mean())]
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


def absorb(whole: Any, value: Any) -> None:
    """Feed a condition, or anything of tensors, numbers and words, to a hash."""
    if isinstance(value, dict):
        absorb(whole, [one for key in sorted(value) for one in (key, value[key])])
    elif isinstance(value, list | tuple):
        whole.update(f"{len(value)} of:".encode())
        for one in value:
            absorb(whole, one)
    elif isinstance(value, Tensor):
        whole.update(f"{value.dtype} {tuple(value.shape)}:".encode())
        whole.update(raw_bytes(value).numpy())
    else:
        whole.update(f"{value!r};".encode())


def code_hash(network: Any) -> str:
    """Sixteen hexadecimal digits of the modules in a network: classes, code, plain attributes, weights bit for bit.

    What a fingerprint leaves out, because a calibration outlives it: another activation, a scale that is an attribute.
    Functions have no more than their fingerprint.
    """
    owner = getattr(network, "__self__", network)  # of a method
    held = getattr(owner, "__dict__", {}).values()
    modules = [owner] if isinstance(owner, nn.Module) else [value for value in held if isinstance(value, nn.Module)]
    whole = hashlib.sha256()
    for name, module in (found for one in modules for found in one.named_modules()):
        code = getattr(type(module).forward, "__code__", None)
        own = {key: value for key, value in vars(module).items() if not key.startswith("_") and _plain(value)}
        absorb(whole, (name, type(module).__qualname__, code and _code(code), own))
    for key, value in (found for one in modules for found in one.state_dict().items()):
        absorb(whole, (key, value.shape if value.is_meta else value))
    return whole.hexdigest()[:16]


def _plain(value: Any) -> bool:
    """Is it of numbers and words, as the scales of adapters are, by name?

    Tensors are none, nor what is empty or nothing: networks put there what they computed last.
    """
    if isinstance(value, dict):
        return bool(value) and all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_plain, value))
    return isinstance(value, bool | int | float | str)


def _code(code: CodeType) -> list[Any]:
    """What a function does, the numbers in it, and the functions in it."""
    inner = [_code(one) for one in code.co_consts if isinstance(one, CodeType)]
    own = [sorted(map(repr, one)) if isinstance(one, frozenset) else one for one in code.co_consts]
    return [code.co_code, code.co_names, [one for one in own if not isinstance(one, CodeType)], inner]


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of a condition, or of anything like it."""
    whole = hashlib.sha256()
    absorb(whole, value)
    return whole.hexdigest()[:16]


def raw_bytes(tensor: Tensor) -> Tensor:
    """The numbers of a tensor as bytes, in the order of its axes: (n,) uint8 on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
