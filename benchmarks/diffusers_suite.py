"""The scheduler tests of diffusers themselves, run on DODEScheduler.

    DIFFUSERS_SRC=path/to/a/checkout python benchmarks/diffusers_suite.py

The checkout gives the tests, the installed package everything else; scipy and torchsde must be installed, since two of
the compatible schedulers need them.  Run are the cases that every scheduler of diffusers has, for each family of noise
schedules, and the file of the DPM-Solver multistep scheduler with its recorded means.  A case that asks for what
DODEScheduler has not is not applicable, with the reason in words; where a case goes through several configurations,
those that exist must pass ("in part").  docs/results/diffusers-suite.md is the last run.
"""

import importlib
import importlib.util
import os
import sys
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import suite_page
import torch
from diffusers.configuration_utils import FrozenDict

from dode.diffusers import DODEScheduler

# DPM-Solver's names of a solver, as ours: (solver_order, algorithm_type)
METHODS = {
    (1, "dpmsolver"): "dpm-solver-1",
    (2, "dpmsolver"): "dpm-solver-2",
    (3, "dpmsolver"): "dpm-solver-3",
    (1, "dpmsolver++"): "ddim",
    (2, "dpmsolver++"): "dpm-solver++2m",
    (3, "dpmsolver++"): "dpm-solver++3m",
    (1, "sde-dpmsolver++"): "ddim:eta=1",
}
OPENING = "only steps from α = 0 and to σ = 0 are of order 1; a last step to sigma_min has the method's order"
# Options that have no counterpart: the value for which nothing is asked, and what is missing
NEUTRAL: dict[str, tuple[Any, str]] = {
    "lower_order_final": (False, OPENING),
    "euler_at_final": (False, OPENING),
    "lambda_min_clipped": (-float("inf"), "grids start at the last training time, whatever its log-SNR"),
    "use_beta_sigmas": (False, "no grid has levels spread by a beta distribution"),
}
SDE = "no stochastic DPM-Solver of this kind; stochastic sampling is ddim:eta=1 and edm:churn=…"
HEUN = "of 2M's two forms there is the usual one, midpoint"
# Cases run with another configuration than theirs: what is changed, and why
TO_DATA = "to the data; to sigma_min there are T − 1 steps between T whole times, and theirs has one of no length"
NINE = "with 9 steps; the last of their 10 goes from sigma_min to sigma_min and changes nothing"
INSTEAD: dict[str, tuple[dict[str, Any], str]] = {
    "test_timesteps": ({"final_sigmas_type": "zero"}, TO_DATA),
    "test_duplicated_timesteps": ({"final_sigmas_type": "zero"}, TO_DATA),
    "test_full_loop_with_karras_and_v_prediction": ({}, NINE),
    "test_full_loop_with_lu_and_v_prediction": ({}, NINE),
}

LEFT_OUT = {"Test not supported.": "left out by diffusers' own file; run in the cases of every scheduler"}


class Missing(unittest.SkipTest):
    """The case asks for what DODEScheduler has not."""


class Suited(DODEScheduler):
    """DODEScheduler, with the one key that the cases for DPM-Solver read back from a configuration."""

    @property
    def config(self) -> Any:
        orders = {name: order for (order, _), name in METHODS.items()}
        return FrozenDict({**super().config, "solver_order": orders[super().config["method"]]})


class OneLess(Suited):
    """For loops of ten steps of which one has no length."""

    def set_timesteps(self, num_inference_steps: int | None = None, *args: Any, **options: Any) -> None:
        assert num_inference_steps is not None
        super().set_timesteps(num_inference_steps - 1, *args, **options)


def translated(given: dict[str, Any]) -> dict[str, Any]:
    """DPM-Solver's configuration as ours; Missing says what has no counterpart."""
    config = dict(given)
    for key, (neutral, why) in NEUTRAL.items():
        if config.pop(key, neutral) != neutral:
            raise Missing(f"{key}={given[key]}: {why}")
    order, algorithm, kind = (config.pop(key) for key in ("solver_order", "algorithm_type", "solver_type"))
    if (order, algorithm) not in METHODS:
        raise Missing(f"{algorithm} of order {order}: {SDE}")
    if kind == "heun" and (order, algorithm) == (2, "dpmsolver++"):
        raise Missing(f"solver_type=heun: {HEUN}")
    if config.pop("use_lu_lambdas", False):  # the same grid under another name
        config["use_exponential_sigmas"] = True
    return {"timestep_spacing": "linspace", **config, "method": METHODS[order, algorithm]}  # theirs by default


