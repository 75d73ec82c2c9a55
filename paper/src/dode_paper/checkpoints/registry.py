"""Which checkpoint belongs to which row of the paper, and how it becomes a model: one small TOML file for each.

    dode_paper.checkpoints.registry.names()
    model = dode_paper.checkpoints.registry.read("ddpm-cifar10").open("model-790000.ckpt")

Nothing is downloaded: a recipe says where the file is, its licence, and its sha256 where that is known.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dode.conditioning import classes_in_turn
from dode.errors import DodeError
from dode.messages import unknown
from dode.model import Model, from_callable
from dode.schedule import DiscreteVP, linear_betas
from dode_paper.checkpoints import ddpm, edm_config, edm_file
from dode_paper.checkpoints.adm import ADM, Settings
from dode_paper.checkpoints.adm_classifier import NoisyClassifier
from dode_paper.checkpoints.edm_pickle import read_pickle
from dode_paper.checkpoints.loading import load, state_dict

FAMILIES = ("ddpm", "adm", "edm")


@dataclass(frozen=True)
class Recipe:
    """One row of the paper."""

    name: str
    row: str  # in words
    family: str  # of the network: one of FAMILIES
    network: Mapping[str, Any]  # its constructor's arguments
    checkpoint: Mapping[str, Any]  # address, licence; sha256, md5 and entry where there are such
    shape: tuple[int, ...]  # of one sample
    paper: Mapping[str, Any]  # grid, NFEs, samples (|B|), scale (C), statistics
    classifier: Mapping[str, Any] | None = None  # address, licence, network; of classifier guidance

    def build(self) -> nn.Module:
        """The network without weights, on the meta device."""
        with torch.device("meta"):
            if self.family == "ddpm":
                return ddpm.Plain(ddpm.network(**self.network))
            if self.family == "adm":
                return ADM(settings(self.network))
        arguments = dict(self.network)
        return edm_config.build(arguments.pop("class_name"), (), arguments).network

    def open(self, path: str | Path, classifier: str | Path | None = None, scale: float | None = None) -> Model:
        """The model of this checkpoint; with the classifier's checkpoint and a scale, under its guidance.

        Raises ValueError if a file is not what the recipe says.
        """
        self.check(path, self.checkpoint)
        model = self._edm(Path(path)) if self.family == "edm" else self._noise(Path(path))
        if (classifier is None) != (scale is None):
            raise DodeError("classifier guidance needs both the classifier's checkpoint and a scale")
        if classifier is None or scale is None:
            return model
        if self.classifier is None:
            raise DodeError(f"{self.name} has no classifier; leave classifier and scale out")
        self.check(classifier, self.classifier)
        with torch.device("meta"):
            judge = NoisyClassifier(settings(self.classifier["network"]))
        load(judge, state_dict(classifier), str(classifier))
        return model.classifier_guided(judge.log_probability, scale)

    def check(self, path: str | Path, said: Mapping[str, Any]) -> None:
        """ValueError if the file's hash is known and is another."""
        for kind in ("sha256", "md5"):
            if kind in said and Path(path).is_file():
                with Path(path).open("rb") as file:
                    found = hashlib.file_digest(file, kind).hexdigest()
                if found != said[kind]:
                    raise DodeError(f"{path} has {kind} {found}; the checkpoint of {self.name} has {said[kind]}")

    def _noise(self, path: Path) -> Model:
        """A DDPM or ADM network: noise prediction on the 1000 linear betas."""
        network = self.build()
        tensors = state_dict(path, self.checkpoint.get("entry"))
        if self.family == "ddpm":
            renamed = ddpm.renamed(tensors, len(self.network["widths"]))
            tensors = {f"unet.{key}": value for key, value in renamed.items()}
        load(network, tensors, str(path))
        classes = self.network.get("classes", 0)
        return from_callable(
            network,
            schedule=DiscreteVP.from_betas(linear_betas()),
            prediction="noise",
            shape=self.shape,
            cond=classes_in_turn(classes) if classes else None,
            classes=classes,
            variance=self.network.get("out_channels", 3) > self.shape[0],
            name=self.name,
        )

    def _edm(self, path: Path) -> Model:
        """An EDM network from its pickle, or from what `dode convert edm` made of it."""
        pickled = path.suffix == ".pkl"
        model = edm_file.model_of(read_pickle(path), self.name) if pickled else edm_file.open_file(path)
        if model.shape != self.shape:
            raise DodeError(f"{path} makes samples of shape {model.shape}; {self.name} needs {self.shape}")
        return model


def settings(network: Mapping[str, Any]) -> Settings:
    """The arguments of an ADM network in a recipe; `heads` alone means that heads do not have a fixed width."""
    given: dict[str, Any] = {"head_channels": None} if "heads" in network else {}
    given |= {name: tuple(value) if isinstance(value, list) else value for name, value in network.items()}
    return Settings(**given)


def names() -> list[str]:
    """The recipes of the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("dode_paper.checkpoints").iterdir()
        if entry.name.endswith(".toml")
    )


def read(name: str) -> Recipe:
    """The recipe by name.

    Raises ValueError, with the nearest names, where there is none.
    """
    if name not in names():
        raise unknown("recipe", name, names())
    content = tomllib.loads((files("dode_paper.checkpoints") / f"{name}.toml").read_text(encoding="utf-8"))
    family = content["network"].pop("family")
    if family not in FAMILIES:
        raise DodeError(f"recipe {name}: the family must be one of {', '.join(FAMILIES)}; got {family!r}")
    return Recipe(
        name,
        content["row"],
        family,
        content["network"],
        content["checkpoint"],
        tuple(content["shape"]),
        content["paper"],
        content.get("classifier"),
    )
