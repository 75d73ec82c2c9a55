"""A plan is consistent, or it does not come into being."""

from dataclasses import replace

import numpy as np
import pytest
from problems import SCHEDULES, prediction_for

from dode.calibration import plan_from_json, plan_to_json
from dode.plan import from_state_lambdas, state_lambdas
from dode.solvers import METHODS
from dode.solvers.step_allocation import build


def plan_of(method="ddim", schedule="discrete", nfe=5):
    return build(METHODS[method], nfe, SCHEDULES[schedule], prediction_for(schedule))[0]


def test_evaluations_stand_at_the_nodes_of_the_grid():
    assert [node.t for node in plan_of(nfe=5).nodes] == [999, 799, 599, 399, 199, -1]
    levels = [node.sigma for node in plan_of("edm", "edm", 5).nodes]
    assert levels[1] == levels[2] != levels[0]
    assert levels[3] == levels[4] == 0.002
    assert levels[5] == 0


@pytest.mark.parametrize("field", ["use", "blend", "mix", "start"])
@pytest.mark.parametrize("factor", [1 + 1e-7, -1.0])
def test_a_changed_coefficient_is_refused(field, factor):
    plan = plan_of("edm", "edm", 5)
    array = getattr(plan, field).copy()
    index = np.unravel_index(np.argmax(np.abs(array)), array.shape)
    array[index] *= factor
    with pytest.raises(ValueError, match="sums to"):
        replace(plan, **{field: array})


def test_reading_an_output_before_it_exists_is_refused():
    plan = plan_of()
    use = plan.use.copy()
    use[0, 1] = 1e-30
    with pytest.raises(ValueError, match="before it exists"):
        replace(plan, use=use)


def test_going_back_and_forth_is_refused():
    plan = plan_of()
    nodes = (plan.nodes[1], plan.nodes[0], *plan.nodes[2:])
    with pytest.raises(ValueError, match=r"sums to|must not fall"):
        replace(plan, nodes=nodes)


def test_mix_rows_keep_their_sum_unless_declared_free():
    plan = plan_of()
    mix = plan.mix.copy()
    mix[2, 3] += 0.1
    with pytest.raises(ValueError, match="mix"):
        replace(plan, mix=mix)
    assert replace(plan, mix=mix, unnormalized=True).lambdas[2] == pytest.approx(0.1)


def test_extrapolate_sets_lambda_and_keeps_the_sum():
    plan = plan_of().extrapolate(0, 0.25).extrapolate(3, -0.5)
    assert plan.lambdas == pytest.approx([0.25, 0, 0, -0.5, 0], abs=1e-15)
    assert plan.mix.sum(1) == pytest.approx(np.ones(5), abs=1e-15)
    assert plan.table[0, 0] == pytest.approx(-0.25 * plan.use[0, 0])


def test_without_noise_outputs_the_first_lambda_does_nothing():
    plan = plan_of("ddim", "edm")
    np.testing.assert_array_equal(plan.extrapolate(0, 0.5).table, plan.table)


def test_carry_decides_what_later_stages_see():
    plan = plan_of("edm", "edm", 3).extrapolate(2, 0.0)
    paper = replace(plan.extrapolate(1, 0.3))
    published = replace(paper, carry=False)
    assert np.any(plan.use[1, 0])
    np.testing.assert_allclose(paper.table[1], published.table[1])  # the newest output is mixed in both
    three = plan_of("edm", "edm", 5).extrapolate(2, 0.3)
    assert not np.allclose(three.table[3], replace(three, carry=False).table[3])


def test_published_convention_there_and_back():
    plan = plan_of()
    for k, lam in enumerate([0.1, -0.2, 0.3, 0.4, 0.5]):
        plan = plan.extrapolate(k, lam)
    again = from_state_lambdas(plan_of(), state_lambdas(plan))
    np.testing.assert_allclose(again.table, plan.table, rtol=1e-13, atol=1e-15)


def test_json_keeps_every_bit():
    plan = plan_of("edm", "edm", 9).extrapolate(3, 1 / 3)
    again = plan_from_json(plan_to_json(plan))
    assert again.nodes == plan.nodes
    for name in ("start", "use", "mix", "blend", "table"):
        np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))


def test_printing_shows_nodes_and_lambda():
    text = str(plan_of().extrapolate(2, 0.375))
    assert "0.37500" in text
    assert "999" in text
    assert len(text.splitlines()) == 2 + 5 + 1
