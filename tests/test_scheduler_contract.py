"""DODEScheduler keeps the contract of diffusers' schedulers: the cases of their own suite, written for ours.

The suite itself runs by `benchmarks/diffusers_suite.py`; docs/results/diffusers-suite.md is its last run.
"""

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from problems import BETAS

from dode.diffusers import DODEScheduler

pytestmark = [  # diffusers' schedulers make numpy arrays of tensors, and tensors of numpy's numbers
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def toy(x, t):
    """A network of no meaning that is smooth in x and t."""
    return torch.sin(3 * x) * (t / (t + 1)) + 0.1 * x


def noise(dtype=torch.float64):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def loop(scheduler, x, count=None, network=toy, **options):
    """What a pipeline does: a run to its end, from unit noise."""
    if count or options:
        scheduler.set_timesteps(count, **options)
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


FAMILIES = {
    "vp": {},
    "vp-other": {
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "method": "deis-2",
    },
    "edm": {"noise_schedule": "edm", "sigma_max": 50.0, "sigma_data": 0.7},
    "flow": {"noise_schedule": "flow", "prediction_type": "flow_prediction", "shift": 3.0},
    "flow-data": {"noise_schedule": "flow", "prediction_type": "sample"},
}
COMPATIBLE = [
    name
    for name in [scheduler.name for scheduler in KarrasDiffusionSchedulers]
    if getattr(diffusers, name).__module__.startswith("diffusers.schedulers")  # others need packages not installed here
]


UNCHOSEN = "_use_default_values"


def same(config):
    """A configuration, but for the list of what nobody chose."""
    return {key: value for key, value in config.items() if key != UNCHOSEN}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatibles(name, family):
    """To any other scheduler and back nothing of ours is lost, nor do defaults become choices."""
    ours = DODEScheduler(**FAMILIES[family])
    assert name in {compatible.__name__ for compatible in ours.compatibles}
    back = DODEScheduler.from_config(getattr(diffusers, name).from_config(ours.config).config)
    assert {key: back.config[key] for key in ours.config if key != UNCHOSEN} == same(ours.config)
    assert set(back.config[UNCHOSEN]) == set(ours.config[UNCHOSEN])


@pytest.mark.parametrize("family", FAMILIES)
def test_from_pretrained(family, tmp_path):
    ours = DODEScheduler(**FAMILIES[family])
    ours.save_pretrained(tmp_path)
    again = DODEScheduler.from_pretrained(tmp_path)
    assert same(again.config) == same(ours.config)


def test_betas_are_those_of_the_schedule():
    """trained_betas given as an array survive a file; rescaled ones end in 1."""
    np.testing.assert_allclose(DODEScheduler().betas.numpy(), BETAS, rtol=1e-5)
    theirs = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    ours = DODEScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    torch.testing.assert_close(ours.betas, theirs.betas, rtol=1e-5, atol=5e-7)  # they subtract from 1 in float32
    for family in ("edm", "flow"):
        assert not hasattr(DODEScheduler(noise_schedule=family, sigma_max=80.0), "betas")


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_rescale_betas_zero_snr(prediction, spacing):
    """The first time is 999 of α = 0; noise outputs start at ᾱ = 2⁻²⁴ instead, as in diffusers."""
    scheduler = DODEScheduler(rescale_betas_zero_snr=True, prediction_type=prediction, timestep_spacing=spacing)
    scheduler.set_timesteps(5)
    first = scheduler.plan.nodes[0]
    assert first.t == 999
    assert first.alpha == (2**-12 if prediction == "epsilon" else 0)
    point = torch.full((2, 3, 4, 4), 0.3, dtype=torch.float64)
    x = start = noise()
    for t, node in zip(scheduler.timesteps, scheduler.plan.nodes, strict=False):
        eps = (x - node.alpha * point) / node.sigma
        output = {"epsilon": eps, "sample": point, "v_prediction": node.alpha * eps - node.sigma * point}[prediction]
        x = scheduler.step(output, t, x).prev_sample
    assert not torch.equal(start, x)
    torch.testing.assert_close(x, point, rtol=1e-9, atol=1e-9)  # all data in one point: every solver is exact
