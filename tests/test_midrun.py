"""A run that starts in the middle: the base again on what is left, with the rows of mix that still make sense."""

import numpy as np
import pytest
import torch
from problems import CATALOGUE, PAIRS, SCHEDULES, counts, distilled, gaussian_model, prediction_for, relative, unrolled

from dode.integrations.resume import tail
from dode.method import Method
from dode.parameterization import parts
from dode.sampling import run, trajectory
from dode.solvers import METHODS, method
from dode.solvers.step_allocation import build

NAMES = [name for name in CATALOGUE if name != "pndm"]


def made(name, schedule, nfe, **options):
    chosen = method(name, **options)
    return build(chosen, nfe, SCHEDULES[schedule], prediction_for(schedule))[0], chosen


def test_from_the_start_it_is_the_plan_itself():
    plan, ddim = made("ddim", "discrete", 4)
    assert tail(plan, 0, ddim, SCHEDULES["discrete"]) is plan


@pytest.mark.parametrize(("name", "schedule"), [pair for pair in PAIRS if pair[0] != "pndm"])
def test_every_tail_stands_on_the_plans_nodes_and_solves_a_point_mass(name, schedule):
    """With all data in one point the output never changes, so every consistent solver is exact."""
    plan, chosen = made(name, schedule, 9)
    plan = distilled(plan)
    x0, noise = torch.tensor([[0.3, -1.0]], dtype=torch.float64), torch.tensor([[1.2, 0.7]], dtype=torch.float64)
    for k in range(1, plan.nfe):
        rest = tail(plan, k, chosen, SCHEDULES[schedule])
        assert rest.nfe == plan.nfe - k
        assert rest.nodes == plan.nodes[k:]
        start, end = rest.nodes[0], rest.nodes[-1]

        def point(y, node, kind=plan.kind):
            p, q = parts(kind, node)
            return p * x0 + q * noise

        wanted = end.alpha * x0 + end.sigma * noise
        assert relative(run(rest, point, start.alpha * x0 + start.sigma * noise), wanted) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_mix_are_kept_where_all_their_outputs_exist(name):
    plan, chosen = made(name, "discrete", *counts(name, 9))
    plan = distilled(plan)
    for k in (1, 4):
        rest = tail(plan, k, chosen, SCHEDULES["discrete"])
        np.testing.assert_array_equal(rest.lambdas[1:], plan.lambdas[k + 1 :])
        assert rest.lambdas[0] == 0
        assert rest.mix[0, 0] == 0  # the state in the middle is no previous output


def test_a_row_that_reads_far_back_is_the_bases():
    plan, ddim = made("ddim", "discrete", 6)
    change = np.zeros(7)
    change[6], change[2] = 0.5, -0.5  # D_5 and D_1
    plan = distilled(plan, (0.1, 0.2, 0.3, 0.4, 0.25)).mixed(5, change)
    assert tail(plan, 1, ddim, SCHEDULES["discrete"]).mix[4, 1] == -0.5
    np.testing.assert_array_equal(tail(plan, 2, ddim, SCHEDULES["discrete"]).mix[3], [0, 0, 0, 0, 1])


@pytest.mark.parametrize("name", ["ddim", "edm", "dpm-solver-2", "dpm-solver-3", "dpm-solver++2s", "dpm-solver++3s"])
def test_at_a_steps_start_a_one_step_method_has_the_same_rows(name):
    plan, chosen = made(name, "discrete", 9)
    plan = distilled(plan, [0.3] * 9)
    for k in [k for k, fresh in enumerate(plan.step_starts) if fresh][1:]:
        rest = tail(plan, k, chosen, SCHEDULES["discrete"])
        assert rest.step_starts == plan.step_starts[k:]
        np.testing.assert_array_equal(rest.start, plan.start[k:])
        np.testing.assert_array_equal(rest.use, plan.use[k:, k:])
        np.testing.assert_array_equal(rest.blend, plan.blend[k:, k:])
        np.testing.assert_array_equal(rest.mix[1:], plan.mix[k + 1 :, [0, *range(k + 1, 10)]])


@pytest.mark.parametrize("options", [{}, {"inner": "time"}])
def test_a_cut_step_goes_on_by_order_one_from_node_to_node(options):
    plan, chosen = made("dpm-solver-3", "vp", 9, **options)
    assert plan.step_starts == (True, False, False) * 2 + (True, False, True)
    rest = tail(plan, 1, chosen, SCHEDULES["vp"])
    assert rest.step_starts == (True, True, True, False, False, True, False, True)
    vp, ddim = SCHEDULES["vp"], METHODS["ddim"]
    one_each = build(ddim, 8, vp, "noise", [node.t for node in plan.nodes[1:]])
    np.testing.assert_allclose(rest.use[:2], one_each[0].use[:2], rtol=1e-12)


