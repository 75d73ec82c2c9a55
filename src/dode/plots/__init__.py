"""Plots and pictures for people, as PNG or SVG by the file's name.  Needs matplotlib (extra: cli)."""

from dode.plots.curves import errors, frechet, lambdas
from dode.plots.image_grids import comparison, sheet, tiles
from dode.plots.tableau import grids, tableau
from dode.plots.trajectories import norm, pixels

__all__ = ["comparison", "errors", "frechet", "grids", "lambdas", "norm", "pixels", "sheet", "tableau", "tiles"]
