"""Every table and figure of the paper: runs, runs again the same, outlives a kill, and says what the numbers say."""

import gzip
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import swapped
from test_cli import dode as command

import dode
from dode.metrics import evaluation
from dode.metrics.estimates import change, ratio
from dode.metrics.evaluation import Settings, measure
from dode_paper.reproduce import (
    ABOUT,
    NAMES,
    averages,
    context,
    fig2a,
    fig2b_fig2c,
    fig6_to_9,
    network_students,
    reference_images,
    registry,
    run,
    table1,
    table2,
    table3,
)
from dode_paper.reproduce.averages import Figure
from dode_paper.reproduce.context import Fitting, Lab
from dode_paper.reproduce.presets import FULL, QUICK, SMALLEST
from dode_paper.reproduce.result_store import Records, table
from dode_paper.reproduce.trilemma import recall

TIMED = ("trilemma", "fig2a")  # items whose tables say what a clock said
STUDENTS = Path(__file__).parent.parent / "students"
RESULTS = Path(__file__).parents[2] / "docs/results/paper"


def quiet(done, total):
    """No bar."""


def fresh(size=SMALLEST, name="fashion-mixture"):
    return run.lab_for(dode.bundled(name), size)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Every item on the exact mixture, in one run."""
    folder, one = tmp_path_factory.mktemp("whole"), fresh()
    with torch.no_grad():
        for item in registry.MADE:
            run.carry_out(item, one, run.opened(item, one, folder, "all"), quiet)
    return folder


def test_a_formulation_is_fitted_once_and_is_what_it_is_alone():
    """To the last digit, whatever was fitted beside it; solvers with other nodes are not mixed up."""
    one, how = fresh(), Fitting(0, 4, 3)
    names = [table1.named(form) for form in table1.FORMS]
    family = context.fitted(one, names, 4, how)
    for name, member in zip(names, family, strict=True):
        assert context.fitted(one, [name], 4, how)[0] is member
        alone = context.fitted(fresh(), [name], 4, how)[0]
        assert np.array_equal(alone.plan.mix, member.plan.mix)
        assert alone.provenance == member.provenance
    both = context.fitted(one, ["d-ddim", "d-dpm-solver-2"], 4, how)
    assert both[0] is not family[0]
    assert context.fitted(one, ["d-dpm-solver-2"], 4, how)[0] is not both[1]


def test_exact_solutions_are_kept_for_another_run(tmp_path, monkeypatch):
    """Not those of another seed, of finer settings or of other labels; a torn file is made anew."""
    made = []
    solved = evaluation.exact_ends
    monkeypatch.setattr(evaluation, "exact_ends", lambda *given: made.append(1) or solved(*given))

    def found(seed=0, **changes):
        made.clear()
        return context.exact(replace(fresh(), folder=tmp_path, **changes), seed), len(made)

    first, _ = found()
    (path,) = tmp_path.iterdir()
    again, calls = found()
    assert calls == 0
    assert torch.equal(again, first)
    whole = path.read_bytes()
    for torn in (whole[:-5], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"nothing of the kind"):
        path.write_bytes(torn)
        again, calls = found()
        assert calls == 1
        assert torch.equal(again, first)
        assert found()[1] == 0
    model = fresh().model
    scenes = [fig6_to_9.model_of(model, fig6_to_9.Scene((), label)) for label in ("none", "one")]
    others = [{"size": replace(SMALLEST, rtol=0.02)}, *({"model": one} for one in (*scenes, model.guided(3)))]
    for other in others:
        assert found(**other)[1] == 1
        assert found(**other)[1] == 0
    assert found(1)[1] == 1
    assert len(list(tmp_path.iterdir())) == 2 + len(others)


def untimed(path):
    """An item's numbers, without what a clock says."""
    content = json.loads(path.read_text())
    for entry in content["entries"].values():
        for key in [key for key in entry if "seconds" in key]:
            del entry[key]
    if "trilemma" in path.name:
        del content["finding"]
    return content


