"""Whatever is typed: exit code 0 or 2, one line where it is 2, nothing half-written, no traceback and no hang."""

import os
import shlex
import signal
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dode_paper.baselines import student_file
from hypothesis import HealthCheck, given, settings
from problems import SCHEDULES, gaussian, mixture
from readers import READERS, calibrated, compared, converted, listed, pickled
from vectors import commands, lines, whole

import dode
from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.cli import main
from dode.conditioning import classes_in_turn

COMMANDS = commands()
EXAMPLES = int(os.environ.get("DODE_LINES", "12"))  # of each command, a quarter of those that measure or train
LONG = ("auto", "compare", "demo", "reproduce", "train")
SECONDS = 180  # on a busy machine


def small_models(words):
    """The bundled models by their names, as small as can be; only who trains needs a network."""
    torch.manual_seed(0)
    net = Preconditioned(Folded(UNet(widths=(8,), groups=2)), 0.5).requires_grad_(False)
    edm = {"schedule": SCHEDULES["edm"], "prediction": "data", "shape": (1, 32, 32), "classes": 10}
    return {
        "fashion": lambda: gaussian().model(SCHEDULES["discrete"], "noise"),
        "fashion-edm": lambda: (
            gaussian().model(SCHEDULES["edm"], "data")
            if "train" not in words
            else dode.from_callable(net, cond=classes_in_turn(10), **edm, name="fashion-edm")
        ),
        "fashion-mixture": lambda: mixture(torch.float32).model(SCHEDULES["edm"], "data"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one file of each kind."""
    made = tmp_path_factory.mktemp("lines")
    calibrated(made / "c.json")
    compared(made / "r.json")
    listed(made / "grid.json")
    pickled(made / "net.pkl")
    converted(made / "net.safetensors")
    READERS["numbers"].make(made / "numbers.txt")
    np.savez(made / "ref.npz", mu=np.zeros(64), sigma=np.eye(64))
    pickled(made / "net.pkl")
    (made / "broken.json").write_text('{"schema": 1, "pla')
    (made / "folder").mkdir()
    return made


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hung(*_):
    raise AssertionError(f"it took longer than {SECONDS} s")


def ran():
    """The exit code of the command as it is typed, and what is wrong with how it went."""
    signal.alarm(SECONDS)
    try:
        main()
    except SystemExit as stop:
        return stop.code, None if stop.code in (0, 2) else f"exit code {stop.code}"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-5:]))
        return None, f"{type(error).__name__}: {error} ({where})"[:500]
    finally:
        signal.alarm(0)
    return None, "it returned"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_any_command_line_works_or_says_why_not(words, folder, monkeypatch, capfd):
    """All that is wrong is told at the end: to find the shortest line of words would take longer than to read it."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("dode.bundled_models.BUNDLED", small_models(words))
    monkeypatch.setattr(student_file, "UNet", partial(UNet, widths=(8,), groups=2))
    before, faults = state(folder), []
    signal.signal(signal.SIGALRM, hung)

    @settings(
        max_examples=EXAMPLES // 4 if words[:1] and words[0] in LONG else EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(lines(words, COMMANDS[words]))
    def check(typed):
        monkeypatch.setattr(sys, "argv", ["dode", *typed])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code, wrong = ran()
        told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        if wrong is None and len(told) != (code == 2) and len(typed) > len(words):
            wrong = f"{len(told)} lines say what is wrong"
        after = state(folder)
        for path, content in after.items():
            if before.get(path) != content:
                wrong = wrong or (None if whole(path) else f"{path.name} is not whole")
                path.unlink()
        for path, content in before.items():
            if after.get(path) != content:
                path.write_bytes(content)
        if wrong:
            faults.append(f"{shlex.join(typed)}: {wrong}")

    check()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("count", ["1000000000000", "99999999999999999999"])
def test_too_little_memory_is_one_sentence(count, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dode.bundled_models.BUNDLED", small_models(()))
    words = ["dode", "sample", "fashion", "--solver", "ddim", "--nfe", "2", "-n", count, "-o", "made.png"]
    monkeypatch.setattr(sys, "argv", words)
    assert ran()[0] == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert not list(tmp_path.iterdir())
