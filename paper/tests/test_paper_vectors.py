"""Whatever is typed after the paper's commands, as tests/test_vectors.py has it for those of dode."""

from functools import partial

import pytest
import torch
import vectors
from paper_readers import converted, pickled
from problems import SCHEDULES
from test_vectors import small_models

import dode
from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.conditioning import classes_in_turn
from dode_paper.baselines import student_file

COMMANDS = {words: command for words, command in vectors.commands().items() if words[:1] in vectors.PAPER}


def teacher():
    """A small network that can be trained from."""
    torch.manual_seed(0)
    net = Preconditioned(Folded(UNet(widths=(8,), groups=2)), 0.5).requires_grad_(False)
    about = {"schedule": SCHEDULES["edm"], "prediction": "data", "shape": (1, 32, 32), "classes": 10}
    return dode.from_callable(net, cond=classes_in_turn(10), **about, name="fashion-edm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lines")
    converted(made / "net.safetensors")
    pickled(made / "net.pkl")
    (made / "broken.json").write_text('{"schema": 1, "pla')
    (made / "folder").mkdir()
    return made


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_any_command_line_works_or_says_why_not(words, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    models = small_models() | ({"fashion-edm": teacher} if words == ("train",) else {})
    monkeypatch.setattr("dode.bundled_models.BUNDLED", models)
    monkeypatch.setattr(student_file, "UNet", partial(UNet, widths=(8,), groups=2))
    vectors.check(words, COMMANDS[words], folder, monkeypatch, capfd)
