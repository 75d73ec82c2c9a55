"""dode auto."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dode.cli import common, measuring, tables
from dode.errors import DodeError
from dode.messages import distance

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.estimates import Row
    from dode.metrics.evaluation import Settings
    from dode.model import Model
    from dode.samplers import Sampler
    from dode.search.budget import Budget


def auto(
    model: common.ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Calibration file; goes on with what is in it.")],
    nfe: Annotated[str, typer.Option(help="Network evaluations: 5, or 4,5,6,8,10 in one file.")] = "4,5,6,8,10",
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the evaluations.")] = False,
    budget_seconds: Annotated[
        float | None, typer.Option(help="Most seconds for the search, shared out over the numbers of evaluations.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Samples to fit on.")] = None,
    told: Annotated[
        bool, typer.Option(help="The network may be told other times than its states'; other tools cannot follow that.")
    ] = True,
    whole: Annotated[bool, typer.Option("--whole", help="Whole times only, the weights found again for them.")] = False,
    paired: Annotated[int, typer.Option(help="Samples of test noise for the table and the plot; 0 for none.")] = 32,
    rtol: measuring.Rtol = None,
    plot: Annotated[Path | None, typer.Option(help="Error against evaluations, PNG.")] = None,
    label: common.Label = None,
    guidance: common.Guidance = 1.0,
    prompt: common.Prompt = None,
    negative_prompt: common.Negative = None,
    seed: common.Seed = 0,
    batch: common.Batch = 64,
    device: common.Device = "cpu",
    dtype: common.Dtype = "float32",
) -> None:
    """Find the best sampler at few evaluations: one teacher run, a search, a table of what it is worth."""
    numbers = common.counts(nfe)
    common.writable(output, ".json")
    _check_figures(paired, plot)
    from dode import samplers
    from dode.search.auto import searched

    budget = _budget(quick, common.given(samples=samples, seconds=budget_seconds), batch=batch, told=told, whole=whole)
    opened = common.open_model(model, guidance, device, dtype, prompts=prompt, negative=negative_prompt, label=label)
    made, others = _there(output, opened)
    common.same_class(made.values(), label, output)
    _same([made[count] for count in numbers if count in made], budget, seed, output)
    settings = replace(measuring.settings(None, paired, 0, batch, rtol), seed=seed) if paired else None
    exact = None if settings is None else _exact(opened, settings)
    if missing := [count for count in numbers if count not in made]:
        with common.shares("teacher") as tell:
            for one, _ in searched(opened, missing, budget, seed, None, tell):
                made[one.nfe] = common.of_class(one, label)
                # what is found is kept, should the rest be stopped
                samplers.save(output, *_beside(others, made), *made.values())
    print(f"written: {output}")
    asked = {count: made[count] for count in numbers}
    print("\n".join(map(_said, asked.values())))
    if settings is not None and exact is not None:
        made |= _show(asked, opened, settings, exact, plot)
        samplers.save(output, *_beside(others, made), *made.values())


def _check_figures(paired: int, plot: Path | None) -> None:
    """ValueError for a plot that cannot be written or has nothing to show."""
    common.pairs(paired)
    if plot is not None:
        common.writable(plot, ".png")
        if not paired:
            raise DodeError("--plot shows distances: give --paired at least 2")


def _there(output: Path, model: "Model") -> "tuple[dict[int, Sampler], list[Sampler]]":
    """What was searched for under this guidance scale, and what else the file holds, which stays as it is."""
    from dode import samplers

    known = samplers.load_all(output, model) if output.exists() else []
    between = [one for one in known if "between" in one.provenance.report]  # a search is worth more
    made = {one.nfe: one for one in known if one.model.guidance == model.guidance and one not in between}
    return made, [one for one in known if one.model.guidance != model.guidance or one in between]


def _beside(others: "list[Sampler]", made: "dict[int, Sampler]") -> "list[Sampler]":
    """Those whose place nothing has taken that was found now."""
    taken = {(one.nfe, one.model.guidance) for one in made.values()}
    return [one for one in others if (one.nfe, one.model.guidance) not in taken]


def _exact(model: "Model", settings: "Settings") -> "Tensor":
    """The exact solution of the test noise; asked before the search, as a network may not reach its accuracy."""
    from dode.metrics import evaluation

    with common.progress("exact solution") as advance:
        return evaluation.exact_ends(model, settings, advance)


def _budget(quick: bool, given: dict[str, Any], **options: Any) -> "Budget":
    """What may be spent; given: what the user said instead of leaving it."""
    from dode.search.budget import QUICK, Budget

    return replace(QUICK if quick else Budget(), **given, **options)


def _said(found: "Sampler") -> str:
    """What the search gives back for one number of evaluations, beside the nearest of what it began with."""
    report, how = found.provenance.report, found.provenance
    plain = {name.removeprefix("tried "): value for name, value in report.items() if name.startswith("tried ")}
    plain = {name: value for name, value in plain.items() if not name.startswith("refined ")}
    spent = f"{report['evaluations a sample']:.0f} evaluations for each sample to fit on"
    if not how.distilled:
        return f"NFE {found.nfe}: a plain solver, {report['start']}: nothing nearer was found in {spent}"
    name = min(plain, key=plain.__getitem__)
    values = f"{distance(report['robust select rms'])} on validation noise, {name} {distance(plain[name])}"
    return f"NFE {found.nfe}: {report['start']}: {values}; {spent}"


def _same(known: "list[Sampler]", budget: "Budget", seed: int, path: Path) -> None:
    """ValueError if what is in the file already was made in another way than is asked for."""
    for one in known:
        made, times = one.provenance, [node.t for node in one.plan.nodes]
        between = one.model.schedule.integer and any(t != round(t) for t in times)
        if "evaluations a sample" not in made.report:
            why = f"is {one.name}, which auto did not find"
        elif (one.plan.conditioning_shifts is not None and not budget.told) or (between and budget.whole):
            why = "has times that --no-told or --whole forbids"
        elif made.seed not in (None, seed) or made.samples not in (None, budget.samples):
            why = f"was found with seed {made.seed} and {made.samples} samples"
        elif made.report.get("budget", budget.most) != budget.most:
            why = f"was found with a budget of {made.report['budget']:g}, not {budget.most:g}: with --quick, or without"
        else:
            continue
        raise DodeError(f"the plan for NFE {one.nfe} in {path} {why}; write to another file")


def _show(
    made: "dict[int, Sampler]", model: "Model", settings: "Settings", exact: "Tensor", plot: Path | None
) -> "dict[int, Sampler]":
    """The table and the plot: each sampler beside the plain solvers, and a word where one of them is nearer.

    Gives back the samplers with these figures.
    """
    from dode import plots
    from dode.metrics.estimates import ratio

    rows, bases, made = _measured(made, model, settings, exact)
    label = next(iter(made.values())).provenance.report.get("label")
    title = f"{model.name}{tables.of_class(label)}: auto beside solvers as they come, seed {settings.seed}"
    tables.print_rows(rows, title, base=lambda row: bases.get((row.solver, row.nfe)))
    print("Base of auto: the nearest of these plain solvers, each on its default grid; dode compare takes other grids.")
    for row in rows:
        base = bases.get((row.solver, row.nfe))
        value, error = (0.0, 0.0) if base is None else ratio(row, base)
        if base is not None and value > 1 + 2 * error:
            print(
                f"warning: NFE {row.nfe}: {base.solver} is nearer than auto, whose RMS is {value:.2f} ± {error:.2f} "
                "times as large: search with more --samples, without --quick, or use that solver",
                file=sys.stderr,
            )
    if plot is not None:
        for row in rows:
            row.solver = row.solver.partition(":")[0]  # one line for auto, whatever it chose
        plots.errors(rows, plot, f"{model.name}: distance to the exact solution")
        print(f"written: {plot}")
    return made


def _measured(
    made: "dict[int, Sampler]", model: "Model", settings: "Settings", exact: "Tensor"
) -> "tuple[list[Row], dict[tuple[str, int], Row], dict[int, Sampler]]":
    """Rows of samplers and of plain solvers, for each of the former the nearest of the latter, samplers with both."""
    from dode import samplers as plain
    from dode.metrics import evaluation
    from dode.search.initial_candidates import PLAIN

    rows, bases, noted = [], {}, {}
    with common.progress("samples to compare") as advance:
        for count, one in made.items():
            rivals = [plain.sampler(model, name, nfe=count) for name in reversed(PLAIN)]
            *others, mine = evaluation.measured([*rivals, one], exact, settings, advance)
            mine.solver = "auto" if one.name == "auto" else f"auto: {one.name}, {one.provenance.grid}"
            rows += [*others, mine]
            bases[mine.solver, count] = min(others, key=lambda row: row.rms)
            noted[count] = evaluation.with_distance(one, settings, mine, bases[mine.solver, count])
    return rows, bases, noted
