"""A comparison in sentences; a difference counts if it is more than two standard errors."""

from collections.abc import Sequence
from typing import NamedTuple

from dode.metrics.estimates import STOCHASTIC, Row, change, not_worse, ratio
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
    by_name = {(row.solver, row.nfe): row for row in rows}
    beside = [(row, by_name.get((plain_name(row.solver), row.nfe))) for row in rows]
    return [Pair(row, base, *ratio(row, base)) for row, base in beside if base is not None and base is not row]


def verdict(row: Row, base: Row, metric: str) -> str:
    """Better, worse, or not worse within two standard errors; empty where the metric was not measured."""
    difference = change(row, base, metric)
    if difference is None:
        return ""
    if not_worse(base, row, metric):
        return "not worse" if not_worse(row, base, metric) else "worse"
    return "better"


def headline(rows: Sequence[Row]) -> str:
    """One sentence: a distilled solver beside its plain one at the middle number of evaluations; else the nearest."""
    compared = pairs(rows)
    counts = sorted({pair.row.nfe for pair in compared})
    if not counts:
        return _nearest(rows)
    middle = counts[(len(counts) - 1) // 2]
    row, base, value, error = pair = min((p for p in compared if p.row.nfe == middle), key=lambda p: p.row.rms)
    where, more = f"At {_evaluations(row.nfe)} {row.solver}", _nearer(row, base, rows)
    if pair.verdict == "even":
        return f"{where} is as near to the exact solution as {base.solver} (ratio {value:.2f} ± {error:.2f}){more}."
    times = 1 / value if value < 1 else value
    beside = "nearer to" if value < 1 else "farther from"
    return f"{where} is {times:.1f} times {beside} the exact solution than {base.solver}{more}."


def _nearer(row: Row, base: Row, rows: Sequence[Row]) -> str:
    """Name another solver that is nearer than the one of the headline; empty if none is."""
    best = min((other for other in rows if other.nfe == row.nfe), key=lambda other: other.rms)
    nearest = best is row or best is base
    return "" if nearest else f"; {best.solver} is nearer still, {best.rms / row.rms:.2f} times as far"


def _nearest(rows: Sequence[Row]) -> str:
    """Without pairs: the nearest at the middle number of evaluations, and how it stands to the farthest."""
    counts = sorted({row.nfe for row in rows})
    ranked = sorted((r for r in rows if r.nfe == counts[(len(counts) - 1) // 2]), key=lambda r: r.rms)
    best, worst = ranked[0], ranked[-1]
    where = f"At {_evaluations(best.nfe)} {best.solver}"
    if best is worst:
        return f"{where} lies {best.rms:.3g} ± {best.rms_error:.2g} from the exact solution."
    return f"{where} is nearest to the exact solution, {worst.rms / best.rms:.1f} times nearer than {worst.solver}."


def details(rows: Sequence[Row]) -> list[str]:
    """Further sentences: the nearest at each number of evaluations; how many pairs are nearer; Fréchet distances."""
    lines = []
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.nfe, []).append(row)
    if any(len(group) > 1 for group in groups.values()):
        best = [min(groups[nfe], key=lambda r: r.rms) for nfe in sorted(groups)]
        nearest = [f"at {r.nfe}: {r.solver} ({r.rms:.3g} ± {r.rms_error:.1g})" for r in best]
        lines.append(f"Nearest {'; '.join(nearest)}.")
    if compared := pairs(rows):
        lines += [_count("nearer to the exact solution than their plain solver", compared), *_frechet(compared)]
    if any(row.stochastic for row in rows):
        lines.append(STOCHASTIC)
    return lines


def _count(what: str, compared: Sequence[Pair]) -> str:
    """How many pairs are nearer, and by name those that are not."""
    text = f"{sum(p.verdict == 'nearer' for p in compared)} of {len(compared)} distilled rows are {what}"
    for verdict, words in (("even", "even within two standard errors"), ("farther", "farther")):
        names = [f"{p.row.solver} at {p.row.nfe}" for p in compared if p.verdict == verdict]
        text += f"; {words}: {', '.join(names)}" if names else ""
    return text + "."


def _frechet(compared: Sequence[Pair]) -> list[str]:
    """How many Fréchet distances are not worse than the plain solver's."""
    verdicts = [word for p in compared if (word := verdict(p.row, p.base, "fd"))]
    if not verdicts:
        return []
    better, fine = verdicts.count("better"), len(verdicts) - verdicts.count("worse")
    return [
        f"Fréchet distance: {fine} of {len(verdicts)} are not worse than their plain solver, {better} of them better."
    ]


def _evaluations(count: int) -> str:
    return f"{count} evaluation" + ("s" if count > 1 else "")
