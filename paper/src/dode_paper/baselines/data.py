"""Fashion-MNIST from the Debian package dataset-fashion-mnist (MIT licence), padded to 32x32."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dode import json_schema
from dode.errors import DodeError

MOST = 1 << 30  # bytes of a file, unpacked; Fashion-MNIST has 47 million
FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """One file of the IDX format: a magic number whose last byte counts the dimensions, their sizes, then bytes."""
    if not path.is_file():
        raise DodeError(f"no training images at {path}: install the Debian package dataset-fashion-mnist")
    try:
        with gzip.open(path) as file:
            head = file.read(4)
            sizes = np.frombuffer(file.read(4 * head[3]), ">u4", count=head[3]).tolist()
            if math.prod(sizes) > MOST:
                raise DodeError(f"it says that it holds {' × '.join(map(str, sizes))} bytes")
            raw = file.read(math.prod(sizes) + 1)
    except (EOFError, IndexError, ValueError, OSError, zlib.error) as error:
        raise DodeError(f"{path} is no whole IDX file, packed by gzip ({json_schema.line(error)})") from error
    if len(raw) != math.prod(sizes):
        raise DodeError(f"{path} must hold {' × '.join(map(str, sizes))} bytes; it has not as many, or more")
    return np.frombuffer(raw, np.uint8).reshape(sizes)


def fashion(split: str, folder: Path = FOLDER) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") -> images in [-1, 1] (N, 1, 32, 32) with a border of -1, labels (N,)."""
    images = torch.from_numpy(read_idx(folder / f"{split}-images-idx3-ubyte.gz").astype(np.float32))
    labels = torch.from_numpy(read_idx(folder / f"{split}-labels-idx1-ubyte.gz").astype(np.int64))
    return torch.nn.functional.pad(images[:, None] / 127.5 - 1, (2, 2, 2, 2), value=-1.0), labels
