"""The losses of the training methods are their papers' equations, and lead where they say."""

import math

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture_model
from taught import LABEL, Affine, Gaussian, exact
from torch import nn

from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.sampling import run as sample
from dode.schedule import Node
from dode.solvers import METHODS
from dode.timesteps import grid
from dode.tracing import trace
from dode_paper.baselines import consistency, direct, guided, progressive, training_methods
from dode_paper.baselines.batched_solver import pieces, run, wide
from dode_paper.baselines.train_state import Budget, Stage
from dode_paper.baselines.trainer import Watch, train

EDM = SCHEDULES["edm"]


def at(*sigmas):
    return [EDM.node(sigma) for sigma in sigmas]


@pytest.mark.parametrize(
    ("name", "where", "steps"), [("ddim", "edm", 2), ("edm", "edm", 1), ("ddim", "vp", 3), ("dpm-solver++2s", "vp", 2)]
)
def test_pieces_are_plans_each_sample_its_own(name, where, steps):
    model, method = mixture_model(where), METHODS[name]
    nodes = grid(model.schedule, 7).nodes
    runs = [nodes[k : k + steps + 1] for k in range(5)]
    kind = method.kind(model.prediction, model.schedule)
    made = pieces(method, runs, model.schedule, kind)
    which = torch.tensor([3, 0, 4, 1])
    x = torch.stack([model.start([i], 0)[0] * nodes[k].sigma / nodes[0].sigma for i, k in enumerate(which)])

    def network(y, t, cond):
        each = [model.bound(kind, None)(y[i : i + 1].double(), model.schedule.node(float(t[i]))) for i in range(4)]
        return torch.cat(each)

    ours = run(made, network, x, which, None)
    theirs = [
        sample(trace(method, runs[k], model.schedule, kind), model.bound(kind, None), x[i : i + 1])
        for i, k in enumerate(which)
    ]
    torch.testing.assert_close(ours, torch.cat(theirs), rtol=2e-6, atol=2e-6 * float(x.abs().max()))


def test_the_target_of_progressive_distillation_by_hand():
    """From 8 at sigma 4, x̂ = 0: 4 at sigma 2; there x̂ = 1: 2.5 at 1.  One step from 8 lands there with x̂ = 2/3."""
    stage = progressive.halving(EDM, "data", at(4, 2, 1, 0.5, 0))
    x, which = torch.full((2, 1, 1, 1), 8.0), torch.zeros(2, dtype=torch.long)

    def teacher(y, t, label):
        return torch.where(wide(t, y) == 4, torch.zeros_like(y), torch.ones_like(y))

    target = progressive.target(stage, teacher, x, which, LABEL)
    torch.testing.assert_close(target, torch.full_like(x, 2 / 3), rtol=1e-6, atol=0)
    loss = progressive.loss(stage, lambda y, t, label: torch.zeros_like(y), teacher, x, which, LABEL)
    assert float(loss) == pytest.approx(4 / 9, rel=1e-6)  # SNR 1/16 is raised to 1


def test_the_weight_is_the_truncated_snr():
    stage = progressive.halving(EDM, "data", at(4, 2, 0.5, 0.2, 0))
    weights = progressive.weight(stage.one, "data", torch.tensor([0, 1]))
    assert weights.tolist() == pytest.approx([1, 4])
    vp = SCHEDULES["vp"]
    late, early = progressive.halving(vp, "v", grid(vp, 4).nodes), torch.tensor([0, 1])
    for weight, k in zip(progressive.weight(late.one, "v", early).tolist(), (0, 1), strict=True):
        node = late.nodes[k]  # an error e of v is an error σ·e of the data
        assert weight == pytest.approx(node.sigma**2 * max((node.alpha / node.sigma) ** 2, 1), rel=1e-5)


@pytest.mark.parametrize(("where", "kind"), [("vp", "v"), ("vp", "data"), ("edm", "data"), ("discrete", "v")])
def test_a_teacher_of_one_point_is_its_own_target(where, kind):
    """Where the data are one point the path is straight, and two steps go where one goes."""
    schedule = SCHEDULES[where]
    model = type(gaussian())(gaussian().mean, torch.zeros(1, 4, 4)).model(schedule, kind)
    x = model.start(range(3), 0)
    for stage in progressive.halvings(schedule, kind, 8):
        which = torch.zeros(3, dtype=torch.long)

        def teacher(y, t, label):
            return torch.cat(
                [
                    model.bound(kind, None)(y[i : i + 1].double(), schedule.node(float(t[i]) if t[i] > 0 else 0.0))
                    for i in range(3)
                ]
            )

        target = progressive.target(stage, teacher, x, which, None)
        torch.testing.assert_close(target, model.bound(kind, None)(x, stage.nodes[0]), rtol=1e-4, atol=1e-4)


