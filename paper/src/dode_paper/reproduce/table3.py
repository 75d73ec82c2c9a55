"""Table 3: D-DDIM beside constants: Fixed-D-DDIM and LA-DDIM with the paper's λ, and with those that a search finds."""

from collections.abc import Iterator
from functools import partial

from dode_paper.reproduce import averages, published_numbers
from dode_paper.reproduce.averages import cells, change, listed, ratio, shown, side, word
from dode_paper.reproduce.context import Fitting, Lab, Task, constant, cost, fitted, measured, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.fig2b_fig2c import NAMES, SHOWN, search_cost, searched
from dode_paper.reproduce.result_store import Entries, Entry, table
from dode_paper.reproduce.table1 import over_seeds

FORMS = ("fixed", "la")


def tasks(lab: Lab) -> Iterator[Task]:
    for form in FORMS:
        yield Task(f"search {form}", search_cost(lab, form), partial(searched, lab, form))
    for seed in lab.size.seeds:
        how = Fitting(seed, lab.size.samples)
        for nfe in lab.size.counts:
            once = cost(lab, nfe, lab.size.fd)
            yield Task(f"ddim {nfe} {seed}", once, partial(_plain, lab, nfe, seed))
            yield Task(f"d-ddim {nfe} {seed}", once + teaching(lab, nfe, how), partial(_distilled, lab, nfe, how))
            for form in FORMS:
                yield Task(f"{form} {nfe} {seed}", once, partial(_constant, lab, form, nfe, seed, False))
                yield Task(f"{form}-found {nfe} {seed}", once, partial(_constant, lab, form, nfe, seed, True))


def _plain(lab: Lab, nfe: int, seed: int) -> Entry:
    return measured(lab, plain(lab, "ddim", nfe), seed, lab.size.fd)


def _distilled(lab: Lab, nfe: int, how: Fitting) -> Entry:
    return measured(lab, fitted(lab, ["d-ddim"], nfe, how)[0], how.seed, lab.size.fd)


def _constant(lab: Lab, form: str, nfe: int, seed: int, found: bool) -> Entry:
    lam = searched(lab, form)["lambda"] if found else published_numbers.LAM[form]
    return measured(lab, constant(lab, form, lam, nfe), seed, lab.size.fd)


def result(lab: Lab, entries: Entries) -> Result:
    lines = []
    for nfe in lab.size.counts:
        bases = over_seeds(lab, entries, f"ddim {nfe}")
        for name in ("ddim", "d-ddim", "fixed", "fixed-found", "la", "la-found"):
            mine = bases if name == "ddim" else over_seeds(lab, entries, f"{name} {nfe}")
            known = (
                published_numbers.said(published_numbers.TABLE3[name], nfe) if name in published_numbers.TABLE3 else ""
            )
            lines.append([_shown(name, entries), str(nfe), known, *cells(mine, bases)])
    return Result(table(["solver", "NFE", "paper's FID", *averages.HEADS], lines), _finding(lab, entries))


def _shown(name: str, entries: Entries) -> str:
    if name not in ("ddim", "d-ddim"):
        form = name.removesuffix("-found")
        lam = entries[f"search {form}"]["lambda"] if name != form else published_numbers.LAM[form]
        return f"{SHOWN[form]}, λ = {lam:g}" + (" (searched)" if name != form else "")
    return name.upper()


def _finding(lab: Lab, entries: Entries) -> str:
    search = entries["search fixed"]
    what, few = NAMES[search["minimises"]], lab.size.counts[0]
    text = [f"The searches minimise {what} on validation noise at {few} evaluations."]
    for form in FORMS:
        said = []
        for nfe in lab.size.counts:
            mine, others = (over_seeds(lab, entries, f"{name} {nfe}") for name in (form, "d-ddim"))
            gap = ratio(mine, others)
            judged = f", FD {shown(change(mine, others), sign=True)}" if "fd" in mine[0] else ""
            said.append(f"at {nfe} {word(gap, 1)} it (RMS ratio {shown(gap, 3)}{judged})")
        text.append(f"{SHOWN[form]} with the paper's λ beside D-DDIM: {listed(said)}.")
    holds = orderings(lab, entries)
    for does, words in ((True, "hold in distance"), (False, "do not")):
        claims = [claim for claim, value in holds.items() if value == does]
        text.append(f"Of the paper's orderings these {words}: {listed(claims)}.")
    return " ".join(text)


ORDERS = (  # solver, evaluations, side of D-DDIM's distance, the paper's claim
    ("la", 10, 1, "D-DDIM beats LA-DDIM at 10"),
    ("la", 50, -1, "LA-DDIM beats D-DDIM at 50"),
    ("fixed-found", 10, 0, "a searched Fixed-D-DDIM equals D-DDIM at 10"),
    ("fixed", 25, -1, "Fixed-D-DDIM beats D-DDIM at 25"),
    ("fixed", 50, -1, "Fixed-D-DDIM beats D-DDIM at 50"),
)


def orderings(lab: Lab, entries: Entries) -> dict[str, bool]:
    """What table 3 of the paper says, and whether the distances say so too."""
    found = {}
    for name, nfe, wanted, words in ORDERS:
        if nfe in lab.size.counts:
            mine, others = (over_seeds(lab, entries, f"{one} {nfe}") for one in (name, "d-ddim"))
            found[words] = side(ratio(mine, others), 1) == wanted
    return found


ITEM = Item("table3", ("fashion",), tasks, result)
