"""Several processes: equal bits for 1, 2 and 4, shared work, and an end with a message when one of them fails."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dode.cli import main
from dode.process_group import ALONE, ProcessGroup, current

TESTS = Path(__file__).parent


def test_alone_everything_is_mine():
    assert current() == ALONE
    assert ALONE.share(range(5)) == range(5)
    assert ALONE.gather([1, 2]) == [1, 2]
    assert ALONE.broadcast("x") == "x"
    assert [list(ProcessGroup(rank, 3).share(range(7))) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_one_two_and_four_processes_find_the_same_bits():
    """Every λ and figure, in every process; each makes its share of the calls."""
    done = subprocess.run([sys.executable, TESTS / "company.py"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ((alone, calls),) = found["1"]
    for size, most in (("2", 0.7), ("4", 0.5)):  # five batches, and every process finds out how exact is exact
        for mine, made in found[size]:
            assert mine == alone
            assert made < most * calls


def test_commands_of_two_processes_write_and_print_what_those_of_one_do():
    """`dode sample`, `evaluate` and `compare`: equal files but for the seconds; the second process prints nothing."""
    done = subprocess.run([sys.executable, TESTS / "commands.py"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)
    assert one == two


def test_what_cannot_be_shared_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", os.environ | {"RANK": "0", "WORLD_SIZE": "2"})
    monkeypatch.setattr(sys, "argv", ["dode", "demo"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "error: several processes share the work of distill, evaluate" in capsys.readouterr().err


def launched(count, *words, **options):
    """The command under torchrun, with so many processes on this machine."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([*torchrun, *words], **pipes, **options)


DISTIL = ["-m", "dode", "distill", "fashion-mixture", "--nfe", "3", "--samples", "12", "--scale", "3", "--batch", "4"]


def test_the_command_under_torchrun_is_the_command(tmp_path):
    """One file, one line a result, the same content as in one process."""
    words = [*DISTIL, "--paired", "8", "-o"]
    both = launched(2, *words, str(tmp_path / "both.json"))
    out, err = both.communicate(timeout=300)
    assert both.returncode == 0, err
    alone = subprocess.run([sys.executable, *words, str(tmp_path / "alone.json")], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    assert out.replace("both", "alone") == alone.stdout
    assert (tmp_path / "both.json").read_bytes() == (tmp_path / "alone.json").read_bytes()


def test_what_one_process_complains_of_ends_all(tmp_path):
    """Bad input is said once."""
    both = launched(2, *DISTIL, "--scale", "0", "-o", str(tmp_path / "no.json"))
    _, err = both.communicate(timeout=120)
    assert both.returncode != 0
    assert err.count("error: scale must be a whole number") == 1
    assert not (tmp_path / "no.json").exists()


FAILING = """
import os, sys, time
from dode import cli
from dode.cli import main
from dode.errors import DodeError

def distill(name: str) -> None:
    from dode.process_group import current
    group = current()
    if group.rank == 1 and name == "raises":
        raise DodeError("this one has had enough")
    if group.rank == 1 and name == "dies":
        os.kill(os.getpid(), 9)
    group.gather([group.rank])
    time.sleep(600)

cli.app.registered_commands.clear()
cli.app.command("distill")(distill)
cli.app.command("other")(distill)
main()
"""


@pytest.mark.parametrize(
    ("how", "says"), [("raises", "error: process 1: this one has had enough"), ("dies", "Signal 9 (SIGKILL) received")]
)
def test_a_process_that_fails_ends_the_run(how, says, tmp_path):
    """With its message, and not after the patience of the others."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    began = time.monotonic()
    both = launched(2, str(script), "distill", how, start_new_session=True)
    try:
        _, err = both.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        os.killpg(both.pid, signal.SIGKILL)
        raise
    assert both.returncode != 0
    assert says in err
    assert err.count("Traceback") == 1  # torchrun's own
    assert time.monotonic() - began < 100


def test_who_outlives_another_says_so(tmp_path):
    """Without torchrun, which may end the survivor before it has spoken."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, script, "distill", "dies"]
    first, second = (
        subprocess.Popen(words, env=shared | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    )
    _, err = first.communicate(timeout=100)
    second.communicate(timeout=100)
    assert (first.returncode, second.returncode) == (2, -signal.SIGKILL)
    assert "error: another process of this run has ended" in err
    assert "Traceback" not in err