def common(tests: Any, family: str) -> type[unittest.TestCase]:
    """The cases of every scheduler, with our defaults."""

    class Common(tests.SchedulerCommonTest):  # type: ignore[misc]
        scheduler_classes = (DODEScheduler,)
        forward_default_kwargs = (("num_inference_steps", 25),)

        def get_scheduler_config(self, **config: Any) -> dict[str, Any]:
            prediction = "flow_prediction" if family == "flow" else "epsilon"
            return {"noise_schedule": family, "prediction_type": prediction, **config}

        def test_trained_betas(self) -> None:
            if family != "vp":
                raise Missing("a schedule without betas")
            super().test_trained_betas()

    return Common


def multistep(tests: Any) -> type[unittest.TestCase]:
    """The cases of DPM-Solver multistep; configurations that do not exist are noted and left out."""
    tests.DPMSolverMultistepScheduler = Suited  # test_switch begins and ends with the scheduler that is tested

    class Multistep(tests.DPMSolverMultistepSchedulerTest):  # type: ignore[misc]
        def setUp(self) -> None:
            self.ran = 0
            self.missing: list[str] = []
            self.changed, note = INSTEAD.get(self._testMethodName, ({}, ""))
            self.scheduler_classes = (OneLess if note == NINE else Suited,)

        def get_scheduler_config(self, **config: Any) -> dict[str, Any]:
            return {**translated(super().get_scheduler_config(**config)), **self.changed}

        def check_over_configs(self, *args: Any, **config: Any) -> None:
            self.tried(lambda: super(Multistep, self).check_over_configs(*args, **config))

        def full_loop(self, *args: Any, **config: Any) -> Any:
            return self.tried(lambda: super(Multistep, self).full_loop(*args, **config))

        def full_loop_custom_timesteps(self, **config: Any) -> Any:
            return self.tried(lambda: super(Multistep, self).full_loop_custom_timesteps(**config))

        def tried(self, part: Callable[[], Any]) -> Any:
            """One configuration of a case; one that does not exist is noted, and gives 0, which no recorded mean is."""
            try:
                result = part()
            except Missing as missing:
                self.missing.append(str(missing))
                return torch.zeros(())
            self.ran += 1
            return result

        def tearDown(self) -> None:
            if self.missing and not self.ran:
                raise Missing(self.missing[0])

    return Multistep


def outcome(case: Any) -> dict[str, Any]:
    """One case: passed, in part, failed or not applicable, with what there is to say."""
    result = unittest.TestResult()
    torch.manual_seed(0)
    case.run(result)
    name = case._testMethodName
    broken = [*result.failures, *result.errors]
    if broken:
        return {"result": "failed", "note": broken[0][1].strip().splitlines()[-1], "trace": broken[0][1]}
    if result.skipped:
        return {"result": "not applicable", "note": LEFT_OUT.get(result.skipped[0][1], result.skipped[0][1])}
    missing = sorted(set(getattr(case, "missing", ())))
    note = INSTEAD[name][1] if hasattr(case, "changed") and name in INSTEAD else ""
    if missing:
        note = f"{case.ran} configurations passed; not applicable: " + "; ".join(missing)
    return {"result": "in part" if missing else "passed", "note": note}


def imported(source: str, name: str) -> Any:
    """A module of the checkout's tests."""
    if source not in sys.path:
        sys.path.insert(0, source)
    try:
        return importlib.import_module(f"tests.schedulers.{name}")
    except ModuleNotFoundError as error:
        raise SystemExit(f"the tests in {source} need {error.name}, which is not installed") from error


def main() -> None:
    source = os.environ.get("DIFFUSERS_SRC", "")
    if not (Path(source) / "tests/schedulers").is_dir() or not source:
        raise SystemExit("set DIFFUSERS_SRC to a checkout of diffusers; its folder tests/schedulers was not found")
    for name in ("scipy", "torchsde"):
        if importlib.util.find_spec(name) is None:
            raise SystemExit(f"install {name}: a scheduler that ours must be exchangeable with needs it")
    warnings.simplefilter("ignore")
    base = imported(source, "test_schedulers")
    suites = {f"every scheduler, {family}": common(base, family) for family in ("vp", "edm", "flow")}
    suites["DPM-Solver multistep"] = multistep(imported(source, "test_scheduler_dpm_multi"))
    found = {}
    for title, kind in suites.items():
        cases = unittest.defaultTestLoader.getTestCaseNames(kind)
        found[title] = {case: outcome(kind(case)) for case in cases}
    suite_page.write(found, Path(source))


if __name__ == "__main__":
    main()
