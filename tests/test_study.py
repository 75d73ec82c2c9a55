"""A comparison is made row by row: stopped anywhere, the same command ends with the same rows."""

import csv
import json
import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from problems import mixture_model, swapped

import dode
from dode.metrics import evaluation, results, study
from dode.metrics.estimates import Estimate, Row, pooled, ratio
from dode.metrics.evaluation import Evaluator, Settings
from dode.metrics.features import Moments
from dode.metrics.reference_stats import Statistics
from dode.metrics.results import Results, opened, read, row_from_json, row_to_json, write_csv
from dode.metrics.study import Study, run
from dode.samplers import save

SETTINGS = Settings(6, rtol=1e-2, metrics=("rms",))
WHOLE = Study(("ddim", "d-ddim", "edm"), (3, 5), (1.0,), (0, 1))


class Stopped(Exception):
    """As by a kill."""


def bars(stop_at=None):
    """Progress bars that say nothing, and stop the run as the one of this number begins."""
    seen = []

    @contextmanager
    def bar(title):
        seen.append(title)
        if len(seen) == stop_at:
            raise Stopped
        yield lambda done, total: None

    return bar, seen


def figures(rows):
    """Rows as they are written, but for the time that they took."""
    return [row_to_json(row) | {"seconds": 0} for row, _ in rows]


@pytest.fixture(scope="module")
def model():
    return mixture_model("edm")


@pytest.fixture(scope="module")
def whole(model):
    return figures(run(model, WHOLE, SETTINGS, None, Results(None, {}), bars()[0]))


def test_rows_are_those_of_every_solver_evaluation_and_seed(model, whole):
    said = [(row["solver"], row["nfe"], row["seeds"]) for row in whole]
    assert said == [(name, nfe, [seed]) for seed in (0, 1) for name in WHOLE.names for nfe in (3, 5)]
    fitted = dode.distill(model, "d-ddim".removeprefix("d-"), nfe=[3, 5], seed=1)
    row = dode.evaluate(fitted[5], ["rms"], paired=6, seed=1, rtol=1e-2)
    assert whole[9]["rms"] == pytest.approx(row.rms, rel=1e-9)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 8, 9, 10, 16])
def test_a_run_that_was_stopped_goes_on_to_the_same_rows(model, whole, tmp_path, stop_at):
    path = tmp_path / "r.json"
    with pytest.raises(Stopped):
        run(model, WHOLE, SETTINGS, None, opened(path, {"a": 1}), bars(stop_at)[0])
    before = len(read(path).rows) if path.exists() else 0
    bar, seen = bars()
    assert figures(run(model, WHOLE, SETTINGS, None, opened(path, {"a": 1}), bar)) == whole
    assert sum("NFE" in title for title in seen) == 12 - before  # no row twice
    assert seen.count("teachers and fits") == (stop_at <= 2) + (stop_at <= 10)
    bar, seen = bars()
    assert figures(run(model, WHOLE, SETTINGS, None, opened(path, {"a": 1}), bar)) == whole
    assert seen == []


def test_a_solution_out_of_reach_is_told_before_the_fits(model):
    """Which are what takes long; with nothing to fit it is solved when it is needed."""
    bar, seen = bars()
    with pytest.raises(ValueError, match="still moves the solution"):
        run(replace(model, solution=None), WHOLE, Settings(6, rtol=1e-15), None, Results(None, {}), bar)
    assert seen == ["exact solution"]
    bar, seen = bars()
    found = run(model, Study(("d-ddim",), (3,)), Settings(6, rtol=1e-2), None, Results(None, {}), bar)
    assert seen == ["exact solution", "teachers and fits", "d-ddim, NFE 3, guidance 1, seed 0"]
    (row,) = evaluation.measured(
        [found[0][1]],
        evaluation.exact_ends(model, Settings(6, rtol=1e-2), None),
        Settings(6),
        lambda *_: None,
    )
    assert found[0][0].rms == row.rms


def test_no_call_is_larger_than_a_batch(model):
    """The teacher's and the fit's too: who asks for small batches has little memory."""
    largest = []
    network = model.denoiser.core.network
    seen = swapped(model, lambda x, t, cond: largest.append(len(x)) or network(x, t, cond))
    run(seen, Study(("d-ddim",), (3,), (1.0,), (0,)), replace(SETTINGS, batch=4), None, Results(None, {}), bars()[0])
    assert max(largest) <= 4


