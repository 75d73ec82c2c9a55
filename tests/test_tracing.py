"""A step function is traced once on linear forms; what is not linear, or no step, is refused there."""

from math import expm1

import numpy as np
import pytest
from problems import SCHEDULES, mixture_model, relative

from dode.method import Method, Option
from dode.sampling import run
from dode.solvers import METHODS
from dode.timesteps import grid
from dode.tracing import Form, Tracer, trace

VP = SCHEDULES["vp"]


def traced(step, steps=3, kind="noise"):
    return trace(Method("mine", step, (), 1, 1, "a test's"), grid(VP, steps).nodes, VP, kind)


def midpoint(x, s, t, net):
    """DPM-Solver-2 as the paper prints it, (12)–(14): somebody's own solver."""
    if t.sigma == 0:
        return net.move(x, net(x, s), s, t)
    m, h = VP.at((s.logsnr + t.logsnr) / 2), t.logsnr - s.logsnr
    y = m.alpha / s.alpha * x - m.sigma * expm1(h / 2) * net(x, s)
    return t.alpha / s.alpha * x - t.sigma * expm1(h) * net(y, m)


def test_a_solver_of_ones_own_is_one_function():
    own, ours = traced(midpoint), trace(METHODS["dpm-solver-2"], grid(VP, 3).nodes, VP, "noise")
    model = mixture_model("vp")
    x, denoise = model.start(range(3), 0), model.bound("noise", None)
    assert relative(run(own, denoise, x), run(ours, denoise, x)) < 1e-12
    np.testing.assert_allclose(own.table, ours.table, rtol=1e-10, atol=1e-12)


def test_forms_add_and_scale():
    a, b = Form({0: 1.0, 1: 2.0}), Form({1: 3.0, -1: 1.0})
    made = (2 * a - b / 4 + -a * np.float64(0.5)).terms
    assert made == {0: 1.5, 1: 2.25, -1: -0.25}
    assert a.terms == {0: 1.0, 1: 2.0}  # values are not changed in place


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, s, t, net: x * net(x, s),
        lambda x, s, t, net: net(x, s) + 1,
        lambda x, s, t, net: 1 / net(x, s),
        lambda x, s, t, net: net(x, s) - 1.0,
        lambda x, s, t, net: np.exp(net(x, s)),
        lambda x, s, t, net: x if net(x, s) > 0 else -x,
    ],
)
def test_what_is_not_linear_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        traced(wrong)


def test_what_tensors_have_and_a_step_must_not_use_says_so():
    with pytest.raises(AttributeError, match=r"a step adds states and outputs and scales them, .* asked for \.clamp"):
        traced(lambda x, s, t, net: net(x, s).clamp(-1, 1))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda x, s, t, net: x, "a step of mine made no evaluation"),
        (
            lambda x, s, t, net: print(net(x, s), end=""),
            "a step of mine must return the next state; it returned NoneType",
        ),
        (lambda x, s, t, net: net(2 * x, s), "must be at the state where the step starts"),
        (lambda x, s, t, net: net.move(x, net(x, s, (2.0, -1.0)), s, t), "2 weights at evaluation 0"),
        (lambda x, s, t, net: net.move(x, net(x, s, (2.0,)), s, t), "blend: row 0 sums to 2"),
        (lambda x, s, t, net: net.move(x, net(x, s), t, s), "sums to|determine"),
    ],
)
def test_what_is_no_step_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        traced(wrong)


def test_a_list_of_methods_has_one_for_each_step():
    nodes = grid(VP, 3).nodes
    with pytest.raises(ValueError, match="2 methods for 3 steps"):
        trace([METHODS["ddim"]] * 2, nodes, VP, "noise")
    mixed = trace([METHODS["dpm-solver-2"], METHODS["ddim"], METHODS["ddim"]], nodes, VP, "noise")
    assert mixed.step_starts == (True, False, True, True)


def test_a_node_inside_a_step_lies_at_the_fraction_that_was_asked_for():
    net, s, t = Tracer("noise", VP, 1), VP.node(0.8), VP.node(0.3)
    for inner, value in (
        ("logsnr", lambda node: node.logsnr),
        ("time", lambda node: node.t),
        ("rho", lambda node: node.sigma / node.alpha),
    ):
        node = net.between(s, t, 2 / 3, inner)
        assert value(node) == pytest.approx(value(s) / 3 + 2 * value(t) / 3, rel=1e-9)
    with pytest.raises(ValueError, match="in logsnr, time, rho; got 'tme'"):
        net.between(s, t, 1 / 2, "tme")


@pytest.mark.parametrize("inner", ["logsnr", "time", "rho"])
def test_there_is_nothing_between_neighbours_nor_beside_infinity(inner):
    discrete, zero = SCHEDULES["discrete"], SCHEDULES["zero-snr"]
    net = Tracer("noise", discrete, 1)
    assert net.between(discrete.node(7), discrete.node(6), 1 / 2, inner) is None
    assert net.between(discrete.node(7), discrete.node(5), 1 / 2, inner) == discrete.node(6)
    assert net.between(discrete.node(7), discrete.node(-1), 1 / 2, inner) is None
    from_nothing = Tracer("data", zero, 1).between(zero.node(999), zero.node(5), 1 / 2, inner)
    assert from_nothing == (zero.node(502) if inner == "time" else None)


def test_options_are_read_from_words_and_numbers():
    number, word = Option(1.0, most=2.0), Option("a", ("a", "b"))
    assert (number.read("n", "1.5"), word.read("w", "b")) == (1.5, "b")
    for option, value, says in ((number, "3", "n must be from 0 to 2"), (word, "c", "n must be one of a, b; got 'c'")):
        with pytest.raises(ValueError, match=says):
            option.read("n", value)
