"""The parts of a pipeline: its call, its network, and all networks at rest."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dode.errors import DodeError
from dode.fingerprint import weights_hash

Call = Callable[[Any, torch.Generator, int], Any]  # (pipe, generator, num_inference_steps): runs the pipeline once
DENOISERS = ("unet", "transformer", "prior")  # what pipelines call their network
BESIDE = (*DENOISERS, "controlnet", "adapter", "motion_adapter")  # and what more answers with it begins with


def denoiser_of(pipe: Any) -> nn.Module:
    """The network of a pipeline."""
    for name in DENOISERS:
        found = pipe.components.get(name)
        if isinstance(found, nn.Module):
            return found
    raise DodeError(f"{type(pipe).__name__} has none of {', '.join(DENOISERS)} to calibrate")


def networks(pipe: Any) -> dict[str, nn.Module]:
    """All networks that answer at a step, by name: both experts, ControlNets and adapters too."""
    denoiser_of(pipe)
    parts = pipe.components.items()
    return {name: part for name, part in parts if isinstance(part, nn.Module) and name.startswith(BESIDE)}


def fingerprint(pipe: Any) -> str:
    """weights:… of all networks of a pipeline; DodeError for weights that are elsewhere (offloaded)."""
    hashes = {name: weights_hash(network) for name, network in sorted(networks(pipe).items())}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return f"weights:{hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]}"


@contextmanager
def evaluating(pipe: Any) -> Iterator[None]:
    """All networks in evaluation mode, as dropout would have its say in what is measured; then each part as it was."""
    networks = [one for one in pipe.components.values() if isinstance(one, nn.Module)]
    training = [part for one in networks for part in one.modules() if part.training]  # some may rest on purpose
    try:
        for one in networks:
            one.eval()
        yield
    finally:
        for part in training:
            part.training = True
