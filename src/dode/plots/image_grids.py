"""Images side by side: contact sheets, and rows of the same noise."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from dode.files import replace_bytes
from dode.plots.canvas import save


def tiles(images: Tensor, columns: int) -> np.ndarray:
    """Arrange images (N, C, H, W) in [−1, 1] row by row in one: (H', W') or (H', W', 3), in [0, 1]."""
    pictures = ((images.detach().cpu().float().clamp(-1, 1) + 1) / 2).numpy().transpose(0, 2, 3, 1)
    n, height, width, channels = pictures.shape
    lines = -(-n // columns)
    sheet = np.ones((lines * (height + 2) - 2, columns * (width + 2) - 2, channels), dtype=np.float32)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (height + 2), (i % columns) * (width + 2)
        sheet[y : y + height, x : x + width] = picture
    return sheet[..., 0] if channels == 1 else sheet[..., :3]


def sheet(images: Tensor, path: str | Path, columns: int = 8, zoom: int = 2) -> None:
    """Write a contact sheet as PNG."""
    picture = tiles(images, min(columns, len(images)))
    large = np.kron(picture, np.ones((zoom, zoom) + (1,) * (picture.ndim - 2)))
    buffer = BytesIO()
    matplotlib.image.imsave(buffer, large, cmap="gray", vmin=0, vmax=1, format="png")
    replace_bytes(path, buffer.getvalue())


def comparison(named: Sequence[tuple[str, Tensor]], path: str | Path, title: str = "") -> None:
    """Write one row of images for each name, the same noise in a column."""
    lines, columns = len(named), len(named[0][1])
    height, width = named[0][1].shape[-2:]
    margin = max(1.2, 0.2 + 0.075 * max(len(name) for name, _ in named))  # inches for the longest name
    width_inches = margin + 0.2 + 0.62 * columns
    figure = Figure(figsize=(width_inches, 0.66 * lines * height / width + (0.4 if title else 0.1)), dpi=130)
    for i, (name, images) in enumerate(named):
        axes = figure.add_subplot(lines, 1, i + 1)
        axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=9)
    figure.subplots_adjust(
        left=margin / width_inches, right=0.995, bottom=0.01, top=0.93 if title else 0.99, hspace=0.05
    )
    save(figure, path)