def test_the_items_are_those_that_the_help_names():
    assert tuple(registry.ITEMS) == NAMES == tuple(ABOUT)
    assert registry.chosen("all") == list(registry.MADE)
    assert [item.name for item in registry.chosen("fig3,table1")] == ["fig3", "table1"]


@pytest.mark.parametrize("item", registry.MADE, ids=lambda item: item.name)
def test_an_item_writes_numbers_table_figure_and_finding(item, whole):
    content = json.loads((whole / f"{item.name}-fashion-mixture.json").read_text())
    text = (whole / f"{item.name}-fashion-mixture.md").read_text()
    assert {"command", "versions", "settings", "entries", "finding"} <= set(content)
    assert content["settings"]["seeds"] == [0]
    assert content["settings"]["model"].startswith("probe:")
    assert content["finding"] in text
    assert "seed 0" in text
    assert text.count("| --- |") >= 1
    assert "nan" not in text.lower().replace("nand", "")
    figures = {path.suffix for path in whole.glob(f"{item.name}-fashion-mixture.*")} - {".json", ".md"}
    drawn = item.name.startswith(("fig", "section"))
    assert figures == ({".png"} if drawn else set())


@pytest.mark.parametrize("item", registry.MADE, ids=lambda item: item.name)
def test_killed_and_begun_again_it_gives_the_same(item, whole, tmp_path):
    """Killed again and again, also before its end is written, with nothing left in memory."""
    count = len(json.loads((whole / f"{item.name}-fashion-mixture.json").read_text())["entries"])
    starts = 0

    def kill(done, total):
        nonlocal starts
        starts += 1
        if starts % 3 == 0 and starts < 10:
            raise KeyboardInterrupt

    kills = 0
    while True:
        one = fresh()
        records = run.opened(item, one, tmp_path, "all")
        before = len(records.entries)
        try:
            run.carry_out(item, one, records, kill)
        except KeyboardInterrupt:
            kills += 1
            assert before < len(records.entries) <= count
            continue
        break
    assert kills >= (count > 2)
    made = tmp_path / f"{item.name}-fashion-mixture.json"
    assert untimed(made) == untimed(whole / made.name)
    for path in whole.glob(f"{item.name}-fashion-mixture.*"):
        if item.name not in TIMED or path.suffix == ".png":
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_an_item_that_is_done_makes_nothing_again(whole):
    item, one = registry.ITEMS["table1"], fresh()
    records = run.opened(item, one, whole, "all")
    assert run.outstanding(item, one, records) == 0
    before = records.path.read_bytes()
    run.carry_out(item, one, records, quiet)
    assert records.path.read_bytes() == before
    assert one.kept == {}


def test_the_estimate_counts_what_is_missing(tmp_path):
    item, one = registry.ITEMS["table2b"], fresh()
    records = run.opened(item, one, tmp_path, "x")
    all_of_it = run.outstanding(item, one, records)
    tasks = list(item.tasks(one))
    records.put(tasks[0].key, tasks[0].make())
    assert run.outstanding(item, one, records) == all_of_it - tasks[0].evaluations
    # 4 evaluations of 20 samples, and a fit of |B| on a teacher of 10·4 steps
    assert [task.evaluations for task in tasks] == [4 * 20 + size * (40 + 4) for size in SMALLEST.batches]


def test_other_settings_or_another_file_are_refused(whole, tmp_path):
    item = registry.ITEMS["table1"]
    with pytest.raises(ValueError, match="was made with other settings; move it away"):
        run.opened(item, fresh(replace(SMALLEST, report=5)), whole, "x")
    path = tmp_path / "table1-fashion-mixture.json"
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a file of results"):
            run.opened(item, fresh(), tmp_path, "x")


def test_a_model_without_features_is_measured_by_distances(tmp_path):
    one = replace(fresh(), judge=None)
    for name in ("table1", "table2a", "table2b", "table3", "fig2b", "fig2c", "fig3", "fig7", "section2"):
        found = run.carry_out(registry.ITEMS[name], one, run.opened(registry.ITEMS[name], one, tmp_path, "x"), quiet)
        assert "FD" not in found.finding
    with pytest.raises(ValueError, match="the trilemma needs features"):
        run.outstanding(registry.ITEMS["trilemma"], one, Records(tmp_path / "t.json", {}, "x"))


