"""Extractors by name: the bundled classifier, any function or module of one's own, and torch-fidelity's networks.

An extractor is any callable (uint8 (N, C, H, W)) → (N, D).
"""

import importlib
import importlib.util
import os
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


def named(text: str, device: str = "cpu") -> Features:
    """The extractor of this name.

    "bundled": the bundled classifier's 64 features.  "MODULE:NAME" or "FILE.py:NAME": a callable or nn.Module of one's
    own; this runs the code there.  "torch-fidelity:NETWORK[:LAYER[:WEIGHTS]]": see `fidelity`.
    """
    if text == "bundled":
        return wrapped(classifier().to(device).features, device)
    if text.startswith(FIDELITY):
        network, layer, weights = [*text.removeprefix(FIDELITY).split(":", 2), "", ""][:3]
        return fidelity(network, layer or None, weights or None, device)
    home, colon, name = text.rpartition(":")
    if not colon or not home or not name:
        raise DodeError(
            f"an extractor is bundled, MODULE:NAME, FILE.py:NAME or {FIDELITY}NETWORK[:LAYER[:WEIGHTS]]; got {text!r}"
        )
    return wrapped(_attribute(home, name), device)


def wrapped(function: Any, device: str = "cpu") -> Features:
    """A callable or nn.Module as an extractor: in evaluation mode, on its device, one row of features an image."""
    if not callable(function):
        raise DodeError(f"an extractor must be callable on uint8 images (N, C, H, W); got {type(function).__name__}")
    if isinstance(function, nn.Module):
        function = function.to(device).eval()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = torch.as_tensor(function(images.to(device)))
        if found.ndim < 2 or len(found) != len(images):
            raise DodeError(
                f"an extractor gives a row of features an image, ({len(images)}, D); got {tuple(found.shape)}"
            )
        return found.flatten(1)

    return features


def fidelity(network: str, layer: str | None = None, weights: str | None = None, device: str = "cpu") -> Features:
    """A network of the package torch-fidelity (extra: eval): inception-v3-compat, clip-vit-b-32, dinov2-vit-b-14, …

    layer: one of its features, the network's usual one for Fréchet distances if left out; weights: a file that you
    trust, for the package unpickles it, else the package fetches them.  Grey images are repeated in three channels.
    Raises ValueError where the package, the network or its weights cannot be had.
    """
    if weights is not None and not os.path.isfile(weights):
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
        made = kind(network, [layer], feature_extractor_weights_path=weights)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        where = weights or "the package's own address"
        reason = json_schema.line(error).partition(". ")[0] or type(error).__name__
        raise DodeError(f"the weights of {network} cannot be had from {where} ({reason})") from error
    return wrapped(Coloured(made.requires_grad_(False)), device)


class Coloured(nn.Module):
    """A torch-fidelity network, which wants three channels and returns a tuple, as an extractor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        (found,) = self.network(images)
        made: Tensor = found
        return made


def _attribute(home: str, name: str) -> Any:
    """NAME of a module that can be imported, here too, or of a Python file."""
    if home.endswith(".py"):
        if not os.path.isfile(home):
            raise DodeError(f"no Python file at {home}")
        spec = importlib.util.spec_from_file_location(Path(home).stem, home)
        if spec is None or spec.loader is None:
            raise DodeError(f"{home} cannot be loaded as a Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # the code there is somebody else's, and may raise anything
            raise DodeError(f"{home} cannot be loaded as a Python file ({json_schema.line(error)})") from error
    else:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
        try:
            module = importlib.import_module(home)
        except Exception as error:  # as above
            raise DodeError(
                f"the module {home} of the extractor cannot be imported ({json_schema.line(error)})"
            ) from error
    if not hasattr(module, name):
        raise DodeError(f"{home} has no {name}")
    return getattr(module, name)
