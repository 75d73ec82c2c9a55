"""Class agreement: the share of a conditional model's samples that a classifier takes for what they should be."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError


def agreed(logits: Tensor, labels: Tensor) -> np.ndarray:
    """For each sample, is the largest of its logits (N, classes) at its label (N,)? (N,) bool."""
    if logits.ndim != 2 or len(logits) != len(labels):
        raise DodeError(f"a classifier must return logits ({len(labels)}, classes); got {tuple(logits.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise DodeError(
            f"labels must be classes 0 … {logits.shape[1] - 1} of the classifier; "
            f"got {int(labels.min())} … {int(labels.max())}"
        )
    same: np.ndarray = (logits.argmax(1).cpu() == labels.cpu()).numpy()
    return same


def labels_of(cond: Any, name: str) -> Tensor:
    """The labels of samples with this condition; ValueError if it is not one class number a sample."""
    if isinstance(cond, Tensor) and cond.ndim == 1 and not torch.is_floating_point(cond):
        return cond
    raise DodeError(f"class agreement needs a model whose condition is a class number a sample; {name} has another")
