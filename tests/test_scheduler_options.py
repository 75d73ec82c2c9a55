"""Every option of DODEScheduler does what diffusers' option of that name does, and is read when a run begins."""

from inspect import signature

import diffusers
import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from perfect import FAMILIES, NUMPY_2, end_of, noise
from problems import CATALOGUE, MISSING, counts

from dode.diffusers import DODEScheduler

pytestmark = NUMPY_2

PREDICTIONS = ("epsilon", "sample", "v_prediction", "flow_prediction")


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
