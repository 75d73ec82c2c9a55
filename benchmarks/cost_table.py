"""What a calibration costs, ours counted, the published code's by its own rule, and others' as their papers say.

    python benchmarks/cost_table.py

The published D-ODE code runs a teacher of C·NFE steps for every solver, every NFE and every run, since it keeps no λ.
"""

from collections.abc import Sequence

from records import Records, table
from torch import Tensor

import dode
from dode.model import Model
from dode.schedule import DiscreteVP, linear_betas

SAMPLES, SCALE, MOST = 100, 10, 1000  # |B|, C, and the steps that the published teacher has at most
REQUESTS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "D-DDIM at NFE 10": (("ddim",), (10,)),
    "D-DDIM at NFE 5, 10, 25 and 50": (("ddim",), (5, 10, 25, 50)),
    "DDIM, DPM-Solver-2, DPM-Solver++ 2M and 3M at NFE 5, 10 and 20": (
        ("ddim", "dpm-solver-2", "dpm-solver++2m", "dpm-solver++3m"),
        (5, 10, 20),
    ),
    "the same with iPNDM and DEIS-2, taught by DDIM": (
        ("ddim", "dpm-solver-2", "dpm-solver++2m", "dpm-solver++3m", "ipndm", "deis-2"),
        (5, 10, 20),
    ),
}
OTHERS = (  # what is learned; what its authors say that it takes; where they say it
    ("AMED", "a network of 9,000 weights", "2 to 8 minutes of an A100", "its README"),
    (
        "EPD, K = 2",
        "6 to 45 numbers, by gradients",
        "3 to 5 minutes; counts two parallel evaluations as one",
        "its log",
    ),
    ("GITS", "times, without gradients", f"256 trajectories of 60 steps: {256 * 60:,} evaluations", "its code"),
    ("LD3", "at most 2·NFE times, by gradients through the sampler", "5 to 10 minutes; 36 on an A100", "README; paper"),
    ("S4S-Alt", "coefficients and times, by gradients", "under an hour of an A100", "Table 13 of GS's paper"),
    ("GS", "O(NFE²) numbers, by gradients", "30 to 60 minutes of an H100, 17 to 34 GB, 1,400 pairs", "its paper"),
    ("GAS", "the same, and an adversary", "85 to 130 minutes of an H100", "its paper"),
    ("BNS", "18 to 52 numbers, by gradients", "2 to 10 days of V100, 520 pairs", "its paper, Table 3"),
    ("DPM-Solver-v3", "statistics of the model", "hours, 1,000 to 4,000 points", "its paper"),
)


def half(x: Tensor, t: Tensor) -> Tensor:
    return x * 0.5


def counted(model: Model, methods: Sequence[str], counts: Sequence[int]) -> int:
    """Network evaluations of one `dode.distill`, one sample each."""
    calls = [0]

    def count(done: int, total: int) -> None:
        calls[0] = done

    dode.distill(model, list(methods), nfe=counts, samples=SAMPLES, batch=SAMPLES, teacher="ddim", progress=count)
    return calls[0] * SAMPLES


def published(methods: Sequence[str], counts: Sequence[int]) -> int:
    """Each solver and NFE its own teacher."""
    return sum(min(MOST, SCALE * n) + n for n in counts for _ in methods) * SAMPLES


def main() -> None:
    schedule = DiscreteVP.from_betas(linear_betas())
    model = dode.from_callable(half, schedule=schedule, prediction="noise", shape=(1, 4, 4))
    records = Records("cost-table", {"samples": SAMPLES, "scale": SCALE})
    for what, (methods, counts) in REQUESTS.items():
        records.put(what, {"ours": counted(model, methods, counts), "published": published(methods, counts)})
    lines = [
        [what, f"{one['published']:,}", f"{one['ours']:,}", f"{one['published'] / one['ours']:.1f}"]
        for what, one in records.entries.items()
    ]
    heads = ["calibration of", "published code, and again in every run", "dode.distill, once", "ratio"]
    text = f"Network evaluations, one sample each: |B| = {SAMPLES}, C = {SCALE}, forward passes only.\n\n"
    records.path.with_suffix(".md").write_text(text + table(heads, lines))
    heads = ["method", "what is found", "what it takes", "source"]
    records.path.with_name("cost-others.md").write_text(table(heads, [list(one) for one in OTHERS]))


if __name__ == "__main__":
    main()
