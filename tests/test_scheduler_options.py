"""Every option of DODEScheduler does what diffusers' option of that name does, and is read when a run begins."""

from inspect import signature

import diffusers
import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from problems import BETAS, CATALOGUE, MISSING, counts

from dode.diffusers import DODEScheduler

pytestmark = [  # diffusers' schedulers make numpy arrays of tensors, and tensors of numpy's numbers
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

POINT = torch.linspace(-0.9, 0.8, 96, dtype=torch.float64).reshape(2, 3, 4, 4)
PREDICTIONS = ("epsilon", "sample", "v_prediction", "flow_prediction")
FAMILIES = {
    "vp": {},
    "edm": {"noise_schedule": "edm"},
    "flow": {"noise_schedule": "flow", "prediction_type": "flow_prediction", "shift": 3.0},
}


def noise(dtype=torch.float64):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def told_the_point(scheduler, x, node):
    """What a perfect network says where all data is one image: every consistent solver is exact there."""
    eps = (x - node.alpha * POINT) / node.sigma
    wanted = {
        "epsilon": eps,
        "sample": POINT,
        "v_prediction": node.alpha * eps - node.sigma * POINT,
        "flow_prediction": eps - POINT,
    }[scheduler.config.prediction_type]
    if scheduler.config.noise_schedule != "edm":
        return wanted
    sigma, data = node.sigma, scheduler.config.sigma_data  # Karras et al. 2022, (7), solved for the network
    sign = -1 if scheduler.config.prediction_type == "v_prediction" else 1
    skip = data**2 / (sigma**2 + data**2)
    return sign * (POINT - skip * x) / (sigma * data * (sigma**2 + data**2) ** -0.5)


def end_of(scheduler, count=None, **options):
    """The end of a run on that network, and what it must be."""
    scheduler.set_timesteps(count, **options)
    nodes = scheduler.plan.nodes
    x = noise() * scheduler.init_noise_sigma
    eps = (x - nodes[0].alpha * POINT) / nodes[0].sigma
    for t, node in zip(scheduler.timesteps, nodes, strict=False):
        x = scheduler.step(told_the_point(scheduler, x, node), t, x).prev_sample
    return x, nodes[-1].alpha * POINT + nodes[-1].sigma * eps


@pytest.mark.parametrize(
    ("family", "prediction"),
    [(family, kind) for family in ("vp", "flow") for kind in PREDICTIONS if (family, kind) != ("flow", "epsilon")]
    + [("edm", "epsilon"), ("edm", "v_prediction")],
)
@pytest.mark.parametrize("end", ["zero", "sigma_min"])
def test_prediction_type(family, prediction, end):
    scheduler = DODEScheduler(**FAMILIES[family] | {"prediction_type": prediction, "final_sigmas_type": end})
    got, wanted = end_of(scheduler, 6)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    assert (scheduler.sigmas[-1] == 0) == (end == "zero")


@pytest.mark.parametrize("count", [1, 2, 5, 20])
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_method_at_every_count(name, count):
    """num_inference_steps is evaluations; the run ends after them, and one more is refused."""
    for family, config in FAMILIES.items():
        if (name, family) in MISSING:
            continue
        (asked,) = counts(name, count)
        scheduler = DODEScheduler(method=name, **config)
        got, wanted = end_of(scheduler, asked)
        assert len(scheduler.timesteps) == scheduler.num_inference_steps == scheduler.step_index == asked
        assert len(scheduler.sigmas) == asked + 1
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-7)
        with pytest.raises(ValueError, match=f"all {asked} evaluations are made; call set_timesteps"):
            scheduler.step(got, scheduler.timesteps[-1], got)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 50, 100, 999, 1000])
def test_inference_steps_and_duplicated_timesteps(count):
    scheduler = DODEScheduler(method="ddim")
    got, wanted = end_of(scheduler, count)
    assert scheduler.timesteps.dtype == torch.int64
    assert scheduler.timesteps[0] == 999
    assert len(set(scheduler.timesteps.tolist())) == count
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_more_steps_than_times_are_refused():
    for count, config in ((1001, {}), (1000, {"timestep_spacing": "linspace", "final_sigmas_type": "sigma_min"})):
        with pytest.raises(ValueError, match="ask for fewer"):
            DODEScheduler(**config).set_timesteps(count)
    with pytest.raises(ValueError, match=r"the grid starts at t = 1.*start it nearer to t = 999"):
        DODEScheduler(timestep_spacing="leading", steps_offset=1).set_timesteps(1)


