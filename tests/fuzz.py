"""Changed files read one after another, in a process of its own: little memory, a clock, a watch on what it does.

    python tests/fuzz.py MODULE READER[,READER…] COUNT [SEED [FIRST]]

MODULE has the readers: readers, or paper_readers, which is in paper/tests.

Prints one line of JSON for each fault, and for each reader one that says how many files it refused.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from pathlib import Path
from random import Random

from dode.errors import DodeError

HERE = Path(__file__).parent
PAPER = HERE.parent / "paper/tests"
MEMORY = 1 << 30  # bytes more than the process has when it begins
SECONDS = 20  # a file
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.connect", "ctypes.", "pty.")
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")


class Fault(BaseException):
    """Nothing that dode catches."""


class Guard:
    """Told of all that the interpreter does; while a file is read, what no reader may do is a Fault."""

    def __init__(self, folder):
        self.folder, self.on = folder, False
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.on and (what := self.wrong(event, arguments)):
            self.on = False
            raise Fault(f"{what} {event} {arguments!r}"[:300])

    def wrong(self, event, arguments):
        if event.startswith(FORBIDDEN) or event == "pickle.find_class":
            return "runs what a file names:"
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        handle = isinstance(arguments[0], int) if arguments else True  # of a file that was opened by its name before
        if (
            (written or event in CHANGING)
            and not handle
            and not str(arguments[0]).startswith((str(self.folder), "/dev/"))
        ):
            return "writes outside the folder:"
        return None


def late(*_):
    raise Fault(f"takes longer than {SECONDS} s")


def refused_by_memory(error):
    """Was it memory that ran out, behind a sentence?  Then the size was not looked at before."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "allocate memory" in text or "enough memory" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def judged(read, path):
    """None if the file was read, or refused as promised (then True); else what is wrong."""
    try:
        read(path)
    except DodeError as error:
        if refused_by_memory(error):
            return f"memory ran out: {error!r}"[:300]
        if "\n" in str(error).strip() or not str(error).strip() or len(str(error)) > 2000:
            return f"no sentence: {error!r}"[:300]
        return True
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
        return f"{type(error).__name__}: {error} ({where})"[:400]
    return None


def limited():
    """No more memory than MEMORY beyond what is there now."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzzed(name, reader, count, seed, first, guard):
    """Read `count` changed files, from number `first` on: the number of those that were refused."""
    path, refused = guard.folder / reader.name, 0
    reader.make(path)
    good = path.read_bytes()
    reader.read(path)  # the good one is read, and what is imported late is there
    limited()
    for i in range(first, first + count):
        path.write_bytes(reader.change(Random(f"{name} {seed} {i}"), good))
        print(f"\r{name} {i}", end="", file=sys.stderr, flush=True)  # should the process die, this is its last word
        guard.on = True
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            found = judged(reader.read, path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            guard.on = False
        refused += found is True
        if isinstance(found, str):
            print(json.dumps({"reader": name, "seed": seed, "number": i, "fault": found}), flush=True)
        for other in guard.folder.iterdir():
            other.unlink()
    return refused


def main(module, names, count, seed=0, first=0):
    sys.path.append(str(PAPER))
    readers = importlib.import_module(module).READERS
    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        guard = Guard(Path(made))
        for name in names.split(","):
            began = time.monotonic()
            refused = fuzzed(name, readers[name], count, seed, first, guard)
            seconds = round(time.monotonic() - began, 1)
            print(json.dumps({"reader": name, "read": count, "refused": refused, "seconds": seconds}), flush=True)
        os.chdir("/")


COUNT, SEED = int(os.environ.get("DODE_FUZZ", "500")), int(os.environ.get("DODE_FUZZ_SEED", "0"))
EACH = 0.5  # seconds that a file may take on the average, on a busy machine


def check_files(module, names):
    """Assert that changed files of these readers are read or refused, in a process of its own."""
    words = [sys.executable, str(HERE / "fuzz.py"), module, ",".join(names), str(COUNT), str(SEED)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120 + EACH * COUNT * len(names), check=False)
    assert done.returncode == 0, f"it died at {done.stderr[-1500:]}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [line["fault"] for line in lines if "fault" in line]
    assert not faults, "\n".join(faults[:5])
    assert [line["reader"] for line in lines] == names
    for line in lines:
        assert line["read"] == COUNT
        assert 0.3 * COUNT < line["refused"] < COUNT, line  # the changes matter, and some leave the file whole


def check_commands(name, reader, commands, monkeypatch, capfd):
    """Assert that commands read some of the same files, or end with one line and exit code 2, in this folder."""
    from dode.cli import main as typed

    path = Path(reader.name)
    reader.make(path)
    good, codes = path.read_bytes(), set()
    for i in range(8):
        path.write_bytes(good if i == 0 else reader.change(Random(f"{name} {SEED} command {i}"), good))
        for words in commands:
            monkeypatch.setattr(sys, "argv", ["dode", *words])
            try:
                typed()
            except SystemExit as stop:
                code = stop.code
            codes.add(code)
            errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
            assert len(errors) == (code == 2), words
            assert code in (0, 2)
            if code == 2:
                known = {reader.name, "p.png", "made.json", "made.safetensors"}
                assert {entry.name for entry in Path().iterdir()} <= known
    assert codes == {0, 2}


def check_size(reader, path):
    """Assert that a file that says it holds a million times a million numbers is refused before there is room made."""
    tracemalloc.start()
    try:
        reader.read(path)
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017
        assert not refused_by_memory(error)  # noqa: PT017
    else:
        raise AssertionError(f"{path.name} was read")
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


if __name__ == "__main__":
    module, names, *numbers = sys.argv[1:]
    main(module, names, *map(int, numbers))
