"""`dode` as a user types it, in this process: a process of its own spends seconds on importing torch."""

import io
import sys
import traceback
import warnings
from types import SimpleNamespace

import pytest

from dode.cli import main


def dode(folder, *words):
    """The exit code and what was printed; an exception that leaves `main` is code 1 and its traceback, as in Python."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["dode", *words])
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            main()
        except SystemExit as left:
            code = left.code
        except Exception:
            code = 1
            traceback.print_exc(file=err)
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
