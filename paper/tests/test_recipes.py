"""Every recipe becomes a model, here with tiny networks in place of the published ones."""

from dataclasses import replace
from urllib.parse import urlparse

import edm_files
import pytest
import torch
from test_published_nets import ddpm_names, filled

import dode
from dode.timesteps import GRIDS
from dode_paper.checkpoints import ddpm, edm_file, registry
from dode_paper.checkpoints.adm_classifier import NoisyClassifier
from dode_paper.checkpoints.registry import settings

TINY = {
    "ddpm": {"resolution": 8, "channels": 32, "widths": [1, 2], "blocks": 1, "attention": [4]},
    "adm": {"resolution": 8, "channels": 16, "widths": [1, 2], "blocks": 1, "attention": [4], "groups": 8},
    "edm": {"img_resolution": 8, "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]},
}
ALL = registry.names()


def tiny(recipe):
    """The recipe with a tiny network of its family, its other arguments as they are."""
    network = dict(recipe.network) | TINY[recipe.family]
    if network.get("classes"):
        network["classes"] = 4
    if network.get("label_dim"):
        network["label_dim"] = 4
    if network.get("model_type") == "DhariwalUNet":
        network["model_channels"] = 64
    if network.get("head_channels"):
        network["head_channels"] = 8
    checkpoint = {key: value for key, value in recipe.checkpoint.items() if key != "md5"}
    return replace(recipe, network=network, checkpoint=checkpoint, shape=(3, 8, 8))


def write(recipe, folder):
    """A checkpoint of random weights in the format of the published one."""
    if recipe.family == "edm":
        kwargs = {key: value for key, value in recipe.network.items() if key != "class_name"}
        network = edm_files.filled(recipe.build())
        return edm_files.write(folder / "network-snapshot.pkl", network, kwargs)
    network = filled(recipe.build())
    content = network.state_dict()
    if recipe.family == "ddpm":
        levels = len(recipe.network["widths"])
        names = {ddpm._name(key, levels): key for key in ddpm_names(levels, recipe.network["blocks"])}
        content = {names[key.removeprefix("unet.")]: value for key, value in content.items()}
    if "entry" in recipe.checkpoint:
        content = [{"module.x": torch.zeros(1)}, {"step": 1}, 4, 5, content]
    torch.save(content, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_says_all_that_the_paper_says(name):
    recipe = registry.read(name)
    for part in [recipe.checkpoint, *([recipe.classifier] if recipe.classifier else [])]:
        assert urlparse(part["address"]).scheme == "https"
        assert part["licence"]
        assert len(part.get("sha256", "0" * 64)) == 64
    assert {"schedule", "prediction", "guidance", "grid", "solvers", "nfe", "samples", "scale", "statistics"} == set(
        recipe.paper
    )
    assert recipe.paper["grid"] in GRIDS
    assert all(solver in dode.METHODS for solver in recipe.paper["solvers"])
    assert recipe.paper["samples"] == (25 if "bedroom" in name else 100)
    assert recipe.paper["scale"] == 10


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_opens_its_checkpoint(name, tmp_path):
    recipe = tiny(registry.read(name))
    model = recipe.open(write(recipe, tmp_path))
    assert model.shape == (3, 8, 8)
    assert model.prediction == recipe.paper["prediction"]
    assert model.fingerprint.startswith("weights:")
    assert (model.conditioning is None) == (not (recipe.network.get("classes") or recipe.network.get("label_dim")))
    assert model.denoiser.core.learned_variance == (recipe.family == "adm")
    assert model.conditioning is None or model.conditioning.null is None  # none of them was trained without labels
    method = recipe.paper["solvers"][0]
    images = dode.sampler(model, method, nfe=3).sample(2, seed=0)
    assert images.shape == (2, 3, 8, 8)
    assert torch.isfinite(images).all()


def test_an_edm_recipe_opens_a_converted_file_too(tmp_path):
    recipe = tiny(registry.read("edm-cifar10"))
    path = write(recipe, tmp_path)
    edm_file.convert(path, tmp_path / "a.safetensors")
    assert recipe.open(tmp_path / "a.safetensors").fingerprint == recipe.open(path).fingerprint
    with pytest.raises(ValueError, match=r"makes samples of shape \(3, 8, 8\); edm-cifar10 needs \(3, 32, 32\)"):
        registry.read("edm-cifar10").open(tmp_path / "a.safetensors")


def test_the_classifier_of_a_recipe_guides(tmp_path):
    recipe = tiny(registry.read("adm-imagenet128"))
    small = TINY["adm"] | {"head_channels": 8, "out_channels": 4}
    recipe = replace(recipe, classifier=dict(recipe.classifier) | {"network": small})
    path = write(recipe, tmp_path)
    with torch.device("meta"):
        judge = NoisyClassifier(settings(small))
    torch.save(filled(judge).state_dict(), tmp_path / "classifier.pt")
    guided = recipe.open(path, tmp_path / "classifier.pt", 2.0)
    plain = recipe.open(path)
    assert guided.describe()["classifier_scale"] == 2.0
    x = plain.start(range(2), seed=0)
    one, other = (dode.sampler(model, "ddim", nfe=2).sample(noise=x, cond=[1, 2]) for model in (plain, guided))
    assert not torch.equal(one, other)
    wide = guided.to(dtype=torch.float64)  # the classifier moves with the network
    assert dode.sampler(wide, "ddim", nfe=2).sample(noise=x, cond=[1, 2]).dtype == torch.float64
    assert next(wide.denoiser.log_probability.__self__.parameters()).dtype == torch.float64
    assert next(guided.denoiser.log_probability.__self__.parameters()).dtype == torch.float32
    with pytest.raises(ValueError, match="both the classifier's checkpoint and a scale"):
        recipe.open(path, tmp_path / "classifier.pt")
    with pytest.raises(ValueError, match="has no classifier"):
        replace(recipe, classifier=None).open(path, tmp_path / "classifier.pt", 1.0)


def test_another_file_is_refused(tmp_path):
    recipe = tiny(registry.read("ddpm-cifar10"))
    path = write(recipe, tmp_path)
    with pytest.raises(ValueError, match=r"has md5 .*; the checkpoint of ddpm-cifar10 has 1fa350b9"):
        registry.read("ddpm-cifar10").open(path)
    known = replace(recipe, checkpoint=recipe.checkpoint | {"sha256": "0" * 64})
    with pytest.raises(ValueError, match="has sha256"):
        known.open(path)
    with pytest.raises(ValueError, match="tensors are not those of the network"):
        replace(recipe, network=recipe.network | {"channels": 64}).open(path)
    with pytest.raises(ValueError, match="unknown recipe 'ddpm-cifar'; did you mean ddpm-cifar10"):
        registry.read("ddpm-cifar")
