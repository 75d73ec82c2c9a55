"""Reference statistics on disk: the .npz files of EDM, ADM, pytorch-fid and clean-fid, read safely and written.

All of them name the mean `mu` and the covariance `sigma`; ADM keeps batches of samples in `arr_0`, clean-fid features
for its KID in `feats`.  What is written has the names that all of them read.
"""

import hashlib
import io
import math
import os
import zipfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dode import json_schema
from dode.errors import DodeError
from dode.files import replace_bytes
from dode.metrics.features import Features, Moments, extracted, moments

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
HEADER_SIZE = 10_000  # most bytes of a header, as in numpy's own reader
ROOM, PACKED = 1 << 28, 200  # bytes that may be compressed to any ratio; the most that larger arrays may be
NAMES = ("mu", "sigma", "feats", "arr_0")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Features of data that samples are compared with."""

    moments: Moments
    features: np.ndarray | None = None  # (M, D), of some of the data: for KID, precision and recall

    def __post_init__(self) -> None:
        size = len(self.moments.mean)
        if self.features is not None and (self.features.ndim != 2 or self.features.shape[1] != size):
            raise DodeError(f"the features must be (M, {size}), as the mean is; got {self.features.shape}")

    @property
    def mark(self) -> str:
        """Sixteen hexadecimal digits of a hash of every number, by which results name their reference."""
        arrays = [*self.moments, *([] if self.features is None else [self.features])]
        whole = b"".join(np.ascontiguousarray(array, dtype=np.float64).tobytes() for array in arrays)
        return hashlib.sha256(whole).hexdigest()[:16]


def read(path: str | Path, features: Features | None = None) -> Statistics:
    """Read a file of statistics; nothing in it is executed.

    Args:
        path: An .npz file.
        features: The extractor, for files of images (uint8 (N, H, W, C) in `arr_0`).  Where a file has images beside
            statistics, they give the features for KID, precision and recall.

    Raises:
        DodeError: The file is torn, foreign, or has neither statistics nor features nor images.
    """
    arrays = _arrays(Path(path))
    images, kept = arrays.get("arr_0"), arrays.get("feats")
    if images is not None and features is not None:
        kept = extracted(features, _images(images, path))
    summed = _moments(arrays, path)
    if summed is None and kept is not None:
        summed = moments(kept)
    if summed is None and images is not None:
        raise DodeError(f"{path} has images, which need an extractor, and no statistics")
    if summed is None:
        raise DodeError(f"{path} has no statistics: neither mu and sigma, nor features (feats), nor images (arr_0)")
    try:
        return Statistics(summed, kept)
    except ValueError as error:
        raise DodeError(f"{path}: {error}") from error


def write(path: str | Path, statistics: Statistics) -> None:
    """Write mu, sigma and, where there are any, feats; the file appears whole or not at all."""
    arrays = {"mu": statistics.moments.mean, "sigma": statistics.moments.covariance}
    if statistics.features is not None:
        arrays["feats"] = statistics.features
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    replace_bytes(path, packed.getvalue())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of NAMES; DodeError for a file that is no .npz, or torn, or holds objects."""
    if not os.path.isfile(path):
        raise DodeError(f"no file of statistics at {path}")
    if not zipfile.is_zipfile(path):
        raise DodeError(f"{path} is no .npz file, or only a part of one")
    try:
        with zipfile.ZipFile(path) as packed:
            there = set(packed.namelist())
            arrays = {name: _array(packed, f"{name}.npy") for name in NAMES if f"{name}.npy" in there}
    except Exception as error:  # damage raises errors of many types in the readers of zip and numpy
        reason = json_schema.line(error) or type(error).__name__
        raise DodeError(f"{path} cannot be read as .npz statistics ({reason}); is it whole?") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DodeError(f"{path}: {name} must hold finite numbers; got {array.dtype}, or NaN or infinity in it")
    return arrays


def _array(packed: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of a zip file; the size that it declares is held against the file before memory is allocated."""
    info = packed.getinfo(name)
    if info.file_size > max(ROOM, PACKED * info.compress_size):
        raise DodeError(f"{name} is packed to less than a {PACKED}th, as no statistics are")
    with packed.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise DodeError(f"{name} is of version {version}")
        shape, fortran, dtype = HEADERS[version](file, max_header_size=HEADER_SIZE)
        if dtype.hasobject:
            raise DodeError(f"{name}: Object arrays cannot be loaded, for they are code")
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise DodeError(f"{name} says that it is {dtype} {shape}, which is not what it holds")
        flat = np.frombuffer(bytearray(file.read()), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _moments(arrays: dict[str, np.ndarray], path: str | Path) -> Moments | None:
    """mu and sigma, checked; None if neither is there."""
    if ("mu" in arrays) != ("sigma" in arrays):
        raise DodeError(f"{path} has one of mu and sigma without the other")
    if "mu" not in arrays:
        return None
    mean, covariance = (arrays[name].astype(np.float64) for name in ("mu", "sigma"))
    if mean.shape != (mean.size,) or covariance.shape != (mean.size, mean.size):
        raise DodeError(f"{path}: mu and sigma must be (D,) and (D, D); got {mean.shape} and {covariance.shape}")
    if not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * np.abs(covariance).max()):
        raise DodeError(f"{path}: sigma is not symmetric, so it is no covariance")
    return Moments(mean, covariance)


def _images(images: np.ndarray, path: str | Path) -> Tensor:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DodeError(f"{path}: arr_0 must be uint8 images (N, H, W, C); got {images.dtype} {images.shape}")
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def bundled() -> Statistics:
    """Of the bundled classifier's features: moments of the 60,000 training images, and the features of 5,000."""
    with as_file(files("dode.bundled_models") / "classifier-fashion.npz") as path:
        return read(path)
