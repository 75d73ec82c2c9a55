"""The site: python website/assemble.py [FOLDER] gathers its pages and builds FOLDER/site, without a network.

docs/*.md as they are, the pages that live elsewhere because they belong there, the examples and the reference. Links
are brought to where the pages stand here; one that leads nowhere ends the build.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import api

ROOT = Path(__file__).parent.parent
SETTINGS = ROOT / "website/zensical.toml"
ELSEWHERE = {
    "comfyui/README.md": "comfyui.md",
    "paper/students/README.md": "students.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)((?:#[^)]*)?)\)")
SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')


def build(folder: Path) -> Path:
    """The first page of the site, made in this folder; SystemExit says what is wrong with a page."""
    for made in ("pages", "site"):  # and nothing else that the folder may hold
        shutil.rmtree(folder / made, ignore_errors=True)
    gather(folder / "pages")
    shutil.copy(SETTINGS, folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / SETTINGS.name)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("zensical found fault with the pages")
    for page in (folder / "site").rglob("*.html"):
        root = "../" * (len(page.relative_to(folder / "site").parts) - 1)
        # zensical has pages opened from disk load a stand-in for search workers from the network; ours is at hand
        page.write_text(SHIM.sub(f'<script src="{root}local-search.js"></script>', page.read_text()))
    return folder / "site/index.html"


def gather(pages: Path) -> None:
    """Every page and picture of the site in this folder."""
    written = {page: adapted(source) for source, page in sources().items()}
    written["examples.md"] = examples()
    reference = {f"api/{name}": text for name, text in api.pages().items()}
    fit(set(written), set(reference))
    for name, text in (written | reference).items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(text)
    for source, name in shown().items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, pages / name)


def fit(written: set[str], reference: set[str]) -> None:
    """SystemExit unless every page has its place in the navigation; the reference is reached through its first page."""
    named = {page for _, page in titled(settings()["nav"])}
    if missing := written - named:
        raise SystemExit(f"{SETTINGS.name}: its nav leaves out {', '.join(sorted(missing))}: give each a line there")
    if unknown := named - written - reference:
        raise SystemExit(f"{SETTINGS.name}: its nav names {', '.join(sorted(unknown))}: there is no such page")


def settings() -> dict[str, Any]:
    """The [project] of zensical.toml."""
    project: dict[str, Any] = tomllib.loads(SETTINGS.read_text())["project"]
    return project


def titled(nav: list[Any]) -> list[tuple[str, str]]:
    """Every page that a navigation names, after its title."""
    found: list[tuple[str, str]] = []
    for entry in nav:
        for title, target in entry.items():
            found += titled(target) if isinstance(target, list) else [(title, target)]
    return found


def sources() -> dict[Path, str]:
    """Where each page comes from, and its name on the site."""
    pages = {path: path.name for folder in ("docs", "paper/docs") for path in sorted((ROOT / folder).glob("*.md"))}
    return pages | {ROOT / path: name for path, name in ELSEWHERE.items()}


def shown() -> dict[Path, str]:
    """Pictures, style and scripts, and their names on the site."""
    pictures = [path for kind in ("png", "svg") for path in sorted((ROOT / "docs").rglob(f"*.{kind}"))]
    return {path: str(path.relative_to(ROOT / "docs")) for path in pictures} | {
        path: path.name for path in (ROOT / "website/assets").iterdir()
    }


def adapted(source: Path) -> str:
    """A page with links to where its neighbours stand on the site, without the marks of tables and tests."""
    known = {path.resolve(): name for path, name in sources().items()}
    known |= {path.resolve(): name for path, name in shown().items()}
    known |= {path.resolve(): f"examples.md#{path.stem}" for path in listed()}
    titles = {page: title for title, page in titled(settings()["nav"])}

    def moved(found: re.Match[str]) -> str:
        text, address, anchor = found.groups()
        if "://" in address:
            return found[0]
        target = (source.parent / address).resolve()
        if target not in known:
            raise SystemExit(f"{source.relative_to(ROOT)}: {address} is no page of the site")
        page = known[target]
        text = titles.get(page, text) if text.endswith(Path(address).name) else text  # a file's name is no title here
        return f"[{text}]({page}{anchor if '#' not in page else ''})"

    text = re.sub(r"^<!-- (results: \S+|end) -->$", "", source.read_text(), flags=re.M)
    text = re.sub(r"(?<=\d) ± (?=\d)", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", text)  # a figure stays on its line
    return LINK.sub(moved, text.replace("```python no-run", "```python"))


def listed() -> list[Path]:
    """The examples, in the order of their page; SystemExit if it leaves one out."""
    text = (ROOT / "examples/README.md").read_text()
    order = [ROOT / f"examples/{name}.py" for name in re.findall(r"^\| `(\w+)` \|", text, re.M)]
    if set(order) != set((ROOT / "examples").glob("*.py")):
        raise SystemExit("examples/README.md: its table and the scripts beside it are not the same")
    return order


def examples() -> str:
    """The page of the examples, and all of them whole."""
    lines = [(ROOT / "examples/README.md").read_text()]
    for path in listed():
        lines += [f"## {path.stem}", "", "```python", path.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"open {build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'website/build')}")
