"""Files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path

from dode.errors import DodeError


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    replace_bytes(path, text.encode())


def replace_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path = Path(path)
    if not path.parent.is_dir():
        raise DodeError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():  # what is moved there would take its place
        raise DodeError(f"cannot write {path}: it is a folder or a device")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise DodeError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's files are for the owner alone
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