def test_students_stand_beside_the_solvers(tmp_path):
    item = registry.ITEMS["fig2a"]
    one = run.lab_for(dode.bundled("fashion-edm"), replace(SMALLEST, few=(1,)), STUDENTS)
    found = network_students.taught(one)
    assert {(student.method, student.nfe) for student in found.values()} >= {("pd", 1), ("pd", 4), ("cd", 2)}
    records = run.opened(item, one, tmp_path, "x")
    for task in item.tasks(one):
        name = task.key.split()[0]
        if name == "ddim" or (name.startswith("pd@") and task.key.split()[1] == "1"):
            records.put(task.key, task.make())
    keys = [key for key in found if found[key].nfe == 1 and found[key].method == "pd"]
    student, plain = records.entries[f"{keys[0]} 1 0"], records.entries["ddim 1 0"]
    assert student["rms"] < 0.6 * plain["rms"]
    assert student["fd"] < 0.6 * plain["fd"]
    assert (student["calls"], plain["calls"]) == (found[keys[0]].calls, 0)
    assert student["calls"] > 1000
    assert "agreement" in student


def test_the_results_in_the_pages_are_those_of_the_students_here():
    """By their fingerprints: nothing of the figures that show students would be measured anew."""
    for name in ("fig2a", "trilemma"):
        entries = json.loads((RESULTS / f"{name}-fashion-edm.json").read_text())["entries"]
        one = run.lab_for(dode.bundled("fashion-edm"), FULL, STUDENTS)
        assert {task.key for task in registry.ITEMS[name].tasks(one)} <= set(entries)
    assert sum(path.stat().st_size for path in STUDENTS.iterdir()) < 15e6


def test_students_of_another_model_are_left_out():
    assert network_students.taught(run.lab_for(dode.bundled("fashion"), SMALLEST, STUDENTS)) == {}


def test_what_a_solver_took_to_make_is_counted():
    one = fresh()
    counted, seen = counting(one.model)
    made = context.fitted(replace(one, model=counted, kept={}), ["d-ddim"], 3, Fitting(0, 4))[0]
    assert fig2a.calls(made) == seen[0] > 0
    assert fig2a.calls(context.plain(one, "ddim", 3)) == 0


def counting(model):
    """The model, and a list whose only number is how many samples its network has seen."""
    seen = [0]

    def network(x, t, cond):
        seen[0] += len(x)
        return model.network(x, t, cond)

    return swapped(model, network), seen


# What is measured


def test_measured_is_what_evaluate_says():
    one = fresh()
    base, fitted = context.plain(one, "ddim", 4), context.fitted(one, ["d-ddim"], 4, Fitting(0, 4))[0]
    settings = Settings(SMALLEST.report, 20, 0, context.BATCH, SMALLEST.rtol)
    rows = [measure(each, context.exact(one, 0), settings, one.judge) for each in (base, fitted)]
    entries = [context.measured(one, each, 0, 20) for each in (base, fitted)]
    assert [entry["rms"] for entry in entries] == [row.rms for row in rows]
    assert averages.change([entries[1]], [entries[0]]) == pytest.approx(change(rows[1], rows[0], "fd"), rel=1e-12)
    # four samples are four parts, so that the ratio's error is the samples' own
    assert averages.ratio([entries[1]], [entries[0]]) == pytest.approx(ratio(rows[1], rows[0]), rel=1e-12)


@pytest.mark.parametrize(("form", "lam"), [("fixed", 0.5), ("la", 0.1)])
def test_a_constant_is_what_distill_makes_of_it(form, lam):
    one = fresh()
    plan = dode.distill(one.model, f"d-ddim:formulation={form}:lam={lam}", nfe=5, samples=2, scale=2).plan
    mine = context.constant(one, form, lam, 5)
    assert mine.plan.kind == plan.kind
    assert np.array_equal(mine.plan.table, plan.table)
    assert mine.name == f"d-ddim:formulation={form}:lam={lam}"


