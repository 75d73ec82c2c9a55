"""On an accelerator: nothing is float64 there, and sampling never waits for it before the end of a run."""

from dataclasses import replace

import pytest
import torch
from faraway import DEVICE, Device
from problems import SCHEDULES, mixture, swapped

import dode
from dode.diffusers import DODEScheduler
from dode.sampling import Watch, run
from dode.schedule import DiscreteVP, linear_betas

VP = DiscreteVP.from_betas(linear_betas())
SHAPE = (2, 4, 4)


def network(x, t, cond=None):
    """Something smooth; the condition moves it."""
    shift = 0.0 if cond is None else 0.1 * cond.to(x.dtype).reshape(-1, 1, 1, 1)
    return torch.tanh(x + shift) * (1 - t.to(x.dtype).reshape(-1, 1, 1, 1) / 2000)


def model(device="cpu", fn=network, **options):
    return dode.from_callable(fn, schedule=VP, prediction="noise", shape=SHAPE, device=device, **options)


def labelled(device="cpu"):
    labels, none = (lambda i: torch.tensor([k % 3 for k in i])), (lambda i: torch.full((len(i),), 3))
    return model(device, cond=labels, null=none, classes=4)


@pytest.fixture
def device():
    with Device() as played:
        yield played


def watched(device, fn=network):
    """The network, and what had been looked at before each of its calls."""
    before = []

    def call(x, t, *cond):
        before.append(list(device.looks))
        return fn(x, t, *cond)

    return call, before


def test_the_device_of_these_tests_notices(device):
    x = torch.ones(3, device=DEVICE)
    for look in (lambda: bool((x > 0).all()), lambda: float(x[0]), x.cpu, lambda: x + torch.ones(3)):
        device.looks.clear()
        look()
        assert device.looks
    with pytest.raises(TypeError, match=r"no torch\.float64"):
        x.double()
    with pytest.raises(TypeError, match=r"no torch\.float64"):
        torch.ones(3, dtype=torch.float64).to(DEVICE)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("method", ["ddim", "edm", "ipndm", "ddim:eta=1"])
def test_sampling_does_not_wait(device, method, guidance):
    there = labelled(DEVICE)
    call, before = watched(device)
    there = swapped(there, replace(there.network, fn=call)).guided(guidance)
    plan = dode.sampler(there, method, nfe=7).plan
    plan = plan if ":" in method else plan.extrapolate(3, 0.4)
    samplers = [replace(dode.sampler(made, method, nfe=7), plan=plan) for made in (there, labelled().guided(guidance))]
    device.looks.clear()
    end = samplers[0].sample(3, seed=5)
    noise = 6 if ":" in method else 0  # fresh noise comes from here, on the way to every state but the last
    assert len(before) == 7
    assert len(before[-1]) == len(before[0]) + noise
    assert device.looks == [*before[-1], "aten::_to_copy"], "the one look is at the end"
    assert torch.equal(end.cpu(), samplers[1].sample(3, seed=5))


def test_nan_on_the_device_is_named_at_the_end(device):
    fn = lambda x, t: torch.where(t.reshape(-1, 1, 1, 1) < 500, torch.nan, 1.0) * network(x, t)  # noqa: E731
    call, before = watched(device, fn)
    good = dode.sampler(model(DEVICE), "ddim", nfe=5)
    bad = replace(good, model=swapped(good.model, replace(good.model.network, fn=call)))
    with pytest.raises(ValueError, match=r"evaluation 4 of 5, t = 399: the network returned NaN"):
        bad.sample(2)
    assert len(before) == 5


def test_a_look_forgets_what_it_has_seen():
    plan = dode.sampler(model(), "ddim", nfe=3).plan
    watch = Watch(plan)
    watch.see(0, torch.ones(2))
    watch.look()
    for bad in (torch.inf, -torch.inf, torch.nan):
        for at in range(40):
            d = torch.zeros(40)
            d[at] = bad
            with pytest.raises(ValueError, match="evaluation 2 of 3"):
                Watch(plan).see(1, d)