@pytest.mark.parametrize("total", [25, 100, 999, 1000])
def test_timesteps(total):
    """num_train_timesteps: the first time is the last that was trained, wherever that is."""
    scheduler = DODEScheduler(num_train_timesteps=total)
    assert len(scheduler) == len(scheduler.alphas_cumprod) == total
    scheduler.set_timesteps(25)
    assert scheduler.timesteps.tolist() == [round(total - i * total / 25) - 1 for i in range(25)]


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("count", [4, 10])
def test_spacings_and_beta_schedules_are_diffusers(kind, count):
    """The times and levels of their DPM-Solver."""
    config = {"beta_schedule": kind, "beta_start": 0.00085, "beta_end": 0.012}
    theirs = diffusers.DPMSolverMultistepScheduler(timestep_spacing="trailing", **config)
    theirs.set_timesteps(count)
    ours = DODEScheduler.from_config(theirs.config)
    ours.set_timesteps(count)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-3 if kind == "squaredcos_cap_v2" else 1e-5, atol=0)


@pytest.mark.parametrize("option", ["use_karras_sigmas", "use_exponential_sigmas"])
def test_full_loops_with_karras_and_exponential_levels(option):
    """Their levels, at the nearest time that the network knows; the run is exact there."""
    euler = diffusers.EulerDiscreteScheduler(**{option: True})
    euler.set_timesteps(8)
    ours = DODEScheduler(**{option: True})
    got, wanted = end_of(ours, 8)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    levels = np.sqrt((1 - np.cumprod(1 - BETAS)) / np.cumprod(1 - BETAS))
    for level, ideal, time in zip(ours.sigmas[:-1], euler.sigmas[:-1].tolist(), ours.timesteps.tolist(), strict=True):
        assert float(level) == pytest.approx(levels[time], rel=1e-6)
        assert abs(np.interp(np.log(ideal), np.log(levels), np.arange(1000)) - time) <= 0.5 + 1e-3


def test_trained_betas(tmp_path):
    betas = np.linspace(0.01, 0.3, 40)
    ours = DODEScheduler(trained_betas=betas)
    ours.save_pretrained(tmp_path)
    again = DODEScheduler.from_pretrained(tmp_path)
    assert again.config.trained_betas == betas.tolist()
    np.testing.assert_allclose(again.betas.numpy(), betas, rtol=1e-5)
    again.set_timesteps(5)
    assert again.timesteps.tolist() == [39, 31, 23, 15, 7]


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": True, "clip_sample_range": 0.5},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        {"thresholding": True, "sample_max_value": 10.0, "dynamic_thresholding_ratio": 0.6},
    ],
)
def test_thresholding(options, prediction):
    """The last step of DDIM returns x̂₀, clipped: Saharia et al. 2022 by numpy."""
    scheduler = DODEScheduler(method="ddim", prediction_type=prediction, **options)
    scheduler.set_timesteps(timesteps=[999])
    node, x = scheduler.plan.nodes[0], noise()
    x0 = 3 * torch.flip(noise(), [1])
    eps = (x - node.alpha * x0) / node.sigma
    output = {"epsilon": eps, "sample": x0, "v_prediction": node.alpha * eps - node.sigma * x0}[prediction]
    got = scheduler.step(output, 999, x).prev_sample
    if "clip_sample" in options:
        wanted = x0.clamp(-0.5, 0.5)
    else:
        rows = x0.abs().flatten(1).numpy()
        s = np.clip(np.quantile(rows, options["dynamic_thresholding_ratio"], axis=1), 1, options["sample_max_value"])
        s = torch.tensor(s).reshape(-1, 1, 1, 1)
        wanted = x0.clamp(-s, s) / s
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)  # its quantile is float32
    assert (wanted != x0).any()


def test_variance_type():
    """Learned variances, as many channels more, are dropped where they are declared, and only there."""
    ends = []
    for declared, output in (("learned_range", torch.cat([noise(), 9 * noise()], 1)), (None, noise())):
        scheduler = DODEScheduler(variance_type=declared)
        scheduler.set_timesteps(4)
        ends.append(scheduler.step(output, 999, noise()).prev_sample)
    assert torch.equal(*ends)
    scheduler.set_timesteps(4)
    with pytest.raises((ValueError, RuntimeError)):
        scheduler.step(torch.cat([noise(), noise()], 1), 999, noise())


