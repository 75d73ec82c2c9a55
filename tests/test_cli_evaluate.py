"""`dode evaluate` and `dode compare`, as a user types them, in a folder of their own."""

import csv
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from console import dode

from dode.cli.output import print_rows
from dode.metrics.estimates import Row

COMPARE = ["compare", "fashion-mixture", "--nfe", "3,4", "--solvers", "ddim,d-ddim", "--paired", "4", "--seed", "0,1"]
OWN = "def features(images):\n    return images[:, 0, 10:12, 10:13].float().flatten(1)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a calibration, an extractor and statistics of it."""
    made = tmp_path_factory.mktemp("evaluate")
    words = ["--nfe", "3,4", "--samples", "8", "--scale", "3", "--paired", "0", "-o", "c.json"]
    assert dode(made, "distill", "fashion-mixture", *words).returncode == 0
    (made / "own.py").write_text(OWN)
    np.savez(made / "own.npz", mu=np.full(6, 120.0), sigma=np.eye(6) * 500)
    np.savez(made / "narrow.npz", mu=np.zeros(5), sigma=np.eye(5))
    (made / "torn.npz").write_bytes((made / "own.npz").read_bytes()[:200])
    return made


def test_evaluate_shows_every_figure_of_a_calibration(folder):
    words = ["--metrics", "rms,fd,kid,pr,agreement", "--fd", "40", "--paired", "4"]
    done = dode(folder, "evaluate", "fashion-mixture", "--calibration", "c.json", *words, "--csv", "e.csv")
    assert done.returncode == 0, done.stderr
    assert "d-ddim@c.json, NFE 3, guidance 1, seed 0" in done.stdout
    assert "d-ddim@c.json, NFE 4, guidance 1, seed 0" in done.stdout
    for name in ("RMS", "FD", "KID", "precision", "recall", "agreement"):
        assert len(re.findall(rf"^  {name} +-?[\d.e-]+ ± [\d.e-]+", done.stdout, re.M)) == 2
    lines = list(csv.DictReader((folder / "e.csv").read_text().splitlines()))
    assert [line["nfe"] for line in lines] == ["3", "4"]
    assert f"RMS        {float(lines[0]['rms']):.4f}" in done.stdout


def test_evaluate_with_features_of_ones_own(folder):
    words = ["--solver", "ddim", "--nfe", "3", "--metrics", "fd", "--fd", "20", "--statistics", "own.npz"]
    for name in ("own.py:features", "own:features"):
        done = dode(folder, "evaluate", "fashion-mixture", *words, "--extractor", name)
        assert done.returncode == 0, done.stderr
        assert f"20 samples; ± from ten disjoint splits; in features of {name} against own.npz" in done.stdout
        assert "RMS" not in done.stdout


def test_the_table_says_who_taught_whom(capsys):
    """A teacher is shared by what is fitted together, so the same name may be another fit elsewhere."""
    near, far = "ddim with 41 evaluations", "ddim with 53 evaluations"
    rows = [
        Row("ddim", 5),
        Row("d-ddim", 5, teacher=near),
        Row("d-ddim", 6, teacher=far),
        Row("d-edm", 5, teacher=near),
    ]
    print_rows(rows, "")
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("Fitted")] == [
        "Fitted towards ddim with 41 evaluations: d-ddim at 5, d-edm.",
        "Fitted towards ddim with 53 evaluations: d-ddim at 6.",
    ]


def test_many_figures_fit_a_screen_and_differ_from_the_plain_solvers(folder):
    words = ["--nfe", "3", "--solvers", "ddim,d-ddim", "--metrics", "rms,fd,kid,pr,agreement", "--paired", "4"]
    done = dode(folder, "compare", "fashion-mixture", *words, "--fd", "40", "--csv", "m.csv")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Fitted towards ddim with \d+ evaluations: d-ddim\.$", done.stdout, re.MULTILINE)
    tables = done.stdout[: done.stdout.index("RMS and median: ")]
    assert max(len(line.rstrip()) for line in tables.splitlines()) <= 100
    assert re.findall(r"(RMS|FD|KID|precision|recall|agreement) ±", tables) == [
        "RMS", "FD", "KID", "precision", "recall", "agreement",
    ]  # fmt: skip
    base, fitted = csv.DictReader((folder / "m.csv").read_text().splitlines())
    shown = dict(re.findall(r"d-ddim +3 +([\d.]+) ± [\d.]+ +([+-][\d.]+) ± ", tables))
    for name, digits in (("fd", 2), ("precision", 3), ("agreement", 3)):  # the first figure of each table
        values = [float(row[name]) for row in (fitted, base)]
        assert shown[f"{values[0]:.{digits}f}"] == f"{values[0] - values[1]:+.{digits}f}"


