"""Ends with an error unless the top level of the repository holds what CONTRIBUTING.md lists, and nothing else."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def listed() -> set[str]:
    """The first cells of the table under "The top level" in CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## The top level\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.M)
    return {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def present() -> set[str]:
    """What git tracks, or would add, at the top level."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    paths = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {path.split("/")[0] for path in paths if (ROOT / path).exists()}


def main() -> None:
    faults = [f"{name} is not in the list of CONTRIBUTING.md" for name in sorted(present() - listed())]
    faults += [f"{name} is in the list of CONTRIBUTING.md and not there" for name in sorted(listed() - present())]
    if faults:
        raise SystemExit("the top level: " + "; ".join(faults))


if __name__ == "__main__":
    main()