def test_a_cut_step_may_go_on_from_elsewhere():
    vp = SCHEDULES["vp"]
    plan, chosen = made("edm", "vp", 5)
    between = vp.node((plan.nodes[0].t + plan.nodes[2].t) / 2)
    rest = tail(plan, 1, chosen, vp, [between])
    assert rest.nodes == (between, *plan.nodes[2:])
    assert rest.step_starts == (True, True, False, True)
    for k, cut in ((1, [between, between]), (2, [between])):
        with pytest.raises(ValueError, match=r"are left of the step that is cut; got"):
            tail(plan, k, chosen, vp, cut)


def test_a_row_that_reads_an_output_that_moved_is_the_bases():
    """D-EDM's λ at a node may be large where two outputs are nearly alike; of other nodes they are not."""
    edm = SCHEDULES["edm"]
    plan, chosen = made("edm", "edm", 5)
    between = edm.node((plan.nodes[0].t + plan.nodes[2].t) / 2)
    fitted = plan.extrapolate(2, 92.0).extrapolate(3, 0.5)
    rest = tail(fitted, 1, chosen, edm, [between])
    np.testing.assert_array_equal(rest.mix[1], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(rest.mix[2], [0, 0, -0.5, 1.5, 0])  # both of its outputs stand where they did
    assert tail(fitted, 1, chosen, edm).mix[1, 1] == -92  # where the plan's own node is asked it stays


def test_heuns_second_evaluation_alone_moves_nothing():
    """It stands where the next step starts, so there is no way left to go."""
    plan, chosen = made("edm", "edm", 5)
    rest = tail(plan, 1, chosen, SCHEDULES["edm"])
    assert rest.nodes[0] == rest.nodes[1]
    np.testing.assert_allclose(unrolled(rest)[0, :1], [1.0], rtol=1e-12)
    np.testing.assert_allclose(rest.table[0], 0, atol=1e-12)


@pytest.mark.parametrize("name", ["dpm-solver++2m", "deis-2", "unipc-3", "ipndm"])
def test_a_multistep_method_warms_up_again(name):
    model = gaussian_model("vp")
    plan, chosen = made(name, "vp", 20)
    rest = tail(plan, 8, chosen, SCHEDULES["vp"])
    np.testing.assert_array_equal(rest.blend[0], np.eye(1, 12)[0])
    x = model.start(range(2), 0)
    states = [state.y for state in trajectory(plan, model.bound(plan.kind, None), x.double())]
    assert relative(run(rest, model.bound(plan.kind, None), states[8]), states[-1]) < 0.05


def test_ancestral_noise_goes_on():
    plan, chosen = made("ddim", "discrete", 6, eta=1.0)
    assert tail(plan, 2, chosen, SCHEDULES["discrete"]).noise_scales == (0.0, *plan.noise_scales[3:])


def test_what_cannot_start_in_the_middle_says_so():
    discrete = SCHEDULES["discrete"]
    plan, pndm = made("pndm", "discrete", 14)
    with pytest.raises(ValueError, match=r"pndm cannot start in the middle of a run.*use ipndm"):
        tail(plan, 3, pndm, discrete)
    plan, edm = made("edm", "discrete", 5, churn=10.0)
    with pytest.raises(ValueError, match=r"edm:churn=10 cannot start in the middle.*churn moves"):
        tail(plan, 2, edm, discrete)
    plan, two = made("dpm-solver-2", "discrete", 5)
    for k in (-1, 5):
        with pytest.raises(ValueError, match=f"starts at 0 … 4; got {k}"):
            tail(plan, k, two, discrete)
    with pytest.raises(ValueError, match="a step of 2 evaluations; ddim has steps of 1"):
        tail(plan, 2, METHODS["ddim"], discrete)
    with pytest.raises(ValueError, match=r"the plan at .*give the method, options and schedule"):
        tail(plan, 2, method("dpm-solver-2", inner="time"), discrete)


def test_a_solver_of_ones_own_starts_in_the_middle_too():
    def mine(x, s, t, net):
        return net.move(x, net(x, s), s, t)

    own = Method("mine", mine, (), 1, 1, "a test's")
    plan = build(own, 4, SCHEDULES["vp"], "noise")[0]
    assert tail(plan, 2, own, SCHEDULES["vp"]).nodes == plan.nodes[2:]
