"""DODEScheduler on a network that is never wrong: all data is one image, so every consistent solver is exact."""

import pytest
import torch

NUMPY_2 = [  # diffusers' schedulers make numpy arrays of tensors, and tensors of numpy's numbers
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

POINT = torch.linspace(-0.9, 0.8, 96, dtype=torch.float64).reshape(2, 3, 4, 4)
FAMILIES = {
    "vp": {},
    "edm": {"noise_schedule": "edm"},
    "flow": {"noise_schedule": "flow", "prediction_type": "flow_prediction", "shift": 3.0},
}


def noise(dtype=torch.float64):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def told_the_point(scheduler, x, node):
    """What a perfect network says where all data is one image: every consistent solver is exact there."""
    eps = (x - node.alpha * POINT) / node.sigma
    wanted = {
        "epsilon": eps,
        "sample": POINT,
        "v_prediction": node.alpha * eps - node.sigma * POINT,
        "flow_prediction": eps - POINT,
    }[scheduler.config.prediction_type]
    if scheduler.config.noise_schedule != "edm":
        return wanted
    sigma, data = node.sigma, scheduler.config.sigma_data  # Karras et al. 2022, (7), solved for the network
    sign = -1 if scheduler.config.prediction_type == "v_prediction" else 1
    skip = data**2 / (sigma**2 + data**2)
    return sign * (POINT - skip * x) / (sigma * data * (sigma**2 + data**2) ** -0.5)


def end_of(scheduler, count=None, **options):
    """The end of a run on that network, and what it must be."""
    scheduler.set_timesteps(count, **options)
    nodes = scheduler.plan.nodes
    x = noise() * scheduler.init_noise_sigma
    eps = (x - nodes[0].alpha * POINT) / nodes[0].sigma
    for t, node in zip(scheduler.timesteps, nodes, strict=False):
        x = scheduler.step(told_the_point(scheduler, x, node), t, x).prev_sample
    return x, nodes[-1].alpha * POINT + nodes[-1].sigma * eps
