"""Networks in the form of Karras et al. 2022: net(x, sigma, class_labels) → x̂₀, from memory, a pickle or a file.

Their pickles hold source code and run it on load.  `read_pickle` takes the tensors and the constructor's arguments and
runs nothing; `convert` writes them as safetensors; `open_file` makes a model of what it wrote.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dode.calibration import replace_bytes
from dode.model import Model, from_callable
from dode.nets import edm_arguments
from dode.nets.loading import classes_in_turn, load, opened
from dode.pickles.edm import PickledNetwork, read_pickle
from dode.schedule import EDM

__all__ = ["PickledNetwork", "convert", "from_edm", "open_file", "read_pickle"]

WHAT = "dode edm network"


def convert(source: str | Path, target: str | Path, key: str = "ema") -> PickledNetwork:
    """Write the network of a pickle as safetensors, with its class and arguments; whole or not at all."""
    network = read_pickle(source, key)
    about = {"what": WHAT, "class_name": network.class_name, "args": network.args, "kwargs": network.kwargs}
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.tensors.items()}
    replace_bytes(target, save(tensors, {"dode": json.dumps(about)}))
    return network


def open_file(path: str | Path) -> Model:
    """The model of a file that `convert` wrote.  Raises ValueError for any other file."""
    about, tensors = opened(path, WHAT, {"class_name": str, "args": list, "kwargs": dict}, "dode convert edm")
    network = PickledNetwork(about["class_name"], tuple(about["args"]), about["kwargs"], tensors)
    return model_of(network, Path(path).stem)


def model_of(network: PickledNetwork, name: str) -> Model:
    """The network rebuilt from its arguments, with its tensors, as a model."""
    built = edm_arguments.build(network.class_name, network.args, network.kwargs)
    load(built.network, network.tensors, name)
    return from_edm(
        built.network,
        shape=built.shape,
        classes=built.classes,
        unlabelled=built.label_dropout > 0,
        sigma_min=max(0.002, built.low),
        sigma_max=min(80.0, built.high),
        name=name,
    )


class Labelled(nn.Module):
    """An EDM network that takes class numbers; the number `classes` means none, which is a row of zeros."""

    def __init__(self, net: Callable[..., Tensor], classes: int) -> None:
        super().__init__()
        self.net = net
        self.classes = classes

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """X (B, …), sigma (B,), labels (B,) of class numbers → x̂₀ (B, …)."""
        rows = one_hot(labels.long(), self.classes + 1)[:, : self.classes].to(x.dtype)
        return self.net(x, sigma, rows)


class Unlabelled(nn.Module):
    """An EDM network without classes."""

    def __init__(self, net: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """X (B, …), sigma (B,) → x̂₀ (B, …)."""
        return self.net(x, sigma, None)


def from_edm(
    net: Callable[..., Tensor] | str | Path,
    *,
    shape: tuple[int, ...] | None = None,
    classes: int = 0,
    unlabelled: bool = False,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    name: str = "edm",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """A model from net(x, sigma, class_labels) → x̂₀, or from a file that `dode convert edm` wrote.

    net: x (B, *shape), sigma (B,) → the denoised x (B, *shape), or the path of a file; shape: of one sample; a file
    brings its own.  classes: how many, 0 if the network takes none; it is then given
    one-hot rows (B, classes), and cond is a class number a sample.  unlabelled: the network was trained with some
    labels left out (a row of zeros), so that it can be guided.  sigma_min, sigma_max: the noise levels that a run
    starts and its last step ends at; name: in files and tables; dtype, device: of its states.
    Raises ValueError if a first call fails.
    """
    if isinstance(net, str | Path):
        if shape is not None or classes or unlabelled:
            raise ValueError("a file brings its own shape and classes; leave shape, classes and unlabelled out")
        return open_file(net).to(device, dtype)
    if shape is None:
        raise ValueError("from_edm needs shape=…, of one sample, for a network that is not from a file")
    return from_callable(
        Labelled(net, classes) if classes else Unlabelled(net),
        schedule=EDM(sigma_max, sigma_min),
        prediction="data",
        shape=shape,
        cond=classes_in_turn(classes) if classes else None,
        null=(lambda indices: torch.full((len(indices),), classes)) if classes and unlabelled else None,
        classes=classes + unlabelled if classes else 0,
        name=name,
        dtype=dtype,
        device=device,
    )
