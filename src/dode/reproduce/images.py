"""Images to compare with: Fashion-MNIST's test images, or a model's own where that is enough."""

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dode import samplers
from dode.reproduce.lab import BATCH, Lab

FOLDER = Path("/usr/share/datasets/fashion-mnist")
OWN_STEPS = 20


def read_idx(name: str) -> np.ndarray:
    """One file of the IDX format: a magic number whose last byte counts the dimensions, their sizes, then bytes."""
    path = FOLDER / f"{name}.gz"
    if not path.exists():
        raise ValueError(f"{path} is missing: install the Debian package dataset-fashion-mnist, or ask for --quick")
    raw = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def fashion(split: str) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") → images in [−1, 1] (N, 1, 32, 32) with a border of −1, labels (N,)."""
    images = torch.from_numpy(read_idx(f"{split}-images-idx3-ubyte").astype(np.float32))
    labels = torch.from_numpy(read_idx(f"{split}-labels-idx1-ubyte").astype(np.int64))
    return torch.nn.functional.pad(images[:, None] / 127.5 - 1, (2, 2, 2, 2), value=-1.0), labels


def shown(lab: Lab, count: int) -> tuple[Tensor, Tensor | None, str]:
    """Images (count, *shape), their conditions, and what they are in words.

    Quick runs and other models than the bundled take the model's own samples of select noise.
    """
    if not lab.size.quick and lab.model.shape == (1, 32, 32) and lab.judge is not None:
        images, labels = fashion("t10k")
        return images[:count].to(lab.model.dtype), labels[:count], f"{count} test images of Fashion-MNIST"
    solver = samplers.sampler(lab.model, "dpm-solver++2m", nfe=OWN_STEPS)
    x_T, cond = lab.model.start(range(count), lab.size.seeds[0], "select"), lab.model.conditions(range(count))
    words = f"{count} samples of the model's own (DPM-Solver++ 2M with {OWN_STEPS} evaluations, select noise)"
    return solver.sample(noise=x_T, cond=cond, batch=BATCH), cond, words
