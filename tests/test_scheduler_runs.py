"""A run through DODEScheduler is the core's run, and diffusers' own where the two define the same solver."""

import copy
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from perfect import NUMPY_2
from problems import BETAS, CATALOGUE, MISSING, counts

import dode
from dode import preconditioning
from dode.diffusers import DODEScheduler
from dode.samplers import content

pytestmark = NUMPY_2

SHAPE = (3, 4, 4)
FAMILIES = {
    "vp": {},
    "edm": {"noise_schedule": "edm"},
    "flow": {"noise_schedule": "flow", "prediction_type": "flow_prediction", "shift": 3.0},
}
EVERY = [(name, family) for name in CATALOGUE for family in FAMILIES if (name, family) not in MISSING]


def net(x, t):
    """A network of no meaning, smooth in x and t: outputs below 1.2."""
    return torch.sin(x) + 0.2 * torch.cos(torch.as_tensor(t).to(x.dtype) / 100)


def noise(dtype=torch.float64, seed=0):
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def walk(scheduler, x, network=net, times=None, **more):
    """What a pipeline does, from a state on: every state after the first."""
    states = []
    scale = getattr(scheduler, "scale_model_input", lambda x, t: x)  # diffusers' flow schedulers have none
    for t in scheduler.timesteps if times is None else times:
        x = scheduler.step(network(scale(x, t), t), t, x, **more).prev_sample
        states.append(x)
    return states


def as_core(family, dtype):
    """The same network as the core sees it: told in the scheduler's units, in EDM's preconditioning."""
    schedule = DODEScheduler(**FAMILIES[family]).schedule

    def vp(x, t):
        return net(x, t[0])

    def flow(x, t):
        return net(x, torch.tensor(float(t[0]) * 1000, dtype=torch.float32))

    def edm(x, t):
        skip, out, into, told = (float(c) for c in preconditioning.edm(t[0].double()))
        return skip * x + out * net(x * into, torch.tensor(told, dtype=torch.float32))

    fn, prediction = {"vp": (vp, "noise"), "edm": (edm, "data"), "flow": (flow, "flow")}[family]
    return dode.from_callable(fn, schedule=schedule, prediction=prediction, shape=SHAPE, dtype=dtype)


@pytest.mark.parametrize(("name", "family"), EVERY)
def test_every_solver_is_the_cores(name, family):
    """Bitwise in float64, and within rounding in float32."""
    (count,) = counts(name, 7)
    for dtype, tolerance in ((torch.float64, 0), (torch.float32, 1e-5)):
        scheduler = DODEScheduler(method=name, **FAMILIES[family])
        scheduler.set_timesteps(count)
        x_T = noise(dtype) * scheduler.init_noise_sigma
        states = walk(scheduler, x_T)
        assert len(states) == count
        sampler = dode.sampler(as_core(family, dtype), name, nfe=count)
        wanted = [state.y for state in sampler.trajectory(noise=x_T)][1:]
        for a, b in zip(states, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_a_plan_that_tells_other_noise_levels_is_the_cores():
    """As `auto` makes them: state and told level differ, and EDM's preconditioning is that of the level told."""
    core = as_core("edm", torch.float64)
    plain = dode.sampler(core, "ddim", nfe=4)
    told = (0.1, -0.2, 0.05, -0.1)
    shifts = zip(plain.plan.nodes, (*told, 0.0), strict=True)
    nodes = tuple(node._replace(t=node.t * float(np.exp(-shift))) for node, shift in shifts)
    sampler = replace(plain, plan=replace(plain.plan, nodes=nodes, conditioning_shifts=np.array(told)))
    scheduler = DODEScheduler(calibration=content(sampler), **FAMILIES["edm"])
    scheduler.set_timesteps(4)
    x_T = noise() * scheduler.init_noise_sigma
    wanted = [state.y for state in sampler.trajectory(noise=x_T)][1:]
    for a, b in zip(walk(scheduler, x_T), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max()))