def test_the_search_sees_validation_noise_alone_and_takes_the_least():
    one = fresh()
    found = fig2b_fig2c.searched(one, "fixed")
    known = {lam: fig2b_fig2c.tried(one, "fixed", lam)["fd"] for lam in fig2b_fig2c.trials(one, "fixed")}
    assert found["minimises"] == "fd"
    assert known[found["lambda"]] == min(known.values())
    assert {key[2] for key in one.kept if key[0] == "exact"} == {"validation"}
    assert 0.5 in known
    assert 0.1 in fig2b_fig2c.trials(one, "la")


def test_fits_are_kept_by_all_that_decides_them():
    one = fresh()
    first = context.fitted(one, ["d-ddim"], 4, Fitting(0, 4))
    assert context.fitted(one, ["d-ddim"], 4, Fitting(0, 4))[0] is first[0]
    others = [
        Fitting(1, 4),
        Fitting(0, 5),
        Fitting(0, 4, scale=3),
        Fitting(0, 4, align="count"),
        Fitting(0, 4, rho=1.0),
    ]
    plans = [context.fitted(one, ["d-ddim"], 4, how)[0].plan.mix for how in others]
    assert all(not np.array_equal(mix, first[0].plan.mix) for mix in plans)


def test_sizes():
    assert [FULL.judged(nfe, 1000) for nfe in (5, 10, 25, 50)] == [1000, 1000, 250, 0]
    assert run.limited(QUICK, 2, 30).seeds == (0, 1)
    assert run.limited(QUICK, None, 30).fd == 30
    assert run.limited(FULL, None, 100).curve_fd == 100
    for wrong in ((0, None), (None, 19)):
        with pytest.raises(ValueError, match="must be at least"):
            run.limited(QUICK, *wrong)


# Averages


def entry(rms, fd, parts=10):
    wobble = np.linspace(-1, 1, parts)
    return {
        "rms": rms,
        "rms error": 0.1,
        "median": rms,
        "square parts": (rms**2 * (1 + 0.01 * wobble)).tolist(),
        "fd": fd,
        "fd error": 0.3,
        "fd n": 20,
        "fd parts": (fd + wobble).tolist(),
    }


def test_means_and_errors_over_seeds():
    assert averages.joined([Figure(1, 0.3), Figure(2, 0.4)]) == pytest.approx((1.5, 0.25))
    assert averages.mean([entry(1.0, 5.0), entry(3.0, 7.0)], "fd") == pytest.approx((6, 0.3 / math.sqrt(2)))
    assert averages.spread([entry(1.0, 5.0), entry(3.0, 7.0)], "rms") == pytest.approx(math.sqrt(2))
    assert averages.spread([entry(1.0, 5.0)], "rms") is None


def test_differences_are_paired():
    assert averages.change([entry(1.0, 5.0)], [entry(1.0, 4.0)]) == pytest.approx((1, 0), abs=1e-12)
    assert averages.ratio([entry(1.0, 5.0)], [entry(2.0, 4.0)]) == pytest.approx((0.5, 0), abs=1e-12)
    other = entry(1.0, 4.0) | {"fd parts": [4.0] * 10}
    error = np.std(np.linspace(-1, 1, 10), ddof=1) / math.sqrt(10)
    assert averages.change([entry(1.0, 5.0)], [other]) == pytest.approx((1, error))


def test_fits_on_one_noise_do_not_make_errors_smaller():
    joined = averages.over_fits([entry(1.0, 5.0)] * 3)
    assert averages.mean([joined], "fd") == pytest.approx((5, 0.3))


def test_sides():
    assert [averages.side(Figure(v, 1)) for v in (-3, -2, 0, 2, 3)] == [-1, 0, 0, 0, 1]
    assert [averages.word(Figure(v, 0.1), 1) for v in (0.5, 1.1, 1.5)] == ["below", "not told apart from", "above"]
    assert averages.listed(["a", "b", "c"]) == "a, b and c"
    assert averages.listed([]) == "none"


