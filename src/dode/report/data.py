"""The numbers and pictures of a report, as the JSON that the page's scripts draw."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dode import trajectories
from dode.calibration import Json
from dode.metrics.comparison import FIGURES, Row
from dode.model import Model
from dode.plots.style import looks
from dode.progress import Progress, counting
from dode.report.images import addresses, drawable
from dode.samplers import Sampler
from dode.trajectories import Track

DIGITS = 5  # of numbers that are only drawn


def gathered(rows: Sequence[Row], samplers: Sequence[Sampler], columns: int, progress: Progress | None) -> Json:
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
        "figures": [name for name in FIGURES if any(getattr(row, name) is not None for row in rows)],
        "rows": [key | _row(row) for key, row in zip(keys, rows, strict=True)],
        "lambdas": [key | _lambdas(one) for key, one in zip(keys, samplers, strict=True) if one.provenance.distilled],
        "time": {"scale": trajectories.axis(model), "label": _time_label(samplers[0])},
        "exact": _track(exact),
        "tracks": [key | _track(track) for key, track in zip(keys, tracks, strict=True)],
        "pixels": [_place(pixel, model.shape) for pixel in pixels],
        "wall": _wall(model, keys, tracks, exact.end),
    }


def _row(row: Row) -> Json:
    """The median, and each figure with its standard error; null where it was not measured."""
    measured = [name for figure in ("rms", *FIGURES) for name in (figure, f"{figure}_error")]
    return {name: _finite(getattr(row, name)) for name in ("median", *measured)}


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
    """The pictures of every run on the same noise; None where samples are no pictures."""
    images = drawable(model, exact)
    if images is None:
        return None
    runs = []
    for key, track in zip(keys, tracks, strict=True):
        made = drawable(model, track.end)
        if made is not None:
            runs.append(key | {"pictures": addresses(made)})
    return {
        "height": images.shape[-2],
        "width": images.shape[-1],
        "exact": addresses(images),
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


def _finite(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None
