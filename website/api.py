"""The reference, written from signatures and docstrings: a page for what `import dode` gives, one for each module.

A class shows its fields as its source has them, because there the comments say shapes and units.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import dode

HERE = Path(dode.__file__).parent
EDGES = ("diffusers", "hub", "plots", "report", "comfyui", "azula")  # public modules that `import dode` does not name
QUOTES = "'"  # around names that are defined later
WIDE = 100  # characters of a signature on one line


def pages() -> dict[str, str]:
    """The text of every page by its name."""
    found = {name: getattr(dode, name) for name in dode.__all__}
    plain = {name: one for name, one in found.items() if not isinstance(one, ModuleType)}
    modules = {name: one for name, one in found.items() if isinstance(one, ModuleType)}
    modules |= {name: import_module(f"dode.{name}") for name in EDGES}
    index = ["# Reference", "", "What `import dode` gives. Modules have pages of their own:", ""]
    index += [f"- [`dode.{name}`]({name}.md): {_first(one)}" for name, one in sorted(modules.items())]
    index += ["", *(line for name, one in plain.items() for line in _entry(name, one, "##"))]
    made = {"index.md": "\n".join(index) + "\n"}
    for name, module in modules.items():
        lines = [f"# dode.{name}", "", escaped(_doc(module)), ""]
        for member, one in members(module).items():
            known = plain.get(member) is one
            lines += [f"`{member}` is on the [first page](index.md#{member.lower()}).", ""] if known else []
            lines += [] if known else _entry(member, one, "##")
        made[f"{name}.md"] = "\n".join(lines) + "\n"
    return made


def members(module: ModuleType) -> dict[str, Any]:
    """The public functions and classes of a module, in the order of its source."""
    names = getattr(module, "__all__", None) or [
        name
        for name, one in vars(module).items()
        if not name.startswith("_") and getattr(one, "__module__", None) == module.__name__
    ]
    found = {name: getattr(module, name) for name in names}
    return {
        name: one
        for name, one in found.items()
        if (inspect.isfunction(one) or inspect.isclass(one)) and one.__module__.startswith("dode")
    }


def _entry(name: str, one: Any, level: str) -> Iterator[str]:
    """A heading, the signature, the docstring, where it is defined; of a class its methods, too."""
    yield f"{level} `{name}`"
    yield ""
    if not (inspect.isfunction(one) or inspect.isclass(one)):
        yield f"{_constant(one)}"
        yield ""
        return
    yield "```python"
    yield from (signature(one, name) if inspect.isfunction(one) else fields(one, name))
    yield "```"
    yield ""
    yield escaped(_doc(one))
    yield ""
    yield f"Source: `src/{file_of(one).relative_to(HERE.parent)}`"
    yield ""
    if inspect.isclass(one):
        for method, function in public_methods(one).items():
            yield from _method(f"{name}.{method}", function, level + "#")


def _method(name: str, function: Any, level: str) -> Iterator[str]:
    """A method or property of a class, without its file."""
    yield f"{level} `{name}`"
    yield ""
    yield "```python"
    yield from signature(function, name)
    yield "```"
    yield ""
    yield escaped(_doc(function))
    yield ""


def public_methods(one: type) -> dict[str, Any]:
    """The methods and properties that a class itself defines, with a docstring."""
    found = {}
    for name, member in vars(one).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(inspect.unwrap(function)) and function.__doc__:
            found[name] = function
    return found


def signature(function: Any, name: str) -> list[str]:
    """How it is called, in one line or with an argument a line."""
    node = _parsed(function)
    assert isinstance(node, ast.FunctionDef), f"{name} is no function"
    if _is_property(node):
        return [name + _returned(node)]
    line = f"{name}({ast.unparse(node.args)}){_returned(node)}"
    line = re.sub(r"\((self|cls)(, )?", "(", line, count=1)
    if len(line) <= WIDE:
        return [line]
    arguments = ast.unparse(node.args)
    parts = [part for part in _split(arguments) if part not in ("self", "cls")]
    return [f"{name}(", *(f"    {part}," for part in parts), f"){_returned(node)}"]


def fields(one: type, name: str) -> list[str]:
    """The fields of a class, with the comments of its source."""
    text = file_of(one).read_text()
    node = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == one.__name__)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    found = [f"class {name}({bases}):" if bases else f"class {name}:"]
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_"):
            found += text.splitlines()[part.lineno - 1 : part.end_lineno]
    return found


def file_of(one: Any) -> Path:
    """Where a function or class is written; a class may say that it is of another module, so its methods are asked."""
    written = [one] if inspect.isfunction(one) else [*filter(inspect.isfunction, vars(one).values())]
    files = {Path(inspect.unwrap(function).__code__.co_filename) for function in written}
    ours = [file for file in sorted(files) if file.is_relative_to(HERE)]
    return ours[0] if ours else Path(inspect.getsourcefile(one) or "")


def _is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(one) in ("property", "cached_property") for one in node.decorator_list)


def _returned(node: ast.FunctionDef) -> str:
    return f" -> {ast.unparse(node.returns).strip(QUOTES)}" if node.returns is not None else ""


def _split(arguments: str) -> list[str]:
    """Arguments apart at the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _parsed(one: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(one)))).body[0]


def _doc(one: Any) -> str:
    return inspect.cleandoc(one.__doc__ or "")


def _first(one: Any) -> str:
    """The first sentence of a docstring, without its full stop."""
    return escaped(re.split(r"\.\s|:\n|\n\n", _doc(one))[0].rstrip(".").replace("\n", " "))


def _constant(one: Any) -> str:
    """A dict is listed by its keys."""
    return "By name: " + ", ".join(f"`{key}`" for key in one) + "." if isinstance(one, dict) else f"`{one!r}`"


def escaped(text: str) -> str:
    """Prose of a docstring as Markdown: what is in backquotes or indented stays as it is."""
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        indented = line.startswith("    ")
        if indented and not code and lines and lines[-1]:
            lines.append("")
        code = indented or (code and not line)
        pieces = re.split(r"(``?[^`]+``?)", line)
        plain = [re.sub(r"([*_<\[\]])", r"\\\1", piece) if i % 2 == 0 else piece for i, piece in enumerate(pieces)]
        lines.append(line if indented else "".join(plain))
    return "\n".join(lines)
