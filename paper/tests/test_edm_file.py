"""Networks of EDM pickles as models, from a converted file."""

import edm_files
import pytest
import torch

import dode
from dode_paper.checkpoints import edm_file


@pytest.fixture
def converted(tmp_path):
    network, kwargs = edm_files.tiny(label_dim=4, label_dropout=0.1)
    path = edm_files.write(tmp_path / "a.pkl", network, kwargs)
    edm_file.convert(path, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors", network


def test_a_converted_file_is_the_network(converted):
    path, network = converted
    model = edm_file.open_file(path)
    assert (model.name, model.shape) == ("tiny", (3, 8, 8))
    assert model.conditioning.null is not None  # it says that it was trained with labels left out
    x, sigma = model.start(range(2), seed=0), 2.0
    found = model.bound("data", model.conditions(range(2), [3, 1]))(x, model.schedule.node(sigma))
    assert torch.allclose(found, network(x, torch.full((2,), sigma), torch.eye(4)[[3, 1]]), atol=1e-5)
    assert edm_file.open_file(path).fingerprint == model.fingerprint
    wide = model.to(dtype=torch.float64)
    assert wide.start(range(1), seed=0).dtype == torch.float64
    assert dode.sampler(wide, "ddim", nfe=2).sample(1, seed=0).dtype == torch.float64


def test_the_ranges_of_noise_of_a_file(tmp_path):
    for kind, low, high in (("EDMPrecond", 0.002, 80.0), ("VPPrecond", 0.002, 80.0), ("VEPrecond", 0.02, 80.0)):
        path = edm_files.write(tmp_path / f"{kind}.pkl", *edm_files.tiny(kind), kind=kind)
        edm_file.convert(path, tmp_path / "a.safetensors")
        schedule = edm_file.open_file(tmp_path / "a.safetensors").schedule
        assert (schedule.t_min, schedule.t_max) == (low, high)


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="was not written by dode convert edm"):
        edm_file.open_file(tmp_path / "a.safetensors")
    said = '{"what": "dode edm network", "class_name": "EDMPrecond"}'
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors", {"dode": said})
    with pytest.raises(ValueError, match="was not written by dode convert edm"):
        edm_file.open_file(tmp_path / "b.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "c.safetensors", {"dode": "{"})
    save_file({"a": torch.ones(1)}, tmp_path / "e.safetensors", {"dode": "[" * 100_000})
    for name in "ce":
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            edm_file.open_file(tmp_path / f"{name}.safetensors")
    said = '{"what": "dode edm network", "class_name": "EDMPrecond", "args": [], "kwargs": {"img_resolution": 8}}'
    save_file({"a": torch.ones(1)}, tmp_path / "d.safetensors", {"dode": said})
    with pytest.raises(ValueError, match="tensors are not those of the network"):
        edm_file.open_file(tmp_path / "d.safetensors")
