"""Solvers against diffusers' schedulers, state by state, on nodes that are exactly theirs.

They round noise levels to float32.  Those are taken as they are and widened, so that both sides compute in float64.
"""

import math

import pytest
import torch
from problems import BETAS, SCHEDULES, mixture

from dode.sampling import trajectory
from dode.schedule import DiscreteVP, Node
from dode.solvers import METHODS
from dode.tracing import trace

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"  # np.array(tensor), by numpy 2
)

EXACT = 1e-12  # relative to the largest number of a state
FLOAT32 = 1e-5  # where a scheduler rounds the state itself to float32 at every step, which adds up to 3e-6
VP = DiscreteVP.from_betas(BETAS, integer=False)  # karras grids have times between whole ones


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


def vp(t, level):
    """A level is σ/α, and α² + σ² = 1."""
    alpha = 1 / math.sqrt(level**2 + 1)
    return Node(t, alpha, level * alpha)


def ve(t, level):
    return Node(level, 1.0, level)


def flow(t, level):
    return Node(level, 1 - level, level)


def levels(scheduler, steps, point):
    """Set the scheduler up with its levels widened: the nodes of its evaluations, and the last one."""
    scheduler.set_timesteps(steps)
    scheduler.sigmas = scheduler.sigmas.double()
    times = [*scheduler.timesteps.tolist(), -1.0]
    return [point(float(t), level) for t, level in zip(times, scheduler.sigmas.tolist(), strict=True)]


def walk(scheduler, nodes, denoise, x):
    """Every state of theirs after the first."""
    states = []
    for t, node in zip(scheduler.timesteps, nodes, strict=False):
        x = scheduler.step(denoise(x, node), t, x).prev_sample
        states.append(x)
    return states


def check(name, kind, schedule, scheduler, nodes, tolerance, theirs=walk, given=None):
    """Every state; given: the outputs that they get, if other than ours."""
    model = mixture().model(schedule, given or kind, torch.float64)
    x = model.start(range(4), 0)
    plan = trace(METHODS[name], nodes, schedule, kind)
    ours = [state.y for state in trajectory(plan, model.bound(kind, None), x)][1:]
    wanted = theirs(scheduler, nodes, model.bound(given or kind, None), x)
    for k, (a, b) in enumerate(zip(ours, wanted, strict=True)):
        error = float((a - b).abs().max() / b.abs().max())
        assert error < tolerance, f"state {k + 1} of {plan.nfe}"


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize(
    ("kind", "theirs", "rescale"),
    [
        ("noise", "epsilon", False),
        ("data", "sample", False),
        ("v", "v_prediction", False),
        ("v", "v_prediction", True),  # starts at α = 0
    ],
)
def test_ddim(diffusers, kind, theirs, rescale, steps):
    scheduler = diffusers.DDIMScheduler(
        prediction_type=theirs, clip_sample=False, timestep_spacing="trailing", rescale_betas_zero_snr=rescale
    )
    scheduler.set_timesteps(steps)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    squares = [(t, float(scheduler.alphas_cumprod[t])) for t in scheduler.timesteps.tolist()]
    nodes = [Node(float(t), math.sqrt(a), math.sqrt(1 - a)) for t, a in [*squares, (-1, 1.0)]]
    check("ddim", kind, SCHEDULES["zero-snr"] if rescale else VP, scheduler, nodes, EXACT)


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_ddim_on_flow(diffusers, steps):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    check("ddim", "flow", SCHEDULES["flow"], scheduler, levels(scheduler, steps, flow), FLOAT32)


def heun(scheduler, nodes, denoise, x):
    """Theirs runs on x/α."""
    states, x = [], x / nodes[0].alpha
    for t, node, after in zip(scheduler.timesteps, nodes, nodes[1:], strict=False):
        x = scheduler.step(denoise(x * node.alpha, node), t, x).prev_sample
        states.append(x * after.alpha)
    return states


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(("kind", "theirs"), [("noise", "epsilon"), ("data", "sample")])
def test_edm(diffusers, kind, theirs, karras, steps):
    """Their levels and times stand twice where a step ends and the next begins."""
    scheduler = diffusers.HeunDiscreteScheduler(
        beta_start=1e-4, beta_end=0.02, prediction_type=theirs, use_karras_sigmas=karras, timestep_spacing="trailing"
    )
    nodes = levels(scheduler, steps, vp)
    check("edm", kind, VP, scheduler, nodes[:1] + nodes[1::2], EXACT, lambda s, _, d, x: heun(s, nodes, d, x))


# With karras σ_min is already the last level: their step to it would have no length; so would UniPC's with flow.
GRIDS = {
    "trailing": (VP, vp, {"timestep_spacing": "trailing"}),
    "linspace": (VP, vp, {"timestep_spacing": "linspace"}),
    "karras": (VP, vp, {"use_karras_sigmas": True}),
    "flow": (SCHEDULES["flow"], flow, {"use_flow_sigmas": True, "flow_shift": 3.0}),
    "trailing-to-min": (VP, vp, {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}),
    "linspace-to-min": (VP, vp, {"timestep_spacing": "linspace", "final_sigmas_type": "sigma_min"}),
}
MULTISTEP = pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 20])  # their own rules change at 15


@MULTISTEP
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("name", "order"), [("dpm-solver++2m", 2), ("dpm-solver++3m", 3)])
def test_dpm_solver_multistep(diffusers, name, order, grid, steps):
    """To σ = 0 they step at order 1 whatever the settings, and without lower_order_final nowhere else."""
    schedule, point, settings = GRIDS[grid]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=order, prediction_type="sample", lower_order_final=False, **settings
    )
    check(name, "data", schedule, scheduler, levels(scheduler, steps, point), FLOAT32)


def last_at_order_1(scheduler, nodes, denoise, x):
    """The walk with lower_order_final for the step to σ = 0 only; before it, it would lower UniPC-3 to 2 as well."""
    states = []
    for t, node, after in zip(scheduler.timesteps, nodes, nodes[1:], strict=False):
        scheduler.register_to_config(lower_order_final=after.sigma == 0)
        x = scheduler.step(denoise(x, node), t, x).prev_sample
        states.append(x)
    return states


@MULTISTEP
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("name", "order"), [("unipc-2", 2), ("unipc-3", 3)])
def test_unipc(diffusers, name, order, grid, steps):
    schedule, point, settings = GRIDS[grid]
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=order, prediction_type="sample", **settings)
    check(name, "data", schedule, scheduler, levels(scheduler, steps, point), EXACT, last_at_order_1)


@pytest.mark.parametrize("steps", [2, 10, 20])
@pytest.mark.parametrize(
    ("name", "scheduler", "tolerance"),
    [("dpm-solver++2m", "DPMSolverMultistepScheduler", FLOAT32), ("unipc-2", "UniPCMultistepScheduler", EXACT)],
)
def test_their_defaults(diffusers, name, scheduler, tolerance, steps):
    """As they come, and given noise: their order 2 is ours, the last step included."""
    made = getattr(diffusers, scheduler)()
    check(name, "data", VP, made, levels(made, steps, vp), tolerance, given="noise")


@MULTISTEP
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver++2m", 2), ("dpm-solver++3m", 3)])
def test_dpm_solver_multistep_on_edm(diffusers, name, order, spacing, steps):
    """The same solver without rounding of the state; EDM's preconditioning belongs to the network and is left out."""
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        solver_order=order, lower_order_final=False, sigma_schedule=spacing
    )
    scheduler.precondition_outputs = lambda sample, output, sigma: output
    check(name, "data", SCHEDULES["edm"], scheduler, levels(scheduler, steps, ve), EXACT)
