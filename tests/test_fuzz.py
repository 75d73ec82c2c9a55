"""Every file that dode reads may be torn, changed or hostile: it is read, or refused in one sentence.

`python tests/fuzz.py` says what is watched; `make fuzz` reads 10,000 changed files of each kind.
"""

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from random import Random

import fuzz
import mutants
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
    "list": [["export", "grid.json", "--sigmas", "--nfe", "2"]],
    "numbers": [["import", "numbers.txt", "-o", "made.json"]],
    "edm-pickle": [["convert", "edm", "net.pkl", "made.safetensors"]],
    "edm-safetensors": [["sample", "net.safetensors", "--solver", "edm", "--nfe", "2", "-n", "1", "-o", "p.png"]],
    "student": [["sample", "pd.safetensors", "--solver", "ddim", "--nfe", "2", "-n", "1", "-o", "p.png"]],
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
    for i in range(8):
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


DEEDS = (
    "os.system('true')",
    "subprocess.run(['true'])",
    "socket.create_connection(('127.0.0.1', 1))",
    "pickle.loads(pickle.dumps(os.getcwd))",
    "Path('/tmp/dode-outside').write_text('')",
    "os.mkdir('/tmp/dode-outside')",
    "bytearray(1 << 40)",
    "1 / 0",
)


def test_the_watch_sees_what_no_reader_may_do(tmp_path):
    """In a process of its own, for an audit hook stays as long as its process."""
    code = f"""
import os, pickle, socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import fuzz
fuzz.limited()
guard = fuzz.Guard(Path.cwd())
for deed in {DEEDS!r}:
    guard.on = True
    found = fuzz.judged(lambda path: eval(deed), None)
    guard.on = False
    print(found)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(DEEDS)
    for line in lines:
        assert re.match("Fault: (runs|writes)|MemoryError|ZeroDivisionError", line), line
    assert not Path("/tmp/dode-outside").exists()


def trillion(name, path):
    """A file of this kind that says it holds a million times a million numbers."""
    count = 10**12
    if name == "statistics":
        head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}"
        array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n" + bytes(64)
        path.write_bytes(mutants.zipped([("mu.npy", array), ("sigma.npy", array)]))
    elif name == "old-weights":
        READERS[name].make(path)
        long = b"\x8a\x08" + struct.pack("<q", count)
        path.write_bytes(path.read_bytes().replace(b"K\x06N", long + b"N"))
    elif name == "images":
        path.write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + (10**6).to_bytes(4, "big") * 2 + bytes(100)))
    else:
        about = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
        path.write_bytes(struct.pack("<Q", len(about)) + about + bytes(64))


@pytest.mark.parametrize("name", ["statistics", "old-weights", "images", "edm-safetensors"])
def test_a_size_of_a_trillion_is_refused_before_there_is_room_made(name, tmp_path):
    path = tmp_path / READERS[name].name
    trillion(name, path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=path.name) as told:
        READERS[name].read(path)
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()
    assert not fuzz.refused_by_memory(told.value)
