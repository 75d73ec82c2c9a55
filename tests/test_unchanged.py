"""What a change of the code's shape must not change: plans, fits, what auto finds, samples, files that load.

`python tests/test_unchanged.py` writes `unchanged.json` anew: do that only with a line under "Changed numbers" in
CHANGELOG.md.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import dode

HERE = Path(__file__).parent
ROOT = HERE.parent
RECORDS = HERE / "unchanged.json"
MODELS = ("fashion", "fashion-edm", "fashion-mixture")
BUDGETS = (5, 10)
FEW = {"samples": 4, "scale": 2, "seed": 1}
# plans that nothing was fitted for; fits, whose λ inherit the rounding of float32 networks (a relative 1e-7 in every
# output moves them by up to 7e-6); a search on top of fits (2e-4)
EXACT, FITTED, SEARCHED = 1e-11, 5e-5, 2e-3


def projections(*arrays):
    """Four inner products with fixed random directions, and the norm: a hash that survives the last bit of a float64.

    Two computers differ in the last bit of exp; a changed coefficient moves these by about as much as it changes.
    """
    numbers = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])
    directions = np.random.default_rng(0).standard_normal((4, len(numbers))) / np.sqrt(max(1, len(numbers)))
    return [*(directions @ numbers).tolist(), float(np.linalg.norm(numbers)), len(numbers)]


def of_plan(plan):
    return projections(plan.table, np.array([list(node) for node in plan.nodes]))


def plain(name):
    model, found = dode.bundled(name), {}
    for method in dode.METHODS:
        for nfe in BUDGETS:
            try:
                found[f"{method} {nfe}"] = of_plan(dode.sampler(model, method, nfe=nfe).plan)
            except ValueError:
                found[f"{method} {nfe}"] = "refused"  # the solver has no such budget
    return found


def distilled(name):
    model, found = dode.bundled(name), {}
    for method in dode.METHODS:
        for nfe in BUDGETS:
            try:
                found[f"d-{method} {nfe}"] = of_plan(dode.distill(model, method, nfe=nfe, **FEW).plan)
            except ValueError:
                found[f"d-{method} {nfe}"] = "refused"
    return found


def samples(name):
    sampler = dode.sampler(dode.bundled(name), "ddim", nfe=5)
    return {f"seed {seed}": projections(sampler.sample(2, seed=seed).numpy()) for seed in range(3)}


def searched():
    return {"auto 4": of_plan(dode.auto(dode.bundled("fashion-mixture"), 4, quick=True, seed=1).plan)}


def calibrations():
    """Every file of the repository that says that it is a calibration."""
    paths = [*ROOT.glob("docs/results/**/*.json"), *ROOT.glob("tests/**/*.json"), *ROOT.glob("paper/**/*.json")]
    return sorted(path for path in paths if '"dode calibration"' in path.read_text()[:4000])


def measured():
    return {
        "plain": {name: plain(name) for name in MODELS},
        "distilled": {name: distilled(name) for name in MODELS},
        "samples": {name: samples(name) for name in MODELS},
        "searched": searched(),
    }


def assert_same(now, before, tolerance):
    assert now.keys() == before.keys()
    for key, numbers in before.items():
        if isinstance(numbers, str):
            assert isinstance(now[key], str), key
            continue
        assert now[key][-1] == numbers[-1], f"{key}: another number of coefficients"
        scale = tolerance * max(1.0, numbers[-2])
        assert np.abs(np.subtract(now[key][:-1], numbers[:-1])).max() <= scale, key


@pytest.fixture(scope="module")
def records():
    return json.loads(RECORDS.read_text())


@pytest.mark.parametrize("name", MODELS)
def test_plain_plans(records, name):
    assert_same(plain(name), records["plain"][name], EXACT)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_distilled_plans(records, name):
    assert_same(distilled(name), records["distilled"][name], FITTED)


@pytest.mark.parametrize("name", MODELS)
def test_samples(records, name):
    assert_same(samples(name), records["samples"][name], FITTED)


def test_what_auto_finds(records):
    assert_same(searched(), records["searched"], SEARCHED)


@pytest.mark.parametrize("path", calibrations(), ids=lambda path: path.name)
def test_calibration_files_load(path):
    content = dode.calibration.read(path)
    for entry in content["plans"]:
        plan = dode.calibration.plan_from_json(entry["plan"])
        assert plan.nfe == entry["nfe"]
        np.testing.assert_array_equal(plan.table, np.array(entry["plan"]["table"]))


def test_there_are_calibration_files():
    assert len(calibrations()) >= 4


if __name__ == "__main__":
    RECORDS.write_text(json.dumps(measured(), indent=1) + "\n")
