"""The numbers and images of a report, as the JSON that the page's scripts draw."""

import math
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from dode import trajectories
from dode.calibration import Json
from dode.metrics import METRICS, to_uint8
from dode.metrics.estimates import Row, beside_rms
from dode.model import Model
from dode.plots.canvas import looks
from dode.progress import Progress, counting
from dode.samplers import Sampler
from dode.trajectories import Track

DIGITS = 5  # of numbers that are only drawn
LARGEST = 128  # pixels of an image's longer side: the page holds hundreds of them


def collect(rows: Sequence[Row], samplers: Sequence[Sampler], columns: int, progress: Progress | None) -> Json:
    """Everything that is drawn; runs every sampler once more on the first samples of test noise, for its path."""
    model, seed = samplers[0].model, rows[0].seeds[0]
    x_T = model.start(range(columns), seed)
    exact, pixels = trajectories.exact_track(model, x_T)
    tick = counting(progress, trajectories.calls(samplers))
    tracks = [trajectories.track(one, x_T, pixels, seed, tick) for one in samplers]
    names = list(dict.fromkeys(row.solver for row in rows))
    keys = [{"method": names.index(row.solver), "nfe": row.nfe} for row in rows]
    return {
        "methods": [{"name": name, **look._asdict()} for name, look in looks(names).items()],
        "counts": sorted({row.nfe for row in rows}),
        "figures": beside_rms(rows),
        "rows": [key | _row(row) for key, row in zip(keys, rows, strict=True)],
        "lambdas": [key | _lambdas(one) for key, one in zip(keys, samplers, strict=True) if one.provenance.distilled],
        "time": {"scale": trajectories.axis(model), "label": _time_label(samplers[0])},
        "exact": _track(exact),
        "tracks": [key | _track(track) for key, track in zip(keys, tracks, strict=True)],
        "pixels": [_place(pixel, model.shape) for pixel in pixels],
        "wall": _wall(model, keys, tracks, exact.end),
    }


def _row(row: Row) -> Json:
    """The median, and each metric with its standard error; null where it was not measured."""
    numbers = {"median": _finite(row.median)}
    for name in METRICS:
        estimate = row.estimates.get(name)
        numbers[name] = None if estimate is None else _finite(estimate.value)
        numbers[f"{name}_error"] = None if estimate is None else _finite(estimate.error)
    return numbers


def _lambdas(one: Sampler) -> Json:
    """λ of each evaluation with its standard error, against the time of its state."""
    times = np.array(trajectories.times(one.plan, one.model.schedule)[:-1])
    errors = one.provenance.lambda_errors(one.nfe)
    return {"t": _short(times), "value": _short(one.plan.lambdas), "error": _short(errors)}


def _track(track: Track) -> Json:
    """watched: for each sample its path, pairs of pixels."""
    return {
        "t": _short(track.times),
        "norm": _short(track.norms),
        "watched": [[_short(pair) for pair in path] for path in track.watched.swapaxes(0, 1)],
    }


def _wall(model: Model, keys: Sequence[Json], tracks: Sequence[Track], exact: Tensor) -> Json | None:
    """The images of every run on the same noise; None where samples are no images."""
    images = _drawable(model, exact)
    if images is None:
        return None
    ends = [_drawable(model, track.end) for track in tracks]
    runs = [key | {"pictures": _addresses(end)} for key, end in zip(keys, ends, strict=True) if end is not None]
    return {
        "height": images.shape[-2],
        "width": images.shape[-1],
        "exact": _addresses(images),
        "runs": runs,
    }


def _time_label(one: Sampler) -> str:
    return "noise level σ" if trajectories.axis(one.model) == "root" else "time t"


def _place(pixel: int, shape: Sequence[int]) -> str:
    """Where a watched pixel stands: row and column, and the channel if there are several."""
    place = [int(i) for i in np.unravel_index(pixel, tuple(shape))]
    return f"({', '.join(map(str, place[1:] if len(place) == 3 and shape[0] == 1 else place))})"


def _short(values: np.ndarray) -> list[float | None]:
    return [_finite(float(f"{value:.{DIGITS}g}")) for value in values]


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _drawable(model: Model, samples: Tensor) -> Tensor | None:
    """Samples (n, *shape) as images in [-1, 1], (n, 1 or 3, H, W), at most 128 pixels wide; None if they are not."""
    images = samples if model.decode is None else model.decode(samples)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        return None
    images = images.detach().float().cpu()
    factor = -(-max(images.shape[-2:]) // LARGEST)
    return images if factor == 1 else torch.nn.functional.avg_pool2d(images.clamp(-1, 1), factor)


def _addresses(images: Tensor) -> list[str]:
    """Each image (n, C, H, W) in [-1, 1] as a data address of a PNG."""
    from PIL import Image

    urls = []
    for pixels in to_uint8(images).numpy().transpose(0, 2, 3, 1):
        buffer = BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", optimize=True)
        urls.append("data:image/png;base64," + b64encode(buffer.getvalue()).decode())
    return urls
