"""Every file that dode reads may be torn, changed or hostile: it is read, or refused in one sentence.

`python tests/fuzz.py` says what is watched; `make fuzz` reads 10,000 changed files of each kind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from readers import READERS

HERE = Path(__file__).parent
COUNT, SEED = int(os.environ.get("DODE_FUZZ", "500")), int(os.environ.get("DODE_FUZZ_SEED", "0"))
EACH = 0.5  # seconds that a file may take on the average, on a busy machine


GROUPS = [list(READERS)[i::4] for i in range(4)]  # a process each: to begin one takes as long as to read 300 files


@pytest.mark.parametrize("names", GROUPS, ids=",".join)
def test_changed_files_are_read_or_refused(names):
    words = [sys.executable, str(HERE / "fuzz.py"), ",".join(names), str(COUNT), str(SEED)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120 + EACH * COUNT * len(names), check=False)
    assert done.returncode == 0, f"it died at {done.stderr[-1500:]}"
    told = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [line["fault"] for line in told if "fault" in line]
    assert not faults, "\n".join(faults[:5])
    assert [line["reader"] for line in told] == names
    for line in told:
        assert line["read"] == COUNT
        assert 0.3 * COUNT < line["refused"] < COUNT, line  # the changes matter, and some leave the file whole


COMMANDS = {
    "calibration": [
        ["inspect", "c.json"],
        ["export", "c.json", "--sigmas"],
        ["plot", "lambdas", "c.json", "-o", "p.png"],
    ],
    "results": [["plot", "error", "r.json", "-o", "p.png"]],
    "list": [["export", "grid.json", "--sigmas"]],
    "numbers": [["import", "numbers.txt", "-o", "made.json"]],
    "edm-pickle": [["convert", "edm", "net.pkl", "made.safetensors"]],
    "edm-safetensors": [["sample", "net.safetensors", "--solver", "edm", "--nfe", "2", "-n", "1", "-o", "p.png"]],
    "student": [["sample", "pd.safetensors", "-n", "1", "-o", "p.png"]],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_one_line_and_exit_code_2_or_works(name, tmp_path, monkeypatch, capfd):
    """A few of the same files, read by the command itself."""
    from dode.cli import main

    reader = READERS[name]
    monkeypatch.chdir(tmp_path)
    path = Path(reader.name)
    reader.make(path)
    good, codes = path.read_bytes(), set()
    for i in range(12):
        path.write_bytes(good if i == 0 else reader.change(Random(f"{name} {SEED} command {i}"), good))
        for words in COMMANDS[name]:
            monkeypatch.setattr(sys, "argv", ["dode", *words])
            with pytest.raises(SystemExit) as stop:
                main()
            codes.add(stop.value.code)
            said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
            assert len(said) == (stop.value.code == 2), words
            assert stop.value.code in (0, 2)
            if stop.value.code == 2:
                assert {entry.name for entry in Path().iterdir()} <= {
                    reader.name,
                    "p.png",
                    "made.json",
                    "made.safetensors",
                }
    assert codes == {0, 2}
