"""A scheduler's configuration, in diffusers' words, as our schedule, prediction, threshold and grid.

Needs no diffusers: a configuration is a mapping.  Three families: "vp" (betas), "edm" (noise levels, with EDM's
preconditioning outside the network) and "flow".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from dode import json_schema
from dode.denoisers import Threshold
from dode.errors import DodeError
from dode.integrations.diffusers.betas import betas
from dode.parameterization import Kind
from dode.preconditioning import edm
from dode.schedule import EDM, MOST, DiscreteVP, Flow, Node, Schedule, zero_terminal_snr
from dode.solvers.spec import read
from dode.timesteps import Grid, grid, shifted

Config = Mapping[str, Any]
KINDS: dict[str, Kind] = {"epsilon": "noise", "sample": "data", "v_prediction": "v", "flow_prediction": "flow"}
FAMILIES = ("vp", "edm", "flow")
BESIDE = 2**-24  # the last ᾱ in place of 0
UNSUPPORTED = {
    "invert_sigmas": "times that run backward",
    "stochastic_sampling": "stochastic flow sampling",
    "use_beta_sigmas": "noise levels spread by a beta distribution",
    "scale_factors": "sizes that change on the way",
}
FOREIGN = {  # keys that tell schedulers whose networks know other times or levels
    "clip_denoised": "consistency models (CMStochasticIterativeScheduler)",
    "s_churn": "the stochastic VE sampler (KarrasVeScheduler)",
    "sampling_eps": "score SDEs (ScoreSdeVeScheduler)",
    "scaler": "Würstchen (DDPMWuerstchenScheduler)",
    "snr_shift_scale": "CogVideoX (CogVideoXDDIMScheduler)",
}
TELLING = ("beta_start", "beta_schedule", "trained_betas", "sigma_data", "shift", "use_flow_sigmas")  # of a schedule
OF_THE_NETWORK = (  # options that say how it was trained, not how to sample
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type"),
    *("sigma_min", "sigma_max", "sigma_data", "shift", "time_shift_type"),
)
CHOICES = {
    "on_missing": ("error", "base"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "time_shift_type": ("exponential", "linear"),
}
NUMBERS: dict[str, tuple[float, float]] = {"num_train_timesteps": (1, 10**6), "beta_start": (0, 1), "beta_end": (0, 1)}
NUMBERS |= {"shift": (1e-6, 1e6), "shift_terminal": (0, 0.999), "steps_offset": (0, 10**6), "guidance": (-1e6, 1e6)}
NUMBERS |= {"rho": (0.1, 1000), "sigma_data": (1e-6, 1e6), "dynamic_thresholding_ratio": (0, 1)}
NUMBERS |= dict.fromkeys(("sigma_min", "sigma_max", "clip_sample_range", "sample_max_value"), (0, MOST))
NULL = ("rho", "shift", "shift_terminal", "steps_offset", "guidance")  # these may be left to their defaults
WORDS = ("method", "timestep_spacing", "beta_schedule", "prediction_type", "sigma_schedule", *CHOICES)


def family(config: Config) -> str:
    """Which family a configuration is of: what it says, or what its keys belong to."""
    if "noise_schedule" in config:
        return str(config["noise_schedule"])
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return "flow"
    betas = any(key in config for key in ("beta_start", "beta_schedule", "trained_betas"))
    if "sigma_data" in config and not betas:
        return "edm"
    return "flow" if "shift" in config and not betas else "vp"


def adopted(config: Config, options: Config | None = None) -> dict[str, Any]:
    """Another scheduler's configuration with what it only implies said in our keys; options are given beside it.

    Raises ValueError for what no plan of ours can follow, which the scheduler itself would never see.
    """
    said = {**config, **(options or {})}
    json_schema.check(config.get("_class_name"), (None, str, [str]), "_class_name")
    _followed(said)
    found = {key: value for key, value in config.items() if key != "dtype"}  # of flax, which diffusers would hand on
    kind = found["noise_schedule"] = family(said)
    if kind == "flow":
        found.setdefault("prediction_type", "flow_prediction")
        if said.get("use_flow_sigmas"):  # these schedulers call it flow_shift: both keys stay equal, whoever reads them
            found["shift"] = found["flow_shift"] = (options or {}).get("shift", said.get("flow_shift", 1.0))
    if "noise_schedule" not in config:
        if said.get("use_flow_sigmas"):
            found["timestep_spacing"] = "trailing"  # which they follow whatever their spacing says
        # diffusers hands on no defaults, but that scheduler's schedule is the network's
        kept = (*OF_THE_NETWORK, *(["timestep_spacing"] if kind == "flow" else []))
        found["_use_default_values"] = [key for key in config.get("_use_default_values", ()) if key not in kept]
    return found


def _followed(config: Config) -> None:
    """ValueError for another scheduler's options, and schedules, that no plan of ours can follow."""
    for key, what in UNSUPPORTED.items():
        if config.get(key):
            raise DodeError(f"{key}={config[key]!r} asks for {what}, which dode has not; set it to False")
    if config.get("timestep_type") == "continuous":
        raise DodeError("timestep_type='continuous' (networks told ¼·ln σ without EDM's preconditioning) is not built")
    if "noise_schedule" in config:
        return
    foreign = [what for key, what in FOREIGN.items() if key in config]
    if "sigma_data" in config and "solver_order" in config and "algorithm_type" not in config:
        foreign.append("networks told arctan σ (CosineDPMSolverMultistepScheduler)")
    if not foreign and not any(config.get(key) is not None for key in TELLING):
        foreign.append("a scheduler that says nothing of its noise levels")
    if foreign:
        raise DodeError(
            f"this configuration is of {foreign[0]}, whose schedule dode does not know; say noise_schedule "
            f"({', '.join(FAMILIES)}) with its options if it is one of these"
        )


