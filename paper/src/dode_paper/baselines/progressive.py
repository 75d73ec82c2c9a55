"""Progressive distillation: one step of the student lands where two DDIM steps of the teacher land.

Salimans & Ho 2022, algorithm 2.  The student of one halving, averaged, is the teacher of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dode.denoisers import Network
from dode.errors import DodeError
from dode.parameterization import Kind
from dode.schedule import EDM, Node, Schedule
from dode.solvers import METHODS
from dode.timesteps import grid
from dode_paper.baselines.batched_solver import Pieces, pieces, run, wide

LEAST = 0.01  # the last noise level of EDM's grids: below a step of 8-bit pixels there is nothing to learn


@dataclass(frozen=True, eq=False)
class Halving:
    """One stage: the student's steps, and the teacher's two for each."""

    nodes: tuple[Node, ...]  # of the student, steps + 1
    one: Pieces
    two: Pieces
    kind: Kind

    @property
    def steps(self) -> int:
        """Of the student."""
        return len(self.nodes) - 1


def fine_nodes(schedule: Schedule, steps: int) -> tuple[Node, ...]:
    """The nodes of the first teacher; every second of them are those of its student."""
    if schedule.default_grid == "karras":  # noise levels are its times
        schedule = EDM(schedule.t_max, max(LEAST, schedule.t_min))
    return grid(schedule, steps).nodes


def halvings(schedule: Schedule, kind: Kind, steps: int) -> list[Halving]:
    """From `steps` teacher steps, a power of two, down to a student of one.  Raises ValueError for noise networks."""
    if steps < 2 or steps & (steps - 1):
        raise DodeError(f"the teacher's steps must be a power of two, at least 2; got {steps}")
    if kind not in ("data", "v"):
        raise DodeError(
            f"progressive distillation needs a data or v network, which one step from pure noise does not break; "
            f"this one predicts {kind}"
        )
    made, fine = [], fine_nodes(schedule, steps)
    while len(fine) > 2:
        made.append(halving(schedule, kind, fine))
        fine = fine[::2]
    return made


def halving(schedule: Schedule, kind: Kind, fine: Sequence[Node]) -> Halving:
    """The stage whose teacher stands on these nodes."""
    coarse = tuple(fine[::2])
    starts = range(len(coarse) - 1)
    one = single(schedule, kind, coarse)
    two = pieces(METHODS["ddim"], [fine[2 * j : 2 * j + 3] for j in starts], schedule, kind)
    return Halving(coarse, one, two, kind)


def single(schedule: Schedule, kind: Kind, nodes: Sequence[Node]) -> Pieces:
    """Each DDIM step between neighbours."""
    return pieces(METHODS["ddim"], [nodes[j : j + 2] for j in range(len(nodes) - 1)], schedule, kind)


def target(stage: Halving, teacher: Network, x: Tensor, which: Tensor, label: Tensor) -> Tensor:
    """What the student must answer at x for one DDIM step to reach the teacher's two: appendix G of the paper."""
    end = run(stage.two, teacher, x, which, label)
    kept, moved = stage.one.start[which, 0], stage.one.table[which, 0, 0]
    return (end - wide(kept, x) * x) / wide(moved, x)


def weight(at: Pieces, kind: Kind, which: Tensor) -> Tensor:
    """Truncated SNR, max(alpha^2 / sigma^2, 1), of the error in the data (section 4); in v that is 1 / (1 + SNR)."""
    snr = (at.alphas[which, 0] / at.sigmas[which, 0]) ** 2
    return snr.clamp(min=1) / (1 if kind == "data" else 1 + snr)


def loss(stage: Halving, student: Network, teacher: Network, x: Tensor, which: Tensor, label: Tensor) -> Tensor:
    """Weighted mean square of the student's error; x (B, ...) stands at the student's nodes number `which`."""
    with torch.no_grad():
        wanted = target(stage, teacher, x, which, label)
    error = student(x, stage.one.times[which, 0], label) - wanted
    mean: Tensor = (wide(weight(stage.one, stage.kind, which), x) * error**2).mean()
    return mean
