"""The bundled networks are real: their samples are what their labels say."""

import pytest
import torch

import dode
from dode.bundled_models import BUNDLED, CLASSES, classifier
from dode.metrics import to_uint8
from dode.metrics.reference_stats import bundled as statistics


@pytest.mark.parametrize("name", ["fashion", "fashion-edm"])
def test_guided_samples_are_of_their_class(name):
    """Far more than chance, 10 %; the model cards give the figure for the exact solution on more samples."""
    sampler = dode.sampler(dode.bundled(name).guided(3.0), "edm", nfe=19)
    images = sampler.sample(40, seed=5)
    guesses = classifier()(to_uint8(images)).argmax(1)
    assert float((guesses == torch.arange(40) % 10).float().mean()) >= 0.8


def test_distilling_the_real_network_pays():
    """Figures with more samples are in docs/results; here 8 samples, with room for that."""
    model = dode.bundled("fashion")
    x = model.start(range(8), 3)
    exact = model.exact(x, rtol=5e-3)
    plain = (dode.sampler(model, "ddim", nfe=10).sample(noise=x) - exact).square().mean().sqrt()
    fitted = (dode.distill(model, "ddim", nfe=10, samples=16).sample(noise=x) - exact).square().mean().sqrt()
    assert fitted < 0.65 * plain


@pytest.mark.parametrize("name", BUNDLED)
def test_fingerprints_are_stable(name):
    assert dode.bundled(name).fingerprint == dode.bundled(name).fingerprint != ""
    assert dode.bundled(name).shape == (1, 32, 32)


@pytest.mark.parametrize("name", ["fashion", "fashion-edm"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1)])
def test_other_precisions(name, dtype, bound):
    """The weights are cast too, of a copy: the model itself stays as it is."""
    model = dode.bundled(name)
    single = dode.sampler(model, "ddim", nfe=4).sample(2)
    other = dode.sampler(model.to(dtype=dtype), "ddim", nfe=4).sample(2)
    assert other.dtype == dtype
    assert float((other.double() - single.double()).square().mean().sqrt()) < bound
    assert torch.equal(dode.sampler(model, "ddim", nfe=4).sample(2), single)


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match="did you mean fashion-edm"):
        dode.bundled("fashion_edm")


def test_statistics_are_of_the_classifiers_features():
    moments = statistics().moments
    assert moments.mean.shape == (64,)
    assert moments.covariance.shape == (64, 64)
    assert classifier().features(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape == (2, 64)
    assert len(CLASSES) == 10


def test_the_unet_has_the_names_of_diffusers():
    """So that weights move to UNet2DModel without a table."""
    from dode.bundled_models.unet import UNet

    names = set(UNet().state_dict())
    for name in (
        "conv_in.weight",
        "time_embedding.linear_1.weight",
        "down_blocks.0.resnets.0.time_emb_proj.bias",
        "down_blocks.1.downsamplers.0.conv.weight",
        "mid_block.attentions.0.to_out.0.weight",
        "up_blocks.2.resnets.1.conv_shortcut.weight",
        "up_blocks.0.upsamplers.0.conv.bias",
        "conv_norm_out.weight",
    ):
        assert name in names
