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
    ["errors", "preconditioning", "progress"],
    ["conditioning", "files", "messages", "process_group", "schedule"],
    ["json_schema", "noise", "parameterization", "timesteps"],
    ["method", "plan", "sigma_tables"],
    ["sampling", "state_scaling", "tracing"],
    ["fingerprint", "solvers", "tensor_store"],
    ["calibration", "exact", "output_cache"],
    ["denoisers"],
    ["model"],
    ["analytic", "samplers"],
    ["bundled_models", "distillation", "hub", "trajectories"],
    ["describe", "opening", "search"],
    ["citations", "metrics"],
    ["cli", "integrations", "plots"],
    ["comfyui", "diffusers", "kdiffusion", "report"],
]
RANK = {name: i for i, names in enumerate(LAYERS) for name in names}


def imports(path):
    """Modules of dode that a file imports where it is loaded, for type checkers too; not those inside functions."""
    body = list(ast.parse(path.read_text()).body)
    body += [inner for node in body if isinstance(node, ast.If | ast.Try) for inner in node.body]
    for node in body:
        if isinstance(node, ast.ImportFrom) and re.match(r"dode(\.|$)", node.module or ""):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_the_layers_are_those_that_contributors_read():
    text = (SOURCE.parent.parent / "CONTRIBUTING.md").read_text()
    written = " ".join(re.search(r"\n\n((?:    .*→.*\n)+(?:    .*\n)*)", text)[1].split())
    assert written == " → ".join(", ".join(row) for row in LAYERS)


def test_modules_import_only_what_stands_above_them():
    """Equals do not import each other; inside a folder files may."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if own not in ("__init__", "__main__"):
            assert own in RANK, f"{own} has no place in LAYERS"
            wrong += [f"{path} imports {name}" for name in imports(path) if name != own and RANK[name] >= RANK[own]]
    assert not wrong


def test_nothing_in_the_product_imports_the_papers_package():
    wrong = [
        path for path in SOURCE.rglob("*.py") if re.search(r"^\s*(from|import) dode_paper", path.read_text(), re.M)
    ]
    assert not wrong


def test_a_file_has_one_idea_and_a_function_does_one_thing():
    """450 lines a file, 25 statements a function; a call that hands on many options is one statement."""
    wrong = [path for path in SOURCE.rglob("*.py") if len(path.read_text().splitlines()) > 450]
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                inside = sum(isinstance(each, ast.stmt) for each in ast.walk(node)) - 1
                if inside - (ast.get_docstring(node) is not None) > 25:
                    wrong.append(f"{path}: {node.name}")
    assert not wrong


def test_a_model_has_eight_fields_and_its_schedule_answers():
    from dataclasses import fields

    from dode.model import Model

    assert len(fields(Model)) <= 8
    classes = r"isinstance\([^)]*\b(DiscreteVP|VP|Cosine|EDM|Flow|Functions)\b"
    asking = [
        path for path in SOURCE.rglob("*.py") if path.name != "schedule.py" and re.search(classes, path.read_text())
    ]
    assert not asking


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


def test_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in (SOURCE / "bundled_models").glob("*.safetensors")}
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