def test_students_stand_on_every_second_node():
    stages = progressive.halvings(EDM, "data", 8)
    assert [stage.steps for stage in stages] == [4, 2, 1]
    fine = progressive.fine_nodes(EDM, 8)
    assert [stage.nodes for stage in stages] == [fine[::2], fine[::4], fine[::8]]
    assert (fine[0].sigma, fine[-2].sigma, fine[-1].sigma) == (80, progressive.LEAST, 0)


def test_what_cannot_be_halved():
    with pytest.raises(ValueError, match="must be a power of two, at least 2; got 12"):
        progressive.halvings(EDM, "data", 12)
    with pytest.raises(ValueError, match=r"needs a data or v network.* predicts noise"):
        progressive.halvings(SCHEDULES["vp"], "noise", 8)


def normal(rng, count):
    return torch.from_numpy(rng.standard_normal((count, 1, 4, 4), dtype=np.float32))


def states(rng, sigma):
    """Samples of the Gaussian with noise (B,)."""
    data = gaussian().mean.float() + gaussian().std.float() * normal(rng, len(sigma))
    return data + wide(sigma, data) * normal(rng, len(sigma))


def test_progressive_students_of_a_gaussian_reach_the_teacher(tmp_path):
    """Eight exact steps, halved three times by the loop itself: one step that lands where the eight land."""
    stages, made = [], progressive.halvings(EDM, "data", 8)
    for stage in made:

        def loss(trio, rng, done, stage=stage):
            which = training_methods.chosen(rng, stage.one.count, 64)
            x = states(rng, stage.one.sigmas[which, 0])
            return progressive.loss(stage, trio.student, trio.teacher, x, which, None)

        times = [node.t for node in stage.nodes[:-1]]
        stages.append(Stage(f"{stage.steps}", 1.0, lambda net, times=times: Affine(times), loss, 3, rate=0.1))
    path, about = tmp_path / "c.pt", {"what": "gaussian"}
    run_ = train(stages, Gaussian(), Budget(steps=1800), path, bfloat16=False, about=about, watch=Watch())
    nodes = progressive.fine_nodes(EDM, 8)
    x = 80 * normal(np.random.default_rng(0), 16)
    eight = pieces(METHODS["ddim"], [nodes], EDM, "data")
    theirs = run(eight, exact, x, torch.zeros(16, dtype=torch.long), None)
    ours = run_.average(x, torch.full((16,), 80.0), None)
    assert float((ours - theirs).square().mean().sqrt()) < 0.01
    assert float((exact(x, torch.full((16,), 80.0), None) - theirs).square().mean().sqrt()) > 0.3  # untrained


def test_a_consistency_network_leaves_the_boundary_as_it_is():
    """Exactly, whatever the network says."""
    torch.manual_seed(0)
    net = consistency.Consistency(Folded(UNet(widths=(8, 16, 16))), 0.87, 0.002)
    x, label = torch.randn(2, 1, 32, 32), torch.tensor([1, 2])
    assert torch.equal(net(x, torch.full((2,), 0.002), label), x)
    assert not torch.equal(net(x, torch.full((2,), 0.003), label), x)


def test_a_consistency_network_far_from_the_boundary_is_its_teacher():
    torch.manual_seed(0)
    teacher = Preconditioned(Folded(UNet(widths=(8, 16, 16))), 0.87)
    net, label = consistency.from_preconditioned(teacher, 0.002), torch.tensor([1, 2])
    x, sigma = 30 * torch.randn(2, 1, 32, 32), torch.full((2,), 30.0)
    torch.testing.assert_close(net(x, sigma, label), teacher(x, sigma, label), rtol=0, atol=2e-4)


def straight(x, t, label):
    """The end of the path of data that are the point 1: a line to sigma = 0.002."""
    return 1 + wide(0.002 / t, x) * (x - 1)


def test_the_loss_of_consistency_distillation_by_hand():
    """Zero for the exact map; for one 0.1 too high, the pseudo-Huber distance of 0.1 in every pixel, weighed."""
    heun = consistency.levels(EDM, 18)
    which = torch.tensor([0, 16])
    x = 1 + wide(heun.sigmas[which, 0], torch.zeros(2, 1, 4, 4)) * normal(np.random.default_rng(0), 2)

    def teacher(y, t, label):
        return torch.ones_like(y)

    nothing = consistency.loss(heun, straight, straight, teacher, x, which, LABEL)
    assert float(nothing) < 1e-7
    high = consistency.loss(heun, lambda *given: straight(*given) + 0.1, straight, teacher, x, which, LABEL)
    c = 0.00054 * math.sqrt(16)
    weights = [1 / (80 - float(heun.sigmas[1, 0])), 1 / (float(heun.sigmas[16, 0]) - 0.002)]
    assert float(high) == pytest.approx((math.sqrt(16 * 0.01 + c**2) - c) / 4 * sum(weights) / 2, rel=1e-3)
    assert (heun.count, heun.sigmas[0, 0], heun.sigmas[-1, -1]) == (17, 80, np.float32(0.002))


