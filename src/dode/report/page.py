"""The page: a template, its style and scripts, and what is put into it; nothing is loaded when it is opened."""

import json
import platform
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import dode
from dode.calibration import Json, replace_text
from dode.errors import DodeError
from dode.fingerprint import schedule_name
from dode.metrics.comparison import Row
from dode.plots.style import HUES
from dode.progress import Progress
from dode.report import summary, table
from dode.report.data import gathered
from dode.samplers import Sampler

SCRIPTS = ("scales.js", "chart.js", "readout.js", "figures.js", "wall.js", "main.js")
COLUMNS = 10  # samples that are shown


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

    rows: one for each solver and number of evaluations, with paired distances; samplers: the sampler of each row, in
    the same order, all of one model under one guidance; command: what was typed; columns: samples that are shown.
    Every sampler runs once more on the samples shown, from the test noise of the rows' (first) seed, for its path.
    Raises ValueError if rows and samplers do not belong together.
    """
    _check(rows, samplers, columns)
    content = gathered(rows, samplers, columns, progress)
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
        f"{made.samples} samples of fit noise, seed {made.seed}, "
        f"teacher {made.teacher} with {made.teacher_nfe} evaluations"
        for made in (one.provenance for one in samplers)
        if made.distilled and made.teacher is not None
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
        headline=table.prose(head),
        details=table.sentences(summary.details(rows)),
        table=table.results(rows),
        settings=table.settings(about),
        style=(here / "page.css").read_text("utf-8"),
        hues=_hues(),
        data=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script="\n".join((here / one).read_text("utf-8") for one in SCRIPTS),
    )


def _hues() -> str:
    """The colours of the legend as variables of the page's style."""
    pairs = "".join(f"--hue{i}:light-dark({hue.light},{hue.dark});" for i, hue in enumerate(HUES))
    return f":root{{{pairs}}}"
