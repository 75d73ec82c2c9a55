"""A model by its name: bundled, a pipeline of diffusers, or what another package opens."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from dode.bundled_models import BUNDLED, bundled
from dode.errors import DodeError, Unsupported
from dode.messages import extra
from dode.model import Model

Opener = Callable[[str], Model | None]  # a name or path → its model; None if it is not this opener's


def open_model(name: str, prompts: Sequence[str] | None = None, negative: str | None = None) -> Model:
    """The model of this name.

    Args:
        name: A bundled model; a pipeline of diffusers, by its folder or its name on the hub; or a name or file that an
            opener of another package knows (the entry points "dode.models", such as dode-paper's).
        prompts: Text to draw, for text-to-image pipelines; several are taken in turn.
        negative: What guidance steers away from.

    Raises:
        DodeError: for a name that nothing here opens.
    """
    path = Path(name)
    if path.suffix != ".safetensors" and (os.path.exists(path) or "/" in name) and name not in BUNDLED:
        return _pipeline(name, prompts, negative)
    if prompts:
        raise DodeError(f"{name} takes no prompt; leave --prompt out")
    if name in BUNDLED:
        return bundled(name)
    for entry in entry_points(group="dode.models"):
        opener: Opener = entry.load()
        if (model := opener(name)) is not None:
            return model
    if path.suffix == ".safetensors":
        raise Unsupported(f"{name} is opened by the package dode-paper, which is not installed: pip install ./paper")
    return bundled(name)  # which says what there is


def _pipeline(name: str, prompts: Sequence[str] | None, negative: str | None) -> Model:
    if not os.path.exists(name) and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise DodeError(f"no folder at {name}; give a saved pipeline of diffusers, or its name on the hub, owner/name")
    if importlib.util.find_spec("diffusers") is None:
        raise Unsupported(f"{name} is a pipeline of diffusers, which is not installed; {extra('diffusers')}")
    from dode.integrations.diffusers.from_pipeline import from_diffusers

    return from_diffusers(name, prompts=prompts, negative_prompt=negative)
