"""The paper's commands and models reach `dode` by entry points; without the package it says how to install it."""

import subprocess
import sys

import pytest

WITHOUT = """
import importlib.metadata, sys
importlib.metadata.entry_points = lambda **group: ()
from dode.cli import main
main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ["reproduce", "table1", "--quick"],
        ["train", "pd", "-o", "out"],
        ["convert", "edm", "a.pkl", "b.safetensors"],
        ["sample", "net.safetensors", "--solver", "edm", "--nfe", "2", "-o", "s.png"],
    ],
    ids=lambda words: words[0],
)
def test_without_the_package_its_commands_say_how_to_install_it(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "dode-paper" in done.stderr
    assert "pip install ./paper" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_package_names_what_it_brings():
    from importlib.metadata import entry_points

    commands = {entry.name: entry.load() for entry in entry_points(group="dode.commands")}
    assert {"convert", "reproduce", "train"} <= set(commands)
    assert [entry.load().__name__ for entry in entry_points(group="dode.models")] == ["open_file"]
