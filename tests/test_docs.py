"""Every Python block of README and docs runs, and so does every example."""

import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("paper/docs/*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
    if (page.name, i) != ("README.md", 0)  # tests/test_packaging.py runs it, from the wheel
]


@pytest.fixture
def _own_catalogue():
    """A block may add a solver or a metric; no other test sees it."""
    from dode.metrics import METRICS
    from dode.solvers import METHODS

    before = [(table, dict(table)) for table in (METHODS, METRICS)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


@pytest.mark.usefixtures("_own_catalogue")
@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {"__name__": "block"})


OTHERS = ("CHANGELOG.md", "CONTRIBUTING.md", "comfyui/README.md", "examples/README.md", "paper/students/README.md")
NAMING = [*PAGES, *(ROOT / name for name in OTHERS)]
FOLDERS = "src|paper|tests|benchmarks|examples|training|website|comfyui|docs"
ENTRY_POINTS = {"dode.commands", "dode.models"}  # groups of pyproject.toml, no modules


@pytest.mark.parametrize("page", NAMING, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_what_exists(page):
    """Files of the repository by their path, modules and their members by their dotted name."""
    text = re.sub(r"<!-- results: .*?<!-- end -->", "", page.read_text(), flags=re.S).replace("examples/NAME.py", "")
    for path in re.findall(rf"(?<![\w/.…-])(?:{FOLDERS})/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path
    for name in set(re.findall(r"(?<![\w/.-])dode(?:_paper)?(?:\.\w+)+", text)) - ENTRY_POINTS:
        assert resolved(name), name


def resolved(name):
    """Whether a dotted name is a module or a member of one."""
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def test_links_lead_somewhere():
    for page in NAMING:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_numpy_example_distils():
    plain, fitted = runpy.run_path(str(ROOT / "examples/numpy_network.py"))["main"](samples=60)
    assert fitted < plain / 2


def test_the_kdiffusion_example_distils(capsys):
    plain, fitted = runpy.run_path(str(ROOT / "examples/kdiffusion_sampler.py"))["main"](samples=40)
    assert fitted < plain / 2
    assert "8 evaluations, RMS" in capsys.readouterr().out


def test_the_edm_example_converts_and_distils():
    plain, fitted = runpy.run_path(str(ROOT / "examples/edm_checkpoint.py"))["main"](samples=8)
    assert fitted < plain / 2


def test_the_toy_example_distils():
    plain, fitted = runpy.run_path(str(ROOT / "examples/toy_mixture.py"))["main"](samples=100)
    assert fitted < plain / 2


def test_the_ddim_example_is_nearer_at_every_count():
    found = runpy.run_path(str(ROOT / "examples/distil_ddim.py"))["main"](samples=40, report=24)
    assert set(found) == {5, 10}
    assert all(fitted < 0.7 * plain for plain, fitted in found.values())


@pytest.mark.usefixtures("_own_catalogue")
def test_the_example_of_an_own_solver_distils():
    plain, fitted = runpy.run_path(str(ROOT / "examples/own_solver.py"))["main"](samples=32)
    assert fitted < plain


def test_two_processes_find_what_one_finds():
    script = str(ROOT / "examples/two_processes.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", script]
    alone, both = (
        subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, timeout=300)
        for words in ([script], launch)
    )
    assert len(alone.stdout.split()) == 5
    assert both.stdout == alone.stdout


def test_examples_are_short():
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text


def test_a_fact_has_one_home():
    """The version of Python is pyproject's, the pinned torch is the same in the Makefile and the constraints."""
    assert (
        re.search(r'requires-python = ">=(3\.\d+)"', (ROOT / "pyproject.toml").read_text())[1]
        in (ROOT / "README.md").read_text()
    )
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    assert f"torch=={pinned}" in (ROOT / "Makefile").read_text()


def test_the_least_versions_are_those_that_are_tested():
    """`make oldest` installs them by another file."""
    tested = dict(re.findall(r"^(\w+)==(\S+)$", (ROOT / "constraints-oldest.txt").read_text(), re.M))
    asked = dict(re.findall(r'"(\w+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text()))
    assert {"numpy", "torch", "safetensors", "typer", "diffusers"} <= set(asked)
    for name, least in asked.items():
        assert f"{tested[name]}.".startswith(f"{least}."), f"{name}>={least}, tested with {tested[name]}"


def test_the_site_opens_with_the_words_of_the_readme():
    """What dode is, in one paragraph, which README ends with where it is from."""
    opening = (ROOT / "docs/index.md").read_text().split("\n\n")[1]
    assert " ".join(opening.split()).removesuffix(".") in " ".join((ROOT / "README.md").read_text().split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_as_wide_as_code(page):
    """At most 120 characters a line, outside tables, code and results."""
    text = re.sub(r"<!-- results: .*?<!-- end -->", "", page.read_text(), flags=re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith(("|", "    ", "![")), line


def rows(heading):
    """The table under a heading of docs/solvers.md: its rows as lists of cells."""
    text = (ROOT / "docs/solvers.md").read_text().split(heading, 1)[1]
    lines = text[text.index("\n|") + 1 :].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_table_of_solvers_is_the_catalogue():
    from dode.solvers import METHODS

    documented = {}
    for names, order, stages, _, teacher in rows("# Solvers and their options"):
        for name in re.findall(r"`([^`]+)`", names):
            documented[name] = (order, stages.removeprefix("4, 4, 4, then "), teacher)
    assert documented == {
        name: (str(method.order), str(method.stages), "itself" if method.teacher == "self" else method.teacher)
        for name, method in METHODS.items()
    }


def test_the_table_of_options_is_that_of_the_catalogue():
    from dode.solvers import METHODS

    documented = {}
    for names, of, values, default, _ in rows("## Options"):
        defaults = re.findall(r"`([^`]+)`", default)
        for i, name in enumerate(re.findall(r"`([^`]+)`", names)):
            documented[name] = (
                re.findall(r"`([^`]+)`", of),
                values,
                defaults[min(i, len(defaults) - 1)] if defaults else "",
            )
    for method in METHODS.values():
        for name, option in method.options.items():
            owners, values, default = documented[name]
            assert method.name in owners
            assert default == (option.default if option.words else f"{option.default:g}")
            assert all(f"`{word}`" in values for word in option.words)


def test_the_table_of_formulations_is_complete():
    from dode.distillation.formulations import FORMULATIONS

    assert [re.findall(r"`([^`]+)`", row[0])[0] for row in rows("## Formulations")] == list(FORMULATIONS)


def test_the_map_of_equations_leads_to_files_and_tests():
    text = (ROOT / "docs/method.md").read_text()
    table = text[text.index("| equation |") :].split("\n\n", 1)[0].splitlines()[2:]
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for line in table:
        *_, where, test = (cell.strip(" `") for cell in line.strip("|").split(" | "))
        assert (ROOT / "src/dode" / where).is_file(), where
        assert f"def {test}(" in tests, test


def test_tables_are_those_of_the_results():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/pages.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_tables_to_choose_by_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import choosing

    for name, text in choosing.tables().items():
        assert (ROOT / f"docs/results/{name}.md").read_text() == text, "run python benchmarks/choosing.py"


def test_the_diffusers_example_is_nearer():
    plain, fitted = runpy.run_path(str(ROOT / "examples/diffusers_pipeline.py"))["main"](samples=12, report=6)
    assert fitted < 0.75 * plain
