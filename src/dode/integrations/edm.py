"""Networks in the form of Karras et al. 2022: net(x, sigma, class_labels) → x̂₀."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dode.conditioning import classes_in_turn
from dode.model import Model, from_callable
from dode.schedule import EDM


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
    net: Callable[..., Tensor],
    *,
    shape: tuple[int, ...],
    classes: int = 0,
    unlabelled: bool = False,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    name: str = "edm",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model:
    """A model from net(x, sigma, class_labels) → x̂₀, of images or anything else.

    net: x (B, *shape), sigma (B,) → the denoised x (B, *shape); shape: of one sample.
    classes: how many, 0 if the network takes none; it is then given
    one-hot rows (B, classes), and cond is a class number a sample.  unlabelled: the network was trained with some
    labels left out (a row of zeros), so that it can be guided.  sigma_min, sigma_max: the noise levels that a run
    starts and its last step ends at; name: in files and tables; dtype, device: of its states.
    Raises ValueError if a first call fails.
    """
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