@pytest.mark.parametrize(
    ("spacing", "offset", "count"),
    [("trailing", 0, n) for n in (1, 3, 7, 20)] + [("leading", offset, n) for offset in (0, 1) for n in (3, 7, 20)],
)
def test_ddim_is_its_equation(spacing, offset, count):
    """Song et al. 2021, (12) with σ = 0, on the times that diffusers' spacings name."""
    if spacing == "trailing":
        times = [round(1000 - i * 1000 / count) - 1 for i in range(count)]
    else:
        times = [i * (1000 // count) + offset for i in reversed(range(count))]
    squares = np.cumprod(1 - BETAS)
    levels = [*(float(squares[t]) for t in times), 1.0]
    x, wanted = noise(), []
    for t, a, b in zip(times, levels, levels[1:], strict=False):
        eps = net(x, torch.tensor(t))
        x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        x = b**0.5 * x0 + (1 - b) ** 0.5 * eps
        wanted.append(x)
    scheduler = DODEScheduler(method="ddim", timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(count)
    assert scheduler.timesteps.tolist() == times
    torch.testing.assert_close(walk(scheduler, noise()), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("spacing", "count"), [("karras", 1), ("karras", 8), ("exponential", 2), ("exponential", 8)])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_is_diffusers_euler_and_multistep(count, prediction, spacing):
    """Their levels are float32.  (One exponential level of theirs would be sigma_min, far from where x_T stands.)"""
    options = {"prediction_type": prediction, "sigma_schedule": spacing, "sigma_data": 0.7, "sigma_max": 50.0}
    theirs = {
        "ddim": diffusers.EDMEulerScheduler(**options),
        "dpm-solver++2m": diffusers.EDMDPMSolverMultistepScheduler(**options),
    }
    for name, scheduler in theirs.items():
        ours = DODEScheduler.from_config(scheduler.config, method=name)
        ours.set_timesteps(count)
        scheduler.set_timesteps(count)
        torch.testing.assert_close(ours.timesteps, scheduler.timesteps, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.sigmas, scheduler.sigmas, rtol=1e-5, atol=0)
        x = 50 * noise(torch.float32)
        a, b = walk(ours, x), walk(scheduler, x)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=5e-5)  # of states up to 200


LEVELS = [None, [1.0, 0.8, 0.5, 0.1]]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    ("options", "mu"),
    [
        ({"shift": 1.0}, None),
        ({"shift": 3.0}, None),
        ({"use_dynamic_shifting": True}, 0.8),
        ({"use_dynamic_shifting": True, "time_shift_type": "linear"}, 2.5),
        ({"use_dynamic_shifting": True, "shift_terminal": 0.1}, 1.1),
    ],
)
def test_flow_is_diffusers_euler(options, mu, levels):
    """Given the levels that pipelines pass, and others."""
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**options)
    ours = DODEScheduler.from_config(theirs.config, method="ddim")
    given = levels or [1.0, 0.75, 0.5, 0.25]
    theirs.set_timesteps(sigmas=given, mu=mu)
    ours.set_timesteps(sigmas=given, mu=mu)
    torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        walk(ours, noise(torch.float32)), walk(theirs, noise(torch.float32)), rtol=1e-5, atol=1e-5
    )


def test_flow_levels_without_a_request_are_the_shifted_grid():
    """n levels evenly from 1, which pipelines pass when nobody asked, give the plain plan: a calibration fits it."""
    flow = DODEScheduler(**FAMILIES["flow"])
    flow.set_timesteps(5)
    plain = flow.plan.nodes
    flow.set_timesteps(sigmas=np.linspace(1, 1 / 5, 5))
    assert flow.plan.nodes == plain
    u = 1 - np.arange(5) / 5
    np.testing.assert_allclose(flow.timesteps.numpy(), 1000 * 3 * u / (1 + 2 * u), rtol=1e-6)


