"""The page: a template, its style and scripts, and what is put into it; nothing is loaded when it is opened."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import dode
from dode.calibration import Json
from dode.errors import DodeError
from dode.files import replace_text
from dode.fingerprint import schedule_name
from dode.metrics import METRICS, change
from dode.metrics.estimates import Row, beside_rms
from dode.plots.canvas import HUES
from dode.progress import Progress
from dode.report import summary
from dode.report.data import collect
from dode.report.summary import Pair, pairs, verdict
from dode.samplers import Sampler

SCRIPTS = ("scales.js", "chart.js", "readout.js", "figures.js", "wall.js", "main.js")
COLUMNS = 10  # samples that are shown
MARKS = {"nearer": "▲", "better": "▲", "even": "●", "not worse": "●", "farther": "▼", "worse": "▼"}


def write(
    path: str | Path,
    rows: Sequence[Row],
    samplers: Sequence[Sampler],
    *,
    command: str = "",
    columns: int = COLUMNS,
    progress: Progress | None = None,
) -> None:
    """Write the report of a comparison as one HTML file, whole or not at all.

    Args:
        path: The file.
        rows: One for each solver and number of evaluations, with paired distances.
        samplers: The sampler of each row, in the same order, all of one model under one guidance scale.  Each runs once
            more on the samples shown, from the test noise of the rows' (first) seed, for its path.
        command: What was typed.
        columns: Samples that are shown.
        progress: Called with (network calls done, in all).

    Raises:
        DodeError: Rows and samplers do not belong together.
    """
    _check(rows, samplers, columns)
    content = collect(rows, samplers, columns, progress)
    replace_text(path, _filled(rows, content, _about(rows, samplers, command), samplers[0].model.name))


def _check(rows: Sequence[Row], samplers: Sequence[Sampler], columns: int) -> None:
    measured = [(row.solver, row.nfe) for row in rows]
    twice = sorted({f"{name} at {nfe}" for name, nfe in measured if measured.count((name, nfe)) > 1})
    if not measured or twice:
        why = f"{', '.join(twice)} is there more than once" if twice else "there are none"
        raise DodeError(f"a report has one row for each solver and number of evaluations; {why}")
    if lacking := [f"{row.solver} at {row.nfe}" for row in rows if row.each is None]:
        raise DodeError(f"a report shows distances; measure {', '.join(lacking)} with paired samples")
    if [row.nfe for row in rows] != [one.nfe for one in samplers]:
        given = ", ".join(f"{one.name} at {one.nfe}" for one in samplers)
        raise DodeError(f"a report needs the sampler of each of its {len(rows)} rows, in their order; got {given}")
    models = {(one.model.fingerprint, one.model.guidance) for one in samplers}
    if len(models) > 1 or len({row.seeds for row in rows}) > 1:
        raise DodeError("a report is of one model under one guidance, every row with the same seeds")
    if columns < 2:
        raise DodeError(f"a report shows at least 2 samples; got {columns}")


def _about(rows: Sequence[Row], samplers: Sequence[Sampler], command: str) -> dict[str, str]:
    """What was measured, on what, with what."""
    model = samplers[0].model
    guidance = "not known" if model.guidance is None else "1 (none)" if model.guidance == 1 else f"{model.guidance:g}"
    seeds = ", ".join(map(str, rows[0].seeds))
    count = (0 if rows[0].each is None else len(rows[0].each)) // len(rows[0].seeds)
    shape = " × ".join(map(str, model.shape))
    grids = dict.fromkeys("given times" if isinstance(g := one.provenance.grid, tuple) else g for one in samplers)
    fits = dict.fromkeys(
        f"{how.samples} samples of fit noise, seed {how.seed}, teacher {how.teacher} with {how.teacher_nfe} evaluations"
        for how in (sampler.provenance for sampler in samplers)
        if how.distilled and how.teacher is not None
    )
    return {
        "Model": model.name,
        "Fingerprint": model.fingerprint or "not known",
        "Network": f"{model.prediction} prediction, {shape}, {samplers[0].provenance.dtype}",
        "Noise schedule": schedule_name(model.schedule),
        "Guidance": guidance,
        "Grids": ", ".join(grids),
        "Distances": f"{count} samples of test noise, seed {seeds}, to the exact solution from the same noise",
        **_features(rows),
        **({"Fits": "; ".join(fits)} if fits else {}),
        "Versions": f"dode {dode.__version__}, torch {version('torch')}, numpy {version('numpy')}, "
        f"Python {platform.python_version()}, {platform.machine()}",
        **({"Command": command} if command else {}),
    }


def _features(rows: Sequence[Row]) -> dict[str, str]:
    """Of how many samples the figures of features are, and what they compare with."""
    samples = max(row.samples for row in rows)
    if not samples:
        return {}
    marks = ", ".join(sorted({row.reference for row in rows if row.reference}))
    errors = "over the seeds" if len(rows[0].seeds) > 1 else "from ten disjoint splits"
    return {"Figures of features": f"{samples} samples of test noise, ± {errors}; reference {marks}"}


def _filled(rows: Sequence[Row], content: Json, about: dict[str, str], name: str) -> str:
    """The template with everything in it; JSON inside a script must not end it."""
    here = files("dode.report")
    head = summary.headline(rows)
    return Template((here / "page.html").read_text("utf-8")).substitute(
        title=escape(f"{name}: {head}"),
        name=escape(name),
        headline=prose(head),
        details=_sentences(summary.details(rows)),
        table=_results(rows),
        settings=_settings(about),
        style=(here / "page.css").read_text("utf-8"),
        hues=_hues(),
        data=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script="\n".join((here / one).read_text("utf-8") for one in SCRIPTS),
    )


def _hues() -> str:
    """The colours of the legend as variables of the page's style."""
    pairs = "".join(f"--hue{i}:light-dark({hue.light},{hue.dark});" for i, hue in enumerate(HUES))
    return f":root{{{pairs}}}"


