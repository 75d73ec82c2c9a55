"""Where runs go: the size of the state against time, and two pixels against each other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dode.plots.canvas import INK, blank, drawn, save
from dode.trajectories import Track

POWER = 1 / 7  # of the root axis, in which EDM's grid is even


def norm(tracks: Mapping[str, Track], exact: Track, path: str | Path, axis: str = "linear", title: str = "") -> None:
    """Root mean square of the state over √(α² + σ²) against time, a line for each run, beside the exact solution.

    axis: that of `dode.trajectories.axis`, "linear" or "root".
    """
    figure, axes = blank()
    axes.plot(exact.times, exact.norms, color=INK, lw=3, alpha=0.35, label="exact")
    for (name, track), style in zip(tracks.items(), drawn(list(tracks)).values(), strict=True):
        axes.plot(track.times, track.norms, label=name, **style)
    _time_axis(axes, axis)
    axes.set_ylabel("RMS of the state / √(α² + σ²)")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def pixels(tracks: Mapping[str, Track], exact: Track, path: str | Path, sample: int = 0, title: str = "") -> None:
    """Two pixels of one sample against each other, from noise (ring) to data, beside the exact solution."""
    figure, axes = blank(5.4, 4.8)
    whole = exact.watched[:, sample]
    axes.plot(*whole.T, color=INK, lw=3, alpha=0.35, label="exact")
    axes.plot(*whole[0], "o", color=INK, ms=9, mfc="none")
    axes.plot(*whole[-1], "x", color=INK, ms=8, mew=2)
    for (name, track), style in zip(tracks.items(), drawn(list(tracks)).values(), strict=True):
        axes.plot(*track.watched[:, sample].T, label=name, **style)
    axes.set_xlabel("one pixel / √(α² + σ²)")
    axes.set_ylabel("another pixel / √(α² + σ²)")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def _time_axis(axes: Axes, axis: str) -> None:
    """Time from noise, on the left, to data."""
    if axis == "root":
        axes.set_xscale("function", functions=(lambda t: np.abs(t) ** POWER, lambda u: np.abs(u) ** (1 / POWER)))
        high = max(axes.get_xlim())
        axes.set_xticks([t for t in (0, 0.002, 0.02, 0.1, 0.5, 2, 5, 10, 20, 40, 80) if t <= high])
        axes.xaxis.set_major_formatter(lambda t, _: f"{t:g}")
    axes.invert_xaxis()
    axes.set_xlabel("noise level σ" if axis == "root" else "time t, from noise to data")
