"""What the rows say, in sentences; a difference counts if it is more than two standard errors."""

from collections.abc import Sequence
from typing import NamedTuple

from dode.metrics.comparison import FIGURES, STOCHASTIC, Row, change, not_worse, ratio
from dode.solvers.spec import plain_name


class Pair(NamedTuple):
    """A distilled row beside the plain solver's at equal evaluations, on equal noise."""

    row: Row
    base: Row
    ratio: float  # of their RMS distances
    error: float

    @property
    def verdict(self) -> str:
        """Nearer, farther, or even within two standard errors."""
        if abs(self.ratio - 1) <= 2 * self.error:
            return "even"
        return "nearer" if self.ratio < 1 else "farther"


def pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every distilled row whose plain solver was measured too."""
    known = {(row.solver, row.nfe): row for row in rows}
    found = []
    for row in rows:
        base = known.get((plain_name(row.solver), row.nfe))
        if base is not None and base is not row and row.each is not None and base.each is not None:
            found.append(Pair(row, base, *ratio(row, base)))
    return found


def verdict(row: Row, base: Row, figure: str) -> str:
    """Better, worse, or not worse within two standard errors; empty where the figure was not measured."""
    found = change(row, base, figure)
    if found is None:
        return ""
    if FIGURES[figure] * found[0] < -2 * found[1]:
        return "better"
    return "not worse" if not_worse(row, base, figure) else "worse"


def headline(rows: Sequence[Row]) -> str:
    """One sentence: a distilled solver beside its plain one at the middle number of evaluations; else the nearest."""
    found = pairs(rows)
    counts = sorted({pair.row.nfe for pair in found})
    if not counts:
        return _nearest(rows)
    middle = counts[(len(counts) - 1) // 2]
    row, base, value, error = pair = min((p for p in found if p.row.nfe == middle), key=lambda p: p.row.rms)
    where, more = f"At {_evaluations(row.nfe)} {row.solver}", _nearer(row, base, rows)
    if pair.verdict == "even":
        return f"{where} is as near to the exact solution as {base.solver} (ratio {value:.2f} ± {error:.2f}){more}."
    times = 1 / value if value < 1 else value
    beside = "nearer to" if value < 1 else "farther from"
    return f"{where} is {times:.1f} times {beside} the exact solution than {base.solver}{more}."


def _nearer(row: Row, base: Row, rows: Sequence[Row]) -> str:
    """That another solver, of no pair perhaps, is nearer than the one of the headline; empty if none is."""
    best = min((one for one in rows if one.nfe == row.nfe), key=lambda one: one.rms)
    return (
        "" if best is row or best is base else f"; {best.solver} is nearer still, {best.rms / row.rms:.2f} times as far"
    )


def _nearest(rows: Sequence[Row]) -> str:
    """Without pairs: the nearest at the middle number of evaluations, and how it stands to the farthest."""
    counts = sorted({row.nfe for row in rows})
    mine = sorted((r for r in rows if r.nfe == counts[(len(counts) - 1) // 2]), key=lambda r: r.rms)
    best, worst = mine[0], mine[-1]
    where = f"At {_evaluations(best.nfe)} {best.solver}"
    if best is worst:
        return f"{where} lies {best.rms:.3g} ± {best.rms_error:.2g} from the exact solution."
    return f"{where} is nearest to the exact solution, {worst.rms / best.rms:.1f} times nearer than {worst.solver}."


def details(rows: Sequence[Row]) -> list[str]:
    """Further sentences: the nearest at each number of evaluations; how many pairs are nearer; Fréchet distances."""
    said = []
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.nfe, []).append(row)
    if any(len(group) > 1 for group in groups.values()):
        best = [min(groups[nfe], key=lambda r: r.rms) for nfe in sorted(groups)]
        said.append(
            "Nearest " + "; ".join(f"at {r.nfe}: {r.solver} ({r.rms:.3g} ± {r.rms_error:.1g})" for r in best) + "."
        )
    found = pairs(rows)
    if found:
        said.append(_count("nearer to the exact solution than their plain solver", found))
        said += _frechet(found)
    if any(row.stochastic for row in rows):
        said.append(STOCHASTIC)
    return said


def _count(what: str, found: Sequence[Pair]) -> str:
    """How many pairs are nearer, and by name those that are not."""
    text = f"{sum(p.verdict == 'nearer' for p in found)} of {len(found)} distilled rows are {what}"
    for verdict, words in (("even", "even within two standard errors"), ("farther", "farther")):
        names = [f"{p.row.solver} at {p.row.nfe}" for p in found if p.verdict == verdict]
        text += f"; {words}: {', '.join(names)}" if names else ""
    return text + "."


def _frechet(found: Sequence[Pair]) -> list[str]:
    """How many Fréchet distances are not worse than the plain solver's."""
    verdicts = [said for p in found if (said := verdict(p.row, p.base, "fd"))]
    if not verdicts:
        return []
    better, fine = verdicts.count("better"), len(verdicts) - verdicts.count("worse")
    return [
        f"Fréchet distance: {fine} of {len(verdicts)} are not worse than their plain solver, {better} of them better."
    ]


def _evaluations(count: int) -> str:
    return f"{count} evaluation" + ("s" if count > 1 else "")