def test_recall_is_the_share_that_lies_within():
    drawn = np.random.default_rng(0).normal(size=(200, 3))
    assert recall(drawn, drawn) == 1
    assert recall(drawn, drawn + 100) == 0
    assert recall(drawn, np.concatenate([drawn, drawn + 100])) == 0.5
    # on a line at 0, 1, 2, 3, 10 the third neighbours of the samples are 3, 2, 2, 3 and 9 away
    line = np.array([[0.0], [1], [2], [3], [10]])
    assert recall(line, np.array([[1.5], [-3.0], [-3.1], [19.0], [19.1]])) == pytest.approx(3 / 5)


# What is said


def judged(name, change):
    """A finding from made-up entries: change(name of the solver, evaluations) → (rms, fd)."""
    one, item = replace(fresh(), size=replace(SMALLEST, counts=(10, 25, 50), scales=(5, 10))), registry.ITEMS[name]
    made = {"search fixed": {"minimises": "fd", "lambda": 0.5}, "search la": {"minimises": "fd", "lambda": 0.1}}
    extra = {"largest": 1.0, "condition": 1.0, "sum": 0.0, "lambda": [0.1] * 4, "lambda errors": [0.1] * 4}
    for task in item.tasks(one):
        if not task.key.startswith("search"):
            words = task.key.split()
            made[task.key] = entry(*change(" ".join(words[:-2]), int(words[-2]))) | extra
    return item.result(one, made).finding, one, made


def test_table_1_says_who_is_nearest_and_whether_the_paper_is_right():
    finding = judged("table1", lambda name, nfe: (0.5 if name == "time d" else 1.0 if "ddim" in name else 2.0, 1.0))[0]
    assert "With targets by time at 10 evaluations D-DDIM is the nearest" in finding
    assert "clearly farther than DDIM: D-DDIM-2, D-DDIM-Sep and D-DDIM-All" in finding
    assert "With the published pairing at 10 evaluations DDIM is the nearest" in finding
    assert finding.endswith("holds with targets by time at: 10, 25 and 50.")
    finding = judged("table1", lambda name, nfe: (0.5 if name == "time all" else 1.0, 1.0))[0]
    assert "With targets by time at 10 evaluations D-DDIM-All is the nearest" in finding
    assert finding.endswith("holds with targets by time at: no number of evaluations.")


def test_table_2a_says_whether_larger_is_better():
    finding = judged("table2a", lambda name, nfe: (1 / float(name) if name != "ddim" else 1.0, 1.0))[0]
    assert "At 10 evaluations the distance to the exact solution falls with every larger C" in finding
    finding = judged("table2a", lambda name, nfe: (float(name) if name != "ddim" else 1.0, 1.0))[0]
    assert "At 10 evaluations the distance to the exact solution does not fall with every larger C" in finding


def test_table_3_says_which_orderings_hold():
    paper = {("la", 10): 2.0, ("la", 50): 0.5, ("fixed", 25): 0.5, ("fixed", 50): 0.5}
    finding, one, made = judged("table3", lambda name, nfe: (paper.get((name, nfe), 1.0), 1.0))
    assert all(table3.orderings(one, made).values())
    assert "LA-DDIM with the paper's λ beside D-DDIM: at 10 above it" in finding
    assert finding.endswith("do not: none.")
    _, one, made = judged("table3", lambda name, nfe: (1.0, 1.0))
    assert [claim for claim, holds in table3.orderings(one, made).items() if holds] == [
        "a searched Fixed-D-DDIM equals D-DDIM at 10"
    ]


# The paper's orderings, where the networks have them


@pytest.fixture(scope="module")
def network():
    """The bundled DDPM, by distances alone."""
    size = replace(SMALLEST, counts=(10,), report=12, samples=24, samples_scale=12, scales=(2, 5, 20), batches=(4, 24))
    return replace(fresh(replace(size, rtol=1e-2), "fashion"), judge=None)


def entries_of(name, network):
    return {task.key: task.make() for task in registry.ITEMS[name].tasks(network) if "search" not in task.key}


