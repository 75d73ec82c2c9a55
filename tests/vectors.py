"""Command lines by chance: every command, every option; values that work, that are at an edge, that are wrong."""

import os
import shlex
import signal
import sys
import traceback
import warnings
from pathlib import Path

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from dode.cli import app, main

PAPER = [("convert",), ("reproduce",), ("train",)]  # commands of the paper's package
EXAMPLES = int(os.environ.get("DODE_LINES", "12"))  # of each command, a quarter of those that measure or train
LONG = ("auto", "compare", "demo", "reproduce", "train")
SECONDS = 180  # on a busy machine

NUMBERS = ["0", "1", "2", "3", "4", "-1", "10", "x", "", "1.5", "99999999999999999999", "1e3"]
FLOATS = ["0", "1", "0.5", "2", "3", "-1", "nan", "inf", "-inf", "1e400", "x", "", "1e-300", "80"]
FILES = [
    "c.json",
    "r.json",
    "grid.json",
    "broken.json",
    "numbers.txt",
    "net.pkl",
    "net.safetensors",
    "ref.npz",
    "none.json",
]
WORDS = {  # by the name of the option; what is not here goes by its type
    "model": [
        "fashion",
        "fashion-edm",
        "fashion-mixture",
        "fashon",
        "",
        "c.json",
        "net.safetensors",
        "none.safetensors",
    ],
    "solver": [
        "ddim",
        "edm",
        "dpm-solver++2m",
        "pndm",
        "d-ddim",
        "ddim:eta=1",
        "edm:churn=1e9",
        "ddim:eta=x",
        "edm:churn=nan",
        "dpm-solver-2:inner=time",
        "deis-2:x=1",
        "dim",
        ":",
    ],
    "solvers": [
        "ddim",
        "ddim,d-ddim",
        "c.json",
        "auto.json",
        "d-ddim:formulation=sep,edm",
        ",",
        "ddim,ddim",
        "none.json",
    ],
    "teacher": ["ddim", "unipc-2", "d-ddim", "x", "ipndm", "dpm-solver-3"],
    "nfe": ["1", "2", "3", "2,3", "0", "-1", "x", "2,,3", "1e3", "99999999999", "1.5"],
    "grid": ["trailing", "karras", "logsnr", "published", "ays-sd15", "gits-sd", "grid.json", "broken.json", "x", ""],
    "grids": ["trailing,karras", "gits-sd", "grid.json", "x", ",", "c.json"],
    "metrics": ["rms", "rms,path", "fd", "kid,pr,agreement", "x", ""],
    "extractor": ["bundled", "x", "none.py:f", "json:nothing", "torch-fidelity:x", ":", "os:sep"],
    "classifier": ["bundled", "x", "json:nothing"],
    "statistics": ["ref.npz", "c.json", "none.npz", "."],
    "align": ["time", "count", "x"],
    "formulation": ["d", "2", "sep", "all", "verbatim", "fixed", "la", "x"],
    "lam": ["0.5", "search", "nan", "x"],
    "states": ["student", "teacher", "x"],
    "end": ["data", "t_min", "x"],
    "seed": ["0", "1", "-1", "18446744073709551616", "x", "0,1"],
    "device": ["cpu", "meta", "cuda:9", "x", ""],
    "dtype": ["float32", "float64", "bfloat16", "float16", "int8", ""],
    "guidance": ["1", "2", "0", "-1", "nan", "inf", "x", "1,2"],
    "label": ["0", "2", "99", "-1", "x"],
    "method": ["pd", "cd", "direct", "guided", "x", ""],
    "minutes": ["0", "-1", "nan", "x"],  # never a whole minute
    "name": ["fig3", "table9", "", "fig3,x", "all,"],
    "numbers": ["14.6,6.5,0", "3 2 1", "1,2,3", "numbers.txt", "ays-sd15", "c.json", "net.pkl", "", "nan", "."],
    "file": [*FILES, "ays-sd15", "gits-sd", "."],
    "source": [*FILES, "fashion", "fashion-mixture", "."],
    "target": ["made.safetensors", "made.txt", "no/made.safetensors", "."],
    "calibration": [*FILES, "."],
    "key": ["ema", "x", ""],
}
OUTPUTS = ["made.png", "made.json", "made.svg", "made.html", "made", "c.json", "no/made.png", ".", "", "made.csv"]
FOR = {"sample": "made.png", "plot": "made.png", "demo": "folder", "train": "folder", "reproduce": "folder"}
SLOW = {"samples", "number", "paired", "fd", "pairs", "steps", "batch", "scale", "teacher_steps", "columns", "seeds"}