def test_a_classifier_is_chosen_by_name(folder):
    (folder / "blind.py").write_text("import torch\ndef logits(images):\n    return torch.eye(10)[[3] * len(images)]\n")
    words = ["--metrics", "agreement", "--fd", "40", "--statistics", "own.npz", "--extractor", "own.py:features"]
    found = {}
    for name in ("blind.py:logits", "bundled"):
        done = dode(folder, *EVALUATE, *words, "--classifier", name)
        assert done.returncode == 0, done.stderr
        found[name] = float(re.search(r"agreement +([\d.]+)", done.stdout)[1])
    assert found["blind.py:logits"] == 0.1  # one class of ten, taken in turn
    assert found["bundled"] > 0.5


def rows(path):
    return {key: row | {"seconds": 0} for key, row in json.loads(path.read_text())["rows"].items()}


def test_a_comparison_that_was_killed_goes_on_to_the_same_results(folder, tmp_path):
    whole = dode(tmp_path, *COMPARE, "-o", "whole.json")
    assert whole.returncode == 0, whole.stderr
    words = [sys.executable, "-c", "from dode.cli import main; main()", *COMPARE, "-o", "r.json"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)
    while killed.poll() is None and not ((tmp_path / "r.json").exists() and rows(tmp_path / "r.json")):
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert rows(tmp_path / "r.json").items() <= rows(tmp_path / "whole.json").items()
    again = dode(tmp_path, *COMPARE, "-o", "r.json", "--csv", "r.csv")
    assert again.returncode == 0, again.stderr
    assert rows(tmp_path / "r.json") == rows(tmp_path / "whole.json")
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 8
    shown = [line.split("±")[0].split() for line in again.stdout.splitlines() if re.match(r"\s*(d-)?ddim ", line)]
    expected = [line.split("±")[0].split() for line in whole.stdout.splitlines() if re.match(r"\s*(d-)?ddim ", line)]
    assert shown == expected
    assert [line[:2] for line in shown] == [["ddim", "3"], ["d-ddim", "3"], ["ddim", "4"], ["d-ddim", "4"]]
    assert "each of 2 seeds; ± over the seeds" in again.stdout
    refused = dode(tmp_path, *COMPARE, "--paired", "5", "-o", "r.json")
    assert refused.returncode == 2
    assert "r.json was made with paired 4; asked for 5: write to another file" in refused.stderr


def test_one_class_is_measured_by_itself(folder):
    """Not the classes in turn; a file of its results takes no others."""
    from dode import bundled, evaluate, sampler

    model = bundled("fashion-mixture").labelled(9)
    wanted = {nfe: f"{evaluate(sampler(model, 'ddim', nfe=nfe), paired=4).rms:.4f}" for nfe in (3, 4)}
    words = ["fashion-mixture", "--paired", "4", "--nfe", "3,4", "--label", "9"]
    done = dode(folder, "evaluate", *words, "--solver", "ddim", "-o", "boots.json")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"RMS +(\S+)", done.stdout)[:2] == list(wanted.values())
    assert "ddim, NFE 3, class 9, guidance 1, seed 0" in done.stdout
    done = dode(folder, "compare", *words, "--solvers", "ddim", "-o", "boots.json")
    assert re.findall(r"^  ddim +\d +(\S+)", done.stdout, re.MULTILINE) == list(wanted.values())
    assert "fashion-mixture, class 9, guidance 1, seed 0" in done.stdout
    of_all = "The samples are of class 9, the reference is of all: give --statistics of that class."
    assert of_all not in done.stdout
    words = ["evaluate", "fashion-mixture", "--solver", "ddim", "--nfe", "3", "--fd", "20", "--label", "9"]
    assert of_all in dode(folder, *words).stdout
    fit = ["--nfe", "3", "--samples", "8", "--scale", "2", "--paired", "0", "--label", "9", "-o", "nine.json"]
    assert dode(folder, "distill", "fashion-mixture", *fit).returncode == 0
    words = ["compare", "fashion-mixture", "--nfe", "3", "--solvers", "ddim,nine.json", "--paired", "4"]
    assert "d-ddim@nine.json was found for class 9 alone." in dode(folder, *words).stdout
    words = ["fashion-mixture", "--paired", "4", "--nfe", "3,4", "--label", "9"]
    refused = dode(folder, "compare", *words[:-2], "--solvers", "ddim", "-o", "boots.json")
    assert refused.returncode == 2
    assert "boots.json was made with label 9; asked for none: write to another file" in refused.stderr


