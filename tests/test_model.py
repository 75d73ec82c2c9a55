"""Any network becomes a model: callables, numpy functions, modules; the exact solution is exact."""

import math

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture

import dode
from dode import exact, schedule
from dode.exact import solve
from dode.fingerprint import alike, weights_hash
from dode.metrics import distance

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


def test_a_labelled_model_is_of_one_class():
    """As the default alone: a condition that is given goes before it, and what is measured is of the class too."""
    model = dode.bundled("fashion-mixture")
    boots = dode.sampler(model.labelled(9), "ddim", nfe=3)
    wanted = dode.sampler(model, "ddim", nfe=3).sample(4, seed=1, cond=[9] * 4)
    assert torch.equal(boots.sample(4, seed=1), wanted)
    assert torch.equal(
        boots.sample(4, seed=1, cond=[2] * 4), dode.sampler(model, "ddim", nfe=3).sample(4, seed=1, cond=[2] * 4)
    )
    x_T = model.start(range(4), 0)
    expected = distance(boots.sample(noise=x_T), model.exact(x_T, cond=[9] * 4)).rms
    assert dode.evaluate(boots, paired=4).rms == pytest.approx(expected, rel=1e-6)
    for wrong in (11, -1, 2.5, True, "3"):
        with pytest.raises(ValueError, match=rf"the label must be 0 … 9, or 10 for none; got {wrong!r}"):
            model.labelled(wrong)
    for wrong, says in {
        (99,): r"classes go from 0 to 10; got 99 … 99",
        (1.5,): r"whole numbers from 0 to 10; got torch.float32 \(1,\)",
        ((0, 1),): r"whole numbers from 0 to 10; got torch.int64 \(1, 2\)",
    }.items():
        with pytest.raises(ValueError, match=says):
            boots.sample(1, cond=torch.tensor(wrong))
    row = np.eye(3)
    hot = {"cond": lambda indices: row[[i % 3 for i in indices]], "classes": 3, "shape": (3,), "schedule": ornstein()}
    free = dode.from_callable(lambda x, t, cond: x + cond, prediction="noise", **hot)
    assert dode.sampler(free, "ddim", nfe=2).sample(2, cond=row[:2]).shape == (2, 3)  # rows of its own are no classes
    with pytest.raises(ValueError, match="has no classes, one number a sample"):
        free.labelled(1)
    uncounted = dode.from_callable(
        lambda x, t, cond: x + cond[:, None] / 10,
        cond=lambda indices: [i % 10 for i in indices],
        null=lambda indices: [10] * len(indices),
        **(OPTIONS | {"schedule": ornstein(), "classes": 10, "dtype": torch.float32}),
    )
    assert dode.sampler(uncounted.guided(2.0), "ddim", nfe=2).sample(2).shape == (2, 3)
    for scale in (math.nan, math.inf, None, "3"):
        with pytest.raises(ValueError, match="the guidance scale must be a number; got"):
            model.guided(scale)
    with pytest.raises(ValueError, match="has no classes"):
        dode.from_callable(normal_noise, schedule=ornstein(), numpy=True, **OPTIONS).labelled(0)


def test_conditions_may_be_dicts_and_tuples():
    from dode.conditioning import joined, rows

    cond = {"text": torch.arange(6).reshape(3, 2), "size": (torch.arange(3), None)}
    part = rows(cond, slice(1, 3))
    assert part["text"].tolist() == [[2, 3], [4, 5]]
    assert part["size"][0].tolist() == [1, 2]
    assert part["size"][1] is None
    both = joined({"a": torch.zeros(1)}, {"a": torch.ones(2)})
    assert both["a"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_conditions_that_are_not_whole_have_the_networks_precision(dtype):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)

        def forward(self, x, t, cond):
            return x + self.linear(cond["vector"]) + 0 * cond["label"][:, None]

    def given(indices):
        return {"vector": [[0.1, 0.2]] * len(indices), "label": np.array([3] * len(indices))}

    some = {"schedule": dode.schedule.EDM(), "prediction": "data", "shape": (3,), "cond": given}
    model = dode.from_callable(Net().to(dtype), dtype=dtype, **some)
    cond = model.conditions(range(4), {"vector": np.ones((4, 2)), "label": [1, 2, 3, 4]})
    assert cond["vector"].dtype == dtype
    assert cond["label"].dtype == torch.int64
    other = model.to(dtype=torch.float64)  # the network is cast, and so are its conditions
    assert dode.sampler(other, "ddim", nfe=2).sample(4).dtype == torch.float64


