"""What `from_config` makes of other schedulers' configurations, as they are and as the hub has them."""

import diffusers
import pytest

from dode.diffusers import DODEScheduler

pytestmark = [  # diffusers' schedulers make numpy arrays of tensors, and tensors of numpy's numbers
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

WAN = {  # as in the scheduler_config.json of Wan, and of Sana with DPMSolverMultistepScheduler
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
    "timestep_spacing": "linspace",
}
FLOWS = (diffusers.UniPCMultistepScheduler, diffusers.DPMSolverMultistepScheduler)


@pytest.mark.parametrize("kind", FLOWS)
def test_flow_sigmas_are_spread_as_there_whatever_the_spacing_says(kind):
    """A configuration of these that says linspace would else spend its last evaluation at t = 0.003."""
    theirs = kind(**WAN)
    theirs.set_timesteps(8)
    ours = DODEScheduler.from_config(theirs.config)
    ours.set_timesteps(8)
    assert abs(ours.timesteps - theirs.timesteps).max() < 2  # they start a little below 1, and cut to whole times
    spread = DODEScheduler.from_config(theirs.config, timestep_spacing="linspace")
    spread.set_timesteps(8)
    assert spread.timesteps[-1] < 10


@pytest.mark.parametrize("name", ["shift", "flow_shift"])
def test_a_shift_given_beside_the_configuration_stays(name, tmp_path):
    """Under their name and ours, saved and loaded, and handed back to their scheduler."""
    theirs = diffusers.UniPCMultistepScheduler(**WAN)
    ours = DODEScheduler.from_config(theirs.config, **{name: 5.0})
    ours.save_pretrained(tmp_path)
    for one in (ours, DODEScheduler.from_pretrained(tmp_path), DODEScheduler.from_config(ours.config)):
        assert one.config.shift == 5
        assert one.schedule.shift == 5
    assert diffusers.UniPCMultistepScheduler.from_config(ours.config).config.flow_shift == 5


def test_a_flow_asked_for_beside_the_configuration():
    asked = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    ours = DODEScheduler.from_config(diffusers.DPMSolverMultistepScheduler().config, **asked)
    assert (ours.config.noise_schedule, ours.schedule.shift) == ("flow", 3)


@pytest.mark.parametrize("kind", [diffusers.LCMScheduler, diffusers.HeunDiscreteScheduler, diffusers.UnCLIPScheduler])
def test_a_schedule_that_is_the_other_schedulers_default(kind):
    """diffusers hands on no defaults; ours for betas are other ones than theirs."""
    theirs = kind()
    ours = DODEScheduler.from_config(theirs.config)
    wanted = diffusers.DDIMScheduler(
        beta_start=theirs.config.get("beta_start", 0.0001),
        beta_end=theirs.config.get("beta_end", 0.02),
        beta_schedule=theirs.config.get("beta_schedule", "squaredcos_cap_v2"),
    )
    assert abs(ours.alphas_cumprod - wanted.alphas_cumprod).max() < 1e-5
    assert ours.config.timestep_spacing == "trailing"  # how to sample is ours


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True).config, "times that run backward"),
        (diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True).config, "stochastic flow sampling"),
        (diffusers.FlowMatchLCMScheduler(scale_factors=[0.5, 1.0]).config, "sizes that change on the way"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous").config, "continuous"),
        (diffusers.CMStochasticIterativeScheduler().config, "consistency models"),
        (diffusers.ScoreSdeVeScheduler().config, "score SDEs"),
        (diffusers.DDPMWuerstchenScheduler().config, "Würstchen"),
        (diffusers.CogVideoXDDIMScheduler().config, "CogVideoX"),
        (diffusers.IPNDMScheduler().config, "says nothing of its noise levels"),
        ({"sigma_min": 0.3, "sigma_max": 500, "sigma_data": 1.0, "solver_order": 2}, "arctan"),
    ],
)
def test_what_no_plan_can_follow_is_refused(config, words):
    """from_config is where these come in; the scheduler itself never sees keys that it has not."""
    with pytest.raises(ValueError, match=words):
        DODEScheduler.from_config(config)


def test_beta_sigmas_are_refused():
    with pytest.raises(ValueError, match="beta distribution"):
        DODEScheduler.from_config(diffusers.DPMSolverMultistepScheduler().config, use_beta_sigmas=True)


def test_an_option_that_is_none_is_not_passed_over():
    """diffusers hands a misspelt one to nobody, and the calibration would not be used."""
    config = diffusers.DPMSolverMultistepScheduler().config
    with pytest.raises(ValueError, match="unknown option of DODEScheduler 'calibraton'; did you mean calibration"):
        DODEScheduler.from_config(config, calibraton="fast.json")
    with pytest.warns(UserWarning, match="algorithm_type is no option of DODEScheduler and has no effect"):
        DODEScheduler.from_config(config, algorithm_type="dpmsolver++")
    scheduler, unused = DODEScheduler.from_config(config, return_unused_kwargs=True, mine=1)
    assert isinstance(scheduler, DODEScheduler)
    assert unused["mine"] == 1