def test_the_loss_of_consistency_training_by_hand():
    """Both networks the identity: what differs is the noise of the two levels."""
    heun = consistency.levels(EDM, 5)
    which, noise = torch.tensor([1, 1]), torch.full((2, 1, 1, 1), 2.0)
    loss = consistency.loss_from_data(heun, *[lambda x, t, label: x] * 2, torch.ones(2, 1, 1, 1), noise, which, LABEL)
    gap = float(heun.sigmas[1, 0] - heun.sigmas[2, 0])
    assert float(loss) == pytest.approx((math.hypot(2 * gap, 0.00054) - 0.00054) / gap, rel=1e-5)


def test_consistency_students_of_a_gaussian_reach_the_teacher(tmp_path):
    """A table of affine maps, one a level, ends as the chain of the teacher's Heun steps."""
    heun = consistency.levels(EDM, 6)

    class Table(Affine):
        def forward(self, x, t, label):
            return torch.where(wide(t, x) < 0.003, x, super().forward(x, t, label))

    def loss(trio, rng, done):
        which = training_methods.chosen(rng, heun.count, 64)
        x = states(rng, heun.sigmas[which, 0])
        return consistency.loss(heun, trio.student, trio.slow, trio.teacher, x, which, None)

    stage = Stage("c", 1.0, lambda net: Table(heun.times[:, 0].tolist()), loss, 4, rate=0.03, slow=0.5)
    path, about = tmp_path / "c.pt", {"what": "gaussian"}
    net = train([stage], Gaussian(), Budget(steps=1500), path, bfloat16=False, about=about, watch=Watch()).average
    x = 80 * normal(np.random.default_rng(0), 16)
    chain = x
    for k in range(heun.count):
        chain = run(heun, exact, chain, torch.full((16,), k), None)
    assert float((net(x, torch.full((16,), 80.0), None) - chain).square().mean().sqrt()) < 0.03


def test_the_loss_of_direct_distillation_by_hand():
    x_T, sample, first = torch.full((2, 1, 1, 1), 80.0), torch.full((2, 1, 1, 1), 0.5), torch.full((2,), 80.0)
    loss = direct.loss(lambda x, t, label: x / wide(t, x), first, x_T, sample, LABEL)
    assert float(loss) == pytest.approx(0.25)


def test_the_loss_of_guided_distillation_by_hand():
    """A teacher that answers its label: 3, and 10 for none; at scale 2 that is 10 + 2·(3 − 10) = −4."""
    levels = progressive.single(EDM, "data", at(4, 2, 0))
    x, which = torch.zeros(2, 1, 1, 1), torch.tensor([0, 1])
    given = (torch.tensor([3, 3]), torch.tensor([1.0, 2.0]))

    def teacher(y, t, label):
        return wide(label.float(), y).expand_as(y)

    def student(y, t, cond):
        assert cond is given
        return torch.zeros_like(y)

    loss = guided.loss(levels, torch.tensor([1.0, 5.0]), student, teacher, 10, x, which, given)
    assert float(loss) == pytest.approx((9 + 5 * 16) / 2)


def test_a_network_that_was_just_told_the_scale_says_what_it_said():
    torch.manual_seed(0)
    net = Preconditioned(Folded(UNet(widths=(8, 16, 16))), 0.87)
    x, sigma, label = torch.randn(2, 1, 32, 32), torch.tensor([1.0, 7.0]), torch.tensor([1, 2])
    before = net(x, sigma, label)
    told = guided.told_the_scale(net)
    assert torch.equal(told(x, sigma, (label, torch.tensor([1.0, 4.0]))), before)
    nn.init.ones_(told.net.net.class_embedding.second.weight)
    one, other = (told(x, sigma, (label, torch.tensor([a, 4.0]))) for a in (1.0, 1.1))
    assert not torch.allclose(one[0], other[0])
    assert torch.equal(one[1], other[1])
    with pytest.raises(ValueError, match="only networks with a U-Net"):
        guided.told_the_scale(nn.Linear(1, 1))


def test_the_exact_teacher_of_these_tests_is_the_gaussian():
    x = normal(np.random.default_rng(1), 2)
    both = exact(x, torch.tensor([0.5, 3.0]), None)
    for i, sigma in enumerate((0.5, 3.0)):
        torch.testing.assert_close(both[i], gaussian().data(x[i].double(), Node(sigma, 1.0, sigma)).float())
