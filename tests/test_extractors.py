"""Any callable is an extractor, by itself or by name; torch-fidelity's networks through an adapter."""

import sys
from types import ModuleType

import pytest
import torch
from features import Projection, images
from torch import nn

from dode.bundled_models import classifier
from dode.metrics import extracted
from dode.metrics.evaluation import open_evaluator
from dode.metrics.feature_extractors import as_extractor, open_extractor, torch_fidelity

OWN = """
import torch
def features(images):
    return images.flatten(2).float().mean(2)
number = 3
"""


def test_the_bundled_one_is_the_classifiers_features():
    batch = images(3, 0, size=32)
    assert torch.equal(open_extractor("bundled")(batch), classifier().features(batch))
    with pytest.raises(ValueError, match=r"sees images \(1, 32, 32\); got \(1, 8, 8\)"):
        open_extractor("bundled")(images(3, 0))


def test_a_module_is_put_into_evaluation_and_its_maps_are_flattened():
    net = nn.Sequential(nn.Dropout(0.5), nn.Flatten(1), nn.Unflatten(1, (4, 16)))
    net.train()
    found = as_extractor(lambda x: net(x.float()))  # a function is left alone
    assert net.training
    assert found(images(2, 0)).shape == (2, 64)
    features = as_extractor(nn.Sequential(Projection(), nn.Dropout(0.5)).train())
    assert torch.equal(features(images(2, 0)), Projection()(images(2, 0)))
    with pytest.raises(ValueError, match="must be callable"):
        as_extractor(3)


def test_one_of_ones_own_by_file_and_by_module(tmp_path, monkeypatch):
    (tmp_path / "my_features.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    batch = images(4, 0)
    expected = batch.flatten(2).float().mean(2)
    for name in ("my_features:features", f"{tmp_path}/my_features.py:features"):
        assert torch.equal(open_extractor(name)(batch), expected)
    monkeypatch.delitem(sys.modules, "my_features")
    for name, says in {
        "my_features.py:nothing": "has no nothing",
        "my_features.py:number": "must be callable",
        "absent.py:features": "no Python file at absent.py",
        "absent_module:features": "cannot be imported",
        "features": "an extractor is bundled, MODULE:NAME",
    }.items():
        with pytest.raises(ValueError, match=says):
            open_extractor(name)


class Stub(nn.Module):
    """The contract of torch-fidelity's extractors: (name, layers, weights), uint8 RGB in, a tuple out."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        if feature_extractor_weights_path is None:
            raise OSError("no route\nto host")
        self.scale = torch.load(feature_extractor_weights_path, weights_only=False)  # as the package does
        self.layers = features_list

    @staticmethod
    def get_provided_features_list():
        return "64", "2048"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"fid": "2048"}[metric]

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        assert not self.training
        return (self.scale * x.flatten(2).double().mean(2) + float(self.layers[0]),)


@pytest.fixture
def package(monkeypatch):
    """A stand-in for torch-fidelity, which needs torchvision."""
    registry = ModuleType("torch_fidelity.registry")
    registry.FEATURE_EXTRACTORS_REGISTRY = {"inception-v3-compat": Stub}
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.registry", registry)


@pytest.mark.usefixtures("package")
def test_torch_fidelity_with_weights_by_path(tmp_path):
    torch.save(torch.tensor(2.0), tmp_path / "w.pt")
    batch = images(3, 0)
    means = batch.flatten(2).double().mean(2).expand(3, 3)
    assert torch.equal(open_extractor(f"torch-fidelity:inception-v3-compat::{tmp_path}/w.pt")(batch), 2 * means + 2048)
    assert torch.equal(open_extractor(f"torch-fidelity:inception-v3-compat:64:{tmp_path}/w.pt")(batch), 2 * means + 64)
    colour = torch.cat([batch, batch + 1, batch], 1)
    found = extracted(torch_fidelity("inception-v3-compat", "64", str(tmp_path / "w.pt")), colour)
    assert found[0, 1] - found[0, 0] == pytest.approx(2)


@pytest.mark.usefixtures("package")
def test_what_torch_fidelity_lacks_is_one_sentence(tmp_path):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    for name, says in {
        "torch-fidelity:vgg": "no network 'vgg'; it has inception-v3-compat",
        "torch-fidelity:inception-v3-compat:65": "no layer '65'; it has 64, 2048",
        "torch-fidelity:inception-v3-compat": r"cannot be had from the package's own address \(no route to host\)",
        f"torch-fidelity:inception-v3-compat:64:{tmp_path}/junk.pt": r"cannot be had from .*junk\.pt \(\w",
        f"torch-fidelity:inception-v3-compat:64:{tmp_path}/w.pt": "no file of weights at",
    }.items():
        with pytest.raises(ValueError, match=says):
            open_extractor(name)


def test_torch_fidelity_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ValueError, match=r"needs torch-fidelity, which cannot be loaded .* pip install '\.\[eval\]'"):
        open_extractor("torch-fidelity:inception-v3-compat")


def test_what_is_no_extractor_is_one_sentence(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):  # its own error, with its own traceback
        open_extractor("json:dumps")(images(2, 0))
    (tmp_path / "broken.py").write_text("def features(images:\n")
    with pytest.raises(ValueError, match=r"broken\.py of the extractor cannot be imported"):
        open_extractor(f"{tmp_path}/broken.py:features")


def test_the_bundled_one_goes_to_its_device():
    """Its weights and the images; "meta" stands for a device that is not there."""
    found = open_extractor("bundled", "meta")(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    assert (found.device.type, found.shape) == ("meta", (2, 64))


def test_what_an_extractor_raises_or_gives_is_one_sentence(tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "net = torch.nn.Conv2d(3, 4, 3)\n"  # which takes floats, of three channels
        "def flat(images):\n    return images.float().sum((1, 2, 3))\n"
        "def one(images):\n    return images.float().flatten(1)[:1]\n"
    )
    with pytest.raises(RuntimeError, match="should be the same"):  # torch's own
        open_extractor(f"{tmp_path}/own.py:net")(images(2, 0))
    for name, shape in (("flat", r"\(2,\)"), ("one", r"\(1, 64\)")):
        with pytest.raises(ValueError, match=rf"gives a row of features an image, \(2, D\); got {shape}"):
            open_extractor(f"{tmp_path}/own.py:{name}")(images(2, 0))
    (tmp_path / "wrong.py").write_text("features = nothing\n")
    with pytest.raises(ValueError, match=r"wrong.py of the extractor cannot be imported \(name 'nothing'"):
        open_extractor(f"{tmp_path}/wrong.py:features")


def test_features_of_ones_own_need_statistics_of_ones_own():
    with pytest.raises(ValueError, match=r"needs statistics, an \.npz file of the same extractor"):
        open_evaluator(Projection(), None, None, "cpu")
