"""What `python -m build` makes is whole: a wheel that runs with what it asks for and nothing else, typed."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dode

ROOT = Path(__file__).parent.parent
LARGEST = 15e6  # bytes of the wheel
USER = """
import dode
from dode import Sampler

def distilled(name: str) -> Sampler:
    model = dode.bundled(name).guided(2.0)
    several = dode.distill(model, "ddim", nfe=[5, 10])
    return several[5]

reveal_type(distilled("fashion").nfe)
wrong: str = dode.distill(dode.bundled("fashion"), "ddim", nfe=5)
"""


def run(*words, cwd, **more):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False, **more
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def needed(names, extra=""):
    """The distributions that these ask for, and those that they do."""
    found = {}
    while names:
        requirement = Requirement(names.pop())
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if applies and requirement.name.lower() not in found:
            found[requirement.name.lower()] = known = distribution(requirement.name)
            names += known.requires or []
    return found.values()


def linked(found, folder):
    """A folder with these distributions alone, as links to where they are installed."""
    folder.mkdir()
    for one in found:
        tops = {Path(file).parts[0] for file in one.files or [] if Path(file).parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(one.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """The Python of an environment with the wheel and its own requirements; the extra cli is a folder apart."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    site = next((folder / "env/lib").glob("python*/site-packages"))
    asked = Distribution.at(next(site.glob("dode-*.dist-info"))).requires
    plain = [one for one in asked if "extra ==" not in one]
    (site / "requirements.pth").write_text(f"{linked(needed(list(plain)), folder / 'plain')}\n")
    linked(needed(list(asked), "cli"), folder / "cli")
    return python


def test_the_wheel_and_its_source_are_whole(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        metadata = packed.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert wheel.stat().st_size < LARGEST
    ours = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file()}
    assert {name for name in ours if "__pycache__" not in name} <= names
    assert {"dode/py.typed", "dode/bundled_models/fashion.safetensors", "dode/sources.bib"} <= names
    assert not [name for name in names if name.split("/")[0] not in ("dode", f"dode-{dode.__version__}.dist-info")]
    assert f"\nVersion: {dode.__version__}\n" in metadata
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as packed:
        sources = {name.split("/", 1)[1] for name in packed.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/equations.py"} <= sources
    assert not [name for name in sources if name.startswith(("students", "website", "docs"))]


def test_the_version_has_one_home():
    homes = [ROOT / name for name in ("pyproject.toml", "CITATION.cff", "Makefile", "README.md")]
    homes += (ROOT / "src").rglob("*.py")
    assert [path.name for path in homes if dode.__version__ in path.read_text()] == ["__init__.py"]


def test_the_example_of_the_readme_runs_without_extras(empty, tmp_path):
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert "import dode\n" in block
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 12
    done = run(empty, "-W", "error", "-c", block + "\nprint(dode.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(empty.parent.parent) in done.stdout
    assert (tmp_path / "d-ddim-10.json").exists()


def test_the_command_line_needs_its_extra_and_says_so(empty, tmp_path):
    command = empty.parent / "dode"
    done = run(command, "methods", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install '.[cli]'" in done.stderr
    words = ["demo", "--model", "fashion-mixture", "--nfe", "3", "--paired", "4", "--fd", "40", "--samples", "4"]
    code = f"import sys; sys.path.append({str(empty.parents[2] / 'cli')!r}); from dode.cli import main; main()"
    done = run(empty, "-c", code, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo/d-ddim.json").exists()


def test_a_user_s_file_is_checked(empty, tmp_path):
    """mypy finds the types of the installed package; those of torch are not what is asked about."""
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-torch.*,numpy.*]\nfollow_imports = skip\n")
    done = run(sys.executable, "-m", "mypy", "--python-executable", empty, "user.py", cwd=tmp_path)
    said = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'Revealed type is "int"' in said[0].replace("builtins.", "")
    assert 'Incompatible types in assignment (expression has type "Sampler", variable has type "str")' in said[1]
    assert said[2].startswith("Found 1 error in 1 file")
