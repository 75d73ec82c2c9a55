"""Files that appear whole or not at all; what the system refuses is a DodeError with the file's name."""

import os
import tempfile
from pathlib import Path

from dode.errors import DodeError


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    replace_bytes(path, text.encode())


def replace_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; DodeError where it cannot be written."""
    path = Path(path)
    try:
        _replace(path, content)
    except OSError as error:
        raise DodeError(f"cannot write {path}: {error.strerror or error}") from error


def read_bytes(path: str | Path) -> bytes:
    """The content of a file, or DodeError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DodeError(f"cannot read {path}: {error.strerror or error}") from error


def _replace(path: Path, content: bytes) -> None:
    if not path.parent.is_dir():
        raise DodeError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():  # what is moved there would take its place
        raise DodeError(f"cannot write {path}: it is a folder or a device")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's files are for the owner alone
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
