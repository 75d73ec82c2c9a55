"""Published networks of Karras et al. 2022, from a pickle or from a file that `dode convert edm` wrote.

Their pickles hold source code and run it on load.  `read_pickle` takes the tensors and the constructor's arguments and
runs nothing; `convert` writes them as safetensors; `open_file` makes a model of what it wrote.
"""

import json
from pathlib import Path

from safetensors.torch import save

from dode.files import replace_bytes
from dode.integrations.edm import from_edm
from dode.model import Model
from dode_paper.checkpoints import edm_config
from dode_paper.checkpoints.edm_pickle import PickledNetwork, read_pickle
from dode_paper.checkpoints.loading import load, opened

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
    built = edm_config.build(network.class_name, network.args, network.kwargs)
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
