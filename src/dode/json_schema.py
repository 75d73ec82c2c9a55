"""JSON that comes from a file: read with care, and held against a form before anything looks inside.

A form is a type; None; a word, for itself; a tuple of forms, any of which will do; [form], a list of such; {key: form},
an object of these keys alone, "key?" where it may be missing; with {str: form} of any other keys too.  `object` is
anything.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dode.errors import DodeError

Form = Any
LONG = 1000  # letters; text is shown to people, in one line
LARGE = 1 << 64  # whole numbers beyond it are no size, count or seed, and no float may hold them


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text.  Raises ValueError for text that is cut, that has a key twice, or is nested deeply."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise DodeError("it is nested too deeply") from error


def read(path: Path) -> Any:
    """The value of a JSON file."""
    return parsed(path.read_bytes())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DodeError("a key is there twice")
    return found


def check(value: Any, form: Form, where: str) -> None:
    """ValueError, with the place, unless the value has this form."""
    wrong = _wrong(value, form)
    if wrong is not None:
        path, found, wanted = wrong
        place = ".".join(map(str, path))
        raise DodeError(f"{where}: {place or 'the content'} must be {wanted}; got {short(found)}")


def short(value: Any, most: int = 60) -> str:
    """What a value looks like, on one line and not at length."""
    if isinstance(value, dict | list) and value:
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < LARGE else "a number of many digits"
    return text if len(text) <= most else text[:most] + " …"


def line(value: Any, most: int = 200) -> str:
    """A value in a message: one line of it, cut between words where it is long."""
    text = " ".join(str(value).split())
    if len(text) > most:
        text, words = text[: most - 2], text[: most - 2].rpartition(" ")[0]
        text = (words if len(words) > most // 2 else text) + " …"  # a long path is no word to leave out
    return "".join(letter if letter.isprintable() else "?" for letter in text)


Wrong = tuple[tuple[str | int, ...], Any, str]  # where, what is there, what should be


def _wrong(value: Any, form: Form) -> Wrong | None:
    """The first place where the value is not of its form."""
    if isinstance(form, tuple):
        found = [_wrong(value, one) for one in form]
        if None in found:
            return None
        deepest = max((one for one in found if one is not None), key=lambda one: len(one[0]))
        return deepest if deepest[0] else ((), value, _said(form))
    if isinstance(form, list):
        return _wrong_list(value, form[0])
    if isinstance(form, Mapping):
        return _wrong_object(value, form)
    return None if _plain(value, form) else ((), value, _said(form))


def _plain(value: Any, form: Form) -> bool:
    """Is it of this type, or this word?"""
    if form is None or isinstance(form, str):
        return type(value) is type(form) and bool(value == form)
    if form in (int, float):
        whole = type(value) is int and abs(value) <= LARGE
        return whole or (form is float and isinstance(value, float))
    if form is str:
        return isinstance(value, str) and len(value) <= LONG and value.isprintable()
    return isinstance(value, form)


def _wrong_list(value: Any, form: Form) -> Wrong | None:
    if not isinstance(value, list | tuple):  # content that was never in a file may have tuples
        return (), value, "a list"
    for i, one in enumerate(value):
        if (wrong := _wrong(one, form)) is not None:
            return (i, *wrong[0]), wrong[1], wrong[2]
    return None


def _wrong_object(value: Any, form: Mapping[Any, Form]) -> Wrong | None:
    if not isinstance(value, dict):
        return (), value, "an object"
    known = {key.removesuffix("?"): one for key, one in form.items() if key is not str}
    for key, one in value.items():
        if key not in known and str not in form:
            return (), key, f"an object of {', '.join(known)}"
        if (wrong := _wrong(one, known[key] if key in known else form[str])) is not None:
            return (key[:60], *wrong[0]), wrong[1], wrong[2]
    missing = [key for key in form if key is not str and not key.endswith("?") and key not in value]
    return ((), value, f"an object with {missing[0]}") if missing else None


NAMES = {int: "a whole number", float: "a number", str: "one line of text", bool: "true or false", dict: "an object"}


def _said(form: Form) -> str:
    """A form in words."""
    if isinstance(form, tuple):
        return " or ".join(map(_said, form))
    if isinstance(form, list | Mapping):
        return "a list" if isinstance(form, list) else "an object"
    return "null" if form is None else form if isinstance(form, str) else NAMES.get(form, form.__name__)