def test_more_can_be_asked_of_the_same_file(model, whole, tmp_path):
    path = tmp_path / "r.json"
    run(model, WHOLE, SETTINGS, None, opened(path, {}), bars()[0])
    bar, seen = bars()
    more = replace(WHOLE, names=("ddim", "ipndm"), seeds=(0,))
    rows = run(model, more, SETTINGS, None, opened(path, {}), bar)
    assert [title for title in seen if "NFE" in title] == [f"ipndm, NFE {n}, guidance 1, seed 0" for n in (3, 5)]
    assert figures(rows)[:2] == whole[:2]
    assert len(read(path).rows) == 14


def test_other_settings_are_refused(model, tmp_path):
    path = tmp_path / "r.json"
    opened(path, {"paired": 6, "grid": None}).write()
    assert opened(path, {"paired": 6, "grid": None}).rows == {}
    with pytest.raises(ValueError, match="was made with paired 6; asked for 7: write to another file"):
        opened(path, {"paired": 7, "grid": None})
    for content, says in {
        '{"schema": 1, "wh': "not a whole JSON file",
        "[]": "not a file of results",
        '{"what": "dode results", "schema": 9}': "has schema 9",
    }.items():
        path.write_text(content)
        with pytest.raises(ValueError, match=says):
            opened(path, {})


def test_calibration_files_take_part_at_what_they_hold(model, tmp_path):
    made = dode.distill(model, "ddim", nfe=[3, 4], samples=8)
    save(tmp_path / "c.json", *made.values())
    name = str(tmp_path / "c.json")
    both = Study((name, "ddim"), (3, 5))
    kept = opened(tmp_path / "r.json", {})
    rows = run(model, both, SETTINGS, None, kept, bars()[0])
    assert [(row.solver.partition("@")[0], row.nfe) for row, _ in rows] == [("d-ddim", 3), ("ddim", 3), ("ddim", 5)]
    assert rows[0][0].rms == pytest.approx(dode.evaluate(made[3], paired=6, rtol=1e-2).rms)
    everything = run(model, Study((name,), None), SETTINGS, None, Results(None, {}), bars()[0])
    assert [row.nfe for row, _ in everything] == [3, 4]
    with pytest.raises(ValueError, match=r"c\.json: calibrated for NFE 3, 4; asked for 7"):
        run(model, Study((name,), (7,)), SETTINGS, None, Results(None, {}), bars()[0])
    save(tmp_path / "c.json", *dode.distill(model, "ddim", nfe=[3], samples=9).values())
    with pytest.raises(ValueError, match=r"has results of another .*c\.json; write to another file"):
        run(model, both, SETTINGS, None, opened(tmp_path / "r.json", {}), bars()[0])
    with pytest.raises(ValueError, match="ddim needs the number of network evaluations"):
        Study(("ddim", name), None)


def test_what_cannot_work_is_told_before_anything_is_fitted(model):
    bar, seen = bars()
    for asked, says in {
        replace(WHOLE, names=("d-ddim", "pndm")): "at least 13 evaluations",
        replace(WHOLE, guidance=(1.0, 2.0)): "cannot be guided",
        replace(WHOLE, names=("d-ddim", "absent.json")): "no calibration file at absent.json",
    }.items():
        with pytest.raises(ValueError, match=says):
            run(model, asked, SETTINGS, None, Results(None, {}), bar)
    with pytest.raises(ValueError, match="auto finds its grid itself"):
        replace(WHOLE, names=("d-ddim", "auto"), grid="karras")
    for asked, says in {}.items():
        with pytest.raises(ValueError, match=says):
            run(model, asked, SETTINGS, None, Results(None, {}), bar)
    judge = Evaluator(lambda images: images.flatten(1)[:, :3], Statistics(Moments(np.zeros(4), np.eye(4))))
    images = dode.bundled("fashion-mixture")
    with pytest.raises(ValueError, match="gives 3 features an image, the statistics are of 4"):
        run(images, WHOLE, Settings(0, 20), judge, Results(None, {}), bar)
    assert seen == []


def full_row():
    estimates = {"rms": Estimate(0.1, 0.01, each=np.array([0.1, 0.2])), "fd": Estimate(3.0, 0.3, np.arange(10.0) / 3)}
    return Row("d-ddim", 5, estimates, 2.5, guidance=3.0, seeds=(4,), samples=20, reference="abc", teacher="ddim")