@pytest.mark.parametrize("how", ["list", "tensor"])
def test_custom_timesteps(how):
    times = [999, 800, 321, 40, 3]
    scheduler = DODEScheduler(timestep_spacing="leading")
    got, wanted = end_of(scheduler, timesteps=torch.tensor(times) if how == "tensor" else times)
    assert scheduler.timesteps.tolist() == times
    assert [node.t for node in scheduler.plan.nodes] == [*times, -1]
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_custom_sigmas():
    """Levels σ/α, the 0 at the end understood; they come back as they were given."""
    levels = [14.615, 6.475, 3.861, 0.963, 0.152, 0.0]
    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = DODEScheduler(**config)
    got, wanted = end_of(scheduler, sigmas=levels)
    torch.testing.assert_close(scheduler.sigmas, torch.tensor(levels), rtol=1e-3, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    edm = DODEScheduler(**FAMILIES["edm"])
    end_of(edm, sigmas=[80.0, 5.0, 0.3])
    np.testing.assert_allclose(edm.timesteps.numpy(), np.log([80.0, 5.0, 0.3]) / 4, rtol=1e-6)
    for wrong, message in (
        ({"timesteps": [999], "sigmas": [10.0]}, "not both"),
        ({"num_inference_steps": 3, "timesteps": [999]}, "1 times or noise levels were given for 3 evaluations"),
        ({}, "needs the number of inference steps, timesteps, or sigmas"),
    ):
        with pytest.raises(ValueError, match=message):
            edm.set_timesteps(**wrong)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++2m", "dpm-solver-2"])
@pytest.mark.parametrize("times", [[999, 500, 500, 1], [999, 1, 500], [999, 0]])
def test_custom_times_must_fall(name, times):
    scheduler = DODEScheduler(method=name, final_sigmas_type="sigma_min")
    with pytest.raises(ValueError, match="must fall strictly, and end before t = 0; got 999"):
        scheduler.set_timesteps(timesteps=times)
    with pytest.raises(ValueError, match="must fall strictly"):
        scheduler.set_timesteps(sigmas=[10.0, 10.0, 1.0])


@pytest.mark.parametrize("name", ["ddim", "ipndm", "pndm", "deis-3"])
def test_options_of_the_grid_are_those_of_every_method(name):
    """steps_offset, rho and shift_terminal, for methods that make whole steps first too."""
    (count,) = counts(name, 6)
    for config, change in (
        ({"timestep_spacing": "leading"}, {"steps_offset": 1}),
        ({"noise_schedule": "edm"}, {"rho": 3.0}),
        (FAMILIES["flow"], {"shift_terminal": 0.1}),
    ):
        with_it, without = (DODEScheduler(method=name, **config | more) for more in (change, {}))
        got, wanted = end_of(with_it, count)
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-7)
        without.set_timesteps(count)
        moved = with_it.timesteps.double() - without.timesteps.double()
        if "steps_offset" in change:
            assert (moved == 1).all()
        elif "rho" in change:
            opened = [node.sigma for node, fresh in zip(with_it.plan.nodes, with_it.plan.fresh, strict=False) if fresh]
            lengths = np.diff(np.array(opened) ** (1 / 3))
            np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
        else:
            assert with_it.timesteps[-1] == pytest.approx(100, rel=1e-6)
            assert without.timesteps[-1] > 101


@pytest.mark.parametrize("how", ["register_to_config", "_internal_dict"])
def test_a_config_changed_after_construction_is_read_at_the_next_run(how):
    """StableDiffusionPipeline replaces the dictionary itself."""
    change = {"timestep_spacing": "leading", "steps_offset": 1, "method": "ddim"}
    scheduler = DODEScheduler()
    scheduler.set_timesteps(5)
    if how == "register_to_config":
        scheduler.register_to_config(**change)
    else:
        scheduler._internal_dict = FrozenDict({**scheduler.config, **change})
    assert scheduler.timesteps.tolist() == [999, 799, 599, 399, 199]
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [801, 601, 401, 201, 1]
    assert not scheduler.plan.blend[1, 0]


def test_switch():
    """Through three other schedulers and back: the same run."""
    first = DODEScheduler(method="deis-2", timestep_spacing="linspace", thresholding=True)
    other = diffusers.DPMSolverSinglestepScheduler.from_config(first.config)
    other = diffusers.UniPCMultistepScheduler.from_config(other.config)
    other = diffusers.DEISMultistepScheduler.from_config(other.config)
    back = DODEScheduler.from_config(other.config)
    assert torch.equal(end_of(first, 6)[0], end_of(back, 6)[0])
    assert back.plan.blend.tolist() == first.plan.blend.tolist()


def test_signatures_are_those_that_pipelines_inspect():
    given = list(signature(DODEScheduler.set_timesteps).parameters)
    assert given == ["self", "num_inference_steps", "device", "timesteps", "sigmas", "mu"]
    assert list(signature(DODEScheduler.step).parameters)[1:5] == ["model_output", "timestep", "sample", "generator"]
    kinds = {parameter.kind.name for parameter in signature(DODEScheduler.__init__).parameters.values()}
    assert kinds == {"POSITIONAL_OR_KEYWORD"}


@pytest.mark.parametrize("option", ["on_missing", "final_sigmas_type", "time_shift_type"])
def test_words_that_are_no_choice_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be .* or .*; got 'bse'"):
        DODEScheduler(**{option: "bse"})


def test_other_shapes_are_refused():
    """Of the output and, within a run, of the state: arithmetic would stretch one sample, or one channel, over all."""
    scheduler = DODEScheduler()
    x = torch.zeros(2, 1, 4, 4)
    for output, words in ((torch.zeros(1, 1, 4, 4), "model_output has shape"), (torch.zeros(2, 2, 4, 4), "learned")):
        scheduler.set_timesteps(3)
        with pytest.raises(ValueError, match=words):
            scheduler.step(output, 999, x)
    scheduler.set_timesteps(3)
    x = scheduler.step(x, 999, x).prev_sample
    with pytest.raises(ValueError, match="sample has shape"):
        scheduler.step(x[:1], scheduler.timesteps[1], x[:1])
