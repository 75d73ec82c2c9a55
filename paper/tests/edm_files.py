"""EDM pickles as they are published: networks under torch_utils.persistence, tensors as torch pickles them.

The modules `torch_utils.persistence` and `dnnlib.util` exist only while a file is written.  Reading must not need them.
"""

import contextlib
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from dode_paper.checkpoints.edm_config import build

SOURCE = "import os\nos.system('touch canary')\n"
TINY = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 0,
    "use_fp16": False,
    "model_type": "SongUNet",
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "resample_filter": [1, 1],
    "model_channels": 8,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
    "augment_dim": 9,
    "dropout": 0.13,
}


class EasyDict(dict):
    __module__ = "dnnlib.util"
    __qualname__ = "EasyDict"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the file's own function was called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent:
    """An object that pickles itself as torch_utils.persistence does."""

    def __init__(self, name, state):
        self.name, self.state = name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name, "state": self.state}
        return _reconstruct_persistent_obj, (EasyDict(meta),), None


@contextlib.contextmanager
def published_modules():
    """torch_utils.persistence and dnnlib.util, for pickle.dump to find their names."""
    before = dict(sys.modules)
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = EasyDict
    made = {"torch_utils": types.ModuleType("torch_utils"), "dnnlib": types.ModuleType("dnnlib")}
    sys.modules.update(made | {"torch_utils.persistence": persistence, "dnnlib.util": util})
    try:
        yield
    finally:
        for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
            sys.modules.pop(name)
        sys.modules.update({name: before[name] for name in before if name not in sys.modules})


def state_of(module):
    """A module's attributes as a published file has them."""
    buffers = OrderedDict(module._buffers)
    children = OrderedDict((name, published(child)) for name, child in module._modules.items() if child is not None)
    return {
        "training": False,
        "_parameters": OrderedDict(module._parameters),
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_is_full_backward_hook": None,
        "_modules": children,
        "skip_scale": np.sqrt(0.5),  # a numpy number, as in the published blocks
        "_init_args": (),
        "_init_kwargs": {},
    }


def published(module):
    """A module as it goes into the file: containers of torch as themselves, all others persistent."""
    if type(module) is nn.ModuleDict:
        made = nn.ModuleDict()
        made.__dict__["_modules"] = OrderedDict((name, published(child)) for name, child in module._modules.items())
        return made
    return Persistent(type(module).__name__, state_of(module))


def filled(network, taps=(1, 1), seed=0):
    """The network off the meta device, with random weights that keep the signal alive, and its filters."""
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    taps = torch.tensor(taps, dtype=torch.float32)
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("resample_filter"):
            value.copy_(torch.outer(taps, taps)[None, None] / taps.sum() ** 2)
        elif value.ndim > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(1 + 0.1 * noise if "norm" in name and name.endswith("weight") else 0.1 * noise)
    return network


def tiny(kind="EDMPrecond", **changes):
    """A tiny network with random weights, and its arguments."""
    kwargs = TINY | changes
    return filled(build(kind, (), kwargs).network, kwargs["resample_filter"]), kwargs


def write(path, network, kwargs, kind="EDMPrecond", protocol=4):
    """A snapshot file: ema, loss_fn, augment_pipe, dataset_kwargs."""
    state = state_of(network) | {"_init_kwargs": EasyDict(kwargs), "sigma_data": 0.5}
    content = {
        "ema": Persistent(kind, state),
        "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2, "_init_args": (), "_init_kwargs": {}}),
        "augment_pipe": Persistent("AugmentPipe", state_of(nn.Module()) | {"table": np.arange(6.0).reshape(2, 3)}),
        "dataset_kwargs": EasyDict(path="cifar10.zip", use_labels=False),
    }
    with published_modules():
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path
