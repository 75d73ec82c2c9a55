"""Every conversion is one 2×2 solve, and its inverse undoes it."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dode.parameterization import KINDS, convert, express, parts
from dode.schedule import EDM, Flow, Node


@given(kind=st.sampled_from(KINDS), to=st.sampled_from(KINDS), alpha=st.floats(0.05, 1.0), sigma=st.floats(0.05, 5.0))
def test_there_and_back(kind, to, alpha, sigma):
    assume(abs(alpha) > 0.01)
    node = Node(0.0, alpha, sigma)
    x, d = torch.tensor([0.3, -1.2], dtype=torch.float64), torch.tensor([0.7, 0.1], dtype=torch.float64)
    back = convert(x, convert(x, d, kind, to, node), to, kind, node)
    torch.testing.assert_close(back, d, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_the_definitions(kind):
    node = Node(0.0, 0.6, 0.8)
    x0, noise = 0.25, -0.5
    x = node.alpha * x0 + node.sigma * noise
    said = {
        "noise": noise,
        "data": x0,
        "v": node.alpha * noise - node.sigma * x0,
        "flow": noise - x0,
        "score": -noise / node.sigma,
    }
    p, q = parts(kind, node)
    assert p * x0 + q * noise == pytest.approx(said[kind], rel=1e-14)
    m, n = express((1.0, 0.0), kind, node)
    assert m * x + n * said[kind] == pytest.approx(x0, rel=1e-12)


def test_noise_at_alpha_zero_is_refused_with_advice():
    with pytest.raises(ValueError, match="data or flow prediction where alpha = 0"):
        express((1.0, 0.0), "noise", Flow().node(1.0))
    assert express((1.0, 0.0), "flow", Flow().node(1.0)) == (1.0, -1.0)


def test_score_at_sigma_zero_is_refused():
    with pytest.raises(ValueError, match="sigma = 0"):
        parts("score", EDM().node(0.0))
