"""Guided distillation: one network for a range of guidance scales, told the scale.

Meng et al. 2023: stage one matches the guided output of the teacher (section 3.1), stage two is progressive
distillation of what came out (section 3.2).
"""

import torch
from torch import Tensor, nn

from dode.bundled_models.unet import UNet, sinusoid
from dode.denoisers import Network, classifier_free
from dode.errors import DodeError
from dode_paper.baselines.batched_solver import Pieces, wide

SCALES = (1.0, 4.0)  # of guidance, in our sense: 1 is none
WAVES, FACTOR = 32, 100.0  # sinusoids of the scale, and radians of the fastest a unit


class WithScale(nn.Module):
    """A class embedding that takes (label (B,), scale (B,)): what the scale adds is zero before any training."""

    def __init__(self, classes: nn.Module, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.first = nn.Linear(WAVES, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        """-> (B, width)."""
        label, scale = given
        waves = sinusoid(FACTOR * scale, WAVES).to(self.first.weight.dtype)
        added: Tensor = self.second(nn.functional.silu(self.first(waves)))
        out: Tensor = self.classes(label) + added
        return out


def told_the_scale(net: nn.Module) -> nn.Module:
    """The network with a guidance scale beside its label; it changes no answer yet.  Changes the module given."""
    for part in net.modules():
        if isinstance(part, UNet):
            classes = part.class_embedding
            # seeded apart, so that a resumed run begins with the same weights; the U-Net's type names an Embedding, and
            # what stands in for it is called alike
            with torch.random.fork_rng([]):
                torch.manual_seed(0)
                part.class_embedding = WithScale(classes, classes.embedding_dim)  # type: ignore[assignment]
            return net
    raise DodeError("only networks with a U-Net of dode.bundled_models.unet can be told a guidance scale")


def loss(
    at: Pieces,
    snr: Tensor,
    student: Network,
    teacher: Network,
    null: int,
    x: Tensor,
    which: Tensor,
    given: tuple[Tensor, Tensor],
) -> Tensor:
    """Stage one: the student, told the scale, answers what the guided teacher answers at x (B, ...).

    at.times[which, 0] are the times; snr (B,) weighs the errors; null is the class that means none.
    """
    label, scale = given
    time = at.times[which, 0]
    with torch.no_grad():
        none = torch.full_like(label, null)
        both = teacher(torch.cat([x, x]), torch.cat([time, time]), torch.cat([label, none]))
        wanted = classifier_free(both, wide(scale, x))
    mean: Tensor = (wide(snr, x) * (student(x, time, given) - wanted) ** 2).mean()
    return mean