def commands():
    """Every command that does something, by its words."""

    def walk(command, words):
        if found := getattr(command, "commands", None):
            for name, one in found.items():
                yield from walk(one, (*words, name))
        else:
            yield words, command

    return dict(walk(typer.main.get_command(app), ()))


def values(words, one):
    """What one parameter may be given."""
    name = one.name.rstrip("_")
    if name == "output":
        usual = FOR.get(words[0], "made.json")
        return st.one_of(st.just(usual), st.just(usual), st.sampled_from(OUTPUTS))
    if name in ("plot", "csv", "report"):
        return st.sampled_from([f"made.{ {'plot': 'png', 'csv': 'csv', 'report': 'html'}[name] }", *OUTPUTS])
    if (
        name in WORDS
        and not (name == "name" and words[0] != "reproduce")
        and not (name == "source" and words[0] == "import")
    ):
        known = WORDS[name]
        return st.one_of(st.sampled_from(known[:3]), st.sampled_from(known))
    if name in SLOW:
        return st.one_of(st.sampled_from(["2", "3"]), st.sampled_from([n for n in NUMBERS if n != "1e3"]))
    usual = [] if one.default is None else [str(one.default)]
    return st.sampled_from([*usual, *NUMBERS, *FLOATS, "a", "λ", "-", "x" * 300, "c.json"])


@st.composite
def lines(draw, words, command):
    """The words of one command line."""
    made = list(words)
    for one in command.params:
        if one.param_type_name == "argument":
            if one.required or draw(st.booleans()):
                made.append(draw(values(words, one)))
            continue
        wanted = one.required or one.name in CHEAPER.get(words[0], {}) or draw(st.integers(0, 5)) == 0
        if not wanted or one.name == "help":
            continue
        if one.is_flag:
            made.append(draw(st.sampled_from([*one.opts, *one.secondary_opts])))
        else:
            made += [one.opts[0], CHEAPER.get(words[0], {}).get(one.name) or draw(values(words, one))]
    if draw(st.integers(0, 20)) == 0:
        made.insert(
            draw(st.integers(0, len(made))), draw(st.sampled_from(["--", "--nonsense", "-", "extra", "--nfe", "-o"]))
        )
    return made


CHEAPER = {"demo": {"fd": "20", "samples": "2", "paired": "2"}, "auto": {"quick": None}, "train": {"pairs": "2"}}


def whole(path: Path) -> bool:
    """Is a file one that was written to its end?"""
    content = path.read_bytes()
    ends = {".png": b"IEND\xaeB`\x82", ".svg": b"</svg>\n", ".html": b"</html>\n", ".json": b"}\n", ".csv": b"\n"}
    if path.suffix == ".safetensors":
        return len(load(content)) > 0  # raises for one that is cut off
    return not path.name.startswith(".") and content.endswith(ends.get(path.suffix, b""))


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hung(*_):
    raise AssertionError(f"it took longer than {SECONDS} s")


def exit_code():
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


def check(words, command, folder, monkeypatch, capfd):
    """Assert that lines of one command work or say why not.

    All that is wrong is told at the end: to find the shortest line of words would take longer than to read it.
    """
    before, faults = state(folder), []
    signal.signal(signal.SIGALRM, hung)

    @settings(
        max_examples=EXAMPLES // 4 if words[:1] and words[0] in LONG else EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(lines(words, command))
    def run(typed):
        monkeypatch.setattr(sys, "argv", ["dode", *typed])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code, wrong = exit_code()
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

    run()
    assert not faults, "\n".join(faults)
