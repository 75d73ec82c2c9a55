"""Reference statistics on disk: the .npz files of EDM, ADM, pytorch-fid and clean-fid, read safely and written.

All of them name the mean `mu` and the covariance `sigma`; ADM adds those of its spatial features (`mu_s`, `sigma_s`)
and keeps batches of samples in `arr_0`, clean-fid keeps features for its KID in `feats`.  What is written has the
names that all of them read.
"""

import hashlib
import io
import math
import os
import zipfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode import json_schema
from dode.calibration import replace_bytes
from dode.errors import DodeError
from dode.metrics.features import Features, Moments, extracted, moments

HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MOST = 10_000  # bytes of a head, as in numpy's own reader
ROOM, PACKED = 1 << 28, 200  # bytes that may be packed as tightly as they like; how tightly larger arrays may be
KNOWN = ("mu", "sigma", "mu_s", "sigma_s", "feats", "arr_0")


@dataclass(frozen=True, eq=False)
class Statistics:
    """What samples are compared with."""

    moments: Moments
    features: np.ndarray | None = None  # (M, D), of some of the data: for KID, precision and recall
    spatial: Moments | None = None  # ADM's, of spatial features

    def __post_init__(self) -> None:
        size = len(self.moments.mean)
        if self.features is not None and (self.features.ndim != 2 or self.features.shape[1] != size):
            raise DodeError(f"the features must be (M, {size}), as the mean is; got {self.features.shape}")

    @property
    def mark(self) -> str:
        """Sixteen hexadecimal digits of every number: what a figure names its reference by."""
        arrays = [*self.moments, *([] if self.features is None else [self.features])]
        whole = b"".join(np.ascontiguousarray(array, dtype=np.float64).tobytes() for array in arrays)
        return hashlib.sha256(whole).hexdigest()[:16]


def read(path: str | Path, features: Features | None = None) -> Statistics:
    """The statistics of a file.  Nothing in it is run.

    A file of images alone (ADM's sample batches, uint8 (N, H, W, C) in `arr_0`) needs `features`, the extractor; where
    a file has images beside statistics, they give the features for KID, precision and recall.
    Raises ValueError, with what is wrong, for a torn or foreign file.
    """
    found = _arrays(Path(path))
    images = found.get("arr_0")
    kept = found.get("feats")
    if images is not None and features is not None:
        kept = extracted(features, _images(images, path))
    summed = _moments(found, "mu", "sigma", path)
    if summed is None and kept is not None:
        summed = moments(kept)
    if summed is None and images is not None:
        raise DodeError(f"{path} has images, which need an extractor, and no statistics")
    if summed is None:
        raise DodeError(f"{path} has no statistics: neither mu and sigma, nor features (feats), nor images (arr_0)")
    try:
        return Statistics(summed, kept, _moments(found, "mu_s", "sigma_s", path))
    except ValueError as error:
        raise DodeError(f"{path}: {error}") from error


def write(path: str | Path, statistics: Statistics) -> None:
    """The arrays mu and sigma, and what else there is: mu_s, sigma_s, feats.  The file appears whole or not at all."""
    arrays = {"mu": statistics.moments.mean, "sigma": statistics.moments.covariance}
    if statistics.spatial is not None:
        arrays |= {"mu_s": statistics.spatial.mean, "sigma_s": statistics.spatial.covariance}
    if statistics.features is not None:
        arrays["feats"] = statistics.features
    _write(path, arrays)


def write_images(path: str | Path, images: Tensor) -> None:
    """uint8 images (N, C, H, W) as a sample batch for ADM's evaluator: (N, H, W, C) in arr_0."""
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DodeError(f"images must be uint8 (N, C, H, W); got {images.dtype} {tuple(images.shape)}")
    _write(path, {"arr_0": images.permute(0, 2, 3, 1).cpu().numpy()})


def _write(path: str | Path, arrays: dict[str, Any]) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    replace_bytes(path, packed.getvalue())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays with names that are known; ValueError for a file that is no .npz, or torn, or holds objects."""
    if not os.path.isfile(path):
        raise DodeError(f"no file of statistics at {path}")
    if not zipfile.is_zipfile(path):
        raise DodeError(f"{path} is no .npz file, or only a part of one")
    try:
        with zipfile.ZipFile(path) as packed:
            there = set(packed.namelist())
            found = {name: _array(packed, f"{name}.npy") for name in KNOWN if f"{name}.npy" in there}
    except Exception as error:  # what a damaged file brings about in the readers of zip and numpy is of many types
        reason = json_schema.line(error) or type(error).__name__
        raise DodeError(f"{path} cannot be read as .npz statistics ({reason}); is it whole?") from error
    for name, array in found.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DodeError(f"{path}: {name} must hold finite numbers; got {array.dtype}, or NaN or infinity in it")
    return found


def _array(packed: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of a zip file.  What it says of its size is held against the file before there is room made for it."""
    info = packed.getinfo(name)
    if info.file_size > max(ROOM, PACKED * info.compress_size):
        raise DodeError(f"{name} is packed to less than a {PACKED}th, as no statistics are")
    with packed.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADS:
            raise DodeError(f"{name} is of version {version}")
        shape, fortran, dtype = HEADS[version](file, max_header_size=MOST)
        if dtype.hasobject:
            raise DodeError(f"{name}: Object arrays cannot be loaded, for they are code")
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise DodeError(f"{name} says that it is {dtype} {shape}, which is not what it holds")
        flat = np.frombuffer(bytearray(file.read()), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _moments(found: dict[str, np.ndarray], mean: str, covariance: str, path: str | Path) -> Moments | None:
    """The two arrays of these names, checked; None if neither is there."""
    if mean not in found and covariance not in found:
        return None
    if mean not in found or covariance not in found:
        raise DodeError(f"{path} has one of {mean} and {covariance} without the other")
    made = Moments(found[mean].astype(np.float64), found[covariance].astype(np.float64))
    size = made.mean.size
    if made.mean.shape != (size,) or made.covariance.shape != (size, size):
        shapes = f"{made.mean.shape} and {made.covariance.shape}"
        raise DodeError(f"{path}: {mean} and {covariance} must be (D,) and (D, D); got {shapes}")
    if not np.allclose(made.covariance, made.covariance.T, rtol=1e-4, atol=1e-6 * np.abs(made.covariance).max()):
        raise DodeError(f"{path}: {covariance} is not symmetric, so it is no covariance")
    return made


def _images(images: np.ndarray, path: str | Path) -> Tensor:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DodeError(f"{path}: arr_0 must be uint8 images (N, H, W, C); got {images.dtype} {images.shape}")
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def bundled() -> Statistics:
    """Of the bundled classifier's features: moments on the 60,000 training images, and the features of 5,000."""
    with as_file(files("dode.bundled_models") / "classifier-fashion.npz") as path:
        return read(path)
