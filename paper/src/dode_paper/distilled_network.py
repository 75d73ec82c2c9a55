"""A network that was trained to need few evaluations: it answers well only at the times of its training.

It is a model like any other.  Its schedule gives the trained times as the default grid, and has none for other numbers
of evaluations; nothing is fitted to it; its exact solution is its teacher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dode.errors import Unsupported
from dode.schedule import EDM


@dataclass(frozen=True)
class TrainedTimes(EDM):
    """EDM's noise levels, for a student.

    Attributes:
        student: Its name.
        teacher: The name of the model that it was distilled from.
        solver: How it is sampled: ddim, or ddim:fresh=1.
        times: Network evaluations → the nodes, one more than evaluations.
    """

    student: str = ""
    teacher: str = ""
    solver: str = "ddim"
    times: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    continuous_path = False

    def default_times(self, steps: int) -> str | Sequence[float]:
        """The times of the training; Unsupported for another number of steps."""
        if steps not in self.times:
            several = "one of these" if len(self.times) > 1 else "that many"
            raise Unsupported(
                f"{self.student} was trained for {self.counts} network evaluations; got {steps}: ask for {several}, or "
                "give the times as the grid"
            )
        return self.times[steps]

    @property
    def counts(self) -> str:
        """1, 2 or 4."""
        *others, last = (str(count) for count in sorted(self.times))
        return f"{', '.join(others)} or {last}" if others else last