def test_rows_come_back_exactly():
    row = full_row()
    again = row_from_json(json.loads(json.dumps(row_to_json(row))))
    assert row_to_json(again) == row_to_json(row)
    assert again.each.tolist() == row.each.tolist()
    assert again["fd"].parts.tolist() == row["fd"].parts.tolist()
    empty = row_from_json(json.loads(json.dumps(row_to_json(Row("a", 3)), allow_nan=False)))
    assert math.isnan(empty.rms)
    assert empty.each is None


def test_the_csv_has_a_line_a_row_and_nothing_for_what_was_not_measured(tmp_path):
    write_csv(tmp_path / "r.csv", [full_row(), Row("ddim", 3)])
    one, other = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert {name: one[name] for name in ("solver", "nfe", "guidance", "seed", "paired", "samples")} == {
        "solver": "d-ddim",
        "nfe": "5",
        "guidance": "3.0",
        "seed": "4",
        "paired": "2",
        "samples": "20",
    }
    assert (float(one["rms"]), float(one["fd_error"]), one["kid"]) == (0.1, 0.3, "")
    assert (other["rms"], other["fd"], other["paired"]) == ("", "", "0")


def test_seeds_are_compared_sample_by_sample(model, whole):
    rows = [row_from_json(row) for row in whole]
    ddim, fitted = ([row for row in rows if (row.solver, row.nfe) == (name, 5)] for name in ("ddim", "d-ddim"))
    found, _ = ratio(pooled(fitted), pooled(ddim))
    squares = [np.concatenate([row.each for row in some]) ** 2 for some in (fitted, ddim)]
    assert found == pytest.approx(np.sqrt(squares[0].mean() / squares[1].mean()))


def test_keys_tell_rows_apart():
    assert len({results.key(*one) for one in (("a", 5, 1, 0), ("a", 5, 1, 1), ("a", 5, 3, 0), ("a", 6, 1, 0))}) == 4
    assert study.is_fitted("auto")
    assert not study.is_fitted("d-odd.json")


def test_a_solver_may_bring_its_own_grid(model):
    """Beside the study's: plain and distilled, each the sampler of that grid."""
    names = ("ddim", "ddim:grid=logsnr", "d-ddim:grid=logsnr", "d-ddim:formulation=sep:grid=logsnr", "d-ddim")
    asked = Study(names, (4,), grid="karras")
    found = run(model, asked, SETTINGS, None, Results(None, {}), bars()[0])
    assert [row.solver for row, _ in found] == list(names)
    assert [one.provenance.grid for _, one in found] == ["karras", "logsnr", "logsnr", "logsnr", "karras"]
    alone = dode.distill(model, "d-ddim:formulation=sep", nfe=4, grid="logsnr", batch=SETTINGS.batch)
    np.testing.assert_allclose(found[3][1].plan.table, alone.plan.table, rtol=0, atol=1e-6)


def test_a_grid_behind_a_name_is_one_and_known_before_anything_is_fitted(model, tmp_path):
    for name, words in (
        ("ddim:grid=karras:grid=logsnr", "one grid behind a name"),
        ("ddim:grid=", "one grid behind a name"),
        ("auto:grid=karras", "auto finds its grid itself"),
    ):
        with pytest.raises(ValueError, match=words):
            study.placed(name, None)
    assert study.placed("edm:churn=1:grid=a.json", "karras") == ("edm:churn=1", "a.json")
    assert not study.is_file("edm:grid=a.json")
    bar, seen = bars()
    with pytest.raises(ValueError, match="unknown grid 'karas'; did you mean karras"):
        run(model, Study(("d-ddim", "d-ddim:grid=karas"), (4,)), SETTINGS, None, Results(None, {}), bar)
    assert seen == []


def test_a_study_on_several_grids_goes_on(model, tmp_path):
    asked = Study(("d-ddim:grid=logsnr", "d-ddim", "ddim"), (3,), grid="karras")
    whole = figures(run(model, asked, SETTINGS, None, Results(None, {}), bars()[0]))
    path = tmp_path / "r.json"
    with pytest.raises(Stopped):
        run(model, asked, SETTINGS, None, opened(path, {}), bars(5)[0])
    assert figures(run(model, asked, SETTINGS, None, opened(path, {}), bars()[0])) == whole
