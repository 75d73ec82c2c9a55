"""Feature extractors, callables (uint8 (N, C, H, W)) → (N, D), by name: bundled, your own, or torch-fidelity's."""

import importlib
import importlib.util
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from dode import json_schema
from dode.bundled_models import classifier
from dode.errors import DodeError
from dode.messages import extra
from dode.metrics.features import Features

FIDELITY = "torch-fidelity:"


def open_extractor(name: str, device: str = "cpu") -> Features:
    """Open an extractor by name.

    Args:
        name: "bundled", the bundled classifier's 64 features; "MODULE:NAME" or "FILE.py:NAME", a callable or nn.Module
            of your own, whose code runs; "torch-fidelity:NETWORK[:LAYER[:WEIGHTS]]", see `torch_fidelity`.
        device: Where a module runs.

    Raises:
        DodeError: There is none of this name, or it cannot be loaded.
    """
    if name == "bundled":
        return as_extractor(classifier().to(device).features, device)
    if name.startswith(FIDELITY):
        network, layer, weights = [*name.removeprefix(FIDELITY).split(":", 2), "", ""][:3]
        return torch_fidelity(network, layer or None, weights or None, device)
    home, _, attribute = name.rpartition(":")
    if not home or not attribute:
        raise DodeError(
            f"an extractor is bundled, MODULE:NAME, FILE.py:NAME or {FIDELITY}NETWORK[:LAYER[:WEIGHTS]]; got {name!r}"
        )
    return as_extractor(_load(home, attribute), device)


def as_extractor(function: Any, device: str = "cpu") -> Features:
    """Wrap a callable or nn.Module: in evaluation mode, on its device, one row of features an image."""
    if not callable(function):
        raise DodeError(f"an extractor must be callable on uint8 images (N, C, H, W); got {type(function).__name__}")
    if isinstance(function, nn.Module):
        function = function.to(device).eval()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            output: Tensor = torch.as_tensor(function(images.to(device)))
        if output.ndim < 2 or len(output) != len(images):
            raise DodeError(
                f"an extractor gives a row of features an image, ({len(images)}, D); got {tuple(output.shape)}"
            )
        return output.flatten(1)

    return features


def torch_fidelity(network: str, layer: str | None = None, weights: str | None = None, device: str = "cpu") -> Features:
    """Open a network of the package torch-fidelity (extra: eval).

    Args:
        network: "inception-v3-compat", "clip-vit-b-32", "dinov2-vit-b-14", …
        layer: One of its features; its usual one for Fréchet distances if left out.
        weights: A file that you trust, for the package unpickles it; the package fetches them if left out.
        device: Where it runs.

    Returns:
        An extractor that repeats grey images in three channels.

    Raises:
        DodeError: The package, the network or its weights cannot be had.
    """
    if weights is not None and not Path(weights).is_file():
        raise DodeError(f"no file of weights at {weights}")
    try:
        registry = importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch is a RuntimeError
        raise DodeError(
            f"the extractor {network!r} needs torch-fidelity, which cannot be loaded ({error}); "
            f"{extra('eval')}, beside a torchvision that fits your torch"
        ) from error
    if network not in registry:
        raise DodeError(f"torch-fidelity has no network {network!r}; it has {', '.join(sorted(registry))}")
    kind = registry[network]
    layer = layer or kind.get_default_feature_layer_for_metric("fid")
    if layer not in kind.get_provided_features_list():
        raise DodeError(f"{network} has no layer {layer!r}; it has {', '.join(kind.get_provided_features_list())}")
    try:
        opened = kind(network, [layer], feature_extractor_weights_path=weights).requires_grad_(False)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        where = weights or "the package's own address"
        reason = json_schema.line(error).partition(". ")[0] or type(error).__name__
        raise DodeError(f"the weights of {network} cannot be had from {where} ({reason})") from error
    return as_extractor(Coloured(opened), device)


class Coloured(nn.Module):
    """A torch-fidelity network, which wants three channels and returns a tuple, as an extractor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.network(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)
        output: Tensor = features
        return output


def _load(home: str, name: str) -> Any:
    """NAME of a module that can be imported, from the working folder too, or of a Python file."""
    if home.endswith(".py") and not Path(home).is_file():
        raise DodeError(f"no Python file at {home}")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        if home.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(home).stem, home)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(home)
    except Exception as error:  # the code there is somebody else's, and may raise anything
        raise DodeError(f"{home} of the extractor cannot be imported ({json_schema.line(error)})") from error
    if not hasattr(module, name):
        raise DodeError(f"{home} has no {name}")
    return getattr(module, name)
