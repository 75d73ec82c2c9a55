"""The package is as light and as layered as it says."""

import ast
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parent.parent / "src/dode"
LAYERS = [
    ["schedule", "forms", "conditions", "ranks", "shelf", "spelling", "trained", "pickles", "progress"],
    ["prediction", "grid", "noise", "nets"],
    ["methods", "plan", "fingerprints", "lists"],
    ["tracing", "sampling", "formulations", "least_squares", "scaling", "calibration"],
    ["solvers", "denoiser", "distillation"],
    ["model", "reference", "midrun", "legend"],
    ["samplers", "fitting", "analytic", "edm", "azula"],
    ["search", "explanation", "levels", "paths", "weights", "recipes"],
    ["distilled", "citations", "baselines", "plots"],
    ["metrics", "kdiffusion"],
    ["pipeline", "comfyui", "report", "reproduce"],
    ["diffusers", "hub", "nodes", "cli"],
]
RANK = {name: i for i, names in enumerate(LAYERS) for name in names}


def imports(path):
    """Modules of dode that a file imports where it is loaded (not inside functions, not for type checkers)."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dode"):
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_the_layers_are_those_that_contributors_read():
    text = (SOURCE.parent.parent / "CONTRIBUTING.md").read_text()
    written = " ".join(re.search(r"\n\n((?:    .*→.*\n)+(?:    .*\n)*)", text)[1].split())
    assert written == " → ".join(", ".join(row) for row in LAYERS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_import_only_what_stands_above_them(path):
    mine = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if mine in ("__init__", "__main__"):
        return
    assert mine in RANK, f"{mine} has no place in LAYERS"
    for other in imports(path):
        assert RANK[other] <= RANK[mine], f"{mine} imports {other}"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_are_as_short_as_contributors_read(path):
    """300 lines a file, 25 statements a function; a call that hands on many options is one statement."""
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for one in ast.walk(ast.parse(text)):
        if isinstance(one, ast.FunctionDef):
            inside = sum(isinstance(each, ast.stmt) for each in ast.walk(one)) - 1
            assert inside - (ast.get_docstring(one) is not None) <= 25, f"{one.name} does more than one thing"


def loaded(statement):
    code = f"import sys\n{statement}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_import_loads_no_more_than_numpy_and_torch():
    heavy = {"matplotlib", "safetensors", "typer", "rich", "scipy", "diffusers", "torchvision"}
    names = "import dode; dode.distill, dode.sampler, dode.from_callable, dode.load, dode.METHODS, dode.analytic"
    assert not heavy & loaded(names)
    assert {"numpy", "torch"} <= loaded(names)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "demo",
        "distill",
        "auto",
        "sample",
        "compare",
        "evaluate",
        "reproduce",
        "inspect",
        "methods",
        "cite",
        "train",
        "export",
        "import",
        "convert",
        "convert edm",
        "interpolate",
        "plot",
        *(f"plot {kind}" for kind in ("error", "fd", "lambdas", "norm", "pixels", "wall", "tableau", "grid")),
    ],
)
def test_help_is_light(command):
    statement = f"""
from dode.cli import app
try:
    app({[*command.split(), "--help"]!r})
except SystemExit as stop:
    assert stop.code == 0
"""
    assert not {"numpy", "torch", "matplotlib"} & loaded(statement)


def test_files_are_small():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 300, path


def test_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in (SOURCE / "weights").glob("*.safetensors")}
    assert set(sizes) == {f"{name}.safetensors" for name in ("fashion", "fashion-edm", "fashion-mixture", "classifier")}
    assert max(sizes.values()) <= 6e6


def test_public_names_exist():
    import dode

    for name in dode.__all__:
        assert getattr(dode, name) is not None
    assert set(dir(dode)) >= set(dode.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        getattr(dode, "nonsense")  # noqa: B009


def test_no_function_hides_a_module():
    """`dode.x.y` is one thing: the module, or the name that its folder gives."""
    import dode

    folders = [one.name for one in pkgutil.walk_packages(dode.__path__, "dode.") if one.ispkg]
    assert len(folders) > 10
    for name in ["dode", *folders]:
        folder = import_module(name)
        for module in pkgutil.iter_modules(folder.__path__):
            assert isinstance(getattr(folder, module.name, sys), ModuleType), f"{name}.{module.name}"
