"""The same solver in another tool's scale of the state."""

import math

import numpy as np
import pytest
import torch
from problems import CATALOGUE, SCHEDULES, counts, distilled, mixture_model, relative

from dode.parameterization import KINDS, convert
from dode.sampling import run
from dode.schedule import Node
from dode.solvers import METHODS, method
from dode.solvers.step_allocation import build
from dode.state_scaling import exploding, rescaled, straight

VP = ("discrete", "vp", "cosine", "functions")


def agree(model, plan, scale, draw=None):
    """Samples before and after the change of scale, from equal noise; the network is asked through its own states."""
    made = rescaled(plan, scale)
    x = model.start(range(3), 0)
    denoise = model.bound(plan.kind, None)
    old = {new: node for node, new in zip(plan.nodes, made.nodes, strict=True)}

    def other(z, node):
        own = old[node]
        return denoise(z * ((own.alpha + own.sigma) / (node.alpha + node.sigma)), own)

    first, last = (
        (new.alpha + new.sigma) / (own.alpha + own.sigma)
        for own, new in zip((plan.nodes[0], plan.nodes[-1]), (made.nodes[0], made.nodes[-1]), strict=True)
    )
    wanted = run(plan, denoise, x, draw) * last
    return relative(run(made, other, x * first, draw), wanted)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("scale", [exploding, straight])
@pytest.mark.parametrize("schedule", VP)
def test_samples_agree_after_scaling(name, scale, schedule):
    model = mixture_model(schedule)
    (nfe,) = counts(name, 7)
    plan = distilled(build(METHODS[name], nfe, model.schedule, "noise")[0])
    assert agree(model, plan, scale) < 1e-12


@pytest.mark.parametrize("kind", ["noise", "data", "flow"])
@pytest.mark.parametrize("scale", [exploding, straight])
def test_every_kind_of_output_agrees(kind, scale):
    model = mixture_model("vp")
    plan = distilled(build(METHODS["ddim"], 6, model.schedule, "noise", kind=kind)[0])
    assert agree(model, plan, scale) < 1e-12


def test_flow_plans_run_in_their_own_scale_from_pure_noise():
    model = mixture_model("flow")
    plan = distilled(build(METHODS["dpm-solver++2m"], 6, model.schedule, "flow")[0])
    made = rescaled(plan, straight)
    assert made.nodes == plan.nodes
    np.testing.assert_array_equal(made.table, plan.table)
    with pytest.raises(ValueError, match=r"at t = 1, alpha = 0.*use flow"):
        rescaled(plan, exploding)


def test_ancestral_noise_is_scaled_too():
    model = mixture_model("discrete")
    plan = build(method("ddim", eta=1.0), 5, model.schedule, "noise")[0]
    drawn = torch.randn(6, 3, *model.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert agree(model, plan, exploding, lambda k: drawn[k]) < 1e-12


@pytest.mark.parametrize("kind", ["v", "score"])
def test_outputs_that_depend_on_the_scale_are_refused(kind):
    plan = build(METHODS["ddim"], 3, SCHEDULES["vp"], "noise", kind=kind)[0]
    with pytest.raises(ValueError, match=f"{kind} outputs depend on the scale"):
        rescaled(plan, exploding)


def test_the_log_snr_stays_and_the_time_is_the_level():
    for node in (SCHEDULES["vp"].node(0.3), Node(5.0, 1.0, 80.0)):
        for scale in (exploding, straight):
            made = scale(node)
            assert math.isclose(made.logsnr, node.logsnr, rel_tol=1e-12)
            assert made.t == made.sigma
    assert exploding(Node(-1.0, 1.0, 0.0)) == straight(Node(-1.0, 1.0, 0.0)) == Node(0.0, 1.0, 0.0)
    assert straight(Node(999.0, 0.0, 1.0)) == Node(1.0, 0.0, 1.0)


def test_kinds_that_stay_are_those_whose_parts_do():
    """Data, noise and flow are the same at every scale; v and score are not."""
    x, x0 = torch.tensor([1.3]).double(), torch.tensor([0.4]).double()
    node = SCHEDULES["vp"].node(0.5)
    other = exploding(node)
    for kind in KINDS:
        mine = convert(x, x0, "data", kind, node)
        theirs = convert(x / node.alpha, x0, "data", kind, other)
        assert (relative(mine, theirs) < 1e-12) == (kind in ("noise", "data", "flow"))
