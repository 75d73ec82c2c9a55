"""Images to compare with: Fashion-MNIST's test images, or a model's own where that is enough."""

from torch import Tensor

from dode import samplers
from dode_paper.baselines.data import FOLDER, fashion
from dode_paper.reproduce.context import BATCH, Lab

OWN_STEPS = 20


def shown(lab: Lab, count: int) -> tuple[Tensor, Tensor | None, str]:
    """Images (count, *shape), their conditions, and what they are in words.

    Quick runs and other models than the bundled take the model's own samples of validation noise.
    """
    if not lab.size.quick and lab.model.shape == (1, 32, 32) and lab.judge is not None:
        images, labels = fashion("t10k", FOLDER)
        return images[:count].to(lab.model.dtype), labels[:count], f"{count} test images of Fashion-MNIST"
    solver = samplers.sampler(lab.model, "dpm-solver++2m", nfe=OWN_STEPS)
    x_T, cond = lab.model.start(range(count), lab.size.seeds[0], "validation"), lab.model.conditions(range(count))
    words = f"{count} samples of the model's own (DPM-Solver++ 2M with {OWN_STEPS} evaluations, validation noise)"
    return solver.sample(noise=x_T, cond=cond, batch=BATCH), cond, words
