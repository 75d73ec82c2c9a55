"""docs/reliability.md promises nothing that no test holds."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs/reliability.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]


def named_in(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test():
    assert len(ROWS) > 15
    for row in ROWS:
        assert re.search(r"`test_\w+\.py::test_\w+` \|$", row), row


def test_every_test_that_is_named_exists():
    for file, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE):
        (path,) = [*HERE.glob(file), *HERE.parent.glob(f"paper/tests/{file}")]
        assert name in named_in(path), f"{file} has no {name}"
