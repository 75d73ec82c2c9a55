"""DODEScheduler keeps the contract of diffusers' schedulers: the cases of their own suite, written for ours.

The suite itself runs by `benchmarks/diffusers_suite.py`; docs/results/diffusers-suite.md is its last run.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from perfect import NUMPY_2
from problems import BETAS, gaussian_model

import dode
from dode.diffusers import DODEScheduler

pytestmark = NUMPY_2

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def noise(dtype=torch.float64):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


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


def first_step(scheduler, **more):
    """One step on an output of no meaning."""
    scheduler.set_timesteps(5)
    return scheduler.step(torch.sin(noise()), scheduler.timesteps[0], noise(), **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_from_pretrained_and_from_save_pretrained(family, tmp_path):
    """The same configuration, and the same step."""
    ours = DODEScheduler(**FAMILIES[family])
    ours.save_pretrained(tmp_path)
    again = DODEScheduler.from_pretrained(tmp_path)
    assert same(again.config) == same(ours.config)
    if family != "flow-data":  # data outputs say nothing else at the start
        assert not torch.equal(first_step(ours).prev_sample, noise())
    assert torch.equal(first_step(again).prev_sample, first_step(ours).prev_sample)


@pytest.mark.parametrize("given", ["sampler", "file", "content"])
def test_a_calibration_survives_exactly(given, tmp_path):
    """Every number of the plan, through a JSON without infinities; and the sample, bitwise."""
    model = gaussian_model("discrete")
    fitted = dode.distill(model, "dpm-solver++2m", nfe=4, samples=8, scale=3)
    fitted.save(tmp_path / "c.json")
    calibration = {
        "sampler": fitted,
        "file": tmp_path / "c.json",
        "content": json.loads((tmp_path / "c.json").read_text()),
    }[given]
    DODEScheduler(calibration=calibration).save_pretrained(tmp_path)

    def refuse(word):
        raise AssertionError(word)

    text = (tmp_path / "scheduler_config.json").read_text()
    assert json.loads(text, parse_constant=refuse)["calibration"] == json.loads((tmp_path / "c.json").read_text())
    again = DODEScheduler.from_pretrained(tmp_path)
    again.set_timesteps(4)
    for name in ("start", "use", "mix", "blend", "noise"):
        np.testing.assert_array_equal(getattr(again.plan, name), getattr(fitted.plan, name))
    assert again.plan.nodes == fitted.plan.nodes
    assert np.abs(again.plan.lambdas).max() > 1e-3
    x = x_T = model.start(range(3), 0)
    for t in again.timesteps:
        x = again.step(model.network(x, t.expand(3), None), t, x).prev_sample
    assert torch.equal(x, fitted.sample(noise=x_T))


def test_step_shape_and_outputs_equivalence():
    """A SchedulerOutput or a tuple, by return_dict, of the sample's shape; what was given stays as it was."""
    scheduler = DODEScheduler()
    as_output, as_tuple = first_step(scheduler), first_step(scheduler, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_output.prev_sample, as_tuple[0])
    assert torch.equal(as_output[0], as_tuple[0])
    for shape in ((1, 2), (3, 1, 8, 6), (2, 4, 3, 5, 5)):
        scheduler.set_timesteps(3)
        x = torch.ones(shape)
        output = 0.5 * x
        out = scheduler.step(output, 999, x).prev_sample
        assert out.shape == shape
        assert (x == 1).all()
        assert (output == 0.5).all()


def test_public_api():
    for family, deviation in (("vp", 1.0), ("edm", 50.0), ("flow", 1.0)):
        scheduler = DODEScheduler(**FAMILIES[family])
        assert scheduler.order == 1
        assert len(scheduler) == 1000
        scheduler.set_timesteps(5, device="cpu")
        assert scheduler.init_noise_sigma == pytest.approx(deviation, rel=1e-4)
        first = scheduler.timesteps[0]
        scale = (50.0**2 + 0.7**2) ** -0.5 if family == "edm" else 1.0
        torch.testing.assert_close(scheduler.scale_model_input(noise(), first), scale * noise(), rtol=1e-12, atol=0)
        assert scheduler.scale_model_input(noise(), 0.0).shape == noise().shape
    with pytest.raises(ValueError, match="call set_timesteps before step"):
        DODEScheduler().step(noise(), 999, noise())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("family", ["vp", "edm", "flow"])