def test_compare_takes_files_and_several_guidance_scales(folder):
    from dode import bundled, sampler, save

    model = bundled("fashion-mixture")
    made = [sampler(model.guided(scale), "edm", nfe=3) for scale in (1.0, 2.0)]
    save(folder / "two.json", *made)
    words = ["--nfe", "3", "--solvers", "ddim,two.json", "--guidance", "1,2", "--paired", "4"]
    done = dode(folder, "compare", "fashion-mixture", *words)
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:3] for line in done.stdout.splitlines() if re.match(r"\s*\S+ +3 +\d ", line)]
    assert "Not all on one grid" not in done.stdout
    assert lines == [["ddim", "3", "1"], ["edm@two.json", "3", "1"], ["ddim", "3", "2"], ["edm@two.json", "3", "2"]]


def test_compare_says_what_stands_on_another_grid_and_what_a_file_has_not(folder):
    from dode import bundled, sampler, save

    save(folder / "grid.json", sampler(bundled("fashion-mixture"), "ddim", nfe=3, grid="logsnr"))
    done = dode(folder, "compare", "fashion-mixture", "--nfe", "3,4", "--solvers", "ddim,grid.json", "--paired", "4")
    assert done.returncode == 0, done.stderr
    assert "Not all on one grid. karras: ddim; logsnr: ddim@grid.json." in done.stdout
    assert "grid.json has no plan for NFE 4." in done.stdout


EVALUATE = ["evaluate", "fashion-mixture", "--solver", "ddim", "--nfe", "3"]
JUDGED = [*EVALUATE, "--metrics", "fd", "--fd", "20"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evaluate", "fashion-mixture"], "either --calibration FILE or --solver NAME"),
        (["evaluate", "fashion-mixture", "--solver", "ddim"], "--solver needs --nfe"),
        (["evaluate", "fashion-mixture", "--calibration", "c.json", "--grid", "karras"], "no --grid"),
        (["evaluate", "fashion-mixture", "--calibration", "c.txt"], "ends with .json"),
        (["evaluate", "fashion-mixture", "--calibration", "absent.json"], "no calibration file at absent.json"),
        (
            ["evaluate", "fashion-mixture", "--calibration", "c.json", "--nfe", "7"],
            "c.json: calibrated for NFE 3, 4; asked for 7",
        ),
        ([*EVALUATE, "--metrics", "fid"], "metrics are rms, fd"),
        ([*EVALUATE, "--metrics", "kid"], "kid needs samples: give --fd"),
        ([*EVALUATE, "--fd", "12"], "at least 20 samples; got 12"),
        ([*EVALUATE, "--rtol", "0"], "rtol, the accuracy of the exact solution, must be positive"),
        ([*EVALUATE[:3], "euler", "--nfe", "3"], "unknown method 'euler'; did you mean ddim?"),
        ([*EVALUATE, "--seed", "a"], "--seed takes whole numbers"),
        ([*EVALUATE, "--guidance", "a"], "--guidance takes numbers like 1,3"),
        ([*EVALUATE, "-o", "r.txt"], "cannot write r.txt: its name must end with .json"),
        ([*EVALUATE, "--csv", "r.html"], "cannot write r.html: its name must end with .csv"),
        ([*EVALUATE, "-o", "absent/r.json"], "the folder absent does not exist"),
        (["auto", "fashion-mixture", "--paired", "0", "--plot", "a.png", "-o", "a.json"], "--plot shows distances"),
        (["train", "pd", "--seed", "-1", "--steps", "1", "-o", "run"], "seed must be a whole number from 0"),
        ([*EVALUATE, "-o", "c.json"], "not a file of results"),
        ([*JUDGED, "--extractor", "own"], "an extractor is bundled"),
        ([*JUDGED, "--extractor", "own:features"], "needs statistics"),
        (
            [*JUDGED, "--extractor", "own:features", "--statistics", "torn.npz"],
            "torn.npz is no .npz file, or only a part",
        ),
        ([*JUDGED, "--extractor", "own:features", "--statistics", "narrow.npz"], "gives 6 features an image"),
        ([*JUDGED, "--extractor", "torch-fidelity:clip-vit-b-32"], "needs torch-fidelity"),
        (
            ["compare", "fashion-mixture", "--solvers", "ddim,absent.json", "--nfe", "3"],
            "no calibration file at absent",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, words, says):
    before = {path.name for path in folder.iterdir()} | {"__pycache__"}
    done = dode(folder, *words)
    assert done.returncode == 2
    (complaint,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert complaint.startswith("error: ")
    assert says in complaint
    assert {path.name for path in folder.iterdir()} <= before


def test_what_an_extractor_raises_is_a_traceback(folder):
    """It is another program's fault, which a line of ours would hide."""
    (folder / "faulty.py").write_text("def features(images):\n    raise ValueError('not my kind of image')\n")
    done = dode(folder, *JUDGED, "--extractor", "faulty.py:features", "--statistics", "own.npz")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert done.stderr.splitlines()[-1] == "ValueError: not my kind of image"
