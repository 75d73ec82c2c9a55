"""Every solver X beside its distilled form D-X: distances for all, Fréchet distances for some, at equal evaluations.

    python benchmarks/catalogue.py fashion
    python benchmarks/catalogue.py fashion-edm

Teachers are DDIM, and for iPNDM and DEIS themselves in their highest order, with C = 10; one run of each serves all its
students, of 5, 10 and 20 evaluations together, then of 25 and of 50.  A killed run fits what is missing and goes on
where it was; --only 25,50 does a part.  docs/results/catalogue-MODEL.md has the tables.
"""

import argparse
import warnings
from collections.abc import Sequence

import torch
from acceptance import entry
from records import RESULTS, Records, table

import dode
from dode.files import replace_text
from dode.metrics import evaluation
from dode.metrics.evaluation import Evaluator, Settings, measure
from dode.model import Model
from dode.samplers import Sampler
from dode_paper.reproduce import exact_cache

GROUPS = ((5, 10, 20), (25,), (50,))  # the students of one teacher run
COUNTS = tuple(count for group in GROUPS for count in group)
NAMES = [name for name in dode.METHODS if name != "dpm-solver-1"]
FORMS = {"ddim": ("sep", "all", "2", "fixed", "la"), "dpm-solver++2m": ("sep", "all", "2")}
JUDGED = ("ddim", "ipndm", "dpm-solver++2m", "dpm-solver-3", "deis-3", "edm")
PNDM_LEAST = 13
TEACHERS = {"ipndm-2": "ipndm", "ipndm-3": "ipndm", "deis-1": "deis-3", "deis-2": "deis-3"}  # one run for a family


def names(count: int) -> list[str]:
    """Bases of the table at this number of evaluations."""
    return [name for name in NAMES if name != "pndm" or count >= PNDM_LEAST]


def forms() -> list[str]:
    """The formulations beside (42), for a solver without a history of its own and one with."""
    return [f"d-{base}:formulation={form}" for base, some in FORMS.items() for form in some]


Table = dict[str, dict[int, Sampler]]


def missing(records: Records, counts: Sequence[int], judged: bool) -> list[str]:
    """The distilled forms that some of these numbers of evaluations have no entry for."""
    lacking = [
        name
        for count in counts
        for name in [*(f"d-{name}" for name in names(count)), *forms()]
        if f"{name} {count}" not in records.entries
        or (judged and name[2:] in JUDGED and f"fd {name} {count}" not in records.entries)
    ]
    return list(dict.fromkeys(lacking))


def fitted(model: Model, wanted: Sequence[str], counts: Sequence[int]) -> Table:
    """These distilled forms at some numbers of evaluations, those of one teacher from one run."""
    asked = [f"{name}:teacher={TEACHERS[name[2:]]}" if name[2:] in TEACHERS else name for name in wanted]
    common = [name for name in asked if name != "d-pndm"]
    found: Table = dode.distill(model, common, nfe=counts) if common else {}
    made = {name.split(":teacher")[0]: samplers for name, samplers in found.items()}
    if "d-pndm" in asked:
        made |= dode.distill(model, ["d-pndm"], nfe=[count for count in counts if count >= PNDM_LEAST])
    return made


def measured(
    model: Model,
    records: Records,
    exact: torch.Tensor,
    made: Table,
    judge: Evaluator | None,
    counts: list[int],
    fd: int,
) -> None:
    """RMS and median of every solver at these numbers of evaluations, or Fréchet distances of some."""
    settings = Settings(len(exact), fd, 0, 128)
    for count in counts:
        for base_name in names(count) if judge is None else JUDGED:
            mine = [name for name in made if name.removeprefix("d-").split(":")[0] == base_name]
            prefix = "" if judge is None else "fd "
            mine = [name for name in mine if f"{prefix}{name} {count}" not in records.entries]
            mine = mine if judge is None else [name for name in mine if name == f"d-{base_name}"]
            if not mine:
                continue
            base = measure(dode.sampler(model, base_name, nfe=count), exact, settings, judge)
            records.put(f"{prefix}{base_name} {count}", entry(base, base))
            for name in mine:
                sampler = made[name][count]
                said: dict[str, object] = dict(entry(measure(sampler, exact, settings, judge), base))
                lam = sampler.provenance.lam
                said |= {"lambda": sampler.plan.lambdas.tolist() if lam is None else lam}
                records.put(f"{prefix}{name} {count}", said)


