"""Any network becomes a model: callables, numpy functions, modules; the exact solution is exact."""

import math

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture

import dode
from dode import reference, schedule
from dode.evaluate import distance
from dode.model import alike

OPTIONS = {"prediction": "noise", "shape": (3,), "dtype": torch.float64}


def normal_noise(x, t):
    """ε̂ for standard normal data on α = e^{−t/2}, σ² = 1 − e^{−t}: σ·x; works on numpy arrays."""
    return np.sqrt(1 - np.exp(-t))[:, None] * x


def ornstein():
    return schedule.from_functions(
        alpha=lambda t: math.exp(-t / 2), sigma=lambda t: math.sqrt(-math.expm1(-t)), t_max=10, t_min=1e-5
    )


def test_a_numpy_function_on_a_schedule_of_two_functions():
    """Standard normal data: the exact flow is the identity but for the ends."""
    model = dode.from_callable(normal_noise, schedule=ornstein(), numpy=True, **OPTIONS)
    x = model.start(range(50), 0)
    exact = model.exact(x, rtol=1e-4)
    torch.testing.assert_close(exact, x, rtol=1e-4, atol=1e-4)
    plain = distance(dode.sampler(model, "ddim", nfe=8).sample(noise=x), exact).rms
    fitted = distance(dode.distill(model, "ddim", nfe=8, samples=20).sample(noise=x), exact).rms
    assert fitted < plain / 2


def test_cond_reaches_the_function_row_by_row():
    seen = []

    def network(x, t, cond):
        seen.append(cond.tolist())
        return 0 * x

    model = dode.from_callable(
        network,
        schedule=SCHEDULES["edm"],
        cond=lambda i: torch.tensor([10 + k for k in i]),
        **(OPTIONS | {"prediction": "data"}),
    )
    dode.sampler(model, "ddim", nfe=1).sample(5, batch=2)
    assert seen[-3:] == [[10, 11], [12, 13], [14]]
    dode.sampler(model, "ddim", nfe=1).sample(2, cond=[7, 8])
    assert seen[-1] == [7, 8]


def test_conditions_may_be_dicts_and_tuples():
    from dode.denoiser import joined, rows

    cond = {"text": torch.arange(6).reshape(3, 2), "size": (torch.arange(3), None)}
    part = rows(cond, slice(1, 3))
    assert part["text"].tolist() == [[2, 3], [4, 5]]
    assert part["size"][0].tolist() == [1, 2]
    assert part["size"][1] is None
    both = joined({"a": torch.zeros(1)}, {"a": torch.ones(2)})
    assert both["a"].tolist() == [0, 1, 1]


def test_whole_times_arrive_as_integers():
    kinds = []
    model = dode.from_callable(
        lambda x, t: kinds.append((t.dtype, t.shape)) or x, schedule=SCHEDULES["discrete"], **OPTIONS
    )
    dode.sampler(model, "ddim", nfe=3).sample(4)
    assert set(kinds[2:]) == {(torch.int64, (4,))}


def test_weights_make_the_fingerprint_of_a_module():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 3)

    class Net(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x, t):
            return self.inner(x)

    options = {"schedule": SCHEDULES["edm"], "prediction": "data", "shape": (3,)}
    first = dode.from_callable(Net(net), **options).fingerprint
    assert first.startswith("weights:")
    assert first == dode.from_callable(Net(net), **options).fingerprint
    net.weight.data[0, 0] += 1e-3
    assert first != dode.from_callable(Net(net), **options).fingerprint


def test_a_probe_is_the_fingerprint_of_a_function():
    one = dode.from_callable(lambda x, t: 0.5 * x, schedule=SCHEDULES["edm"], **OPTIONS).fingerprint
    near = dode.from_callable(lambda x, t: 0.50001 * x, schedule=SCHEDULES["edm"], **OPTIONS).fingerprint
    far = dode.from_callable(lambda x, t: 0.51 * x, schedule=SCHEDULES["edm"], **OPTIONS).fingerprint
    assert one.startswith("probe:")
    assert alike(one, near)
    assert not alike(one, far)
    assert not alike(one, "weights:0123456789abcdef")


@pytest.mark.parametrize("name", ["vp", "cosine", "edm", "flow", "discrete"])
def test_the_reference_solution_converges_to_the_exact_flow(name):
    model = gaussian().model(SCHEDULES[name], "data")
    x = model.start(range(12), 0)
    exact = model.exact(x)
    found = reference.solve(model, x, None, 3e-4, 5)
    assert distance(found, exact).rms < (2e-3 if name == "discrete" else 5e-4) * float(exact.square().mean().sqrt())


def test_a_reference_that_cannot_converge_says_so():
    model = mixture().model(SCHEDULES["discrete"], "noise", torch.float64)
    with pytest.raises(ValueError, match="halving 500 steps still moves"):
        model.exact(model.start(range(4), 0), rtol=1e-12)


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction must be one of"):
        dode.from_callable(lambda x, t: x, schedule=SCHEDULES["vp"], prediction="eps", shape=(3,))
