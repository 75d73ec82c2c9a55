"""Every file that dode reads may be torn, changed or hostile: it is read, or refused in one sentence.

`python tests/fuzz.py` says what is watched; `make fuzz` reads 10,000 changed files of each kind.
"""

import re
import struct
import subprocess
import sys
from pathlib import Path

import fuzz
import mutants
import pytest
from readers import READERS

HERE = Path(__file__).parent
GROUPS = [list(READERS)[i::2] for i in range(2)]  # a process each: to begin one takes as long as to read 300 files


@pytest.mark.parametrize("names", GROUPS, ids=",".join)
def test_changed_files_are_read_or_refused(names):
    fuzz.check_files("readers", names)


COMMANDS = {
    "calibration": [
        ["inspect", "c.json"],
        ["export", "c.json", "--sigmas"],
        ["plot", "lambdas", "c.json", "-o", "p.png"],
    ],
    "results": [["plot", "error", "r.json", "-o", "p.png"]],
    "list": [["export", "grid.json", "--sigmas", "--nfe", "2"]],
    "numbers": [["import", "numbers.txt", "-o", "made.json"]],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_one_line_and_exit_code_2_or_works(name, tmp_path, monkeypatch, capfd):
    """A few of the same files, read by the command itself."""
    monkeypatch.chdir(tmp_path)
    fuzz.check_commands(name, READERS[name], COMMANDS[name], monkeypatch, capfd)


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


def test_a_size_of_a_trillion_is_refused_before_there_is_room_made(tmp_path):
    path, count = tmp_path / READERS["statistics"].name, 10**12
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n" + bytes(64)
    path.write_bytes(mutants.zipped([("mu.npy", array), ("sigma.npy", array)]))
    fuzz.check_size(READERS["statistics"], path)