def test_add_noise_device(family, dtype):
    """α·x₀ + σ·noise at each sample's own time, in the samples' dtype and on their device; scale_noise is the same."""
    scheduler = DODEScheduler(**FAMILIES[family])
    scheduler.set_timesteps(10)
    image, z = torch.tanh(noise()).to(dtype), noise().flip(0).to(dtype)
    times, nodes = scheduler.timesteps[[4, 7]], [scheduler.plan.nodes[4], scheduler.plan.nodes[7]]
    wanted = torch.stack([n.alpha * image[i].double() + n.sigma * z[i].double() for i, n in enumerate(nodes)])
    got = scheduler.add_noise(image, z, times)
    assert (got.dtype, got.device) == (image.dtype, image.device)
    rounding = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(got.double(), wanted, rtol=rounding, atol=rounding)
    assert torch.equal(scheduler.scale_noise(image, times, z), got)
    assert torch.equal(scheduler.add_noise(image, z, times[:1])[0], got[0])


def test_add_noise_at_training_times():
    """Any time that was trained, before and after set_timesteps: what fine-tuning scripts do."""
    scheduler, theirs = DODEScheduler(), diffusers.DDPMScheduler()
    times = torch.tensor([998, 3])
    wanted = theirs.add_noise(noise(torch.float32), noise(torch.float32).flip(0), times)
    for _ in range(2):
        got = scheduler.add_noise(noise(torch.float32), noise(torch.float32).flip(0), times)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        scheduler.set_timesteps(4)


def test_getattr_is_problematic():
    """Options are in the config; asking the scheduler itself warns, and what is nowhere is an AttributeError."""
    scheduler = DODEScheduler(rho=5.0)
    scheduler.dummy_attribute = 5
    scheduler.register_to_config(test_attribute=6)
    assert scheduler.dummy_attribute == 5
    for name, value in (("test_attribute", 6), ("rho", 5.0), ("beta_start", 0.0001)):
        with pytest.warns(FutureWarning, match=f"Accessing config attribute `{name}` directly"):
            assert getattr(scheduler, name) == value
    with pytest.raises(AttributeError, match="'DODEScheduler' object has no attribute 'does_not_exist'"):
        scheduler.does_not_exist  # noqa: B018
    for name in ("betas", "alphas_cumprod"):
        for family in ("edm", "flow"):
            with pytest.raises(AttributeError, match=name):
                getattr(DODEScheduler(**FAMILIES[family]), name)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"prediction_type": "noise"}, "prediction_type must be one of epsilon"),
        ({"noise_schedule": "ve"}, "noise_schedule must be one of vp, edm, flow"),
        ({"beta_schedule": "cubic"}, "beta_schedule must be one of linear"),
        ({"timestep_spacing": "even"}, "unknown grid 'even'"),
    ],
)
def test_what_does_not_exist_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        DODEScheduler(**option).set_timesteps(5)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("dpm", "unknown method 'dpm'"),
        ("d-dim", "unknown method 'd-dim'; did you mean d-ddim"),
        ("d-ddim", "for d-ddim give its calibration"),
        (None, "unknown method 'None'"),
    ],
)
def test_a_wrong_method_is_told_when_the_scheduler_is_made(method, message):
    """Not at the first run, which may be in another file; a distilled solver needs its numbers."""
    with pytest.raises(ValueError, match=message):
        DODEScheduler(method=method)


def test_betas_are_those_of_the_schedule():
    """As they are after a rescaling, which ends in 1."""
    np.testing.assert_allclose(DODEScheduler().betas.numpy(), BETAS, rtol=1e-5)
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"):
        theirs = diffusers.DDPMScheduler(beta_schedule=kind)
        torch.testing.assert_close(DODEScheduler(beta_schedule=kind).betas, theirs.betas, rtol=1e-5, atol=1e-7)
    theirs = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    ours = DODEScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    torch.testing.assert_close(ours.betas, theirs.betas, rtol=1e-5, atol=5e-7)  # they subtract from 1 in float32


def test_laplaces_betas_are_those_of_diffusers():
    try:
        theirs = diffusers.DDPMScheduler(beta_schedule="laplace")
    except NotImplementedError:
        pytest.skip("the least version that we take has none")
    torch.testing.assert_close(DODEScheduler(beta_schedule="laplace").betas, theirs.betas, rtol=1e-5, atol=1e-7)


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
