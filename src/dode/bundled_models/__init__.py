"""The bundled models: small, real, trained by the scripts in training/ on Fashion-MNIST.  A card stands beside each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import as_file, files

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dode.analytic import Mixture
from dode.bundled_models.classifier_network import Classifier
from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.conditioning import Conditioning, classes_in_turn
from dode.messages import unknown
from dode.model import Model, from_callable
from dode.schedule import EDM, DiscreteVP, linear_betas

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
NO_LABEL = len(CLASSES)
SIGMA_DATA = 0.87  # RMS of the training images


def tensors(name: str) -> dict[str, Tensor]:
    """One safetensors file of this package, floats as float32."""
    with as_file(files("dode.bundled_models") / f"{name}.safetensors") as path:
        loaded = load_file(path)
    return {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}


labels = classes_in_turn(len(CLASSES))  # sample i gets class i mod 10


def no_label(indices: Sequence[int]) -> Tensor:
    """The class that means "none"."""
    return torch.full((len(indices),), NO_LABEL)


def _trained(net: nn.Module, name: str) -> nn.Module:
    net.load_state_dict(tensors(name))
    for parameter in net.parameters():
        if parameter.ndim == 4:  # convolutions with the channels last are a sixth faster on a CPU
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net.eval().requires_grad_(False)


def _fashion() -> Model:
    return from_callable(
        _trained(Folded(UNet()), "fashion"),
        schedule=DiscreteVP.from_betas(linear_betas()),
        prediction="noise",
        shape=(1, 32, 32),
        cond=labels,
        null=no_label,
        name="fashion",
        classes=NO_LABEL + 1,
    )


def _fashion_edm() -> Model:
    return from_callable(
        _trained(Preconditioned(Folded(UNet()), SIGMA_DATA), "fashion-edm"),
        schedule=EDM(),
        prediction="data",
        shape=(1, 32, 32),
        cond=labels,
        null=no_label,
        name="fashion-edm",
        classes=NO_LABEL + 1,
    )


def _fashion_mixture() -> Model:
    parts = tensors("fashion-mixture")
    bases = torch.linalg.qr(parts["bases"].double()).Q.float()  # float16 columns are not quite orthonormal
    exact = Mixture(
        parts["weights"] / parts["weights"].sum(),
        parts["means"],
        bases,
        parts["variances"],
        float(parts["floor"]),
        (1, 32, 32),
        parts["labels"],
    )
    return replace(exact.model(), name="fashion-mixture", conditioning=Conditioning(labels, no_label, NO_LABEL + 1))


BUNDLED: dict[str, Callable[[], Model]] = {
    "fashion": _fashion,
    "fashion-edm": _fashion_edm,
    "fashion-mixture": _fashion_mixture,
}


def bundled(name: str) -> Model:
    """A bundled model: "fashion" (DDPM, noise), "fashion-edm" (EDM, data), "fashion-mixture" (exact Gaussians).

    name: one of these three.  Samples are (1, 32, 32) in [−1, 1]; cond is a class 0 … 9 a sample, 10 means none.
    Raises ValueError for another name.
    """
    if name not in BUNDLED:
        raise unknown("model", name, BUNDLED)
    return BUNDLED[name]()


def classifier() -> Classifier:
    """The bundled classifier, ready to use; `classifier().features` is the extractor of the Fréchet distance."""
    net = Classifier()
    _trained(net, "classifier")
    return net
