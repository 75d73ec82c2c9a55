"""The command line, as a user types it, in a folder of its own."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from console import dode
from problems import swapped

from dode import __version__
from dode.cli import app, output
from dode.errors import DodeError

ROOT = Path(__file__).parent.parent
PLAIN = ["sample", "fashion-mixture", "--solver", "ddim", "--nfe", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a calibration of the mixture for NFE 3 and 4."""
    made = tmp_path_factory.mktemp("cli")
    words = ["--solver", "ddim", "--nfe", "3,4", "--samples", "8", "--scale", "4", "--paired", "8", "-o", "c.json"]
    done = dode(made, "distill", "fashion-mixture", *words)
    assert done.returncode == 0, done.stderr
    assert "d-ddim NFE 3: RMS" in done.stdout
    return made


def test_distill_writes_figures_of_report_noise(folder):
    entries = json.loads((folder / "c.json").read_text())["plans"]
    for entry in entries:
        report = entry["provenance"]["report"]
        assert report["n"] == 8
        assert 0 < report["rms"] < report["plain rms"]


def test_sample_with_a_calibration(folder):
    done = dode(folder, "sample", "fashion-mixture", "--calibration", "c.json", "--nfe", "4", "-n", "6", "-o", "s.png")
    assert done.returncode == 0, done.stderr
    assert (folder / "s.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    again = dode(folder, "sample", "fashion-mixture", "--calibration", "c.json", "--nfe", "4", "-n", "6", "-o", "t.png")
    assert again.returncode == 0
    assert (folder / "s.png").read_bytes() == (folder / "t.png").read_bytes()


def test_sample_with_a_plain_solver_and_a_label(folder):
    words = ["--solver", "edm", "--nfe", "5", "-n", "3", "--label", "9", "-o", "boots.png"]
    assert dode(folder, "sample", "fashion-mixture", *words).returncode == 0
    assert (folder / "boots.png").exists()


def test_inspect_shows_how_it_was_made(folder):
    done = dode(folder, "inspect", "c.json")
    assert done.returncode == 0
    for words in ("fashion-mixture", "d-ddim, NFE 3", "teacher ddim", "lambda", "use·mix·blend"):
        assert words in done.stdout


def test_compare_prints_a_row_for_each(folder):
    words = ["--nfe", "3,5", "--solvers", "ddim,d-ddim,edm", "--paired", "8", "--fd", "20"]
    done = dode(folder, "compare", "fashion-mixture", *words)
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:2] for line in done.stdout.splitlines() if re.match(r"\s*\S+\s+\d+\s+\d", line)]
    expected = [["ddim", "3"], ["d-ddim", "3"], ["edm", "3"], ["ddim", "5"], ["d-ddim", "5"], ["edm", "5"]]
    assert [line[:2] for line in lines] == expected


def test_compare_takes_options_in_names(folder):
    names = "dpm-solver-2:inner=time,d-ddim,d-ddim:formulation=fixed:lam=0.5,ddim"
    done = dode(folder, "compare", "fashion-mixture", "--nfe", "4", "--solvers", names, "--paired", "8")
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line.split() for line in done.stdout.splitlines() if "±" in line and " 4 " in line}
    assert list(found) == names.split(",")
    assert found["d-ddim:formulation=fixed:lam=0.5"].count("±") == 2  # beside its plain solver


def test_options_of_a_solver_stand_behind_its_name(folder):
    words = ["--solver", "dpm-solver-2:inner=time", "--formulation", "sep", "--rho", "0.1", "--nfe", "4"]
    words += ["--samples", "8", "--scale", "3", "--paired", "0", "--threshold", "1", "--quantile", "0.9"]
    done = dode(folder, "distill", "fashion-mixture", *words, "-o", "sep.json")
    assert done.returncode == 0, done.stderr
    shown = dode(folder, "inspect", "sep.json").stdout
    assert "d-dpm-solver-2:inner=time:formulation=sep, NFE 4" in shown
    sample = ["sample", "fashion-mixture", "--calibration", "sep.json", "-n", "2", "-o", "sep.png"]
    assert "threshold" in dode(folder, *sample).stderr
    assert dode(folder, *sample, "--threshold", "1", "--quantile", "0.9").returncode == 0


def test_stochastic_samples_differ_by_seed_alone(folder):
    words = ["sample", "fashion-mixture", "--nfe", "9", "-n", "4"]
    for name, more in (("a", ""), ("b", ""), ("c", ":churn_max=0.001")):
        assert dode(folder, *words, "--solver", f"edm:churn=20{more}", "-o", f"{name}.png").returncode == 0
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes() != (folder / "c.png").read_bytes()