def test_numpy_functions_get_numpy_conditions():
    def network(x, t, cond):
        assert type(cond) is np.ndarray
        return x * cond[:, None]

    model = dode.from_callable(
        network,
        schedule=SCHEDULES["edm"],
        cond=lambda i: np.ones(len(i)),
        numpy=True,
        **(OPTIONS | {"prediction": "data"}),
    )
    assert dode.sampler(model, "ddim", nfe=2).sample(3).shape == (3, 3)


@pytest.mark.parametrize("cond", [3, ["a", "b"], {"y": torch.zeros(5)}, (1, 2)])
def test_conditions_that_are_none_say_so(cond):
    options = {"schedule": SCHEDULES["edm"], **(OPTIONS | {"prediction": "data"})}
    model = dode.from_callable(lambda x, t, c: 0 * x, cond=lambda i: torch.zeros(len(i)), **options)
    with pytest.raises(ValueError, match="cond must"):
        dode.sampler(model, "ddim", nfe=1).sample(2, cond=cond)
    with pytest.raises(ValueError, match="takes no condition"):
        dode.sampler(dode.from_callable(lambda x, t: 0 * x, **options), "ddim", nfe=1).sample(2, cond=cond)


def test_a_closed_form_is_not_the_solution_under_thresholding():
    model = gaussian().model(SCHEDULES["vp"], "noise")
    clipped = model.thresholded(0.3)
    x = model.start(range(4), 0)
    fine = dode.sampler(clipped, "edm", nfe=401).sample(noise=x)
    assert distance(clipped.exact(x, rtol=1e-2), fine).rms < 0.05 < distance(model.exact(x), fine).rms


def test_what_numpys_functions_give_becomes_numpys():
    """JAX's arrays, for one, are none of numpy's, and may not be written to."""

    class Foreign:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return self.values

    model = dode.from_callable(lambda x, t: Foreign(normal_noise(x, t)), schedule=ornstein(), numpy=True, **OPTIONS)
    own = dode.from_callable(normal_noise, schedule=ornstein(), numpy=True, **OPTIONS)
    x_T = own.start(range(3), 0)
    made, wanted = (dode.sampler(one, "ddim", nfe=3).sample(noise=x_T) for one in (model, own))
    assert torch.equal(made, wanted)


def test_no_condition_is_a_condition_too():
    """None would be taken for "as the model has it", and guidance do nothing."""
    with pytest.raises(
        ValueError, match="null must give a condition that means 'none', a row for each sample; got None"
    ):
        dode.from_callable(
            lambda x, t, cond: 0.1 * x + cond.view(-1, 1),
            schedule=schedule.EDM(),
            prediction="data",
            shape=(2,),
            cond=lambda indices: torch.ones(len(indices)),
            null=lambda indices: None,
        )


def test_times_may_be_negative():
    """ln σ, for one; rounding at the end moves outward on both sides of 0."""
    made = schedule.from_functions(alpha=lambda t: 1.0, sigma=math.exp, t_max=-0.5, t_min=-5.0)
    model = gaussian().model(made, "data")
    x = model.start(range(6), 0)
    assert distance(dode.sampler(model, "edm", nfe=40).sample(noise=x), model.exact(x)).rms < 0.01


def test_an_interpolant_of_cosine_and_sine_starts_at_alpha_zero():
    """cos(π/2) is 6e-17 in floating point; it is the end of the schedule all the same."""
    made = schedule.from_functions(
        alpha=lambda t: math.cos(math.pi * t / 2), sigma=lambda t: math.sin(math.pi * t / 2), t_max=1.0, t_min=1e-3
    )
    assert made.node(1.0).alpha == 0
    model = gaussian().model(made, "v")
    x = model.start(range(6), 0)
    plain = distance(dode.sampler(model, "edm", nfe=12).sample(noise=x), model.exact(x)).rms
    assert plain < 0.1
    with pytest.raises(ValueError, match="use data or flow prediction where alpha = 0"):
        dode.sampler(gaussian().model(made, "noise"), "ddim", nfe=3)


@pytest.mark.parametrize("count", [10, 33, 65])
def test_short_schedules_have_a_reference_too(count):
    short = schedule.DiscreteVP.from_betas(np.linspace(0.01, 0.3, count))
    model = gaussian().model(short, "noise")
    found = exact.solve(model, model.start(range(4), 0), None, 0.5, 4)
    assert distance(found, model.exact(model.start(range(4), 0))).rms < 0.5


