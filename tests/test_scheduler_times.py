"""Where a run through DODEScheduler evaluates: diffusers' spacings, every number of steps, times and levels by hand."""

import diffusers
import numpy as np
import pytest
import torch
from perfect import FAMILIES, NUMPY_2, end_of
from problems import BETAS, counts

from dode.diffusers import DODEScheduler

pytestmark = NUMPY_2


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
    assert isinstance(ours.config.trained_betas, list)
    ours.save_pretrained(tmp_path)
    again = DODEScheduler.from_pretrained(tmp_path)
    assert again.config.trained_betas == betas.tolist()
    np.testing.assert_allclose(again.betas.numpy(), betas, rtol=1e-5)
    again.set_timesteps(5)
    assert again.timesteps.tolist() == [39, 31, 23, 15, 7]


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


def test_one_step_has_no_last_time_to_stretch():
    scheduler = DODEScheduler(method="ddim", **FAMILIES["flow"], shift_terminal=0.1)
    for given in ({"num_inference_steps": 1}, {"sigmas": [1.0]}):
        scheduler.set_timesteps(**given)
        assert scheduler.timesteps.tolist() == [1000.0]


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
            opened = [
                node.sigma for node, fresh in zip(with_it.plan.nodes, with_it.plan.step_starts, strict=False) if fresh
            ]
            lengths = np.diff(np.array(opened) ** (1 / 3))
            np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
        else:
            assert with_it.timesteps[-1] == pytest.approx(100, rel=1e-6)
            assert without.timesteps[-1] > 101
