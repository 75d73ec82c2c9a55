"""Whatever is typed: exit code 0 or 2, one line where it is 2, nothing half-written, no traceback and no hang."""

import sys

import numpy as np
import pytest
import torch
import vectors
from problems import SCHEDULES, gaussian, mixture
from readers import READERS, calibrated, compared, listed

COMMANDS = {words: command for words, command in vectors.commands().items() if words[:1] not in vectors.PAPER}


def small_models():
    """The bundled models by their names, as small as can be."""
    return {
        "fashion": lambda: gaussian().model(SCHEDULES["discrete"], "noise"),
        "fashion-edm": lambda: gaussian().model(SCHEDULES["edm"], "data"),
        "fashion-mixture": lambda: mixture(torch.float32).model(SCHEDULES["edm"], "data"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one file of each kind."""
    made = tmp_path_factory.mktemp("lines")
    calibrated(made / "c.json")
    compared(made / "r.json")
    listed(made / "grid.json")
    READERS["numbers"].make(made / "numbers.txt")
    np.savez(made / "ref.npz", mu=np.zeros(64), sigma=np.eye(64))
    (made / "broken.json").write_text('{"schema": 1, "pla')
    (made / "folder").mkdir()
    return made


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_any_command_line_works_or_says_why_not(words, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("dode.bundled_models.BUNDLED", small_models())
    vectors.check(words, COMMANDS[words], folder, monkeypatch, capfd)


@pytest.mark.parametrize("count", ["1000000000000", "99999999999999999999"])
def test_too_little_memory_is_one_sentence(count, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dode.bundled_models.BUNDLED", small_models())
    words = ["dode", "sample", "fashion", "--solver", "ddim", "--nfe", "2", "-n", count, "-o", "made.png"]
    monkeypatch.setattr(sys, "argv", words)
    assert vectors.exit_code()[0] == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert not list(tmp_path.iterdir())
