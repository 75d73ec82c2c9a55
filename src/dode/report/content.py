"""The numbers and pictures of a report, as the JSON that the page's scripts draw."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dode import paths
from dode.legend import looks
from dode.metrics.comparison import Row
from dode.paths import Track
from dode.plots.curves import lambda_errors
from dode.report.pictures import addresses, drawable
from dode.samplers import Sampler

Json = dict[str, Any]
Progress = Callable[[int, int], None]
DIGITS = 5  # of numbers that are only drawn


def gathered(
    rows: Sequence[Row], samplers: Sequence[Sampler], exact: Tensor, seed: int, columns: int, progress: Progress | None
) -> Json:
    """Everything that is drawn; runs every sampler once more on the first samples of report noise, for its path."""
    model = samplers[0].model
    x_T = model.start(range(columns), seed)
    pixels = paths.watched(exact)
    total, done = paths.calls(samplers), 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    tracks = [paths.track(one, x_T, pixels, seed, tick) for one in samplers]
    names = list(dict.fromkeys(row.solver for row in rows))
    return {
        "methods": [{"name": name, **look._asdict()} for name, look in looks(names).items()],
        "counts": sorted({row.nfe for row in rows}),
        "rows": [_row(row, names) for row in rows],
        "lambdas": [_lambdas(one, names) for one in samplers if one.provenance.distilled],
        "time": {"scale": paths.axis(model), "label": _time_label(samplers[0])},
        "exact": _track(paths.exact_track(model, x_T, pixels)),
        "tracks": [_key(one, names) | _track(track) for one, track in zip(samplers, tracks, strict=True)],
        "pixels": [_place(pixel, model.shape) for pixel in pixels],
        "wall": _wall(samplers, tracks, exact[:columns], names),
    }


def _key(one: Sampler, names: Sequence[str]) -> Json:
    """Which line of the page something belongs to."""
    return {"method": names.index(one.name), "nfe": one.nfe}


def _row(row: Row, names: Sequence[str]) -> Json:
    return {
        "method": names.index(row.solver),
        "nfe": row.nfe,
        "rms": _finite(row.rms),
        "rmsError": _finite(row.rms_error),
        "median": _finite(row.median),
        "fd": _finite(row.fd),
        "fdError": _finite(row.fd_error),
    }


def _lambdas(one: Sampler, names: Sequence[str]) -> Json:
    """λ of each evaluation with its standard error, against the time of its node."""
    times = np.array([node.t for node in one.plan.nodes[:-1]])
    return _key(one, names) | {
        "t": _short(times),
        "value": _short(one.plan.lambdas),
        "error": _short(lambda_errors(one)),
    }


def _track(track: Track) -> Json:
    """watched: for each sample its path, pairs of pixels."""
    return {
        "t": _short(track.times),
        "norm": _short(track.norms),
        "watched": [[_short(pair) for pair in path] for path in track.watched.swapaxes(0, 1)],
    }


def _wall(samplers: Sequence[Sampler], tracks: Sequence[Track], exact: Tensor, names: Sequence[str]) -> Json | None:
    """The pictures of every run on the same noise; None where samples are no pictures."""
    model = samplers[0].model
    images = drawable(model, exact)
    if images is None:
        return None
    runs = []
    for one, track in zip(samplers, tracks, strict=True):
        made = drawable(model, track.end)
        if made is not None:
            runs.append(_key(one, names) | {"pictures": addresses(made)})
    return {
        "height": images.shape[-2],
        "width": images.shape[-1],
        "exact": addresses(images),
        "runs": runs,
    }


def _time_label(one: Sampler) -> str:
    return "noise level σ" if paths.axis(one.model) == "root" else "time t"


def _place(pixel: int, shape: Sequence[int]) -> str:
    """Where a watched pixel stands: row and column, and the channel if there are several."""
    place = [int(i) for i in np.unravel_index(pixel, tuple(shape))]
    return f"({', '.join(map(str, place[1:] if len(place) == 3 and shape[0] == 1 else place))})"


def _short(values: np.ndarray) -> list[float | None]:
    return [_finite(float(f"{value:.{DIGITS}g}")) for value in values]


def _finite(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None
