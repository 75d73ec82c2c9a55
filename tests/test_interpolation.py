"""Plans between those of auto: what is the same in both neighbours stays, and nothing that is not nearer is given."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from problems import mixture_model
from test_cli import dode as command

import dode
from dode.schedule import Flow
from dode.search.auto import tuned
from dode.search.budget import Budget
from dode.search.initial_candidates import starts
from dode.search.interpolation import between, resampled
from dode.search.parametrization import Family, history, weighted
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

CASES = {"vp": "noise", "edm": "data", "flow": "flow", "zero-snr": "data", "discrete": "noise"}


@pytest.fixture(scope="module")
def found():
    """The bundled mixture at 4 and 6 evaluations."""
    model = dode.bundled("fashion-mixture")
    return [one for one, _ in tuned(model, [4, 6], Budget(samples=24, select=16)).values()]


def plans(schedule, nfe):
    """A plan of a family with numbers of its own, and its schedule."""
    model = mixture_model(schedule)
    chosen = model.schedule.continuous()
    plan, _ = build(METHODS["ipndm-2"], nfe, chosen, model.prediction, "trailing", kind=CASES[schedule])
    some = Family(weighted(plan), chosen, history, told=True)
    random = np.random.default_rng(nfe)
    return some.plan(0.05 * random.normal(size=len(some.acts()))), chosen


@pytest.mark.parametrize("schedule", CASES)
def test_a_plan_is_between_itself_and_itself(schedule):
    plan, chosen = plans(schedule, 5)
    for same in (resampled(plan, 5, chosen), between(plan, plan, 0.3, chosen)):
        np.testing.assert_allclose(same.table, plan.table, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose([n.t for n in same.nodes], [n.t for n in plan.nodes], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", CASES)
def test_the_ends_of_a_share_are_the_neighbours(schedule):
    (a, chosen), (b, _) = plans(schedule, 5), plans(schedule, 7)
    b = resampled(b, 5, chosen)
    for share, one in ((0.0, a), (1.0, b)):
        np.testing.assert_allclose(between(a, b, share, chosen).table, one.table, rtol=1e-9, atol=1e-12)
    half = between(a, b, 0.5, chosen)
    np.testing.assert_allclose(half.mix, (a.mix + b.mix) / 2)
    for x, y, z in zip(a.nodes[1:-1], b.nodes[1:-1], half.nodes[1:-1], strict=True):
        assert z.logsnr == pytest.approx((x.logsnr + y.logsnr) / 2)


def test_weights_that_do_not_change_along_a_run_do_not_change_with_its_length():
    """ipndm-2 on an even grid is ipndm-2 on the even grid of another length."""
    flow = Flow()
    for kind in ("flow", "data"):
        five, seven = (weighted(build(METHODS["ipndm-2"], n, flow, "flow", "linspace", kind=kind)[0]) for n in (5, 7))
        made = resampled(replace(five, unnormalized=True), 7, flow)
        np.testing.assert_allclose(made.mix, seven.mix, atol=1e-12)


def test_it_is_nearer_than_plain_solvers_and_says_between_what(found):
    model = found[0].model
    sampler = dode.interpolate({one.nfe: one for one in found}, model, 5)  # as dode.distill gives them
    assert sampler.nfe == 5
    x_T = model.start(range(48), 0)
    exact = model.exact(x_T, 3e-3)

    def distance(one):
        return float((one.sample(noise=x_T) - exact).square().mean().sqrt())

    assert distance(sampler) < min(
        distance(dode.sampler(model, name, nfe=5)) for name in ("ddim", "ipndm-2", "dpm-solver++2m", "unipc-2")
    )
    assert sampler.provenance.report["between"] == ["NFE 4 under guidance 1", "NFE 6 under guidance 1"]


def test_what_is_not_nearer_is_refused(found):
    """Neighbours whose weights are those of another network."""
    spoilt = [replace(one, plan=replace(one.plan, mix=0.8 * one.plan.mix)) for one in found]
    with pytest.raises(ValueError, match=r"nothing is nearer than .* against .* dode auto --nfe 5"):
        dode.interpolate(spoilt, found[0].model, 5)


@pytest.mark.parametrize("nfe", [3, 8, 4])
def test_without_neighbours_on_both_sides_it_is_refused(found, nfe):
    with pytest.raises(ValueError, match=f"NFE {nfe} under guidance 1 is not between two"):
        dode.interpolate(found, found[0].model, nfe)


def test_plans_with_stages_are_refused():
    model = mixture_model("edm")
    sampler = dode.sampler(model, "edm", nfe=5)
    with pytest.raises(ValueError, match="only plans of auto"):
        resampled(sampler.plan, 6, model.schedule)
    with pytest.raises(ValueError, match="for NFE 5 under guidance 1 there is edm, and only plans of auto"):
        dode.interpolate([sampler, dode.sampler(model, "edm", nfe=7)], model, 6)


def test_one_sampler_has_nothing_beside_it(found):
    with pytest.raises(ValueError, match="give several samplers, with fewer and with more evaluations"):
        dode.interpolate(found[0], found[0].model, 5)


def test_between_guidance_scales_on_a_network():
    """Two plain solvers stand for what was found: they are the neighbours, and no nearer than themselves."""
    model = dode.bundled("fashion")
    plan = starts(model, 4, ("ipndm-2",))[0].plan
    made = [
        replace(dode.sampler(model.guided(g), "ddim", nfe=4), plan=replace(weighted(plan), unnormalized=True))
        for g in (1.0, 3.0)
    ]
    with pytest.raises(ValueError, match="between NFE 4 under guidance 1 and NFE 4 under guidance 3 nothing is nearer"):
        dode.interpolate(made, model.guided(2.0), 4)


def test_between_whole_times_are_whole_times():
    model = mixture_model("discrete")
    found = [one for one, _ in tuned(model, [4, 6], Budget(samples=24, select=16, whole=True)).values()]
    made = dode.interpolate(found, model, 5)
    assert all(node.t == round(node.t) for node in made.plan.nodes)


def test_the_command_writes_a_file_that_samples(found, tmp_path):
    dode.save(tmp_path / "auto.json", *found)
    done = command(tmp_path, "interpolate", "fashion-mixture", "auto.json", "--nfe", "5", "-o", "five.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "five.json").read_text())["plans"][0]["nfe"] == 5
    assert dode.load(tmp_path / "five.json", found[0].model).sample(2).shape == (2, *found[0].model.shape)
    done = command(tmp_path, "interpolate", "fashion-mixture", "auto.json", "--nfe", "5", "-o", "auto.json")
    assert done.returncode == 0, done.stderr
    assert [entry["nfe"] for entry in json.loads((tmp_path / "auto.json").read_text())["plans"]] == [4, 5, 6]
    done = command(tmp_path, "inspect", "auto.json", "--explain")
    assert "it lies between the plans for NFE 4" in done.stdout
    assert "None" not in done.stdout
    assert re.search(r"^  0\.\d+  this plan\n  0\.\d+  ", done.stdout, re.MULTILINE)
    assert "None" not in command(tmp_path, "inspect", "auto.json").stdout
    done = command(tmp_path, "interpolate", "fashion-mixture", "auto.json", "--nfe", "9", "-o", "nine.json")
    assert done.returncode == 2
    assert not (tmp_path / "nine.json").exists()


def test_a_search_takes_the_place_of_what_was_between_and_not_the_other_way_round(found, tmp_path):
    between = dode.interpolate(found, found[0].model, 5)
    dode.save(tmp_path / "auto.json", *found, between)
    words = ["auto", "fashion-mixture", "--nfe", "5", "--quick", "--samples", "8", "--paired", "0", "-o", "auto.json"]
    done = command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    plans = json.loads((tmp_path / "auto.json").read_text())["plans"]
    assert sorted(entry["nfe"] for entry in plans) == [4, 5, 6]
    assert not any("between" in entry["provenance"]["report"] for entry in plans)
    done = command(tmp_path, "interpolate", "fashion-mixture", "auto.json", "--nfe", "5", "-o", "five.json")
    assert done.returncode == 2
    assert "auto.json holds what was found for NFE 5 under guidance 1: nothing to do" in done.stderr