def test_methods_lists_the_catalogue(folder):
    from dode.solvers import METHODS

    done = dode(folder, "methods")
    assert all(name in done.stdout for name in METHODS)


def test_a_fit_outlives_figures_that_fail(tmp_path, monkeypatch):
    """The teacher is what took long: its file is there, and the message says so."""
    from dode.cli.distill import distill
    from dode.metrics import evaluation

    def fails(*_):
        raise DodeError("halving 640 steps still moves the solution")

    monkeypatch.setattr(evaluation, "with_distances", fails)
    with pytest.raises(DodeError, match=r"still moves the solution; the fit is in .*c\.json, without figures"):
        distill("fashion-mixture", tmp_path / "c.json", nfe="3", samples=4, scale=2)
    assert json.loads((tmp_path / "c.json").read_text())["plans"][0]["nfe"] == 3


def test_version(tmp_path):
    asked = dode(tmp_path, "--version")
    assert (asked.stdout, asked.stderr, asked.returncode) == (f"dode {__version__}\n", "", 0)


def test_demo_small(folder):
    words = ["--model", "fashion-mixture", "--nfe", "3", "--samples", "6", "--paired", "10", "--fd", "20", "-o", "out"]
    first, second = dode(folder, "demo", *words), dode(folder, "demo", *words)
    assert first.returncode == 0, first.stderr
    assert {p.name for p in (folder / "out").iterdir()} == {"comparison.png", "lambdas.png", "d-ddim.json"}

    def table(text):  # all but the seconds, the last column
        return [line.rsplit(None, 1)[0] for line in text.splitlines() if "ddim" in line and "±" in line]

    assert len(table(first.stdout)) == 2
    assert table(first.stdout) == table(second.stdout)
    assert dode(folder, "sample", "fashion-mixture", "--calibration", "out/d-ddim.json", "-o", "o.png").returncode == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["distill", "fashon", "-o", "x.json"], "unknown model 'fashon'; did you mean fashion"),
        (
            ["distill", "fashion-mixture", "--solver", "dim", "-o", "x.json"],
            "unknown method 'dim'; did you mean ddim",
        ),
        (["distill", "./pipe", "-o", "x.json"], "no folder at ./pipe"),
        (["distill", "some/saved/pipe", "-o", "x.json"], "no folder at some/saved/pipe"),
        (["compare", "fashion-mixture", "--solvers", "d-dim"], "unknown method 'd-dim'; did you mean d-ddim"),
        (["compare", "fashion-mixture", "--solvers", "foo"], "unknown method 'foo'; there are ddim, ipndm-2"),
        (["distill", "fashion-mixture", "--nfe", "0", "-o", "x.json"], "--nfe must be at least 1"),
        (["distill", "fashion-mixture", "--samples", "0", "-o", "x.json"], "samples must be a whole number, at least"),
        (["distill", "fashion-mixture", "--nfe", "ten", "-o", "x.json"], "--nfe takes whole numbers"),
        (["distill", "fashion", "--nfe", "1001", "-o", "x.json"], "ask for fewer"),
        (["distill", "fashion-mixture", "-o", "no/x.json"], "the folder no does not exist"),
        (["distill", "fashion-mixture", "-o", "x.png"], "its name must end with .json"),
        (["auto", "fashion-mixture", "-o", "README.md"], "its name must end with .json"),
        (
            ["plot", "grid", "fashion-mixture", "--grids", "karras,c.json", "-o", "x.png"],
            "c.json has no plan for NFE 10",
        ),
        (["export", "c.json", "--sigmas", "--nfe", "7"], "holds plans for NFE 3, 4; asked for 7"),
        (["distill", "fashion-mixture", "--dtype", "float8", "-o", "x.json"], "--dtype must be one of"),
        (["distill", "fashion-mixture", "--device", "cuda:7", "-o", "x.json"], "cannot be used here"),
        (["distill", "fashion-mixture", "--align", "tim", "-o", "x.json"], "align must be one of"),
        (["distill", "fashion-mixture", "--grid", "karas", "-o", "x.json"], "did you mean karras"),
        (["distill", "fashion-mixture", "--label", "12", "-o", "x.json"], "the label must be 0 … 9"),
        (["distill", "fashion-mixture"], "output"),
        (["sample", "fashion-mixture", "-o", "x.png"], "either --calibration FILE or --solver NAME"),
        (["sample", "fashion-mixture", "--solver", "d-ddim", "--nfe", "3", "-o", "x.png"], "must be fitted"),
        (["sample", "fashion-mixture", "--calibration", "none.json", "-o", "x.png"], "no calibration file"),
        (["sample", "fashion-mixture", "--calibration", "c.json", "-o", "x.png"], "NFE 3, 4; say which"),
        (["sample", "fashion-mixture", "--calibration", "c.json", "--nfe", "7", "-o", "x.png"], "asked for 7"),
        (["sample", "fashion", "--calibration", "c.json", "--nfe", "3", "-o", "x.png"], "the calibration is for"),
        (
            ["sample", "fashion-mixture", "--calibration", "c.json", "--nfe", "3", "--guidance", "2", "-o", "x.png"],
            "calibrated for guidance 1; asked for 2",
        ),
        (["sample", "fashion-mixture", "--solver", "ddim", "--nfe", "3", "-n", "0", "-o", "x.png"], "at least 1"),
        (["compare", "fashion-mixture", "--solvers", "ddim,heun"], "unknown method 'heun'"),
        (["inspect", "broken.json"], "not a whole JSON file"),
        (["nonsense"], "No such command"),
        ([*PLAIN, "-o", "x.jpg"], "must end with .png"),
        ([*PLAIN, "-o", "/proc/x.png"], "cannot write"),
        ([*PLAIN, "--seed", "-1", "-o", "x.png"], "seed must be"),
        ([*PLAIN, "--device", "meta", "-o", "x.png"], "cannot be used"),
        (["sample", "fashion-mixture", "--calibration", "c.json", "--grid", "karras", "-o", "x.png"], "no --grid"),
        (["sample", "fashion-mixture", "--calibration", "c.json", "--end", "t_min", "-o", "x.png"], "no --grid, --end"),
        (["demo", "--paired", "0"], "--paired must be at least 2; got 0"),
        (["distill", "fashion-mixture", "--rho", "nan", "-o", "x.json"], "rho must be a number, at least 0"),
        (["distill", "fashion-mixture", "--nfe", "5000", "-o", "x.json"], "ask for fewer"),
        (["demo", "-o", "c.json"], "it is a file"),
        (["distill", "fashion-mixture", "--solver", "ddim:eta=1", "-o", "x.json"], "is stochastic"),
        (["distill", "fashion-mixture", "--solver", "edm:churn=5", "-o", "x.json"], "is stochastic"),
        (["distill", "fashion-mixture", "--solver", "ddim:inner=time", "-o", "x.json"], "ddim has no option 'inner'"),
        (["distill", "fashion-mixture", "--inner", "time", "-o", "x.json"], "No such option: --inner"),
        (["distill", "fashion-mixture", "--formulation", "free", "-o", "x.json"], "formulation must be one of d, 2"),
        (
            ["distill", "fashion-mixture", "--solver", "ddim:lam=0.5", "-o", "x.json"],
            "lam is for the formulations fixed and la",
        ),
        (["distill", "fashion-mixture", "--solver", "pndm", "-o", "x.json"], "at least 13 evaluations"),
        (
            ["distill", "fashion-mixture", "--solver", "ddim:states=both", "-o", "x.json"],
            "states must be one of student, teacher",
        ),
        (["sample", "fashion-mixture", "--solver", "ddim:eta=2", "--nfe", "3", "-o", "x.png"], "eta must be from 0"),
        ([*PLAIN, "--quantile", "0.9", "-o", "x.png"], "--quantile needs --threshold"),
        (["compare", "fashion-mixture", "--solvers", "ddim,d-ddim:formulation"], "written name=value"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, words, says):
    (folder / "broken.json").write_text('{"schema": 1, "pla')
    before = {path.name for path in folder.iterdir()}
    done = dode(folder, *words)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("error: ")]
    assert len(complaints) == 1
    assert says in complaints[0]
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} == before


