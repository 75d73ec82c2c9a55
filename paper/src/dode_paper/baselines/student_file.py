"""The file of a student: safetensors that say what they are, and open as a model wherever one is taken.

Weights are in float16, or packed (`packing`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dode import json_schema
from dode import samplers as plain
from dode.bundled_models import CLASSES, SIGMA_DATA, bundled, labels
from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.calibration import Json
from dode.conditioning import Conditioning
from dode.denoisers import CallableNetwork
from dode.errors import DodeError
from dode.files import replace_bytes
from dode.fingerprint import weights_hash
from dode.model import Model, build
from dode.samplers import Sampler
from dode.schedule import EDM
from dode_paper.baselines import packing
from dode_paper.baselines.consistency import Consistency
from dode_paper.baselines.guided import told_the_scale
from dode_paper.checkpoints.loading import described, load, opened
from dode_paper.distilled_network import TrainedTimes

WHAT = "dode student"
FORM = {"network": str, "solver": str, "times": {str: [float]}, "guidance": (None, [float])}
FORM |= {"sigma_max?": float, "sigma_min?": float}
FIELDS = {"form": FORM, "teacher": str, "fingerprint": str, "card": {str: object}}
FIELDS |= {"weights?": str}  # of a packed student: its fingerprint before, by which results know it
COSTS = {"method": str, "network calls": int, "processor minutes": float}  # of a card, what other code reads


@dataclass(frozen=True)
class Form:
    """What kind of network a student is, and how to sample with it."""

    network: str  # data | consistency | guided
    solver: str
    times: Mapping[int, tuple[float, ...]]  # network evaluations -> nodes, noise levels
    guidance: tuple[float, float] | None = None
    sigma_max: float = 80.0
    sigma_min: float = 0.002


def blank(form: Form) -> nn.Module:
    """The network of this form, before its weights."""
    if form.network == "consistency":
        return Consistency(Folded(UNet()), SIGMA_DATA, form.sigma_min)
    plain = Preconditioned(Folded(UNet()), SIGMA_DATA)
    if form.network == "guided":
        return told_the_scale(plain)
    if form.network != "data":
        raise DodeError(f"a student is a data, consistency or guided network; got {form.network!r}")
    return plain


def write(path: Path, net: nn.Module, form: Form, teacher: Model, card: Json) -> None:
    """One student with its card, whole or not at all."""
    about = {"what": WHAT, "form": asdict(form), "teacher": teacher.name, "fingerprint": teacher.fingerprint}
    tensors = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in net.state_dict().items()}
    replace_bytes(path, save(tensors, {"dode": json.dumps(about | {"card": card})}))


def rewrite_packed(source: Path, target: Path) -> None:
    """Write the student of a file again, packed."""
    about, tensors = opened(source, WHAT, FIELDS, "dode train")
    weights = {name: value.float() for name, value in tensors.items()}
    before = open_file(source).fingerprint
    packed = packing.pack(weights, _weights(_teacher(about["teacher"], about["fingerprint"], source.stem)))
    replace_bytes(target, save(packed, {"dode": json.dumps(about | {"weights": before})}))


def written(path: str | Path) -> bool:
    """Is it there, and a student's file?"""
    return Path(path).is_file() and described(path).get("what") == WHAT


def card_of(path: str | Path) -> Json:
    """The card of a student's file.  Raises ValueError if it does not say what the student took."""
    card: Json = opened(path, WHAT, FIELDS, "dode train")[0]["card"]
    json_schema.check(card, COSTS | {str: object}, f"{path}: its card")
    return card


def open_file(path: str | Path) -> Model:
    """The model of a student's file, which knows its solver and its times.  Raises ValueError for any other file."""
    about, tensors = opened(path, WHAT, FIELDS, "dode train")
    form = _form(about["form"], path)
    with torch.device("meta"):
        net = blank(form)
    name = Path(path).stem
    if packing.PACKED in tensors:
        teacher = _teacher(about["teacher"], about["fingerprint"], name)
        try:
            tensors = packing.unpack(tensors, net.state_dict(), _weights(teacher))
        except DodeError as error:
            raise DodeError(f"{path}: {error}") from error
    load(net, tensors, Path(path).name)
    return model_of(net, form, about["teacher"], about["fingerprint"], name, about.get("weights"))


def teacher_of(path: str | Path) -> str:
    """The fingerprint of the model that a student's file was distilled from."""
    return str(opened(path, WHAT, FIELDS, "dode train")[0]["fingerprint"])


def samplers(path: str | Path) -> dict[int, Sampler]:
    """The samplers of a student's file by their network evaluations: its own solver at its own times."""
    model = open_file(path)
    trained = model.schedule
    assert isinstance(trained, TrainedTimes), "open_file says how a student is sampled"
    return {nfe: plain.sampler(model, trained.solver, nfe) for nfe in sorted(trained.times)}


def _teacher(teacher: str, fingerprint: str, name: str) -> Model:
    """The model that the student `name` was distilled from."""
    model = bundled(teacher)
    if model.fingerprint != fingerprint:
        raise DodeError(
            f"{name} was distilled from another {teacher} ({fingerprint}) than the bundled one "
            f"({model.fingerprint}), so there is no exact solution to compare it with"
        )
    return model


def _weights(model: Model) -> dict[str, Tensor]:
    """The weights of a teacher by name."""
    assert isinstance(model.network, CallableNetwork), "bundled makes it"
    assert isinstance(model.network.fn, nn.Module), "bundled makes it"
    return model.network.fn.state_dict()


def model_of(
    net: nn.Module, form: Form, teacher: str, fingerprint: str, name: str, known_as: str | None = None
) -> Model:
    """A student's network as a model; known_as: its fingerprint, of its weights by default."""

    def solution(model: Model, x_T: Tensor, cond: Any) -> Tensor:
        return (
            _teacher(teacher, fingerprint, name)
            .to(model.device, model.dtype)
            .guided(model.guidance or 1.0)
            .exact(x_T, cond=cond)
        )

    schedule = TrainedTimes(form.sigma_max, form.sigma_min, 0.0, name, teacher, form.solver, form.times)
    return build(
        CallableNetwork(net.eval(), True),
        schedule,
        "data",
        (1, 32, 32),
        name,
        conditions=Conditioning(labels, None, len(CLASSES)),
        fingerprint=known_as or weights_hash(net),
        guidance_range=form.guidance,
        solution=solution,
    )


def _form(said: dict[str, Any], path: str | Path) -> Form:
    """The form as JSON gives it back, checked."""
    try:
        times = {int(nfe): tuple(float(t) for t in nodes) for nfe, nodes in said["times"].items()}
        guidance = None if said["guidance"] is None else tuple(map(float, said["guidance"]))
        form = Form(**said | {"times": times, "guidance": guidance})
        EDM(float(form.sigma_max), float(form.sigma_min))
    except ValueError as error:
        raise DodeError(f"{path}: its description does not say how to sample with it ({error})") from error
    if guidance is not None and len(guidance) != 2:
        raise DodeError(f"{path}: a student's guidance is two scales; got {len(guidance)}")
    if not times or any(len(nodes) != nfe + 1 for nfe, nodes in times.items()):
        raise DodeError(
            f"{path}: a student needs times, one more than evaluations; got {json_schema.short(said['times'])}"
        )
    return form
