"""A model by its name: bundled, a pipeline of diffusers, or what another package opens."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import torch

from dode.bundled_models import BUNDLED, bundled
from dode.errors import DodeError, Unsupported
from dode.messages import extra
from dode.model import Model

Opener = Callable[[str], Model | None]  # a name or path → its model; None if it is not this opener's


@dataclass(frozen=True)
class Use:
    """How an opened model will be used.

    Attributes:
        guidance: Its guidance scale; None leaves it as it is.
        device: Where it runs; None is where it is.
        dtype: Its precision; None is its own.
        stack: Where a pipeline's call lives, if the model is one; it ends as the stack is closed.  Without one,
            pipelines of networks that `from_diffusers` does not know are refused.
    """

    guidance: float | None = None
    device: str | None = None
    dtype: torch.dtype | None = None
    stack: ExitStack | None = None


def open_model(
    name: str, prompts: Sequence[str] | None = None, negative: str | None = None, use: Use | None = None
) -> Model:
    """The model of this name.

    Args:
        name: A bundled model; a pipeline of diffusers, by its folder or its name on the hub; or a name or file that an
            opener of another package knows (the entry points "dode.models", such as dode-paper's).
        prompts: Text to draw, for text-to-image pipelines; several are taken in turn.
        negative: What guidance steers away from.
        use: Its guidance, device and precision; left out, it is as it was opened.

    Raises:
        DodeError: for a name that nothing here opens.
    """
    path, use = Path(name), use or Use()
    if path.suffix != ".safetensors" and (os.path.exists(path) or "/" in name) and name not in BUNDLED:
        return _pipeline(name, prompts, negative, use)
    if prompts:
        raise DodeError(f"{name} takes no prompt; leave --prompt out")
    return _used(_named(name), use)


def _used(model: Model, use: Use) -> Model:
    placed = model.to(use.device, use.dtype)
    return placed if use.guidance is None else placed.guided(use.guidance)


def _named(name: str) -> Model:
    if name in BUNDLED:
        return bundled(name)
    for entry in entry_points(group="dode.models"):
        opener: Opener = entry.load()
        if (model := opener(name)) is not None:
            return model
    if name.endswith(".safetensors"):
        raise Unsupported(f"{name} is opened by the package dode-paper, which is not installed: pip install ./paper")
    return bundled(name)  # which says what there is


def _pipeline(name: str, prompts: Sequence[str] | None, negative: str | None, use: Use) -> Model:
    if not os.path.exists(name) and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise DodeError(f"no folder at {name}; give a saved pipeline of diffusers, or its name on the hub, owner/name")
    if importlib.util.find_spec("diffusers") is None:
        raise Unsupported(f"{name} is a pipeline of diffusers, which is not installed; {extra('diffusers')}")
    from dode.integrations.diffusers.from_pipeline import from_diffusers, opened, prompted, understood

    pipe = opened(name)
    if use.stack is None or understood(pipe):
        return _used(from_diffusers(pipe, prompts=prompts, negative_prompt=negative), use)
    guidance = 1.0 if use.guidance is None else use.guidance
    call = prompted(pipe, prompts or [], negative, guidance)
    pipe.to(use.device)
    if use.dtype not in (None, pipe.dtype):
        pipe.to(use.dtype)
    return use.stack.enter_context(from_diffusers(pipe, call)).declared(guidance)