def check(config: Config) -> None:
    """ValueError for options that are no option: a configuration may be a file's."""
    null = NULL if family(config) == "edm" else (*NULL, "sigma_min", "sigma_max", "sigma_data")
    for key, (low, high) in NUMBERS.items():
        value = config.get(key, low)
        right = isinstance(value, int) or (isinstance(value, float) and key != "num_train_timesteps")
        if not (right and low <= value <= high) and not (value is None and key in null):
            raise DodeError(f"{key} must be a number from {low:g} to {high:g}; got {json_schema.short(value)}")
    json_schema.check(config.get("trained_betas"), (None, [float]), "trained_betas")
    for key in WORDS:
        json_schema.check(config.get(key), (str, None), key)
    for key, choices in CHOICES.items():
        if config.get(key, choices[0]) not in choices:
            raise DodeError(f"{key} must be {' or '.join(choices)}; got {config[key]!r}")
    if family(config) not in FAMILIES:
        raise DodeError(f"noise_schedule must be one of {', '.join(FAMILIES)}; got {json_schema.line(family(config))}")
    if config["prediction_type"] not in KINDS:
        raise DodeError(f"prediction_type must be one of {', '.join(KINDS)}; got {config['prediction_type']!r}")
    if read(str(config["method"])).distilled and config["calibration"] is None:
        raise DodeError(f"method is a plain solver; for {config['method']} give its calibration, of dode distill")


def schedule(config: Config, mu: float | None = None) -> Schedule:
    """The noise schedule; mu is the shift that flow pipelines compute from the size of the image."""
    kind = family(config)
    if kind == "edm":
        return EDM(float(config["sigma_max"]), float(config["sigma_min"]))
    if kind == "flow":
        return Flow(shift=_shift(config, mu))
    squares = np.cumprod(1 - betas(config))
    if not config.get("rescale_betas_zero_snr"):
        return DiscreteVP(squares)
    # at alpha = 0 noise says nothing of the data: such networks start just beside it, where diffusers starts them
    return DiscreteVP(zero_terminal_snr(squares, BESIDE if config["prediction_type"] == "epsilon" else 0.0))


def _shift(config: Config, mu: float | None) -> float:
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift") or 1.0)
    if mu is None:
        raise DodeError("use_dynamic_shifting=True needs mu, which pipelines compute from the size of the image")
    return math.exp(mu) if config.get("time_shift_type", "exponential") == "exponential" else float(mu)


def prediction(config: Config) -> Kind:
    """What the core sees: with EDM's preconditioning undone outside the network, its output is the data."""
    return "data" if family(config) == "edm" else KINDS[config["prediction_type"]]


def threshold(config: Config) -> Threshold | None:
    """Clipping or dynamic thresholding of x̂₀."""
    if config.get("thresholding"):
        return Threshold(1.0, float(config["dynamic_thresholding_ratio"]), float(config["sample_max_value"]))
    return Threshold(float(config["clip_sample_range"])) if config.get("clip_sample") else None


def form(config: Config) -> str:
    """How the network is called, where its schedule does not say it: EDM's preconditioning, a flow's count of times."""
    if family(config) == "edm":
        return f"an EDM {config['prediction_type']} network with sigma_data {float(config['sigma_data']):g}"
    return f"a flow network of {config['num_train_timesteps']} times" if family(config) == "flow" else ""


def told(config: Config, node: Node) -> float:
    """The time that the network is told at a node: its index, ¼·ln σ, or σ times the number of training times."""
    kind = family(config)
    if kind == "edm":
        return 0.25 * math.log(node.t)  # σ, or what a plan tells instead of it
    return node.t * config["num_train_timesteps"] if kind == "flow" else node.t


