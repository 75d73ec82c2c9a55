"""For any schedule, grid, solver and λ a plan is consistent, exact where all data is a point, and kept by its file."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import CATALOGUE, SCHEDULES, counts

from dode import json_schema
from dode.calibration import plan_from_json, plan_to_json
from dode.sampling import run
from dode.schedule import EDM, VP, DiscreteVP, Flow
from dode.solvers import METHODS
from dode.solvers.step_allocation import build
from dode.timesteps import GRIDS, grid, refine, same

LEVELS = st.floats(1e-3, 1e3)


def refusal(make):
    """The sentence of a ValueError, None without one; any other error is passed on."""
    try:
        make()
    except ValueError as error:
        return str(error)
    return None


def made_or_refused(make):
    """What is made, or None where it is refused in a sentence."""
    said = refusal(make)
    assert said is None or len(said) < 400
    return None if said is not None else make()


@st.composite
def schedules(draw):
    """Of every kind, with any numbers."""
    kind = draw(st.sampled_from(["discrete", "vp", "edm", "flow"]))
    if kind == "edm":
        low, ratio = draw(st.floats(1e-4, 1.0)), draw(st.floats(2, 1e5))
        return EDM(low * ratio, low)
    if kind == "flow":
        return Flow(shift=draw(st.floats(0.2, 12)))
    if kind == "vp":
        return VP(draw(st.floats(0.01, 1.0)), draw(st.floats(2, 40)))
    length = draw(st.sampled_from([20, 50, 1000]))
    betas = np.linspace(draw(st.floats(1e-5, 1e-3)), draw(st.floats(0.01, 0.05)), length)
    return DiscreteVP.from_betas(betas, integer=draw(st.booleans()))


def kind_of(schedule):
    return {EDM: "data", Flow: "flow"}.get(type(schedule), "noise")


@settings(max_examples=80)
@given(schedules(), st.integers(1, 12), st.sampled_from([*GRIDS, None]), st.sampled_from(["data", "t_min"]))
def test_a_grid_falls_from_noise_to_data_or_is_refused(schedule, steps, name, end):
    made = made_or_refused(lambda: grid(schedule, steps, name, end=end))
    if made is None:
        return
    assert len(made.nodes) == steps + 1
    assert all(a.logsnr < b.logsnr for a, b in pairwise(made.nodes))
    assert made.nodes[-1] == schedule.node(schedule.t_end if end == "data" else schedule.t_min)
    fine = refine(made, 3, schedule)
    assert all(any(same(node, inner) for inner in fine.nodes) for node in made.nodes)
    assert all(a.logsnr < b.logsnr for a, b in pairwise(fine.nodes))


@settings(max_examples=120)
@given(
    schedules(),
    st.sampled_from(CATALOGUE),
    st.integers(1, 14),
    st.sampled_from([*GRIDS, None]),
    st.lists(st.floats(-2, 2), min_size=14, max_size=14),
)
def test_a_plan_with_any_lambda_is_exact_on_a_point_and_comes_back_from_json(schedule, name, nfe, where, lambdas):
    """All data is one point: the first λ aside, which reads x_T, every distilled solver ends where the data is."""
    nfe = counts(name, nfe)[0]
    made = made_or_refused(lambda: build(METHODS[name], nfe, schedule, kind_of(schedule), where))
    if made is None:
        return
    plan = made[0]
    for k, lam in enumerate(lambdas[:nfe]):
        plan = plan.extrapolate(k, lam if k else 0.0)
    assert plan.nfe == nfe
    again = plan_from_json(json.loads(json.dumps(plan_to_json(plan))))
    assert again.nodes == plan.nodes
    np.testing.assert_array_equal(again.table, plan.table)
    first, last = plan.nodes[0], plan.nodes[-1]
    point, noise = torch.tensor([[0.3, -0.7]], dtype=torch.float64), torch.tensor([[1.1, 0.4]], dtype=torch.float64)
    p, q = {"noise": (0, 1), "data": (1, 0), "flow": (-1, 1)}[plan.kind]
    end = run(plan, lambda x, node: p * point + q * noise, first.alpha * point + first.sigma * noise)
    size = 1 + first.sigma / first.alpha * last.alpha if first.alpha else 1.0
    torch.testing.assert_close(end, last.alpha * point + last.sigma * noise, rtol=1e-7, atol=1e-8 * size)


@settings(max_examples=60)
@given(st.sampled_from(["use", "blend", "mix", "start"]), st.data())
def test_no_changed_plan_is_inconsistent(field, data):
    """One number of a plan's file changed to any other: it is refused, or the plan is as consistent as before."""
    plan, _ = build(METHODS["dpm-solver-2"], 5, SCHEDULES["vp"], "noise")
    content = plan_to_json(plan)
    rows = content[field]
    row = data.draw(st.integers(0, len(rows) - 1))
    value = data.draw(st.one_of(st.floats(), st.integers(-(2**70), 2**70)))
    if isinstance(rows[row], list):
        rows[row][data.draw(st.integers(0, len(rows[row]) - 1))] = value
    else:
        rows[row] = value
    changed = made_or_refused(lambda: plan_from_json(content))
    if changed is None:
        return
    np.testing.assert_allclose(changed.table.sum(), plan.table.sum(), rtol=1e-6)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
FORM = {"a": int, "b?": [float], "c": (None, "word", {str: [[float]]})}


@given(VALUES)
def test_any_value_has_its_form_or_is_refused_with_the_place(value):
    for given_value in (value, {"a": 1, "c": value}, {"a": 1, "b": [1.0, value], "c": None}):
        said = refusal(lambda given_value=given_value: json_schema.check(given_value, FORM, "it"))
        assert said is None or (said.startswith("it: ") and "\n" not in said)
        assert said is not None or type(given_value["a"]) is int


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '{"a":' * 50_000, "1" * 10_000, "{", b"\xff\xfe"])
def test_json_that_no_program_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"twice|deeply|limit|Expecting|decode|end of data"):
        json_schema.parsed(text)


@settings(max_examples=40)
@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_an_edm_schedule_of_any_levels_is_one_or_is_refused(high, low):
    schedule = EDM(high, low)
    made = made_or_refused(lambda: grid(schedule, 3))
    assert made is None or all(math.isfinite(value) for node in made.nodes for value in node)


@given(st.text(max_size=500))
def test_what_messages_quote_is_one_line_of_bounded_length(text):
    line = json_schema.line(text)
    assert len(line) <= 200
    assert all(letter.isprintable() for letter in line)
    whole = " ".join(text.split())
    assert line == whole or not whole.isprintable() or (len(whole) > 200 and whole.startswith(line.removesuffix(" …")))


def test_what_messages_quote_is_cut_between_words_but_not_without_a_long_path():
    assert json_schema.line("seven words of this length " * 20).endswith(
        ("seven …", "words …", "of …", "this …", "length …")
    )
    assert json_schema.line("weights at " + "/a" * 150 + " are torn") == "weights at " + ("/a" * 150)[:187] + " …"
