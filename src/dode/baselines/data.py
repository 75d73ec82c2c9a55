"""Fashion-MNIST from the Debian package dataset-fashion-mnist (MIT licence), padded to 32x32."""

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """One file of the IDX format: a magic number whose last byte counts the dimensions, their sizes, then bytes."""
    if not path.is_file():
        raise ValueError(f"no training images at {path}: install the Debian package dataset-fashion-mnist")
    raw = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def fashion(split: str, folder: Path = FOLDER) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") -> images in [-1, 1] (N, 1, 32, 32) with a border of -1, labels (N,)."""
    images = torch.from_numpy(read_idx(folder / f"{split}-images-idx3-ubyte.gz").astype(np.float32))
    labels = torch.from_numpy(read_idx(folder / f"{split}-labels-idx1-ubyte.gz").astype(np.int64))
    return torch.nn.functional.pad(images[:, None] / 127.5 - 1, (2, 2, 2, 2), value=-1.0), labels
