"""What makes networks faster (autocast, channels_last, torch.compile) may be used, and changes no result."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import dode
from dode.sampling import advance, begin, total
from dode.schedule import DiscreteVP, linear_betas

VP = DiscreteVP.from_betas(linear_betas())
SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Two convolutions; it remembers what it was given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.given = []

    def forward(self, x, t):
        self.given.append((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
        return 0.8 * x + 0.3 * self.last(torch.tanh(self.first(x) * (t.reshape(-1, 1, 1, 1) / 1000)))


def model(net, **options):
    return dode.from_callable(net, schedule=VP, prediction="noise", shape=SHAPE, **options)


@pytest.fixture(scope="module")
def plain():
    return dode.distill(model(Net()), "ddim", nfe=4, samples=8)


def test_autocast_outside_is_autocast_inside(plain):
    """Only the network computes in half precision: states, sums and fit are as they are without."""
    inside = Net()
    wrapped = torch.autocast("cpu", dtype=torch.bfloat16)(inside.forward)
    fitted = dode.distill(model(wrapped), "ddim", nfe=4, samples=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = dode.distill(model(Net()), "ddim", nfe=4, samples=8)
        end = other.sample(3)
    assert other.plan.lambdas.tolist() == fitted.plan.lambdas.tolist()
    assert end.dtype == torch.float32
    assert torch.equal(end, fitted.sample(3))
    assert other.plan.lambdas == pytest.approx(plain.plan.lambdas, abs=0.05)
    assert not torch.equal(end, plain.sample(3))


def test_channels_last_reaches_the_network_and_stays(plain):
    net = Net().to(memory_format=torch.channels_last)
    x = plain.model.start(range(3), 1)
    made = dode.distill(model(net), "ddim", nfe=4, samples=8)
    net.given.clear()
    end = made.sample(noise=x.contiguous(memory_format=torch.channels_last))
    assert all(last for _, last in net.given)
    assert end.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(end, plain.sample(noise=x), rtol=1e-4, atol=1e-4)


def test_a_compiled_network_is_the_same_network(plain):
    net = torch.compile(Net(), backend="eager")
    made = dode.distill(model(net), "ddim", nfe=4, samples=8)
    assert made.model.fingerprint == plain.model.fingerprint
    assert made.plan.lambdas == pytest.approx(plain.plan.lambdas, rel=1e-6)
    torch.testing.assert_close(made.sample(3), plain.sample(3))


def test_one_graph_serves_every_update():
    """The coefficients are its arguments: it is compiled once, and once more when they are seen to change."""
    counter = CompileCounter()
    compiled = torch.compile(total, backend=counter, fullgraph=True)
    x, d, e = torch.randn(3, 2, 5)
    for k in range(12):
        a, b, c = 0.1 * k, 0.2 + k, -0.3 * k
        assert torch.equal(compiled(a, x, [(b, d), (c, e)]), total(a, x, [(b, d), (c, e)]))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("method", ["ddim", "edm", "dpm-solver++2m"])
def test_the_update_compiles_whole(method):
    """`advance` has no graph break, and answers the same."""
    plan = dode.sampler(model(Net()), method, nfe=4).plan.extrapolate(2, 0.3)
    torch.compiler.reset()  # each evaluation is a graph of its own, and there is a limit for a function
    compiled = torch.compile(advance, backend="eager", fullgraph=True)
    assert plan.last_reads, "what is known ahead is there before the graph is"
    one = other = begin(plan, torch.randn(2, 5))
    for _ in range(plan.nfe):
        d = torch.randn(2, 5)
        one, other = advance(plan, one, d), compiled(plan, other, d)
        assert torch.equal(one.y, other.y)
        assert [s is None for s in one.seen] == [s is None for s in other.seen]
