"""Networks that are wrong, or hardly there: every task works, with finite results, or says in one sentence why not."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from problems import SCHEDULES, prediction_for

import dode
from dode.denoisers import CallableNetwork
from dode.model import build

pytestmark = [
    pytest.mark.filterwarnings("ignore:samples=1"),
    pytest.mark.filterwarnings("ignore:.*is large:UserWarning"),  # of a λ that is large, as it may be here
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]


def late(x, t, schedule):
    """NaN in the second half of a run alone."""
    return torch.where(t.reshape(-1, *[1] * (x.ndim - 1)) < 0.4 * schedule.t_max, torch.nan, 0.1 * x)


def networks(schedule):
    return {
        "NaN": lambda x, t: x * math.nan,
        "infinite": lambda x, t: x + math.inf,
        "NaN late": partial(late, schedule=schedule),
        "NaN in one sample": lambda x, t: torch.where(
            torch.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) == 1, math.nan, x
        ),
        "zero": lambda x, t: torch.zeros_like(x),
        "constant": lambda x, t: torch.full_like(x, 0.7),
        "large and constant": lambda x, t: torch.full_like(x, 6e4),  # in float16 a state overflows, no output does
        "the state": lambda x, t: x.clone(),
        "large": lambda x, t: 1e30 * x.float(),
        "tiny": lambda x, t: 1e-42 * x,
        "no tensor": lambda x, t: None,
        "one row": lambda x, t: x[:1],
        "whole numbers": lambda x, t: torch.ones_like(x, dtype=torch.int64),
    }


def sampled(model):
    return [dode.sampler(model, name, nfe=3).sample(2) for name in ("ddim", "dpm-solver++2m", "edm")]


def distilled(model):
    made = [
        dode.distill(model, "ddim", nfe=3, samples=1, scale=3),
        dode.distill(model, "ddim:formulation=sep", nfe=3, samples=3, batch=1, scale=3),
        dode.distill(model, "edm", nfe=3, samples=3, scale=3),
    ]
    return [one.plan.table for one in made] + [made[0].sample(1)]


def found(model):
    return [dode.auto(model, 3, samples=4, quick=True).sample(1)]


def evaluated(model):
    row = dode.evaluate(dode.sampler(model, "ddim", nfe=3), ["rms"], paired=2, batch=1)
    return [row.rms, row.median, row.rms_error]


TASKS = {"sample": sampled, "distill": distilled, "auto": found, "evaluate": evaluated}
SHAPES = {"picture": (1, 4, 4), "one pixel": (1, 1, 1), "one number": (1,)}


CASES = [("picture", kind, where) for where in ("discrete", "edm", "flow") for kind in ("float32", "float16")]
CASES += [("one pixel", "float32", "edm"), ("one number", "float32", "discrete")]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("shape", "dtype", "where"), CASES)
def test_every_task_works_or_says_why_not(task, where, shape, dtype):
    schedule, outcomes = SCHEDULES[where], {}
    for name, network in networks(schedule).items():
        of_task = (CallableNetwork(network, False), schedule, prediction_for(where), SHAPES[shape])
        model = build(*of_task, dtype=getattr(torch, dtype), fingerprint="probe:none")
        try:
            numbers = TASKS[task](model)
        except ValueError as error:
            outcomes[name] = str(error)
            assert "\n" not in outcomes[name]
            assert len(outcomes[name]) < 400
            continue
        outcomes[name] = "works"
        for value in numbers:
            assert np.isfinite(np.asarray(value)).all(), name
    assert all("NaN or infinity" in outcomes[name] for name in ("NaN", "infinite")), outcomes
    assert "must return a tensor; it returned NoneType" in outcomes["no tensor"]
    assert {outcomes[name] for name in ("zero", "constant", "tiny", "whole numbers")} == {"works"}, outcomes


@pytest.mark.parametrize("name", ["NaN", "infinite", "no tensor"])
def test_a_network_is_called_once_before_it_is_a_model(name):
    network = networks(SCHEDULES["discrete"])[name]
    with pytest.raises(ValueError, match=r"NaN or infinity|must return a tensor"):
        dode.from_callable(network, schedule=SCHEDULES["discrete"], prediction="noise", shape=(1, 4, 4))