def _results(rows: Sequence[Row]) -> str:
    """The table: one line for each row, by evaluations; the nearest of each group is bold."""
    figures = beside_rms(rows)
    heads = ["solver", "NFE", "RMS distance", "median", "RMS / plain", ""]
    for name in figures:
        heads += [METRICS[name].title, f"{METRICS[name].title} − plain", ""]
    compared = {(pair.row.solver, pair.row.nfe): pair for pair in pairs(rows)}
    names = list(dict.fromkeys(row.solver for row in rows))
    best = {nfe: min(r.rms for r in rows if r.nfe == nfe) for nfe in {r.nfe for r in rows}}
    lines, last = [], None
    for row in sorted(rows, key=lambda r: r.nfe):
        cells = _cells(row, compared.get((row.solver, row.nfe)), figures, row.rms == best[row.nfe])
        opens = ' class="opens"' if row.nfe != last else ""
        solver = f'<th scope="row"><svg class="key" data-method="{names.index(row.solver)}"></svg>'
        lines.append(f"<tr{opens}>{solver}{escape(row.solver)}</th>{''.join(cells)}</tr>")
        last = row.nfe
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>"


def _cells(row: Row, pair: Pair | None, figures: Sequence[str], best: bool) -> list[str]:
    """A row's numbers; beside its plain solver's where there is one."""
    rms = with_error(row.rms, row.rms_error)
    texts = [str(row.nfe), f"<b>{rms}</b>" if best else rms, f"{row.median:.3g}"]
    texts += [with_error(pair.ratio, pair.error), _tag(pair.verdict)] if pair else ["", ""]
    for name in figures:
        texts.append(with_error(row[name].value, row[name].error) if name in row.estimates else "")
        gap = change(row, pair.base, name) if pair else None
        texts += [with_error(*gap, sign="+"), _tag(verdict(row, pair.base, name))] if gap and pair else ["", ""]
    return [f"<td>{text}</td>" for text in texts]


def with_error(value: float, error: float, sign: str = "") -> str:
    """A value ± its standard error, to two digits of the error."""
    if not error > 0:
        return f"{value:{sign}.3g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{value:{sign}.{digits}f} <i>± {error:.{digits}f}</i>".replace("-", "−")


def _tag(verdict: str) -> str:
    """A word with a mark, so that neither colour nor mark is needed alone."""
    return f'<span class="tag {verdict.replace(" ", "-")}">{MARKS[verdict]} {verdict}</span>' if verdict else ""


def _settings(about: Mapping[str, str]) -> str:
    """What was measured and with what, as a list of terms."""
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in about.items()) + "</dl>"


def _sentences(texts: Sequence[str]) -> str:
    """Each sentence a line of a list."""
    return "<ul>" + "".join(f"<li>{prose(text)}</li>" for text in texts) + "</ul>" if texts else ""


def prose(text: str) -> str:
    """Text in which a name like d-ddim:lam=0.5 breaks after a colon, not after its d-."""
    whole = re.sub(r"\bd-[^\s:]+", r'<span class="name">\g<0></span>', escape(text))
    return re.sub(r":(?=\w)", ":<wbr>", whole)