def test_a_larger_scale_is_better(network):
    found = entries_of("table2a", network)
    by_scale = [[found[f"{scale} 10 0"]] for scale in (2, 5, 20)]
    assert averages.side(averages.ratio(by_scale[2], by_scale[0]), 1) < 0
    distances = [averages.mean(found, "rms").value for found in by_scale]
    assert distances == sorted(distances, reverse=True)


def test_a_larger_batch_spreads_less(network):
    found = entries_of("table2b", network)
    few, many = (table2._lambda_error([found[f"{size} 10 0"]]) for size in (4, 24))
    assert many < few


def test_d_ddim_beats_lookahead_at_10(network):
    mine, other = (
        context.measured(network, one, 0, 0)
        for one in (
            context.fitted(network, ["d-ddim"], 10, Fitting(0, 24))[0],
            context.constant(network, "la", 0.1, 10),
        )
    )
    assert averages.side(averages.ratio([mine], [other]), 1) < 0


def test_free_coefficients_need_the_published_pairing_to_be_worse(network):
    entries = {
        align: table1._distilled(network, "sep", 10, Fitting(0, 24, align=align), 0) for align in ("time", "count")
    }
    bases = {align: table1._base(network, align, 10, 0, 0) for align in entries}
    sides = {align: averages.side(averages.ratio([entries[align]], [bases[align]]), 1) for align in entries}
    assert sides == {"time": -1, "count": 1}


# Images


def test_test_images_are_read_from_the_debian_package(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_images, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="install the Debian package dataset-fashion-mnist"):
        reference_images.shown(Lab(fresh().model, replace(SMALLEST, quick=False), fresh().judge), 2)
    pictures = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    for name, array in (("images-idx3", pictures), ("labels-idx1", np.array([3, 9], np.uint8))):
        head = struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape)
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    found, labels = reference_images.fashion("t10k", reference_images.FOLDER)
    assert found.shape == (2, 1, 32, 32)
    assert labels.tolist() == [3, 9]
    assert torch.equal(found[:, 0, 2:-2, 2:-2], torch.from_numpy(pictures).float() / 127.5 - 1)
    assert (found[:, 0, 0] == -1).all()
    assert reference_images.shown(fresh(), 3)[2].startswith("3 samples of the model's own")


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


# The command


def test_the_command_writes_goes_on_and_says_what_it_found(tmp_path):
    words = ["reproduce", "table2a,fig6", "--model", "fashion-mixture", "--quick", "-o", "made"]
    done = command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "table2a on fashion-mixture: about " in done.stdout
    assert "evaluations\nFitted on " in done.stdout
    names = {path.name for path in (tmp_path / "made").iterdir()}
    (kept,) = {name for name in names if name.startswith(".exact-")}  # both items are of one model and noise
    assert names - {kept} == {f"table2a-fashion-mixture.{kind}" for kind in ("json", "md")} | {
        f"fig6-fashion-mixture.{kind}" for kind in ("json", "md", "png")
    }
    content = json.loads((tmp_path / "made/table2a-fashion-mixture.json").read_text())
    assert content["command"] == "dode reproduce table2a --model fashion-mixture --quick"
    again = command(tmp_path, *words)
    assert "about 0 evaluations" in again.stdout
    other = command(tmp_path, *words, "--fd", "25")
    assert other.returncode == 2
    assert "was made with other settings" in other.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tabel1"], "did you mean table1"),
        (["table1", "--model", "fashoin"], "did you mean fashion"),
        (["table1", "--model", "ddpm-cifar10"], "is a recipe: give its file by --checkpoint"),
        (["table1", "--model", "fashion", "--checkpoint", "x.ckpt"], "--checkpoint belongs to a recipe"),
        (["table1", "--model", "ddpm-cifar10", "--checkpoint", "x.ckpt"], "x.ckpt"),
        (["table1", "--seeds", "0"], "--seeds must be at least 1"),
        (["table1", "--fd", "3"], "--fd must be at least 20"),
        (["table1", "-o", "file"], "it is a file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, words, says):
    (tmp_path / "file").write_text("")
    done = command(tmp_path, "reproduce", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
