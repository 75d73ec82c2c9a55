"""Commands as one process and as two would run them, every process a child of this one; prints their files as JSON.

What `torchrun` sets, an environment, is set here: its own start takes seconds.
"""

import contextlib
import io
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import torch

from dode.cli import main

MODEL = "fashion-mixture"
COMMANDS = {
    "sheet.png": ["sample", MODEL, "--solver", "ddim", "--nfe", "2", "-n", "7", "--batch", "2", "--label", "3"],
    "results.json": ["evaluate", MODEL, "--solver", "ddim", "--nfe", "2", "--metrics", "rms"],
    "rows.json": ["compare", MODEL, "--solvers", "ddim,ipndm-2", "--nfe", "2", "--fd", "20", "--csv", "rows.csv"],
}


def port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def member(words, folder, environment):
    """One process: what it prints goes into a file."""
    os.chdir(folder)
    os.environ |= environment
    sys.argv = ["dode", *words]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    (folder / f"said-{environment.get('RANK', '0')}").write_text(said.getvalue())
    os._exit(code)


def run(words, folder, size):
    meeting = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port())}
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            member(words, folder, meeting | {"RANK": str(rank)} if size > 1 else {})
        children.append(child)
    assert not any(os.waitpid(child, 0)[1] for child in children), words


def without_seconds(content):
    """Results but for the time they took."""
    rows = {key: row | {"seconds": 0} for key, row in content["rows"].items()}
    return content | {"rows": rows}


def all_files(size):
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for output, words in COMMANDS.items():
            more = [] if words[0] == "sample" else ["--paired", "3", "--batch", "2"]
            run([*words, *more, "-o", output], folder, size)
            content = (folder / output).read_bytes()
            found[output] = content.hex() if output.endswith("png") else without_seconds(json.loads(content))
            said = [(folder / f"said-{rank}").read_text() for rank in range(size)]
            assert not any(said[1:]), said
            found[words[0]] = said[0].splitlines()[-1]
        found["rows.csv"] = [line.rpartition(",")[0] for line in (folder / "rows.csv").read_text().splitlines()]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([all_files(size) for size in (1, 2)]))