@pytest.mark.parametrize("method", ["ddim", "ipndm", "edm"])
def test_distillation_is_the_same_there(device, method):
    here, there = (dode.distill(labelled(place), method, nfe=4, samples=6, batch=4) for place in ("cpu", DEVICE))
    assert here.plan.lambdas.tolist() == there.plan.lambdas.tolist()


def test_search_and_reference_are_the_same_there(device):
    ends = []
    for place in ("cpu", DEVICE):
        found = dode.distill(labelled(place), "ddim:formulation=fixed:lam=search", nfe=3, samples=4)
        x = found.model.start(range(3), 1)
        ends.append((found.plan.lambdas.tolist(), found.model.exact(x).cpu(), found.sample(noise=x).cpu()))
    assert ends[0][0] == ends[1][0]
    assert torch.equal(ends[0][1], ends[1][1])
    assert torch.equal(ends[0][2], ends[1][2])


def test_refinement_is_the_same_there(device):
    from dode.search.levenberg_marquardt import Pupil, squares

    plan = dode.sampler(model(), "ddim", nfe=4).plan.extrapolate(2, 0.3)
    found = []
    for place in ("cpu", DEVICE):
        made = model(place)
        x = made.start(range(4), 0, "fit")
        found.append(squares(plan, [Pupil(x, 0.5 * x, made.bound("noise", None))], lambda calls: None).tolist())
    assert found[0] == found[1]
    assert device.looks


@pytest.mark.parametrize("family", ["vp", "edm", "flow"])
def test_a_scheduler_does_not_wait(device, family):
    kinds = {"vp": "epsilon", "edm": "epsilon", "flow": "flow_prediction"}
    ends = []
    for place in ("cpu", DEVICE):
        scheduler = DODEScheduler(noise_schedule=family, prediction_type=kinds[family])
        scheduler.set_timesteps(6)
        scheduler.timesteps = scheduler.timesteps.to(place)
        x = torch.linspace(-1, 1, 32).reshape(1, *SHAPE).to(place) * scheduler.init_noise_sigma
        for i, t in enumerate(scheduler.timesteps):
            if i == 1:
                device.looks.clear()  # at the first step it finds out where the run starts
            x = scheduler.step(torch.tanh(scheduler.scale_model_input(x, t)), t, x).prev_sample
        assert not device.looks
        ends.append(x.cpu())
    assert torch.equal(*ends)


def test_kdiffusion_does_not_wait(device):
    from dode.integrations.k_diffusion import sample_dode

    sigmas = torch.tensor([10.0, 3.0, 1.0, 0.3, 0.0])
    call, before = watched(device, lambda x, sigma: torch.tanh(x))
    x = torch.linspace(-1, 1, 8).reshape(1, 8).to(DEVICE) * 10
    seen = []
    sample_dode(call, x, sigmas, disable=True, callback=lambda info: seen.append(info["i"]))
    assert seen == [0, 1, 2, 3]
    assert before[-1] == before[0]


def test_float16_there_is_float16_here(device):
    ends = [
        dode.sampler(model(place, dtype=torch.float16), "ipndm", nfe=5).sample(3, seed=2) for place in ("cpu", DEVICE)
    ]
    assert ends[1].dtype == torch.float16
    assert torch.equal(ends[0], ends[1].cpu())


def test_plain_functions_run_there_too(device):
    made = mixture(torch.float32).model(SCHEDULES["vp"], "noise", torch.float32)
    plan = dode.sampler(made, "dpm-solver++2m", nfe=5).plan
    ends = [
        run(plan, lambda x, node: torch.tanh(x), made.start(range(2), 0).to(place)).cpu() for place in ("cpu", DEVICE)
    ]
    assert torch.equal(*ends)
