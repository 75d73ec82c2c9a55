"""How much is measured: in full, quickly, or smaller still."""

from dataclasses import asdict, dataclass
from typing import Any

FULLY_JUDGED, MOST_JUDGED = 10, 25


@dataclass(frozen=True)
class Size:
    """Seeds, evaluations and samples of every item; they are part of the results' settings."""

    name: str
    seeds: tuple[int, ...]  # of the fit's and of the test noise
    counts: tuple[int, ...]  # evaluations in the tables
    curve: tuple[int, ...]  # evaluations in figure 4
    few: tuple[int, ...]  # evaluations in figures 2a and 3
    pictures: tuple[int, ...]  # evaluations in figures 6 to 9
    fd: int  # samples of a Fréchet distance at ten evaluations or fewer
    curve_fd: int  # the same in figures 3 and 4
    curve_most: int  # evaluations above which figure 4 has no Fréchet distance, and fits on `samples_many`
    report: int  # samples of a distance
    report_many: int  # the same above `curve_most` evaluations
    rtol: float  # of the exact solution
    samples: int  # |B|
    samples_scale: int  # |B| of table 2a, whose teachers are the most expensive
    samples_many: int
    scales: tuple[int, ...]  # C in table 2a
    batches: tuple[int, ...]  # |B| in table 2b
    search: int  # samples of validation noise that a constant is searched on
    fine: int  # how many constants figures 2b and 2c try
    path: int  # samples of figures 1 and 5, a seed
    steps: int  # steps of their target
    images: int  # in a row of figures 6 to 9
    tests: int  # noised images in section 2
    network: int  # steps of the run in section 2
    trilemma: int  # samples of the trilemma
    quick: bool  # a short search of auto; a model's own samples instead of test images

    def said(self) -> dict[str, Any]:
        """What a file of results remembers."""
        return asdict(self)

    def judged(self, nfe: int, fd: int) -> int:
        """Samples of a Fréchet distance: a quarter above 10 evaluations, none above 25, where all are alike by it."""
        if nfe > MOST_JUDGED:
            return 0
        return fd if nfe <= FULLY_JUDGED else max(20, fd // 4)


FULL = Size(
    name="full",
    seeds=(0, 1, 2),
    counts=(10, 25, 50),
    curve=(2, 5, 10, 25, 50, 100, 250),
    few=(5, 10, 25),
    pictures=(3, 5, 10, 25),
    fd=1000,
    curve_fd=250,
    curve_most=10,
    report=64,
    report_many=16,
    rtol=1.5e-4,
    samples=100,
    samples_scale=25,
    samples_many=10,
    scales=(5, 10, 20, 30),
    batches=(5, 10, 50, 100),
    search=500,
    fine=11,
    path=334,
    steps=1000,
    images=8,
    tests=200,
    network=50,
    trilemma=1000,
    quick=False,
)
QUICK = Size(
    name="quick",
    seeds=(0,),
    counts=(5, 10),
    curve=(2, 5, 10),
    few=(3, 5),
    pictures=(3, 5),
    fd=30,
    curve_fd=20,
    curve_most=5,
    report=8,
    report_many=4,
    rtol=1e-2,
    samples=10,
    samples_scale=8,
    samples_many=4,
    scales=(5, 10, 20),
    batches=(2, 5, 10),
    search=20,
    fine=4,
    path=8,
    steps=50,
    images=4,
    tests=8,
    network=10,
    trilemma=20,
    quick=True,
)
SMALLEST = Size(
    name="smallest",
    seeds=(0,),
    counts=(4,),
    curve=(2, 4),
    few=(3,),
    pictures=(3,),
    fd=20,
    curve_fd=20,
    curve_most=2,
    report=4,
    report_many=3,
    rtol=3e-2,
    samples=4,
    samples_scale=4,
    samples_many=4,
    scales=(2, 4),
    batches=(2, 4),
    search=20,
    fine=2,
    path=3,
    steps=8,
    images=2,
    tests=4,
    network=4,
    trilemma=20,
    quick=True,
)
