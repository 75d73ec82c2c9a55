"""Plots and pictures for people, as PNG or SVG by the file's name.  Needs matplotlib (extra: cli)."""

from dode.plots.figures import errors, frechet, grids, lambdas, norm, pixels, tableau
from dode.plots.image_grids import comparison, sheet, tiles

__all__ = ["comparison", "errors", "frechet", "grids", "lambdas", "norm", "pixels", "sheet", "tableau", "tiles"]
