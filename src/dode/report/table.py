"""The parts of the page that are plain HTML: the table of results and the settings."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from dode.metrics.comparison import FIGURES, HEADS, Row, change
from dode.report.summary import Pair, pairs, verdict

MARKS = {"nearer": "▲", "better": "▲", "even": "●", "not worse": "●", "farther": "▼", "worse": "▼"}


def results(rows: Sequence[Row]) -> str:
    """The table: one line for each row, by evaluations; the nearest of each group is bold."""
    figures = [name for name in FIGURES if any(getattr(row, name) is not None for row in rows)]
    heads = ["solver", "NFE", "RMS distance", "median", "RMS / plain", ""]
    for name in figures:
        heads += [HEADS[name], f"{HEADS[name]} − plain", ""]
    found = {(pair.row.solver, pair.row.nfe): pair for pair in pairs(rows)}
    names = list(dict.fromkeys(row.solver for row in rows))
    best = {nfe: min(r.rms for r in rows if r.nfe == nfe) for nfe in {r.nfe for r in rows}}
    lines, last = [], None
    for row in sorted(rows, key=lambda r: r.nfe):
        cells = _cells(row, found.get((row.solver, row.nfe)), figures, row.rms == best[row.nfe])
        opens = ' class="opens"' if row.nfe != last else ""
        solver = f'<th scope="row"><svg class="key" data-method="{names.index(row.solver)}"></svg>'
        lines.append(f"<tr{opens}>{solver}{escape(row.solver)}</th>{''.join(cells)}</tr>")
        last = row.nfe
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>"


def _cells(row: Row, pair: Pair | None, figures: Sequence[str], best: bool) -> list[str]:
    """A row's numbers; beside its plain solver's where there is one."""
    rms = _with_error(row.rms, row.rms_error)
    texts = [str(row.nfe), f"<b>{rms}</b>" if best else rms, f"{row.median:.3g}"]
    texts += [_with_error(pair.ratio, pair.error), _tag(pair.verdict)] if pair else ["", ""]
    for name in figures:
        value = getattr(row, name)
        texts.append("" if value is None else _with_error(value, getattr(row, f"{name}_error")))
        found = change(row, pair.base, name) if pair else None
        texts += [_with_error(*found, sign="+"), _tag(verdict(row, pair.base, name))] if found and pair else ["", ""]
    return [f"<td>{text}</td>" for text in texts]


def _with_error(value: float, error: float | None, sign: str = "") -> str:
    """A value ± its standard error, to two digits of the error."""
    if error is None or not error > 0:
        return f"{value:{sign}.3g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{value:{sign}.{digits}f} <i>± {error:.{digits}f}</i>".replace("-", "−")


def _tag(verdict: str) -> str:
    """A word with a mark, so that neither colour nor mark is needed alone."""
    return f'<span class="tag {verdict.replace(" ", "-")}">{MARKS[verdict]} {verdict}</span>' if verdict else ""


def settings(about: Mapping[str, str]) -> str:
    """What was measured and with what, as a list of terms."""
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in about.items()) + "</dl>"


def sentences(texts: Sequence[str]) -> str:
    """Each sentence a line of a list."""
    return "<ul>" + "".join(f"<li>{prose(text)}</li>" for text in texts) + "</ul>" if texts else ""


def prose(text: str) -> str:
    """Text in which a name like d-ddim:lam=0.5 breaks after a colon, not after its d-."""
    whole = re.sub(r"\bd-[^\s:]+", r'<span class="name">\g<0></span>', escape(text))
    return re.sub(r":(?=\w)", ":<wbr>", whole)
