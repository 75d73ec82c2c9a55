"""From a model and names of solvers to measured rows; what `dode demo`, `dode compare` and the benchmarks share."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dode import samplers as plain
from dode.distilled import distill
from dode.metrics.comparison import Row, Settings, calls, measure
from dode.metrics.figures import Judge
from dode.model import Model
from dode.samplers import Sampler
from dode.weights import classifier, statistics

Progress = Callable[[int, int], None]


def bundled_judge() -> Judge:
    """The bundled classifier's features against the training images."""
    return Judge(classifier().features, statistics())


def samplers(
    model: Model, names: Sequence[str], nfe: Sequence[int], grid: str | None, seed: int, progress: Progress
) -> list[Sampler]:
    """One sampler for each name and number of evaluations; those with d- are distilled, one teacher's together."""
    asked = [name for name in names if name.startswith("d-") or name == "auto"]
    fitted = distill(model, asked, nfe=nfe, grid=grid, seed=seed, progress=progress) if asked else {}
    return [
        fitted[name][count] if name in fitted else plain.sampler(model, name, nfe=count, grid=grid)
        for name in names
        for count in sorted(set(nfe))
    ]


@torch.no_grad()
def exact(model: Model, settings: Settings, progress: Progress) -> Tensor:
    """The exact solutions of the report noise (settings.paired, *shape), as exact as half precision allows."""
    rtol = max(settings.rtol, 8 * torch.finfo(model.dtype).eps)
    x_T = model.start(range(settings.paired), settings.seed, settings.stream)
    return model.exact(x_T, rtol, batch=settings.batch, progress=progress)


def measured(
    chosen: Sequence[Sampler], solutions: Tensor, settings: Settings, progress: Progress, judge: Judge | None = None
) -> list[Row]:
    """A row for each sampler, all on the same report noise."""
    if judge is None and settings.fd:
        judge = bundled_judge()
    done, total = 0, calls(chosen, settings)

    def tick(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return [measure(one, solutions, settings, judge, tick) for one in chosen]


def with_figures(
    made: dict[int, Sampler], report: int, seed: int, batch: int, label: int | None, progress: Progress
) -> dict[int, Sampler]:
    """The samplers with their distances on report noise, and the plain solver's beside, in their provenance."""
    model = next(iter(made.values())).model
    if label is not None:
        model = replace(model, cond=lambda indices: [label] * len(indices))
    settings = Settings(report, seed=seed, batch=batch)
    chosen = []
    for one in made.values():
        base = plain.sampler(
            model,
            one.provenance.method,
            nfe=one.nfe,
            grid=one.provenance.grid,
            end=one.provenance.end,
            **one.provenance.options,
        )
        chosen += [replace(one, model=model), base]
    rows = measured(chosen, exact(model, settings, progress), settings, progress)
    figures = {}
    for (count, one), mine, base_row in zip(made.items(), rows[::2], rows[1::2], strict=True):
        said = {"n": report, "seed": seed, "rms": mine.rms, "rms error": mine.rms_error, "median": mine.median}
        said |= {"plain rms": base_row.rms, "plain median": base_row.median}
        figures[count] = replace(one, provenance=replace(one.provenance, report=said))
    return figures
