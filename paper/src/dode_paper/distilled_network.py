"""What a distilled network was trained for: it answers well only at the times it has seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dode.errors import DodeError

if TYPE_CHECKING:
    from dode.model import Model


@dataclass(frozen=True)
class Trained:
    """The sampling that a student was trained for."""

    teacher: "Callable[[], Model]"  # what it was distilled from
    solver: str  # as one asks for it: ddim, or ddim:fresh=1
    times: Mapping[int, tuple[float, ...]]  # network evaluations -> the nodes, one more than evaluations
    guidance: tuple[float, float] | None = None  # the scales that the network takes as an input, if it does

    def nodes(self, name: str, nfe: int) -> tuple[float, ...]:
        """The times for this number of evaluations.  Raises ValueError if it was trained for others."""
        if nfe not in self.times:
            raise DodeError(
                f"{name} was trained for {self.counts} network evaluations; got {nfe}: ask for "
                f"{'one of these' if len(self.times) > 1 else 'that many'}, or give the times themselves as the grid"
            )
        return self.times[nfe]

    def scale(self, name: str, guidance: float) -> float:
        """The guidance scale to tell the network.  Raises ValueError outside what it was trained for."""
        if self.guidance is None:
            raise DodeError(f"{name} was trained without guidance, so it cannot be guided; got {guidance:g}")
        low, high = self.guidance
        if not low <= guidance <= high:
            raise DodeError(f"{name} was trained for guidance from {low:g} to {high:g}; got {guidance:g}")
        return float(guidance)

    def refuse(self, name: str) -> None:
        """ValueError: a student's solver cannot be distilled."""
        raise DodeError(
            f"{name} was trained for {self.counts} network evaluations and has no ODE between their times, so there is "
            f"no solver of it to distil; distil one of its teacher, {self.teacher().name}"
        )

    @property
    def counts(self) -> str:
        """1, 2 or 4."""
        *others, last = (str(count) for count in sorted(self.times))
        return f"{', '.join(others)} or {last}" if others else last