def test_what_a_network_raises_is_a_traceback(folder, monkeypatch):
    """It is no input that dode refuses: where it happened is what its author wants to see."""
    from dode.bundled_models import BUNDLED

    model = BUNDLED["fashion-mixture"]()

    def network(*_):
        raise ValueError("the weights are torn")

    monkeypatch.setitem(BUNDLED, "fashion-mixture", lambda: swapped(model, network))
    done = dode(folder, *PLAIN, "-o", "x.png")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == ["ValueError: the weights are torn", "evaluation 1 of 3, t = 80"]
    assert "Traceback (most recent call last):" in done.stderr
    assert not (folder / "x.png").exists()


def test_help_names_what_there_is():
    """The help is written without torch, and so by hand; "uniform" is another name of trailing."""
    from dode.bundled_models import BUNDLED
    from dode.distillation.config import RHO
    from dode.distillation.formulations import FORMULATIONS
    from dode.distillation.teacher import ALIGNMENTS
    from dode.metrics import METRICS
    from dode.timesteps import GRIDS

    commands = typer.main.get_command(app).commands
    distill, evaluate = ({one.name: one for one in commands[name].params} for name in ("distill", "evaluate"))
    for name, words in {
        "model": BUNDLED,
        "formulation": FORMULATIONS,
        "align": ALIGNMENTS,
        "grid": GRIDS,
    }.items():
        assert set(words) - {"uniform"} <= set(re.findall(r"[\w-]+", distill[name].help)), name
    assert set(METRICS) <= set(re.findall(r"\w+", evaluate["metrics"].help))
    assert distill["rho"].default == RHO


