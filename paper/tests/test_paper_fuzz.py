"""Every file that the paper reads may be torn, changed or hostile; tests/test_fuzz.py has the files of dode."""

import gzip
import json
import struct

import fuzz
import pytest
from paper_readers import READERS

from dode_paper.baselines import student_file

GROUPS = [list(READERS)[i::2] for i in range(2)]
COMMANDS = {
    "edm-pickle": [["convert", "edm", "net.pkl", "made.safetensors"]],
    "edm-safetensors": [["sample", "net.safetensors", "--solver", "edm", "--nfe", "2", "-n", "1", "-o", "p.png"]],
    "student": [["sample", "pd.safetensors", "--solver", "ddim", "--nfe", "2", "-n", "1", "-o", "p.png"]],
}


@pytest.fixture(autouse=True)
def whole_network_afterwards(monkeypatch):
    """The readers put a small network in place of the students' own; other tests need that again."""
    for name in ("UNet", "bundled"):
        monkeypatch.setattr(student_file, name, getattr(student_file, name))


@pytest.mark.parametrize("names", GROUPS, ids=",".join)
def test_changed_files_are_read_or_refused(names):
    fuzz.check_files("paper_readers", names)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_one_line_and_exit_code_2_or_works(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fuzz.check_commands(name, READERS[name], COMMANDS[name], monkeypatch, capfd)


def trillion(name, path):
    """A file of this kind that says it holds a million times a million numbers."""
    count = 10**12
    if name == "old-weights":
        READERS[name].make(path)
        long = b"\x8a\x08" + struct.pack("<q", count)
        path.write_bytes(path.read_bytes().replace(b"K\x06N", long + b"N"))
    elif name == "images":
        path.write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + (10**6).to_bytes(4, "big") * 2 + bytes(100)))
    else:
        about = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
        path.write_bytes(struct.pack("<Q", len(about)) + about + bytes(64))


@pytest.mark.parametrize("name", ["old-weights", "images", "edm-safetensors"])
def test_a_size_of_a_trillion_is_refused_before_there_is_room_made(name, tmp_path):
    path = tmp_path / READERS[name].name
    trillion(name, path)
    fuzz.check_size(READERS[name], path)
