"""Several seeds of one solver as one row: means, with ± over the seeds."""

from collections.abc import Sequence

import numpy as np

from dode.errors import DodeError
from dode.metrics.comparison import FIGURES, Row
from dode.metrics.paired import Stop
from dode.metrics.parts import error


def pooled(rows: Sequence[Row]) -> Row:
    """The mean of rows that differ by their seeds alone; one row is itself.

    ± is the standard error over the seeds.  The samples' distances and the splits are put together, so that `ratio` and
    `change` of two pooled rows compare sample with sample and split with split, over all seeds.
    """
    said = {(row.solver, row.nfe, row.guidance, row.samples, row.reference) for row in rows}
    seeds = tuple(seed for row in rows for seed in row.seeds)
    if len(said) != 1 or len(set(seeds)) != len(seeds):
        raise DodeError(
            "rows are pooled over different seeds of one solver, NFE, guidance, number of samples and reference"
        )
    if len(rows) == 1:
        return rows[0]
    first, whole = rows[0], [row.each for row in rows if row.each is not None]
    shared = [name for name in first.parts if all(name in row.parts for row in rows)]
    made = Row(first.solver, first.nfe, guidance=first.guidance, seeds=seeds)
    made.samples, made.reference, made.stochastic = first.samples, first.reference, first.stochastic
    made.taught = first.taught if all(row.taught == first.taught for row in rows) else ""
    made.median = float(np.mean([row.median for row in rows]))
    made.seconds = sum(row.seconds for row in rows)
    made.each = np.concatenate(whole) if len(whole) == len(rows) else None
    made.parts = {name: np.concatenate([row.parts[name] for row in rows]) for name in shared}
    made.nodes = _stops(rows)
    for name in ("rms", *FIGURES):
        values = [getattr(row, name) for row in rows]
        if None not in values:
            setattr(made, name, float(np.mean(values)))
            setattr(made, f"{name}_error", error(np.array(values)))
    return made


def _stops(rows: Sequence[Row]) -> tuple[Stop, ...]:
    """The mean distance at every node that all rows have."""
    if any(not row.nodes or len(row.nodes) != len(rows[0].nodes) for row in rows):
        return ()
    together = zip(*(row.nodes for row in rows), strict=True)
    return tuple(
        Stop(one[0].t, float(np.mean([s.rms for s in one])), float(np.mean([s.median for s in one])))
        for one in together
    )
