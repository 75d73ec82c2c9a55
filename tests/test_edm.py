"""Networks in EDM form as models: from memory and from a converted file."""

import edm_files
import pytest
import torch
from dode_paper.checkpoints import edm_file

import dode


def gaussian(x, sigma, class_labels=None):
    """The best x̂₀ of data with spread 0.5 around the class's number (0 without a class)."""
    mean = 0.0 if class_labels is None else class_labels @ torch.arange(1.0, 1 + class_labels.shape[1]).to(x.dtype)
    mean = torch.as_tensor(mean, dtype=x.dtype).reshape(-1, 1)
    s = sigma.reshape(-1, 1)
    return mean + 0.25 / (0.25 + s**2) * (x - mean)


@pytest.fixture
def converted(tmp_path):
    network, kwargs = edm_files.tiny(label_dim=4, label_dropout=0.1)
    path = edm_files.write(tmp_path / "a.pkl", network, kwargs)
    edm_file.convert(path, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors", network


def test_any_function_in_edm_form():
    model = dode.from_edm(gaussian, shape=(3,), dtype=torch.float64)
    assert (model.prediction, model.schedule.t_max, model.schedule.t_min) == ("data", 80.0, 0.002)
    assert model.conditioning is None
    x_T = model.start(range(8), seed=0)
    exact = 0.5 / (0.25 + 80.0**2) ** 0.5 * x_T  # the flow of a normal distribution
    fitted = dode.distill(model, "ddim", nfe=9, samples=20)
    plain = dode.sampler(model, "ddim", nfe=9)
    distance = [float((made.sample(noise=x_T) - exact).abs().max()) for made in (plain, fitted)]
    assert distance[1] < distance[0]


def test_classes_are_rows_of_ones_and_no_class_is_a_row_of_zeros():
    seen = []

    def net(x, sigma, class_labels):
        seen.append(class_labels)
        return gaussian(x, sigma, class_labels)

    model = dode.from_edm(net, shape=(3,), classes=3, unlabelled=True)
    model.bound("data", model.conditions(range(4), [2, 0, 1, 3]))(torch.zeros(4, 3), model.schedule.node(1.0))
    assert torch.equal(seen[-1], torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert model.conditions(range(4)).tolist() == [0, 1, 2, 0]
    guided = model.guided(3.0).bound("data", model.conditions(range(1), [2]))
    found = guided(torch.zeros(1, 3), model.schedule.node(1.0))
    near, none = (gaussian(torch.zeros(1, 3), torch.ones(1), torch.eye(4)[[k], :3]) for k in (2, 3))
    assert torch.allclose(found, none + 3 * (near - none))
    with pytest.raises(ValueError, match="cannot be guided"):
        dode.from_edm(net, shape=(3,), classes=3).guided(2.0)


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