def heard(config: Config, schedule: Schedule, time: float) -> Node:
    """The node whose time the network is told: the inverse of `told`."""
    kind = family(config)
    if kind == "edm":
        return schedule.node(math.exp(4 * time))
    return schedule.node(min(1.0, time / config["num_train_timesteps"]) if kind == "flow" else time)


def preconditioning(config: Config, sigma: float) -> tuple[float, float, float]:
    """(c_in, c_skip, c_out) of Karras et al. 2022, table 1; c_out turns sign for v."""
    skip, out, into, _ = (float(c) for c in edm(torch.tensor(sigma, dtype=torch.float64), float(config["sigma_data"])))
    return into, skip, -out if config["prediction_type"] == "v_prediction" else out


def unpreconditioned(config: Config, output: torch.Tensor, x: torch.Tensor, t: float) -> torch.Tensor:
    """A network's output at x as `prediction` has it: EDM's skip and scale applied, which stand outside the network."""
    if family(config) != "edm":
        return output
    _, skip, out = preconditioning(config, t)
    return skip * x + out * output


def end(config: Config) -> str:
    """Where sampling ends, in `grid`'s words."""
    return "t_min" if config.get("final_sigmas_type") == "sigma_min" else "data"


def spacing(config: Config) -> str:
    """The name of the grid that the configuration asks for."""
    if config.get("use_karras_sigmas"):
        return "karras"
    if config.get("use_exponential_sigmas") or config.get("use_lu_lambdas"):
        return "logsnr"
    if family(config) == "edm":
        return "karras" if config.get("sigma_schedule", "karras") == "karras" else "logsnr"
    return config.get("timestep_spacing") or "trailing"


def default_grid(config: Config, schedule: Schedule, count: int) -> Grid:
    """The grid of `count` evaluations that the configuration asks for."""
    name = spacing(config)
    made = grid(schedule, count, name, end=end(config), rho=float(config.get("rho") or 7.0))
    offset = float(config.get("steps_offset") or 0)
    if name == "leading" and offset and schedule.knots:
        moved = [schedule.node(min(node.t + offset, schedule.t_max)) for node in made.nodes[:-1]]
        made = replace(made, nodes=(*moved, made.nodes[-1]))
    if config.get("shift_terminal") and made.nodes[-2].t != 1:  # but for a single step, which begins at the noise
        made = _stretched(made, schedule, 1 - float(config["shift_terminal"]))
    return made


def ladder(config: Config, schedule: Schedule) -> Sequence[Node]:
    """Every noise level that the network was trained on, from the largest, and the end; as many of a continuous one."""
    if schedule.knots:
        return [*map(schedule.node, reversed(schedule.knots)), schedule.node(schedule.t_end)]
    return default_grid(config, schedule, int(config["num_train_timesteps"])).nodes


def _stretched(made: Grid, schedule: Schedule, most: float) -> Grid:
    """Flow times stretched so that the last before the data is 1 − most (LTX-Video's shift_terminal)."""
    factor = (1 - made.nodes[-2].t) / most
    times = [1 - (1 - node.t) / factor for node in made.nodes[:-1]]
    return replace(made, nodes=(*(schedule.node(t) for t in times), made.nodes[-1]))


def _at(schedule: Schedule, level: float) -> Node:
    """The node of this σ/α; published lists are rounded and may lie a thousandth beyond the ends."""
    for edge in (schedule.node(schedule.t_max), schedule.node(schedule.t_min)):
        if edge.alpha > 0 and math.isclose(level, edge.sigma / edge.alpha, rel_tol=1e-3):
            return edge
    return schedule.at(-math.log(level))


def given_grid(config: Config, schedule: Schedule, values: Sequence[float], levels: bool) -> Grid | None:
    """The grid through times that the network is told, or with `levels` through noise levels: σ/α; σ before the shift.

    None if they are what flow pipelines pass when nobody asked for anything, n levels evenly from 1 to 1/n.
    """
    if not levels:
        nodes = [heard(config, schedule, value) for value in values]
    elif family(config) == "flow":
        if np.allclose(values, [1 - i / len(values) for i in range(len(values))], rtol=0, atol=1e-6):
            return None
        nodes = [schedule.node(shifted(value, schedule.shift)) for value in values]
    else:
        nodes = [_at(schedule, value) for value in values]
    last = schedule.node(schedule.t_min if end(config) == "t_min" else schedule.t_end)
    if not all(s.logsnr < t.logsnr for s, t in pairwise([*nodes, last])):
        said = ", ".join(f"{value:g}" for value in values)
        raise DodeError(f"times and levels must fall strictly, and end before t = {last.t:g}; got {said}")
    made = Grid((*nodes, last), "t", "times", shift=schedule.shift)
    if config.get("shift_terminal") and levels:
        made = _stretched(made, schedule, 1 - float(config["shift_terminal"]))
    return made
