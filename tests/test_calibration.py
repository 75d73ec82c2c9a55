"""A calibration file gives back every bit, and refuses what it is not for."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import SCHEDULES, conditioned, mixture, swapped

import dode
from dode import calibration, samplers
from dode.errors import DodeError


@pytest.fixture(scope="module")
def model():
    made = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    return conditioned(made, lambda i: torch.tensor([k % 3 for k in i]), lambda i: torch.full((len(i),), 9))


@pytest.fixture(scope="module")
def fitted(model):
    return dode.distill(model, "ddim", nfe=[4, 6], samples=10)


@pytest.fixture
def path(tmp_path, fitted):
    file = tmp_path / "d-ddim.json"
    dode.save(file, *fitted.values())
    return file


def test_every_bit_comes_back(path, model, fitted):
    for nfe, made in fitted.items():
        again = dode.load(path, model, nfe)
        np.testing.assert_array_equal(again.plan.table, made.plan.table)
        assert again.plan.nodes == made.plan.nodes
        assert again.provenance == made.provenance
        assert torch.equal(again.sample(3), made.sample(3))


OTHERS = ["ddim:formulation=sep", "deis-2:variable=rho:formulation=2", "ddim:formulation=fixed", "ddim:formulation=la"]


@pytest.mark.parametrize("text", [*OTHERS, "dpm-solver-3:inner=time:carry=false", "gradient-estimation:gamma=1.3"])
def test_every_formulation_and_option_comes_back(text, model, tmp_path):
    """Several coefficients an evaluation have several errors, and one constant for all has its value."""
    made = dode.distill(model, text, nfe=5, samples=10)
    made.save(tmp_path / "one.json")
    again = dode.load(tmp_path / "one.json", model)
    assert again.provenance == made.provenance
    assert again.name == made.name
    assert (again.plan.carry, again.plan.unnormalized) == (made.plan.carry, made.plan.unnormalized)
    assert torch.equal(again.sample(3), made.sample(3))
    if "sep" in text:
        assert [np.size(error) for error in again.provenance.errors] == [2, 2, 2, 2, 2]
        assert all(condition > 1 for condition in again.provenance.conditions)
        assert np.abs(again.plan.mix.sum(1) - 1).max() > 1e-6  # free rows


def test_labels_ask_for_the_solver_again(model):
    for text in ("d-ddim", "d-deis-2:variable=rho:formulation=2:states=teacher", "ddim:eta=0.25", "edm"):
        name = text.removeprefix("d-")
        made = dode.distill(model, name, nfe=5, samples=4) if name != text else dode.sampler(model, name, nfe=5)
        assert made.name == made.provenance.label == text


def test_one_sampler_saves_itself(tmp_path, model, fitted):
    fitted[4].save(tmp_path / "one.json")
    assert dode.load(tmp_path / "one.json", model).nfe == 4


def test_guidance_scales_share_a_file(tmp_path, model, fitted):
    strong = dode.distill(model.guided(2.0), "ddim", nfe=4, samples=10)
    dode.save(tmp_path / "both.json", fitted[4], strong)
    again = dode.load(tmp_path / "both.json", model.guided(2.0), 4)
    np.testing.assert_array_equal(again.plan.lambdas, strong.plan.lambdas)
    assert not np.array_equal(again.plan.lambdas, dode.load(tmp_path / "both.json", model, 4).plan.lambdas)


def test_a_plan_of_its_own_scale_comes_before_one_of_an_unknown(tmp_path, model, fitted):
    """In either order; the other numbers of evaluations are still served, and all are there to be written again."""
    unknown = [replace(one, model=model.declared(None)) for one in fitted.values()]
    own = replace(fitted[4], model=model.declared(1.0))
    dode.save(tmp_path / "a.json", *unknown, own)
    content = calibration.read(tmp_path / "a.json")
    for plans in (content["plans"], content["plans"][::-1]):
        mixed = content | {"plans": plans}
        assert calibration.pick(mixed, 1.0, 4)["guidance"] == 1.0
        assert calibration.pick(mixed, 1.0, 6)["guidance"] is None
        assert calibration.pick(mixed, 2.0, 4)["guidance"] is None
        with pytest.raises(ValueError, match="NFE 4, 6; say which"):
            calibration.pick(mixed, 1.0, None)
    found = samplers.load_all(tmp_path / "a.json", model)
    assert [(one.nfe, one.model.guidance) for one in found] == [(4, 1.0), (6, 1.0), (4, 1.0)]


def test_numpys_numbers_are_saved(tmp_path, model):
    numbers = {"samples": np.int64(4), "scale": np.int32(3), "batch": np.int64(2)}
    made = dode.distill(model, "ddim", nfe=3, **numbers)
    made.save(tmp_path / "n.json")
    assert dode.load(tmp_path / "n.json", model).provenance == made.provenance


def test_devices_are_not_replaced(tmp_path, fitted):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is a folder or a device"):
        dode.save(tmp_path / "pipe", *fitted.values())
    assert (tmp_path / "pipe").is_fifo()


def test_what_a_reader_needs_is_in_the_file(path):
    content = json.loads(path.read_text())
    entry = content["plans"][0]
    assert {"fingerprint", "schedule", "prediction", "shape", "threshold"} <= content["model"].keys()
    assert {"space", "convention", "nodes", "lambda", "table"} <= entry["plan"].keys()
    wanted = {
        "method",
        "teacher",
        "align",
        "scale",
        "rho",
        "samples",
        "batch",
        "seed",
        "dtype",
        "errors",
        "ratios",
        "report",
        "options",
        "formulation",
        "lam",
        "states",
        "conditions",
    }
    assert wanted <= entry["provenance"].keys()
    assert len(entry["plan"]["lambda"]) == len(entry["provenance"]["errors"]) == entry["nfe"]


def damaged(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["plans"][0]["plan"]["mix"][1].__setitem__(2, 1.5), "changed after it was written"),
        (lambda c: c["plans"][0].__setitem__("guidance", 7.0), "changed after it was written"),
        (lambda c: c.__setitem__("schema", 99), "has schema 99"),
        (lambda c: c.pop("what"), "not a calibration file"),
    ],
)
def test_hand_edited_files_are_refused(path, model, change, says):
    damaged(path, change)
    with pytest.raises(ValueError, match=says):
        dode.load(path, model, 4)


def test_truncated_and_missing_files_are_refused(path, model):
    path.write_text(path.read_text()[:500])
    with pytest.raises(ValueError, match="not a whole JSON file"):
        dode.load(path, model, 4)
    with pytest.raises(ValueError, match="no calibration file at"):
        dode.load(path.with_name("none.json"), model, 4)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "a\0b", "\n"])
def test_a_name_that_no_file_can_have_is_one_line(name):
    """As the configuration of a scheduler may hold it."""
    with pytest.raises(ValueError, match="no calibration file at") as told:
        dode.load(name, dode.bundled("fashion-mixture"))
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)


def test_another_use_is_refused_with_both_sides(path, model):
    def refuse(other, nfe, says):
        with pytest.raises(ValueError, match=says):
            dode.load(path, other, nfe)

    refuse(model, 5, "calibrated for NFE 4, 6; asked for 5")
    refuse(model, None, "NFE 4, 6; say which")
    refuse(model.guided(2.0), 4, "calibrated for guidance 1; asked for 2")
    refuse(replace(model, schedule=SCHEDULES["cosine"]), 4, "schedule")
    refuse(replace(model, shape=(8,)), 4, "shape")
    refuse(model.thresholded(1.0), 4, "threshold")
    refuse(swapped(model, fingerprint="probe:1,2,3,4"), 4, "is for the network")


def test_a_file_of_two_models_is_refused(tmp_path, model, fitted):
    other = replace(fitted[6], model=replace(model, name="other"))
    with pytest.raises(ValueError, match="of several"):
        dode.save(tmp_path / "x.json", fitted[4], other)
    with pytest.raises(ValueError, match="one plan for each NFE"):
        dode.save(tmp_path / "x.json", fitted[4], fitted[4])
    assert not list(tmp_path.iterdir())


def test_what_distill_gave_is_saved_as_it_is_and_swapped_arguments_are_told(tmp_path, model, fitted):
    dode.save(tmp_path / "dict.json", fitted)
    dode.save(tmp_path / "each.json", *fitted.values())
    assert (tmp_path / "dict.json").read_bytes() == (tmp_path / "each.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"give a path and at least one sampler to save, as dode.save\(path, sampler\)"
    ):
        dode.save(fitted[4], tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"give the file first, and then the model: dode.load\(path, model\)"):
        dode.load(model, tmp_path / "dict.json")


def test_nothing_is_half_written(tmp_path, fitted, monkeypatch):
    (tmp_path / "c.json").write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(DodeError, match="disk full"):
        fitted[4].save(tmp_path / "c.json")
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]
    assert (tmp_path / "c.json").read_text() == "old"


def test_a_folder_that_does_not_exist_is_refused(tmp_path, fitted):
    with pytest.raises(ValueError, match="does not exist"):
        fitted[4].save(tmp_path / "no" / "c.json")
