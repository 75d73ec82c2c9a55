"""JSON from files: read strictly, and checked against a schema before it is used.

A schema (Form) is a type; None; a word, which stands for itself; a tuple of alternatives; [form], a list of such;
{key: form}, an object with these keys alone, "key?" where it may be missing, and with {str: form} any other keys too.
`object` is anything.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dode.errors import DodeError
from dode.files import read_bytes

Form = Any
LONG = 1000  # letters of a text, which is shown in one line
LARGE = 1 << 64  # whole numbers beyond it are no size, count or seed


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text; DodeError if it is cut, has a key twice, or is nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise DodeError("it is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DodeError(str(error)) from error


def read(path: Path) -> Any:
    """The value of a JSON file."""
    return parsed(read_bytes(path))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise DodeError("a key is there twice")
    return value


def check(value: Any, form: Form, where: str) -> None:
    """DodeError, with the place in the value, unless it has this form."""
    if (mismatch := _mismatch(value, form)) is not None:
        path, part, wanted = mismatch
        raise DodeError(f"{where}: {'.'.join(map(str, path)) or 'the content'} must be {wanted}; got {short(part)}")


def short(value: Any, most: int = 60) -> str:
    """A value in a message, shortened."""
    if isinstance(value, dict | list) and value:
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < LARGE else "a number of many digits"
    return text if len(text) <= most else text[:most] + " …"


def line(value: Any, most: int = 200) -> str:
    """A text in a message, on one line and cut between words where it is long."""
    text = " ".join(str(value).split())
    if len(text) > most:
        text, words = text[: most - 2], text[: most - 2].rpartition(" ")[0]
        text = (words if len(words) > most // 2 else text) + " …"  # a long path is no word to leave out
    return "".join(letter if letter.isprintable() else "?" for letter in text)


Mismatch = tuple[tuple[str | int, ...], Any, str]  # keys and indices that lead there, the value there, what is wanted


def _mismatch(value: Any, form: Form) -> Mismatch | None:
    """The first part of the value that does not have its form."""
    if isinstance(form, tuple):
        mismatches = [mismatch for choice in form if (mismatch := _mismatch(value, choice)) is not None]
        if len(mismatches) < len(form):
            return None
        deepest = max(mismatches, key=lambda mismatch: len(mismatch[0]))
        return deepest if deepest[0] else ((), value, _described(form))
    if isinstance(form, list):
        return _list_mismatch(value, form[0])
    if isinstance(form, Mapping):
        return _object_mismatch(value, form)
    return None if _plain(value, form) else ((), value, _described(form))


def _plain(value: Any, form: Form) -> bool:
    """Whether it is of this type, or this word."""
    if form is None or isinstance(form, str):
        return type(value) is type(form) and bool(value == form)
    if form in (int, float):
        whole = type(value) is int and abs(value) <= LARGE
        return whole or (form is float and isinstance(value, float))
    if form is str:
        return isinstance(value, str) and len(value) <= LONG and value.isprintable()
    return isinstance(value, form)


def _list_mismatch(value: Any, form: Form) -> Mismatch | None:
    if not isinstance(value, list | tuple):  # content that was never in a file may have tuples
        return (), value, "a list"
    for i, item in enumerate(value):
        if (inner := _mismatch(item, form)) is not None:
            return (i, *inner[0]), inner[1], inner[2]
    return None


def _object_mismatch(value: Any, form: Mapping[Any, Form]) -> Mismatch | None:
    if not isinstance(value, dict):
        return (), value, "an object"
    forms = {key.removesuffix("?"): item for key, item in form.items() if key is not str}
    for key, item in value.items():
        if key not in forms and str not in form:
            return (), key, f"an object of {', '.join(forms)}"
        if (inner := _mismatch(item, forms[key] if key in forms else form[str])) is not None:
            return (key[:60], *inner[0]), inner[1], inner[2]
    missing = [key for key in form if key is not str and not key.endswith("?") and key not in value]
    return ((), value, f"an object with {missing[0]}") if missing else None


NAMES = {int: "a whole number", float: "a number", str: "one line of text", bool: "true or false", dict: "an object"}


def _described(form: Form) -> str:
    """A form in words."""
    if isinstance(form, tuple):
        return " or ".join(map(_described, form))
    if isinstance(form, list | Mapping):
        return "a list" if isinstance(form, list) else "an object"
    return "null" if form is None else form if isinstance(form, str) else NAMES.get(form, form.__name__)