def test_whole_times_arrive_as_integers():
    kinds = []
    model = dode.from_callable(
        lambda x, t: kinds.append((t.dtype, t.shape)) or x, schedule=SCHEDULES["discrete"], **OPTIONS
    )
    dode.sampler(model, "ddim", nfe=3).sample(4)
    assert set(kinds[-3:]) == {(torch.int64, (4,))}


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
    edm = SCHEDULES["edm"]
    narrow, wide = (
        dode.analytic.Gaussian(torch.full((3,), m), torch.full((3,), s)) for m, s in ((0.1, 0.5), (0.15, 0.9))
    )
    assert not alike(narrow.model(edm, "data").fingerprint, wide.model(edm, "data").fingerprint)
    with pytest.raises(ValueError, match="NaN"):
        dode.from_callable(lambda x, t: x * torch.nan, schedule=edm, **OPTIONS)
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
    found = solve(model, x, None, 3e-4, 5)
    assert distance(found, exact).rms < (2e-3 if name == "discrete" else 5e-4) * float(exact.square().mean().sqrt())


def test_a_reference_that_cannot_converge_says_so():
    model = mixture().model(SCHEDULES["discrete"], "noise", torch.float64)
    with pytest.raises(ValueError, match=r"halving 333 steps, the most there are, .*; give a larger rtol, or"):
        model.exact(model.start(range(4), 0), rtol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prediction": "eps"}, "prediction must be one of"),
        ({"schedule": "vp"}, "schedule must be an object of dode.schedule.*got 'vp'"),
        ({"schedule": type(SCHEDULES["vp"])}, "schedule must be an object"),
        ({"shape": 3}, r"shape must be the sizes of one sample, as .*; got 3"),
        ({"shape": (None, 3)}, r"shape must be the sizes of one sample, as .*; got \(None, 3\)"),
        ({"dtype": "float64"}, "dtype must be one of torch's, as torch.float32; got 'float64'"),
    ],
)
def test_what_is_no_description_of_a_network_is_refused(wrong, message):
    right = {"schedule": SCHEDULES["vp"], "prediction": "noise", "shape": (3,)}
    with pytest.raises(ValueError, match=message):
        dode.from_callable(lambda x, t: x, **(right | wrong))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inside torch.compile
def test_a_compiled_network_is_the_same_and_an_offloaded_one_is_not_guessed():
    network = torch.nn.Linear(2, 2)
    assert weights_hash(torch.compile(network)) == weights_hash(network)
    with pytest.raises(ValueError, match="the weights bias are offloaded"):
        weights_hash(network.to("meta"))


def first_call(fn, **options):
    return dode.from_callable(fn, **{"schedule": schedule.VP(), "prediction": "noise", "shape": (1, 8, 8)} | options)


class Output:
    """As the networks of diffusers return it."""

    sample = torch.zeros(1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: first_call(torch.nn.Linear(8, 8)), r"called as network\(x, t\), because no cond was given"),
        (lambda: first_call(lambda x, t, c: x), r"cannot be \(missing a required argument: 'c'\)"),
        (lambda: first_call(lambda x, t: x, cond=lambda i: [0] * len(i)), r"network\(x, t, cond\), because cond was"),
        (lambda: first_call(lambda x, t: Output()), r"it returned Output: wrap it, .* network\(x, t\).sample"),
        (lambda: first_call(lambda x, t: (x,)), r"it returned tuple: wrap it, .* network\(x, t\)\[0\]"),
        (lambda: first_call(lambda x, t: x, prediction="epsilon"), "got 'epsilon', which is 'noise' here"),
        (lambda: dode.distill("fashion", "ddim", nfe=3), r"as dode.bundled\('fashion'\) makes it; got 'fashion'"),
        (lambda: dode.distill("fashion", "ddim", nfe=3, cache="absent"), "a model is needed"),
        (lambda: dode.sampler("fashion", "ddim", nfe=3), "a model is needed"),
        (lambda: dode.load(first_call(lambda x, t: x), "c.json"), "give the file first, and then the model"),
        (lambda: dode.from_diffusers(torch.nn.Linear(1, 1)), "takes a pipeline, which has a scheduler; a Linear by"),
        (lambda: dode.sampler(first_call(lambda x, t: x), "ddim", nfe=3).sample(2.5), "a whole number .* got 2.5"),
    ],
)
def test_a_first_call_that_is_wrong_is_a_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_model_prints_as_one_line():
    model = dode.bundled("fashion-mixture")
    assert repr(model) == "Model(fashion-mixture, data on EDM, (1, 32, 32), float32 on cpu)"
