"""Section 1's trilemma: quality (Fréchet distance), diversity (recall) and time, at ten evaluations and at many."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from dode.errors import DodeError
from dode.metrics import features as of_features
from dode.metrics.estimates import split_values, standard_error
from dode.metrics.features import extracted, frechet, moments, to_uint8
from dode.samplers import Sampler
from dode_paper.reproduce import reference_images
from dode_paper.reproduce.averages import Figure, joined, listed, shown
from dode_paper.reproduce.context import BATCH, Fitting, Lab, Task, fitted, found_by_auto, plain, searching, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.fig2a import calls
from dode_paper.reproduce.network_students import short, taught
from dode_paper.reproduce.result_store import Entries, Entry, table

MANY = 50  # evaluations of the slow sampler


def recall(features: np.ndarray, reference: np.ndarray) -> float:
    """The share of the data (M, D) among the samples (N, D)."""
    return float(of_features.recall(features, reference).mean())


def makers(lab: Lab) -> dict[str, tuple[int, int]]:
    """Every row: evaluations of a sample, and of its preparation, which training had before."""
    nfe, how = lab.size.counts[0], Fitting(0, lab.size.samples)
    return {
        "ddim, slow": (MANY, 0),
        "ddim": (nfe, 0),
        "d-ddim": (nfe, teaching(lab, nfe, how)),
        "auto": (nfe, searching(lab, nfe)),
        **{key: (student.nfe, 0) for key, student in taught(lab).items()},
    }


def made(lab: Lab, name: str, nfe: int, seed: int) -> Sampler:
    if name == "auto":
        return found_by_auto(lab, nfe)
    if name == "d-ddim":
        return fitted(lab, ["d-ddim"], nfe, Fitting(seed, lab.size.samples))[0]
    if name in taught(lab):
        return taught(lab)[name].sampler
    return plain(lab, "ddim", nfe)


def tasks(lab: Lab) -> Iterator[Task]:
    if lab.judge is None:
        raise DodeError(f"the trilemma needs features, which dode has for its bundled networks; got {lab.model.name}")
    for seed in lab.size.seeds:
        for name, (nfe, before) in makers(lab).items():
            yield Task(
                f"{name} {seed}",
                nfe * lab.size.trilemma + before * (name != "auto" or seed == lab.size.seeds[0]),
                partial(_row, lab, name, nfe, seed),
            )
    for name, (nfe, before) in makers(lab).items():
        yield Task(f"cost {name}", 3 * nfe * timed(lab) + before, partial(_cost, lab, name, nfe))


def timed(lab: Lab) -> int:
    """Samples that are timed: a batch."""
    return min(BATCH, lab.size.trilemma)


def _cost(lab: Lab, name: str, nfe: int) -> Entry:
    """Processor seconds of sampling, the median of three times; what it took to make, in network calls."""
    one = made(lab, name, nfe, lab.size.seeds[0])
    n, seconds = timed(lab), []
    for seed in range(3):
        began = time.process_time()
        one.sample(noise=lab.model.start(range(n), seed), cond=lab.model.conditions(range(n)), batch=BATCH)
        seconds.append(time.process_time() - began)
    student = taught(lab).get(name)
    return {"n": n, "seconds": float(np.median(seconds)), "calls": calls(one) if student is None else student.calls}


def _row(lab: Lab, name: str, nfe: int, seed: int) -> Entry:
    assert lab.judge is not None, "tasks asks for it"
    one, n = made(lab, name, nfe, seed), lab.size.trilemma
    sampled = one.sample(noise=lab.model.start(range(n), seed), cond=lab.model.conditions(range(n)), batch=BATCH)
    features = extracted(lab.judge.features, to_uint8(sampled))
    data = lab.judge.statistics.moments
    parts = split_values(lambda part: frechet(moments(part), data), features)
    shown_images, _, words = lab.once(("real", n), lambda: reference_images.shown(lab, n))
    real = extracted(lab.judge.features, to_uint8(shown_images))
    shares = np.array([recall(part, real) for part in np.array_split(features, 2)])
    return {
        "nfe": nfe,
        "fd": frechet(moments(features), data),
        "fd error": standard_error(parts),
        "recall": recall(features, real),
        "recall error": float(abs(shares[0] - shares[1]) / 2),
        "n": n,
        "images": words,
    }


Row = tuple[Figure, Figure, float]  # quality, recall, seconds


def result(lab: Lab, entries: Entries) -> Result:
    found: dict[str, Row] = {}
    lines = []
    for name in makers(lab):
        each = [entries[f"{name} {seed}"] for seed in lab.size.seeds]
        fd, share = (joined([Figure(e[what], e[f"{what} error"]) for e in each]) for what in ("fd", "recall"))
        cost = entries[f"cost {name}"]
        found[name] = (fd, share, cost["seconds"] / cost["n"])
        said = [shown(fd), shown(share, 3), f"{1000 * found[name][2]:.1f}", f"{cost['calls']:,}"]
        lines.append([short(name), str(each[0]["nfe"]), *said])
    n, words = each[0]["n"], each[0]["images"]
    best = {what: min(found, key=lambda name: key(found[name])) for what, key in KEYS.items()}
    text = f"Of {n} samples, recall against {words}: " + listed(
        [f"the best {what} has {short(name)}" for what, name in best.items()]
    )
    fast = [name for name in found if name != "ddim, slow"]
    better = min(fast, key=lambda name: found[name][0].value)
    heads = ["sampler", "NFE", f"FD ± (n={n})", "recall (k = 3) ±", "processor ms a sample", "network calls to make it"]
    slow = found["ddim, slow"]
    quick = f"{found[better][2] / slow[2]:.2f} of the slow sampler's time, which has {shown(slow[0])}"
    finding = f"{text}. {short(better)} reaches {shown(found[better][0])} FD in {quick}."
    return Result(table(heads, lines), finding)


KEYS: dict[str, Callable[[Row], float]] = {
    "quality": lambda row: row[0].value,
    "recall": lambda row: -row[1].value,
    "time": lambda row: row[2],
}


ITEM = Item("trilemma", ("fashion", "fashion-edm"), tasks, result)
