"""The site: python website/assemble.py [FOLDER] gathers its pages and builds FOLDER/site, without a network.

The pages are docs/*.md, the pages of other folders, the examples, and a reference page for each public module, which
mkdocstrings renders from signatures and docstrings. Links are rewritten for the site; a broken link ends the build.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import dode

ROOT = Path(__file__).parent.parent
SETTINGS = ROOT / "website/zensical.toml"
ELSEWHERE = {
    "comfyui/README.md": "comfyui.md",
    "paper/students/README.md": "students.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# modules with a reference page of their own; what `import dode` gives besides is on the first page
MODULES = (
    *("schedule", "parameterization", "timesteps", "plan", "tracing", "sampling", "method", "solvers"),
    *("distillation.fit", "exact", "noise", "calibration", "errors", "describe", "hub", "sigma_tables"),
    *("metrics", "metrics.estimates", "metrics.reference_stats", "trajectories", "analytic", "plots", "report"),
    *("diffusers", "kdiffusion", "comfyui", "integrations.azula"),
)
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)((?:#[^)]*)?)\)")
SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')


def build(folder: Path) -> Path:
    """Build the site in this folder and return its first page; SystemExit says what is wrong with a page."""
    for name in ("pages", "site"):  # and nothing else that the folder may hold
        shutil.rmtree(folder / name, ignore_errors=True)
    gather(folder / "pages")
    shutil.copy(SETTINGS, folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / SETTINGS.name)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("zensical reported the errors above")
    for page in (folder / "site").rglob("*.html"):
        root = "../" * (len(page.relative_to(folder / "site").parts) - 1)
        # zensical's offline pages load a shim for search workers from the network; replace it by our local one
        page.write_text(SHIM.sub(f'<script src="{root}local-search.js"></script>', page.read_text()))
    return folder / "site/index.html"


def gather(pages: Path) -> None:
    """Write every page and picture of the site into this folder."""
    written = {page: adapted(source) for source, page in sources().items()}
    written["examples.md"] = examples()
    check_nav(set(written))
    for name, text in (written | reference()).items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(text)
    for source, name in shown().items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, pages / name)


def check_nav(pages: set[str]) -> None:
    """SystemExit unless the navigation names every page; of the reference it names the first page only."""
    named = {page for _, page in titled(settings()["nav"])}
    if missing := pages - named:
        raise SystemExit(f"{SETTINGS.name}: its nav leaves out {', '.join(sorted(missing))}: give each a line there")
    if unknown := named - pages - {"api/index.md"}:
        raise SystemExit(f"{SETTINGS.name}: its nav names {', '.join(sorted(unknown))}: there is no such page")


def reference() -> dict[str, str]:
    """The reference pages by name: directives that mkdocstrings replaces."""
    index = ["# Reference", "", "What `import dode` gives. These modules have pages of their own:", ""]
    index += [f"- [`dode.{name}`]({name}.md)" for name in MODULES]
    index += [f"\n::: dode.{name}" for name in dode.__all__ if not isinstance(getattr(dode, name), ModuleType)]
    return {"api/index.md": "\n".join(index) + "\n"} | {f"api/{name}.md": module_page(name) for name in MODULES}


def module_page(name: str) -> str:
    """The directives for a module; a function in a file of its own name is named there: mkdocstrings sees the file."""
    path = f"dode.{name}"
    public = getattr(import_module(path), "__all__", ())
    hidden = [member for member in public if f"{path}.{member}" in sys.modules]
    page = f"# {path}\n\n::: {path}\n    options:\n      show_root_heading: false\n"
    return page + "".join(f"\n::: {path}.{member}.{member}\n" for member in hidden)


def settings() -> dict[str, Any]:
    """The [project] of zensical.toml."""
    project: dict[str, Any] = tomllib.loads(SETTINGS.read_text())["project"]
    return project


def titled(nav: list[Any]) -> list[tuple[str, str]]:
    """The (title, page) pairs of a navigation, in order."""
    pairs: list[tuple[str, str]] = []
    for entry in nav:
        for title, target in entry.items():
            pairs += titled(target) if isinstance(target, list) else [(title, target)]
    return pairs


def sources() -> dict[Path, str]:
    """The source file of each page → its name on the site."""
    pages = {path: path.name for folder in ("docs", "paper/docs") for path in sorted((ROOT / folder).glob("*.md"))}
    return pages | {ROOT / path: name for path, name in ELSEWHERE.items()}


def shown() -> dict[Path, str]:
    """Pictures, style and scripts → their names on the site."""
    pictures = [path for kind in ("png", "svg") for path in sorted((ROOT / "docs").rglob(f"*.{kind}"))]
    return {path: str(path.relative_to(ROOT / "docs")) for path in pictures} | {
        path: path.name for path in (ROOT / "website/assets").iterdir()
    }


def adapted(source: Path) -> str:
    """The text of a page with its links rewritten for the site, without the markers of tables and tests."""
    targets = {path.resolve(): name for path, name in (sources() | shown()).items()}
    targets |= {path.resolve(): f"examples.md#{path.stem}" for path in listed()}
    titles = {page: title for title, page in titled(settings()["nav"])}

    def rewritten(link: re.Match[str]) -> str:
        text, address, anchor = link.groups()
        if "://" in address:
            return link[0]
        target = (source.parent / address).resolve()
        if target not in targets:
            raise SystemExit(f"{source.relative_to(ROOT)}: {address} is no page of the site")
        page = targets[target]
        text = titles.get(page, text) if text.endswith(Path(address).name) else text  # no file name
        return f"[{text}]({page}{anchor if '#' not in page else ''})"

    text = re.sub(r"^<!-- (results: \S+|end) -->$", "", source.read_text(), flags=re.M)
    text = re.sub(r"(?<=\d) ± (?=\d)", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", text)  # no line break inside a figure
    return LINK.sub(rewritten, text.replace("```python no-run", "```python"))


def listed() -> list[Path]:
    """The examples, in the order of their page; SystemExit if it leaves one out."""
    text = (ROOT / "examples/README.md").read_text()
    order = [ROOT / f"examples/{name}.py" for name in re.findall(r"^\| `(\w+)` \|", text, re.M)]
    if set(order) != set((ROOT / "examples").glob("*.py")):
        raise SystemExit("examples/README.md: its table and the scripts beside it are not the same")
    return order


def examples() -> str:
    """The page of the examples: examples/README.md, then the source of every example."""
    lines = [(ROOT / "examples/README.md").read_text()]
    for path in listed():
        lines += [f"## {path.stem}", "", "```python", path.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"open {build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'website/build')}")