def test_full_loop_with_ancestral_noise():
    """DDIM with eta = 1 is diffusers' first-order SDE-DPM-Solver++, given the same generator; and repeatable."""
    theirs = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=1, timestep_spacing="trailing"
    )
    ours = DODEScheduler.from_config(theirs.config, method="ddim:eta=1")
    runs = []
    for scheduler in (theirs, ours, ours):
        scheduler.set_timesteps(6)
        runs.append(walk(scheduler, noise(torch.float32), generator=torch.Generator().manual_seed(5)))
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(runs[1][-1], runs[2][-1])
    ours.set_timesteps(6)
    other = walk(ours, noise(torch.float32), generator=torch.Generator().manual_seed(6))
    assert not torch.equal(other[-1], runs[1][-1])


@pytest.mark.parametrize("name", ["dpm-solver++2m", "dpm-solver++3m", "unipc-2"])
@pytest.mark.parametrize("start", [0, 3])
def test_full_loop_with_noise(name, start):
    """Image to image, found by its first time: diffusers' own, whose multistep solvers warm up again."""
    kind = diffusers.UniPCMultistepScheduler if name == "unipc-2" else diffusers.DPMSolverMultistepScheduler
    order = {"solver_order": 3 if name.endswith("3m") else 2}
    theirs = kind(timestep_spacing="trailing", lower_order_final=name == "unipc-2", **order)
    ours = DODEScheduler.from_config(theirs.config, method=name)
    image, runs = torch.tanh(noise(torch.float32, seed=1)), []
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(8)
        times = scheduler.timesteps[start:]
        x = scheduler.add_noise(image, noise(torch.float32), times[:1])
        runs.append([x, *walk(scheduler, x, times=times)])
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dpm-solver++2m", "dpm-solver-3", "edm"])
def test_set_begin_index(name):
    """It says where a run starts, where a time that stands twice could not; the first of them is the guess."""
    scheduler = DODEScheduler(method=name)
    runs = []
    for begin in (None, 3, 4):
        scheduler.set_timesteps(8)
        times = scheduler.timesteps[begin or 3 :]
        if begin is not None:
            scheduler.set_begin_index(begin)
        assert scheduler.step_index is None
        states = walk(scheduler, noise(), times=times)
        assert (scheduler.begin_index, scheduler.step_index) == (begin, 8)
        assert len(states) == 8 - (begin or 3)
        runs.append(states[-1])
    twice = scheduler.timesteps.tolist().count(int(scheduler.timesteps[3])) > 1
    assert twice == (name == "edm")
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[1], runs[2]) == twice  # half of a Heun step alone moves nothing


@pytest.mark.parametrize("name", ["ipndm", "dpm-solver-2", "dpm-solver++3m", "ddim:eta=1"])
def test_deepcopy_in_a_run(name):
    """Both copies go on alike, and neither disturbs the other."""
    scheduler = DODEScheduler(method=name)
    scheduler.set_timesteps(7)
    first, rest = scheduler.timesteps[:3], scheduler.timesteps[3:]
    x = walk(scheduler, noise(), times=first, generator=torch.Generator().manual_seed(0))[-1]
    other = copy.deepcopy(scheduler)
    a, b = (walk(one, x, times=rest, generator=torch.Generator().manual_seed(1)) for one in (scheduler, other))
    assert torch.equal(a[-1], b[-1])
    assert (scheduler.step_index, other.step_index) == (7, 7)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_support(dtype, family):
    """A step computes in float32 and returns what it was given."""
    half, wide = (DODEScheduler(method="ddim", **FAMILIES[family]) for _ in range(2))
    half.set_timesteps(5)
    x = (noise() * half.init_noise_sigma).to(dtype)
    for t in half.timesteps:
        output = net(half.scale_model_input(x, t), t)
        assert output.dtype == dtype
        wide.set_timesteps(5)
        wanted = wide.step(output.float(), t, x.float()).prev_sample.to(dtype)
        x = half.step(output, t, x).prev_sample
        assert x.dtype == dtype
        assert torch.equal(x, wanted)
