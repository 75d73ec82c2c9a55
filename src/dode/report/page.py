"""The page: a template, its style and scripts, and what is put into it; nothing is loaded when it is opened."""

import json
import platform
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from torch import Tensor

import dode
from dode.calibration import replace_text
from dode.fingerprints import schedule_name
from dode.legend import HUES
from dode.metrics.comparison import Row
from dode.report import finding, table
from dode.report.content import Json, Progress, gathered
from dode.samplers import Sampler

SCRIPTS = ("scales.js", "chart.js", "readout.js", "figures.js", "wall.js", "main.js")
COLUMNS = 10  # samples that are shown


def write(
    path: str | Path,
    rows: Sequence[Row],
    samplers: Sequence[Sampler],
    exact: Tensor,
    *,
    seed: int = 0,
    fd: int = 0,
    command: str = "",
    columns: int = COLUMNS,
    progress: Progress | None = None,
) -> None:
    """Write the report of a comparison as one HTML file, whole or not at all.

    rows: one for each solver and number of evaluations; samplers: those that were measured, in any order; exact: the
    solutions of the report noise (n, *shape), at least 2; seed: of that noise; fd: samples of the Fréchet distance;
    command: what was typed; columns: samples that are shown.  Every sampler runs once more on the samples shown, for
    its path.  Raises ValueError if rows and samplers are not of the same runs, or of several models.
    """
    _check(rows, samplers, exact)
    content = gathered(rows, samplers, exact, seed, min(columns, len(exact)), progress)
    about = _about(samplers, exact, seed, fd, command)
    replace_text(path, _filled(rows, content, about, fd, samplers[0].model.name))


def _check(rows: Sequence[Row], samplers: Sequence[Sampler], exact: Tensor) -> None:
    measured = [(row.solver, row.nfe) for row in rows]
    twice = sorted({f"{name} at {nfe}" for name, nfe in measured if measured.count((name, nfe)) > 1})
    if not measured or twice:
        why = f"{', '.join(twice)} is there more than once" if twice else "there are none"
        raise ValueError(f"a report has one row for each solver and number of evaluations; {why}")
    given = {(one.name, one.nfe) for one in samplers}
    if given != set(measured):
        odd = ", ".join(f"{name} at {nfe}" for name, nfe in sorted(given ^ set(measured)))
        raise ValueError(f"a report needs the sampler of every row and no others; they differ in {odd}")
    models = {(one.model.fingerprint, one.model.guidance) for one in samplers}
    if len(models) > 1:
        raise ValueError(f"a report is of one model under one guidance; got {len(models)}")
    if len(exact) < 2 or tuple(exact.shape[1:]) != samplers[0].model.shape:
        raise ValueError(f"exact must be at least 2 solutions of {samplers[0].model.shape}; got {tuple(exact.shape)}")


def _about(samplers: Sequence[Sampler], exact: Tensor, seed: int, fd: int, command: str) -> dict[str, str]:
    """What was measured, on what, with what."""
    model = samplers[0].model
    guidance = "not known" if model.guidance is None else "1 (none)" if model.guidance == 1 else f"{model.guidance:g}"
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
        "Distances": f"{len(exact)} samples of report noise, seed {seed}, to the exact solution from the same noise",
        **({"Fréchet distance": f"{fd} samples of report noise; ± from ten disjoint splits"} if fd else {}),
        **({"Fits": "; ".join(fits)} if fits else {}),
        "Versions": f"dode {dode.__version__}, torch {version('torch')}, numpy {version('numpy')}, "
        f"Python {platform.python_version()}, {platform.machine()}",
        **({"Command": command} if command else {}),
    }


def _filled(rows: Sequence[Row], content: Json, about: dict[str, str], fd: int, name: str) -> str:
    """The template with everything in it; JSON inside a script must not end it."""
    here = files("dode.report")
    head = finding.headline(rows)
    return Template((here / "page.html").read_text("utf-8")).substitute(
        title=escape(f"{name}: {head}"),
        name=escape(name),
        headline=table.prose(head),
        details=table.sentences(finding.details(rows)),
        table=table.results(rows, fd),
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
