"""A student's weights in less than a byte each: their differences from the teacher's, rounded to even steps.

A step is a tenth of the differences' root mean square in a tensor, so that weights move by less than a hundredth of
their spread; `paper/students/pack.py` measures what that does to samples.
"""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from dode.errors import DodeError

STEP = 0.1
PACKED, STEPS = "packed", "steps"  # the tensors that hold the rounded differences, and the step of each


def pack(weights: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as tensors for a file.

    Args:
        weights: Of the student, by name.
        teacher: Of its teacher; a weight that the teacher has not is its own difference.

    Returns:
        "packed": bytes, compressed; "steps": (number of large tensors,); tensors of one dimension in float16.
    """
    steps, content = [], []
    for name in large(weights):
        difference = weights[name].float() - base(name, weights[name], teacher)
        step = max(float(STEP * difference.square().mean().sqrt()), 1e-12)
        steps.append(step)
        content.append((difference / step).round().clamp(-127, 127).to(torch.int8).numpy().tobytes())
    packed = torch.frombuffer(bytearray(zlib.compress(b"".join(content), 9)), dtype=torch.uint8)
    rest = {name: value.half() for name, value in weights.items() if value.ndim < 2}
    return {PACKED: packed, STEPS: torch.tensor(steps, dtype=torch.float32), **rest}


def unpack(
    tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], teacher: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights that `pack` rounded, in float32.

    Args:
        tensors: What `pack` returned.
        like: Tensors of the student's network, for their names and shapes.
        teacher: As for `pack`.

    Raises:
        DodeError: where the tensors are not those of such a network.
    """
    names = large(like)
    size = sum(like[name].numel() for name in names)
    content = _decompressed(tensors[PACKED], size)
    steps = tensors.get(STEPS, torch.zeros(0)).float()
    if len(content) != size or steps.shape != (len(names),):
        raise DodeError(f"its packed weights are {len(content):,} numbers of {len(steps)} tensors; expected {size:,}")
    differences = torch.frombuffer(bytearray(content), dtype=torch.int8).split([like[name].numel() for name in names])
    weights = {name: value.float() for name, value in tensors.items() if name not in (PACKED, STEPS)}
    for name, step, difference in zip(names, steps, differences, strict=True):
        weights[name] = base(name, like[name], teacher) + step * difference.reshape(like[name].shape).float()
    return weights


def large(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of what is packed: weights of two dimensions or more."""
    return sorted(name for name, value in weights.items() if value.ndim > 1)


def base(name: str, like: Tensor, teacher: Mapping[str, Tensor]) -> Tensor:
    """The teacher's weight of a name; zeros if it has none, as for what tells a student its guidance scale."""
    weight = teacher.get(name.replace("class_embedding.classes.", "class_embedding."))
    if weight is None:
        return torch.zeros(like.shape)
    if weight.shape != like.shape:
        raise DodeError(f"{name} is {tuple(like.shape)}, and {tuple(weight.shape)} in the teacher")
    return weight.float()


def _decompressed(packed: Tensor, size: int) -> bytes:
    """At most one byte more than `size`."""
    try:
        return zlib.decompressobj().decompress(packed.contiguous().numpy().tobytes(), size + 1)
    except zlib.error as error:
        raise DodeError(f"its packed weights are damaged ({error})") from error
