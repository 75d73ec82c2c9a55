"""The betas of a scheduler's configuration, as diffusers makes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dode.errors import DodeError
from dode.schedule import linear_betas

CUT = 0.999  # largest beta of schedules that are given by their noise levels, as in Nichol & Dhariwal 2021


def betas(config: Mapping[str, Any]) -> np.ndarray:
    """The betas of a VP configuration: (num_train_timesteps,) float64."""
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], dtype=np.float64)
    count, first, last = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    makers: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: linear_betas(count, first, last),
        "scaled_linear": lambda: np.linspace(first**0.5, last**0.5, count) ** 2,
        "squaredcos_cap_v2": lambda: _cut(_cosine(np.arange(count + 1) / count)),
        "laplace": lambda: _cut(_laplace(np.arange(count + 1) / count)),
        "sigmoid": lambda: first + (last - first) / (1 + np.exp(-np.linspace(-6, 6, count))),
    }
    if config["beta_schedule"] not in makers:
        raise DodeError(f"beta_schedule must be one of {', '.join(makers)}; got {config['beta_schedule']!r}")
    return makers[config["beta_schedule"]]()


def _cut(levels: np.ndarray) -> np.ndarray:
    """Betas of the ᾱ of all times, at most CUT each."""
    cut: np.ndarray = np.minimum(1 - levels[1:] / levels[:-1], CUT)
    return cut


def _cosine(t: np.ndarray) -> np.ndarray:
    """ᾱ of Nichol & Dhariwal 2021, (17)."""
    found: np.ndarray = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    return found


def _laplace(t: np.ndarray) -> np.ndarray:
    """ᾱ of Hang et al. 2024 as diffusers has it: the log-SNR's quantiles of a Laplace distribution, and a root."""
    logsnr = -0.5 * np.copysign(1, 0.5 - t) * np.log(1 - 2 * np.abs(0.5 - t) + 1e-6)
    found: np.ndarray = np.sqrt(1 / (1 + np.exp(-logsnr)))
    return found
