"""From the constructor arguments of a published EDM pickle to the network, checked: they come from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dode.errors import DodeError
from dode_paper.checkpoints.ddpmpp import DDPMpp
from dode_paper.checkpoints.edm_adm import EDMADM
from dode_paper.checkpoints.preconditioning import KINDS, Preconditioned

# the published names of the arguments → ours
SHARED = {
    "augment_dim": "augment",
    "model_channels": "channels",
    "channel_mult": "widths",
    "channel_mult_emb": "embedding_width",
    "num_blocks": "blocks",
    "attn_resolutions": "attention",
    "dropout": "dropout",
}
SONG = {
    "embedding_type": "embedding",
    "channel_mult_noise": "noise_width",
    "encoder_type": "encoder_type",
    "resample_filter": "filter",
}
NAMES = {"SongUNet": SHARED | SONG, "DhariwalUNet": SHARED}
IGNORED = {"use_fp16", "sigma_min", "sigma_max"}  # the weights are used as float32
WHOLE = {  # least and largest of what a size may be
    "img_resolution": (1, 1024),
    "img_channels": (1, 64),
    "label_dim": (0, 100_000),
    "augment_dim": (0, 4096),
    "model_channels": (4, 4096),
    "channel_mult_emb": (1, 64),
    "channel_mult_noise": (1, 64),
    "num_blocks": (1, 64),
}
LISTS = {"channel_mult": (1, 64), "attn_resolutions": (0, 64), "resample_filter": (0, 64)}
MOST = 12  # entries of a list
MOST_OF_A_NUMBER = 1e6
TEXTS = {"model_type", "embedding_type", "encoder_type", "decoder_type"}


@dataclass(frozen=True)
class Rebuilt:
    """A network on the meta device, without weights, and what a model must know of it."""

    network: Preconditioned
    shape: tuple[int, int, int]
    classes: int
    label_dropout: float  # above 0: it was trained with some labels left out
    low: float  # the noise levels it was trained on
    high: float


def build(class_name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Rebuilt:
    """The network that these arguments describe; ValueError for a class, name or value that is not known."""
    if class_name not in KINDS:
        raise DodeError(f"the network's class must be one of {', '.join(KINDS)}; got {class_name[:60]!r}")
    if args:
        raise DodeError(f"{class_name} is built from named arguments; the file has {len(args)} without names")
    kind = KINDS[class_name]
    given: dict[str, Any] = {"model_type": kind.network, "label_dim": 0, "img_channels": 3} | kwargs
    names = _names(class_name, given)
    size, channels, classes = _sizes(given)
    options: dict[str, Any] = {ours: given[theirs] for theirs, ours in names.items() if theirs in given}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    made: type[DDPMpp] | type[EDMADM] = DDPMpp if given["model_type"] == "SongUNet" else EDMADM
    with torch.device("meta"):
        model = made(size, channels, channels, classes, **options)
    network = Preconditioned(model, kind, {name: float(given[name]) for name in kind.numbers if name in given})
    return Rebuilt(network, (channels, size, size), classes, float(given.get("label_dropout", 0)), kind.low, kind.high)


def _names(class_name: str, given: dict[str, Any]) -> dict[str, str]:
    """The names of the raw network's arguments, theirs → ours; ValueError for an unknown name or a wrong value."""
    names = NAMES.get(given["model_type"] if isinstance(given["model_type"], str) else "")
    if names is None:
        raise DodeError(f"model_type must be {' or '.join(NAMES)}; got {str(given['model_type'])[:60]!r}")
    kind = KINDS[class_name]
    own = {"img_resolution", "img_channels", "label_dim", "label_dropout", "model_type", "decoder_type"}
    for name, value in given.items():
        if name not in {*own, *names, *kind.numbers, *kind.ignored, *IGNORED}:
            raise DodeError(f"{class_name} has an argument that is not known here: {name[:60]!r}")
        if name not in IGNORED:
            _check(name, value)
    return names


def _check(name: str, value: Any) -> None:
    """ValueError unless the value is of the argument's kind and of a network's size."""
    if name in TEXTS:
        right = isinstance(value, str)
    elif name in LISTS:
        low, high = LISTS[name]
        right = isinstance(value, list | tuple) and 0 < len(value) + (name == "attn_resolutions") <= MOST
        right = right and all(type(number) is int and low <= number <= high for number in value)
    elif name in WHOLE:
        low, high = WHOLE[name]
        right = type(value) is int and low <= value <= high
    else:
        right = type(value) in (int, float) and abs(value) <= MOST_OF_A_NUMBER
    if not right:
        raise DodeError(f"{name} is no value of a network: {str(value)[:60]!r}")


def _sizes(given: dict[str, Any]) -> tuple[int, int, int]:
    """Resolution, channels, classes; ValueError if they do not go together with the rest."""
    if "img_resolution" not in given:
        raise DodeError("the network's img_resolution is missing")
    if given.get("decoder_type", "standard") != "standard":
        raise DodeError(
            f"decoder_type must be standard, as in the published networks; got {given['decoder_type'][:60]!r}"
        )
    size, halvings = given["img_resolution"], len(given.get("channel_mult", [1, 1, 1, 1])) - 1
    if size % (1 << halvings):
        raise DodeError(f"img_resolution {size} cannot be halved {halvings} times")
    if given.get("model_channels", 128) % 4:
        raise DodeError(f"model_channels must be a multiple of 4; got {given['model_channels']}")
    taps = given.get("resample_filter", [1, 1])
    if len(taps) not in (2, 4) or not sum(taps):
        raise DodeError(f"resample_filter must have 2 or 4 entries, not all 0; got {taps}")
    if not 0 <= given.get("dropout", 0) < 1:
        raise DodeError(f"dropout must be from 0 to 1; got {given['dropout']}")
    return size, given["img_channels"], given["label_dim"]