def test_auto_searches_goes_on_and_shows_what_it_is_worth(tmp_path):
    words = ["auto", "fashion-mixture", "--quick", "--samples", "8", "--paired", "4", "--rtol", "1e-3", "-o", "a.json"]
    done = dode(tmp_path, *words, "--nfe", "3", "--plot", "a.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    first = json.loads((tmp_path / "a.json").read_text())["plans"]
    done = dode(tmp_path, *words, "--nfe", "3,4")
    assert done.returncode == 0, done.stderr
    assert "NFE 3" not in done.stderr  # it was there
    assert "NFE 4: found" in done.stderr
    assert re.search(r"found .* 100%", done.stderr)
    assert re.search(r"^  auto.* \d\.\d{3} ± \d\.\d{3} ", done.stdout, re.MULTILINE)  # beside its base
    assert "ddim" in done.stdout
    assert re.search(r"^NFE 3: .* evaluations for each sample", done.stdout, re.MULTILINE)
    entries = json.loads((tmp_path / "a.json").read_text())["plans"]
    assert [entry["nfe"] for entry in entries] == [3, 4]
    assert entries[0] == first[0]
    assert done.stdout.count("auto") >= 2
    table = done.stdout
    done = dode(
        tmp_path, "sample", "fashion-mixture", "--calibration", "a.json", "--nfe", "4", "-n", "2", "-o", "s.png"
    )
    assert done.returncode == 0, done.stderr
    done = dode(tmp_path, "inspect", "a.json")
    assert done.returncode == 0, done.stderr
    assert "NFE 4, guidance 1" in done.stdout
    assert "evaluations for each sample to fit on: " in done.stdout
    assert "test samples: 4" in done.stdout
    report = entries[1]["provenance"]["report"]
    assert f"beside the plain solver: {report['plain']}" in done.stdout
    told = re.search(r"^  auto.* 4 +(\d\.\d{4}) ± .* (\d\.\d{3}) ± ", table, re.MULTILINE)
    assert f"{report['rms']:.4f}" == told[1]
    assert f"{report['rms'] / report['plain rms']:.3f}" == told[2]
    said = dode(tmp_path, "inspect", "--explain", "a.json").stdout
    assert said.count("network evaluations a sample, the teacher's included") == 2
    assert f"{report['robust select rms']:.4f}  {report['start']}" in said
    done = dode(tmp_path, *words[:-2], "--budget-seconds", "-1", "--nfe", "3", "-o", "b.json")
    assert done.returncode == 2
    assert "something to spend" in done.stderr
    assert not (tmp_path / "b.json").exists()


def test_distill_names_the_command_of_a_search(tmp_path):
    done = dode(tmp_path, "distill", "fashion-mixture", "--solver", "auto", "--nfe", "3", "-o", "a.json")
    assert done.returncode == 2
    assert "dode auto" in done.stderr


def test_auto_within_seconds_writes_what_it_found(tmp_path):
    words = ["auto", "fashion-mixture", "--quick", "--samples", "8", "--paired", "0", "-o", "a.json"]
    done = dode(tmp_path, *words, "--nfe", "3,4", "--budget-seconds", "0.01")
    assert done.returncode == 0, done.stderr
    assert [entry["nfe"] for entry in json.loads((tmp_path / "a.json").read_text())["plans"]] == [3, 4]
    done = dode(tmp_path, *words[:-1], "b.json", "--nfe", "3", "--budget-seconds", "0")
    assert done.returncode == 2
    assert "something to spend" in done.stderr


def test_auto_takes_nothing_for_its_own_that_was_made_in_another_way(folder, tmp_path):
    words = ["auto", "fashion-mixture", "--quick", "--samples", "8", "--paired", "0", "--nfe", "3"]
    (tmp_path / "c.json").write_bytes((folder / "c.json").read_bytes())
    done = dode(tmp_path, *words, "-o", "c.json")
    assert done.returncode == 2
    assert "NFE 3 in c.json is d-ddim, which auto did not find; write to another file" in done.stderr
    assert dode(tmp_path, *words, "-o", "a.json").returncode == 0
    entry = json.loads((tmp_path / "a.json").read_text())["plans"][0]
    assert entry["provenance"]["seed"] == 0
    done = dode(tmp_path, *words, "-o", "a.json", "--seed", "1")
    assert done.returncode == 2
    assert "was found with seed 0 and 8 samples" in done.stderr
    done = dode(tmp_path, *[word for word in words if word != "--quick"], "-o", "a.json")
    assert "was found with a budget of 2, not 10: with --quick, or without" in done.stderr
    if "told" in entry["plan"]:
        assert "--no-free-times" in dode(tmp_path, *words, "-o", "a.json", "--no-free-times").stderr


def test_what_was_found_for_one_class_is_not_taken_for_all(tmp_path):
    words = ["auto", "fashion-mixture", "--quick", "--samples", "8", "--paired", "0", "--nfe", "3"]
    fit = [
        "distill",
        "fashion-mixture",
        "--samples",
        "8",
        "--scale",
        "2",
        "--paired",
        "0",
        "--nfe",
        "3",
        "--label",
        "9",
    ]
    for made, name in ((words, "a.json"), (fit, "d.json")):
        assert dode(tmp_path, *made, "--label", "9", "-o", name).returncode == 0
        assert json.loads((tmp_path / name).read_text())["plans"][0]["provenance"]["report"]["label"] == 9
        assert "It was found for class 9 alone." in dode(tmp_path, "inspect", "--explain", name).stdout
    before = (tmp_path / "a.json").read_bytes()
    for other in ([], ["--label", "8"]):
        refused = dode(tmp_path, *words, *other, "-o", "a.json")
        assert refused.returncode == 2
        assert "NFE 3 in a.json was found for class 9, not for" in refused.stderr
        assert "give --label 9, or take another file" in " ".join(refused.stderr.split())
    refused = dode(tmp_path, "interpolate", "fashion-mixture", "a.json", "--nfe", "4", "-o", "i.json")
    assert "was found for class 9, not for all classes" in refused.stderr
    assert dode(tmp_path, *words, "--label", "9", "-o", "a.json").returncode == 0  # it is there
    assert (tmp_path / "a.json").read_bytes() == before
    sample = ["sample", "fashion-mixture", "--calibration", "d.json", "-n", "2", "-o", "s.png"]
    assert "note: the plan was found for class 9 alone" in dode(tmp_path, *sample).stdout
    assert "note: the plan" not in dode(tmp_path, *sample, "--label", "9").stdout


def test_auto_says_before_the_search_that_the_exact_solution_is_out_of_reach(tmp_path, monkeypatch):
    from dode import exact
    from dode.cli.auto import auto
    from dode.search import auto as search

    monkeypatch.setattr(exact, "MOST", 20)
    monkeypatch.setattr(search, "searched", lambda *_: pytest.fail("it was searched"))
    with pytest.raises(DodeError, match="halving 20 steps, the most there are, still moves the solution"):
        auto("fashion-mixture", tmp_path / "a.json", nfe="3", rtol=1e-5)
    assert not (tmp_path / "a.json").exists()


def test_auto_keeps_what_is_there_for_other_guidance(tmp_path):
    from dode import bundled, sampler, save

    model = bundled("fashion-mixture")
    other = replace(sampler(model, "ddim", nfe=3), model=model.declared(2.0))
    save(tmp_path / "a.json", other)
    words = ["auto", "fashion-mixture", "--quick", "--samples", "8", "--paired", "0", "--nfe", "3", "-o", "a.json"]
    done = dode(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "a.json").read_text())["plans"]
    assert [(entry["nfe"], entry["guidance"]) for entry in entries] == [(3, 2.0), (3, 1.0)]


def test_without_a_terminal_progress_is_told_in_lines(capsys, monkeypatch):
    monkeypatch.setattr(output, "EVERY", -1.0)
    with output.bar("beginning") as tell:
        tell("halving", 1, 4)
        tell("halving", 2, 4)
        tell("nothing", 0, 0)
    told = capsys.readouterr().err.splitlines()
    assert told[:3] == ["halving: 25%", "halving: 50%", "nothing: 0%"]
    monkeypatch.setattr(output, "EVERY", 1000.0)
    with output.bar("beginning") as tell:
        tell("halving", 1, 4)
    assert "halving: 25%" not in capsys.readouterr().err
