"""dode auto, and dode interpolate between the samplers that it found."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from dode.cli import options
from dode.cli.compare import exact_solution, settings
from dode.cli.output import bar, nearest, of_class, print_rows, progress
from dode.errors import DodeError
from dode.messages import distance

if TYPE_CHECKING:
    from torch import Tensor

    from dode.metrics.estimates import Row
    from dode.metrics.evaluation import Settings
    from dode.model import Model
    from dode.samplers import Sampler
    from dode.search.budget import Budget


@options.grouped
def auto(
    opening: options.Opening,
    output: Annotated[Path, Option("--output", "-o", help="Calibration file; goes on with what is in it.")],
    nfe: Annotated[str, Option(help="Network evaluations: 5, or 4,5,6,8,10 in one file.")] = "4,5,6,8,10",
    quick: Annotated[bool, Option("--quick", help="A fifth of the evaluations.")] = False,
    budget_seconds: Annotated[
        float | None, Option(help="Most seconds for the search, shared out over the numbers of evaluations.")
    ] = None,
    samples: Annotated[int | None, Option(help="Samples to fit on.")] = None,
    free_times: Annotated[
        bool, Option(help="The network may be given other times than its states'; other tools cannot follow that.")
    ] = True,
    whole_times: Annotated[
        bool, Option("--whole-times", help="Whole times only, the weights found again for them.")
    ] = False,
    paired: Annotated[int, Option(help="Samples of test noise for the table and the plot; 0 for none.")] = 32,
    rtol: options.Rtol = None,
    plot: Annotated[Path | None, Option(help="Error against evaluations, PNG.")] = None,
    guidance: options.Guidance = 1.0,
    seed: options.Seed = 0,
    batch: options.Batch = 64,
) -> None:
    """Find the best sampler at few evaluations: one teacher run, a search, a table of what it is worth."""
    numbers = options.counts(nfe)
    options.check_writable(output, ".json")
    _check_figures(paired, plot)
    import dode
    from dode.search.budget import QUICK, Budget

    limits = options.given(samples=samples, seconds=budget_seconds, batch=batch)
    limits |= {"told": free_times, "whole": whole_times}
    budget = replace(QUICK if quick else Budget(), **limits)
    model = opening.open(guidance)
    held = _held(output, model) if output.exists() else {}
    keys = {count: (count, model.guidance) for count in numbers}
    there = {count: held[key] for count, key in keys.items() if key in held and not _interpolated(held[key])}
    opening.check_class(there.values(), output)
    _check_made_alike(there.values(), budget, seed, output)
    measured = settings(["rms"], paired, 0, batch, rtol, seed) if paired else None
    exact = None if measured is None else exact_solution(model, measured)  # before the search, as it may fail
    for sampler in _search(model, [count for count in numbers if count not in there], budget, seed):
        held[keys[sampler.nfe]] = opening.sign(sampler)
        dode.save(output, *held.values())  # what is found is kept, should the rest be stopped
    print(f"written: {output}")
    found = [held[key] for key in keys.values()]
    print("\n".join(map(_summary, found)))
    if measured is not None and exact is not None:
        noted = _show(found, measured, exact, plot, opening.label)
        dode.save(output, *(held | dict(zip(keys.values(), noted, strict=True))).values())


@options.grouped
def interpolate(
    opening: options.Opening,
    calibration: Annotated[Path, Argument(help="File of dode auto, with plans on both sides.")],
    output: options.Calibration,
    nfe: Annotated[int, Option(help="Network evaluations.")],
    guidance: options.Guidance = 1.0,
    seed: options.Seed = 0,
    batch: options.Batch = 64,
) -> None:
    """A sampler between two of auto's, at another NFE or guidance scale; refused where it does not hold."""
    options.check_writable(output, ".json")
    import dode
    from dode.search import interpolation

    model = opening.open(guidance)
    held, key = _held(calibration, model), (nfe, model.guidance)
    opening.check_class(held.values(), calibration)
    if key in held and not _interpolated(held[key]):
        raise DodeError(f"{calibration} holds what was found for NFE {nfe} under guidance {guidance:g}: nothing to do")
    made = opening.sign(interpolation.interpolate(list(held.values()), model, nfe, seed, batch))
    kept = held if output.exists() and output.samefile(calibration) else {}
    dode.save(output, *sorted((kept | {key: made}).values(), key=lambda sampler: sampler.nfe))
    report = made.provenance.report
    (name,) = (key for key in report if key.startswith("tried "))
    near, far = distance(report["robust select rms"]), distance(report[name])
    print(f"between {' and '.join(report['between'])}: {near} on validation noise, {name.removeprefix('tried ')} {far}")
    print(f"written: {output}")


def _check_figures(paired: int, plot: Path | None) -> None:
    """DodeError for a plot that cannot be written or has nothing to show."""
    options.check_paired(paired)
    if plot is not None:
        options.check_writable(plot, ".png")
        if not paired:
            raise DodeError("--plot shows distances: give --paired at least 2")