def written(records: Records, name: str, report: int, fd: int) -> None:
    """The tables: RMS and median of X and D-X, the formulations, Fréchet distances, and where D-X is worse."""
    known = records.entries
    counts = [count for count in COUNTS if f"d-ddim {count}" in known]
    head = f"{name}: {report} test samples, seed 0."
    pairs, forms_, fds, worse = [], [], [], []
    for count in counts:
        for base in names(count):
            x, d = known.get(f"{base} {count}"), known.get(f"d-{base} {count}")
            if x is None or d is None:
                continue
            ratio = f"{d['ratio']:.3f} ± {d['ratio error']:.3f}"
            pairs.append([base, str(count), *_said(x), *_said(d), ratio])
            if d["ratio"] > 1:
                sure = "" if d["ratio"] > 1 + 2 * d["ratio error"] else " (within two errors)"
                worse.append(f"d-{base} at {count}: {ratio}{sure}")
        for form in forms():
            if f"{form} {count}" in known:
                e = known[f"{form} {count}"]
                lam = f"{e['lambda']:g}" if isinstance(e["lambda"], float) else ""
                forms_.append([form, str(count), *_said(e), f"{e['ratio']:.3f} ± {e['ratio error']:.3f}", lam])
        for base in JUDGED:
            if f"fd d-{base} {count}" in known:
                x, d = known[f"fd {base} {count}"], known[f"fd d-{base} {count}"]
                values = [f"{e['fd']:.2f} ± {e['fd error']:.2f}" for e in (x, d)]
                fds.append([base, str(count), *values, f"{d['fd change']:+.2f} ± {d['fd change error']:.2f}"])
    text = f"{head}\n\n" + table(
        ["X", "NFE", "RMS of X ±", "median", "RMS of D-X ±", "median", "RMS of D-X / X ±"], pairs
    )
    replace_text(RESULTS / f"catalogue-{name}.md", text)
    said = f"On {name} D-X is nearer to the exact solution than X in {len(pairs) - len(worse)} of {len(pairs)} rows"
    said += f"; farther are {'; '.join(worse)}" if worse else ""
    replace_text(RESULTS / f"catalogue-{name}-worse.md", f"{said}.\n")
    replace_text(
        RESULTS / f"formulations-{name}.md",
        f"{head}\n\n" + table(["solver", "NFE", "RMS ±", "median", "RMS / plain ±", "λ found"], forms_),
    )
    heads = ["X", "NFE", "FD of X ±", "FD of D-X ±", "D-X − X ±"]
    replace_text(RESULTS / f"catalogue-{name}-fd.md", f"{name}: {fd} samples, seed 0.\n\n" + table(heads, fds))


def _said(e: dict[str, float]) -> list[str]:
    return [f"{e['rms']:.4f} ± {e['rms error']:.4f}", f"{e['median']:.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("fashion", "fashion-edm", "fashion-mixture"))
    parser.add_argument("--only", default=",".join(map(str, COUNTS)), help="numbers of evaluations")
    parser.add_argument("--paired", type=int, default=128)
    parser.add_argument("--fd", type=int, default=1000, help="samples for the Fréchet distance")
    parser.add_argument("--no-fd", action="store_true", help="leave Fréchet distances for a later run")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is known, and stop")
    parser.add_argument("--rtol", type=float, default=1.5e-4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)  # large λ are in the records
    model = dode.bundled(arguments.model)
    settings = Settings(arguments.paired, 0, 0, 128, arguments.rtol)
    said = {"report": arguments.paired, "seed": 0, "rtol": arguments.rtol, "model": model.fingerprint}
    records = Records(f"catalogue-{arguments.model}", said)
    if arguments.tables:
        written(records, arguments.model, arguments.paired, arguments.fd)
        return
    exact = exact_cache.exact(model, settings, RESULTS)
    judge = evaluation.bundled_evaluator()
    wanted = [int(count) for count in arguments.only.split(",")]
    for group in GROUPS:
        counts = [count for count in group if count in wanted]
        if counts:
            made = fitted(model, missing(records, counts, not arguments.no_fd), group)
            measured(model, records, exact, made, None, counts, 0)
            written(records, arguments.model, arguments.paired, arguments.fd)
            if not arguments.no_fd:
                measured(model, records, exact, made, judge, counts, arguments.fd)
                written(records, arguments.model, arguments.paired, arguments.fd)


if __name__ == "__main__":
    main()
