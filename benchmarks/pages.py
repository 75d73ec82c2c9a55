"""Put the tables of docs/results into the pages that show them: python benchmarks/pages.py [--check].

A page says where: <!-- results: NAME --> … <!-- end --> holds docs/results/NAME.md, and docs/results/NAME.png if
there is one; names may have folders in them.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("paper/docs/*.md"))]
PLACE = re.compile(r"<!-- results: (\S+) -->\n.*?<!-- end -->", re.S)


def filled(text: str, folder: Path) -> str:
    """The text of a page in this folder with every table and figure as it is on disk."""

    def table(found: re.Match[str]) -> str:
        path = ROOT / f"docs/results/{found[1]}.md"
        text = path.read_text() if path.exists() else "(not measured yet)\n"
        figure = path.with_suffix(".png")
        if figure.exists():
            text += f"\n![{found[1]}]({os.path.relpath(figure, folder)})\n"
        return f"<!-- results: {found[1]} -->\n{text}<!-- end -->"

    return PLACE.sub(table, text)


def main() -> None:
    stale = []
    for page in PAGES:
        text = page.read_text()
        if filled(text, page.parent) != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(filled(text, page.parent))
    if "--check" in sys.argv and stale:
        raise SystemExit(f"{', '.join(stale)}: tables differ from docs/results; run python benchmarks/pages.py")


if __name__ == "__main__":
    main()
