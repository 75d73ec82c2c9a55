"""Figures 6 to 9: rows of pictures from the same noise, each solver above its distilled form, at few evaluations.

The paper has other networks in every figure.  On a bundled network they differ as those do: figure 7 without a label
(CelebA), 8 with a label for each picture (ImageNet), 9 with one class for all and |B| = 25 (LSUN Bedroom).
"""

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from dode.metrics import distance, to_uint8
from dode.model import Model
from dode.plots import tiles
from dode_paper.reproduce import drawing
from dode_paper.reproduce.averages import listed
from dode_paper.reproduce.context import Fitting, Lab, Task, exact, fitted, plain, teaching
from dode_paper.reproduce.experiment import Item, Result
from dode_paper.reproduce.result_store import Entries, Entry, table

ONE_CLASS = 8  # bags


@dataclass(frozen=True)
class Scene:
    """What is shown in a figure."""

    solvers: tuple[str, ...]
    label: str = "each"  # "none", "each" or "one"
    samples: int | None = None  # |B| if it is not the size's


def model_of(model: Model, scene: Scene) -> Model:
    """The model under the scene's labels, if it has any."""
    if scene.label == "each" or not model.labels:
        return model
    if scene.label == "none":
        known = model.conditioning
        return model if known is None or known.null is None else model.labelled(model.labels - 1)
    return model.labelled(min(ONE_CLASS, model.labels - 1))


def fitting(lab: Lab, scene: Scene) -> Fitting:
    """One seed, and the scene's own |B| if it has one that is smaller."""
    return Fitting(lab.size.seeds[0], min(scene.samples or lab.size.samples, lab.size.samples))


def said(scene: Scene, lab: Lab) -> str:
    """What the pictures are of."""
    how = fitting(lab, scene)
    return f"seed {how.seed}, the same noise in a column; |B| = {how.samples}, C = {how.scale}, no ridge"


def placed(lab: Lab, scene: Scene) -> Lab:
    """The lab of a scene: another condition is another model to everything that is kept."""
    if scene.label == "each":
        return lab
    made: Lab = lab.once(("scene", scene.label), lambda: replace(lab, model=model_of(lab.model, scene), kept={}))
    return made


def tasks(lab: Lab, scene: Scene) -> Iterator[Task]:
    own = placed(lab, scene)
    how = fitting(lab, scene)
    count = min(lab.size.images, lab.size.report)
    for name in scene.solvers:
        for nfe in lab.size.pictures:
            yield Task(f"{name} {nfe}", count * nfe, partial(_plain, own, name, nfe))
            yield Task(
                f"d-{name} {nfe}", teaching(lab, nfe, how) + count * nfe, partial(_distilled, own, name, nfe, how)
            )


def _plain(lab: Lab, name: str, nfe: int) -> Entry:
    return _row(lab, plain(lab, name, nfe).sample(noise=_noise(lab)))


def _distilled(lab: Lab, name: str, nfe: int, how: Fitting) -> Entry:
    return _row(lab, fitted(lab, [f"d-{name}"], nfe, how)[0].sample(noise=_noise(lab)))


def _noise(lab: Lab) -> Tensor:
    return lab.model.start(range(min(lab.size.images, lab.size.report)), lab.size.seeds[0])


def _row(lab: Lab, images: Tensor) -> Entry:
    """The pictures as bytes, and how far they are from the exact solution."""
    gap = distance(images, exact(lab, lab.size.seeds[0])[: len(images)])
    pixels = to_uint8(lab.model.decode(images) if lab.model.decode else images).numpy()
    packed = base64.b85encode(zlib.compress(pixels.tobytes(), 9)).decode()
    return {"rms": gap.rms, "median": gap.median, "shape": list(pixels.shape), "pixels": packed}


def unpacked(entry: Entry) -> Tensor:
    """The pictures of an entry, in [−1, 1]: (n, C, H, W)."""
    from torch import from_numpy

    raw = np.frombuffer(zlib.decompress(base64.b85decode(entry["pixels"])), np.uint8)
    return from_numpy(raw.reshape(entry["shape"]).astype(np.float32)) / 127.5 - 1


def result(lab: Lab, entries: Entries, scene: Scene) -> Result:
    lines = [[*key.split(), f"{e['rms']:.4f}", f"{e['median']:.4f}"] for key, e in entries.items()]
    pairs = [(name, nfe) for name in scene.solvers for nfe in lab.size.pictures]
    farther = [
        f"{name} at {nfe}"
        for name, nfe in pairs
        if entries[f"d-{name} {nfe}"]["rms"] >= entries[f"{name} {nfe}"]["rms"]
    ]
    text = f"The distilled row is nearer to the exact solution than the row above it in {len(pairs) - len(farther)} of "
    text += f"{len(pairs)} pairs" + (f"; not for {listed(farther)}." if farther else ".")
    said = f"{entries[next(iter(entries))]['shape'][0]} pictures; distances are of these pictures alone."
    return Result(table(["solver", "NFE", "RMS", "median"], lines), f"{text} {said}", _figure(entries))


def _figure(entries: Entries) -> drawing.Figure:
    columns = next(iter(entries.values()))["shape"][0]
    figure = drawing.Figure(figsize=(1.6 + 0.55 * columns, 0.6 * len(entries)), dpi=130)
    for i, (key, entry) in enumerate(entries.items()):
        axes = figure.add_subplot(len(entries), 1, i + 1)
        axes.imshow(tiles(unpacked(entry), columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        axes.text(-0.01, 0.5, key.replace(" ", ", NFE "), transform=axes.transAxes, ha="right", va="center", fontsize=7)
    figure.subplots_adjust(left=0.3, right=0.99, top=0.99, bottom=0.01, hspace=0.05)
    return figure


def _item(name: str, model: str, scene: Scene) -> Item:
    return Item(
        name,
        (model,),
        lambda lab: tasks(lab, scene),
        lambda lab, entries: result(lab, entries, scene),
        partial(said, scene),
    )


THIRD = ("dpm-solver-3", "deis-3")
FIG6 = _item("fig6", "fashion-edm", Scene(("edm",)))
FIG7 = _item("fig7", "fashion", Scene(THIRD, "none"))
FIG8 = _item("fig8", "fashion", Scene(THIRD, "each"))
FIG9 = _item("fig9", "fashion", Scene(THIRD, "one", 25))
