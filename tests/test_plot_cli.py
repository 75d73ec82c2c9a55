"""dode plot and dode compare --report, as a user types them."""

import re
import sys

import pytest

import dode
from dode.cli import app

MODEL = "fashion-mixture"


def typed(*words):
    """Run a command in this process; bad input is a ValueError here, which `main` turns into one line and code 2."""
    return app([*words], standalone_mode=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a comparison with two seeds, its report, and a calibration file for NFE 3 and 4."""
    made = tmp_path_factory.mktemp("plots")
    fitted = dode.distill(dode.bundled(MODEL), "ddim", nfe=[3, 4], samples=6, scale=4)
    dode.save(made / "c.json", *fitted.values())
    words = ["compare", MODEL, "--nfe", "3,4", "--solvers", "ddim,c.json", "--paired", "6", "--fd", "20"]
    words += ["--seed", "0,1", "-o", "r.json", "--report", "r.html"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(sys, "argv", ["anywhere/dode", *words])
        typed(*words)
    return made


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_compare_writes_the_report(folder):
    text = (folder / "r.html").read_text()
    assert "6 samples of test noise, seed 0, 1," in text
    assert "20 samples of test noise, ± over the seeds" in text
    assert "d-ddim@c.json</th>" in text
    assert "<dd>dode compare fashion-mixture --nfe 3,4 --solvers ddim,c.json" in text
    assert "anywhere/" not in text
    assert str(folder) not in text


@pytest.mark.parametrize(
    "words",
    [
        ["error", "r.json", "-o", "a.svg"],
        ["error", MODEL, "--nfe", "3", "--paired", "4", "--solvers", "ddim,edm", "-o", "a.svg"],
        ["fd", "r.json", "-o", "a.png"],
        ["fd", MODEL, "--nfe", "3", "--fd", "20", "--solvers", "ddim", "-o", "a.png"],
        ["lambdas", "c.json", "-o", "a.svg"],
        ["lambdas", "c.json", "--nfe", "4", "-o", "a.png"],
        ["norm", MODEL, "--solvers", "ddim,c.json", "--nfe", "4", "-n", "3", "-o", "a.svg"],
        ["pixels", MODEL, "--solvers", "ddim", "--nfe", "3", "--sample", "1", "-o", "a.svg"],
        ["wall", MODEL, "--solvers", "ddim,c.json", "--nfe", "3,4", "-n", "3", "-o", "a.png"],
        ["tableau", "c.json", "--nfe", "3", "-o", "a.svg"],
        ["tableau", MODEL, "--solver", "ipndm", "--nfe", "4", "-o", "a.svg"],
        ["grid", MODEL, "--grids", "karras,c.json", "--nfe", "4", "-o", "a.svg"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_kind_is_written(words, folder, capsys):
    typed("plot", *words)
    path = folder / words[-1]
    assert path.read_bytes().startswith(b"<?xml" if path.suffix == ".svg" else b"\x89PNG")
    assert f"written: {path.name}" in capsys.readouterr().out
    path.unlink()


def test_results_on_file_are_those_that_are_drawn(folder):
    typed("plot", "error", "r.json", "-o", "a.svg")
    said = re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "a.svg").read_text())
    assert {"3", "4", "ddim", "d-ddim@c.json", "fashion-mixture, guidance 1"} <= set(said)
    (folder / "a.svg").unlink()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plot", "error", "c.json", "-o", "a.png"], "not a file of results"),
        (["plot", "error", "r.json", "--guidance", "3", "-o", "a.png"], "at guidance 1; asked for 3"),
        (["plot", "error", "r.json", "-o", "a.pdf"], "must end with .png or .svg"),
        (["plot", "error", "r.json", "-o", "no/a.png"], "does not exist"),
        (["plot", "lambdas", "c.json", "--nfe", "9", "-o", "a.png"], "holds d-ddim NFE 3, d-ddim NFE 4; asked for"),
        (["plot", "lambdas", MODEL, "--solvers", "ddim", "--nfe", "3", "-o", "a.png"], "name distilled ones, d-ddim"),
        (
            ["plot", "tableau", "c.json", "-o", "a.png"],
            "NFE 3 at guidance 1, NFE 4 at guidance 1; say which one with --nfe and --guidance",
        ),
        (["plot", "tableau", MODEL, "-o", "a.png"], "needs --nfe"),
        (["plot", "wall", MODEL, "-n", "1", "-o", "a.png"], "--samples must be at least 2"),
        (["plot", "pixels", MODEL, "--sample", "-1", "-o", "a.png"], "--sample must be at least 0"),
        (["plot", "norm", MODEL, "--solvers", "dim", "-o", "a.png"], "did you mean ddim"),
        (["compare", MODEL, "--report", "a.txt"], "must end with .html"),
        (["compare", MODEL, "--report", "a.html", "--guidance", "1,3"], "at one guidance scale"),
        (["compare", MODEL, "--report", "a.html", "--paired", "0", "--fd", "20"], "give --paired at least 2"),
    ],
)
def test_bad_input_writes_nothing(words, says, folder):
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(ValueError, match=re.escape(says)):
        typed(*words)
    assert {path.name for path in folder.iterdir()} == before
