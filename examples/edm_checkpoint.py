"""A tiny EDM network in the format of the published pickles: written, converted without running it, distilled."""

import pickle
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import manual_seed, nn

import dode
from dode_paper.checkpoints import edm_config, edm_file

ARGUMENTS = {"img_resolution": 4, "model_type": "SongUNet", "model_channels": 8, "channel_mult": [1], "num_blocks": 1}


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None: ...  # named by the file, called by nobody


class Persistent:  # a module that pickles itself as torch_utils.persistence does, source code included
    def __init__(self, module: nn.Module, name: str, arguments: dict[str, Any]) -> None:
        children = {name: Persistent(child, type(child).__name__, {}) for name, child in module.named_children()}
        state = {"_parameters": module._parameters, "_buffers": {}, "_modules": children, "_init_kwargs": arguments}
        self.meta = {"type": "class", "module_src": "raise SystemExit", "class_name": name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,)


def write(path: Path) -> None:
    manual_seed(0)
    network = edm_config.build("EDMPrecond", (), ARGUMENTS).network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    module: Any = SimpleNamespace(_reconstruct_persistent_obj=_reconstruct_persistent_obj)
    sys.modules |= {"torch_utils": module, "torch_utils.persistence": module}  # only while the file is written
    path.write_bytes(pickle.dumps({"ema": Persistent(network, "EDMPrecond", ARGUMENTS)}))
    del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def main(samples: int = 64) -> tuple[float, float]:
    """RMS distance to the exact solution of EDM and of D-EDM, on noise that nothing was fitted on."""
    with tempfile.TemporaryDirectory() as folder:
        pickled, converted = Path(folder) / "network-snapshot-000001.pkl", Path(folder) / "tiny.safetensors"
        write(pickled)
        edm_file.convert(pickled, converted)  # dode convert edm network-snapshot-000001.pkl tiny.safetensors
        model = edm_file.open_file(converted)
    x_T = model.start(range(samples), seed=0)
    exact = model.exact(x_T, rtol=1e-2)
    made = (dode.sampler(model, "edm", nfe=9), dode.distill(model, "edm", nfe=9, samples=samples, rho=1e-2))
    plain, fitted = (float((one.sample(noise=x_T) - exact).square().mean().sqrt()) for one in made)
    print(f"9 evaluations: EDM {plain:.4f}, D-EDM {fitted:.4f}")
    return plain, fitted


if __name__ == "__main__":
    main()