def _held(path: Path, model: "Model") -> "dict[tuple[int, float | None], Sampler]":
    """The samplers of a file by number of evaluations and guidance scale."""
    from dode.samplers import load_all

    return {(sampler.nfe, sampler.model.guidance): sampler for sampler in load_all(path, model)}


def _interpolated(sampler: "Sampler") -> bool:
    """Whether it lies between two others; a search is worth more and takes its place."""
    return "between" in sampler.provenance.report


def _search(model: "Model", counts: Sequence[int], budget: "Budget", seed: int) -> "Iterator[Sampler]":
    """What the search finds, one number of evaluations after another; a bar shows the share that is done."""
    from rich.progress import TaskProgressColumn, TimeRemainingColumn

    from dode.search.auto import searched

    if counts:
        with bar("teacher", TaskProgressColumn(), TimeRemainingColumn()) as tell:
            for sampler, _ in searched(
                model, counts, budget, seed, None, lambda what, share: tell(what, round(1000 * share), 1000)
            ):
                yield sampler


def _summary(sampler: "Sampler") -> str:
    """What the search gives for one number of evaluations, beside the nearest of what it began with."""
    report = sampler.provenance.report
    tried = {name.removeprefix("tried "): value for name, value in report.items() if name.startswith("tried ")}
    plain = {name: value for name, value in tried.items() if not name.startswith("refined ")}
    spent = f"{report['evaluations a sample']:.0f} evaluations for each sample to fit on"
    if not sampler.provenance.distilled:
        return f"NFE {sampler.nfe}: a plain solver, {report['start']}: nothing nearer was found in {spent}"
    name = min(plain, key=plain.__getitem__)
    values = f"{distance(report['robust select rms'])} on validation noise, {name} {distance(plain[name])}"
    return f"NFE {sampler.nfe}: {report['start']}: {values}; {spent}"


def _check_made_alike(held: "Iterable[Sampler]", budget: "Budget", seed: int, path: Path) -> None:
    """DodeError if a sampler of the file was made in another way than is asked for."""
    for sampler in held:
        made, times = sampler.provenance, [node.t for node in sampler.plan.nodes]
        between = sampler.model.schedule.integer and any(t != round(t) for t in times)
        if "evaluations a sample" not in made.report:
            why = f"is {sampler.name}, which auto did not find"
        elif (sampler.plan.conditioning_shifts is not None and not budget.told) or (between and budget.whole):
            why = "has times that --no-free-times or --whole-times forbids"
        elif made.seed not in (None, seed) or made.samples not in (None, budget.samples):
            why = f"was found with seed {made.seed} and {made.samples} samples"
        elif made.report.get("budget", budget.most) != budget.most:
            why = f"was found with a budget of {made.report['budget']:g}, not {budget.most:g}: with --quick, or without"
        else:
            continue
        raise DodeError(f"the plan for NFE {sampler.nfe} in {path} {why}; write to another file")


def _show(
    found: "Sequence[Sampler]", settings: "Settings", exact: "Tensor", plot: Path | None, label: int | None
) -> "list[Sampler]":
    """The table and the plot, each sampler beside the plain solvers; gives back the samplers with these figures."""
    from dode import plots
    from dode.metrics.estimates import ratio

    rows, bases, noted = _measure(found, settings, exact)
    name = found[0].model.name
    title = f"{name}{of_class(label)}: auto beside solvers as they come, seed {settings.seed}"
    print_rows(rows, title, base=lambda row: bases.get((row.solver, row.nfe)))
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
        plots.errors(rows, plot, f"{name}: distance to the exact solution")
        print(f"written: {plot}")
    return noted


def _measure(
    found: "Sequence[Sampler]", settings: "Settings", exact: "Tensor"
) -> "tuple[list[Row], dict[tuple[str, int], Row], list[Sampler]]":
    """Rows of samplers and of plain solvers, for each of the former the nearest of the latter, samplers with both."""
    from dode.metrics import evaluation
    from dode.samplers import sampler as plain_sampler
    from dode.search.initial_candidates import PLAIN

    rows, bases, noted = [], {}, []
    with progress("samples to compare") as advance:
        for sampler in found:
            plain = [plain_sampler(sampler.model, name, nfe=sampler.nfe) for name in reversed(PLAIN)]
            *others, row = evaluation.measured([*plain, sampler], exact, settings, advance)
            row.solver = "auto" if sampler.name == "auto" else f"auto: {sampler.name}, {sampler.provenance.grid}"
            rows += [*others, row]
            bases[row.solver, sampler.nfe] = nearest(others)
            noted.append(evaluation.with_distance(sampler, settings, row, bases[row.solver, sampler.nfe]))
    return rows, bases, noted
