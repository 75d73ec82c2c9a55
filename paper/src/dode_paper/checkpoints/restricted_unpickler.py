"""A pickle read as data: a stack machine that knows the opcodes of plain values and a list of allowed names.

Python's own unpickler imports and calls whatever a file names.  This one imports nothing.  A name is a name, and what
may be done with it stands in the reader's tables; everything else is refused.  Memory and time are bounded by the
size of the file and by `MOST`.
"""

import io
import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dode.errors import DodeError

MOST = 1_000_000  # opcodes; the largest published network has some 200,000
WHOLE = 1 << 32  # above it whole numbers can be chosen so that all have one hash

Name = tuple[str, str]  # module, name


@dataclass(frozen=True)
class Named:
    """A class or function that the file names.  It is never imported."""

    module: str
    name: str


@dataclass(frozen=True)
class Tables:
    """What a reader allows: names to call, classes to make, names that are values only, persistent ids."""

    functions: Mapping[Name, Callable[..., Any]]
    classes: Mapping[Name, Callable[[], Any]] = field(default_factory=dict)
    values: frozenset[Name] = frozenset()
    persistent: Callable[[Any], Any] | None = None


def plain_key(key: Any) -> bool:
    """May it be the key of a dict or in a set?  Others hash by their content, which a file can make very slow."""
    return type(key) in (str, bool, type(None)) or (type(key) is int and abs(key) < WHOLE)


class Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}

    def pop_mark(self) -> list[Any]:
        """What stands above the last mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def named(self, module: Any, name: Any) -> Named:
        """A name that is in one of the tables; ValueError for any other."""
        tables = self.tables
        if not isinstance(module, str) or not isinstance(name, str):
            raise DodeError("a name is not text")
        if not any((module, name) in table for table in (tables.functions, tables.classes, tables.values)):
            said = f"{module[:40]}.{name[:40]}"
            raise DodeError(f"it names {said!r}, which is not part of a network; nothing was run")
        return Named(module, name)

    def called(self, function: Any, arguments: Any) -> Any:
        """The result of an allowed function."""
        known = self.tables.functions
        if not isinstance(function, Named) or (function.module, function.name) not in known:
            raise DodeError("it calls what is no allowed function; nothing was run")
        if not isinstance(arguments, tuple):
            raise DodeError("the arguments of a call are no tuple")
        return known[function.module, function.name](*arguments)

    def made(self, cls: Any, arguments: Any) -> Any:
        """An empty stand-in of an allowed class."""
        known = self.tables.classes
        if not isinstance(cls, Named) or (cls.module, cls.name) not in known or arguments != ():
            raise DodeError("it makes an object of what is no allowed class; nothing was run")
        return known[cls.module, cls.name]()

    def build(self, state: Any) -> None:
        """Give the top object its state, if it is one of ours that takes a state."""
        target = self.stack[-1]
        if not isinstance(target, Stateful):
            raise DodeError(f"it sets the state of a {type(target).__name__}; nothing was run")
        target.build(state)

    def put(self, items: dict[Any, Any], pairs: list[Any]) -> None:
        """Set keys of a dict."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(items) is not dict or not plain_key(key):
                raise DodeError(f"a {type(key).__name__} is no key that a network needs")
            items[key] = value

    def extend(self, items: Any, more: list[Any]) -> None:
        """Append to a list or add to a set."""
        if type(items) is list:
            items.extend(more)
        elif type(items) is set and all(plain_key(value) for value in more):
            items.update(more)
        else:
            raise DodeError(f"it appends to a {type(items).__name__}")


class Stateful(ABC):
    """A stand-in that takes its state by the BUILD opcode, at most once."""

    @abstractmethod
    def build(self, state: Any) -> None:
        """Take the state; ValueError if it is not of the expected form."""


def _memoize(m: Machine, index: int) -> None:
    if not 0 <= index < WHOLE:
        raise DodeError("it has a memo number that no file of its size needs")
    m.memo[index] = m.stack[-1]


def _pairs(m: Machine) -> None:
    pairs = m.pop_mark()
    m.put(m.stack[-1], pairs)


def _pair(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.put(m.stack[-1], [key, value])


def _dict(m: Machine) -> None:
    pairs = m.pop_mark()
    made: dict[Any, Any] = {}
    m.put(made, pairs)
    m.stack.append(made)


def _items(m: Machine) -> None:
    more = m.pop_mark()
    m.extend(m.stack[-1], more)


def _item(m: Machine) -> None:
    more = [m.stack.pop()]
    m.extend(m.stack[-1], more)


def _gather(m: Machine, kind: type) -> None:
    above = m.pop_mark()
    m.stack.append(kind(above))


def _tuple(m: Machine, count: int) -> None:
    if len(m.stack) < count:
        raise DodeError("the stack is too short")
    taken = tuple(m.stack[-count:])
    del m.stack[-count:]
    m.stack.append(taken)


def _two(m: Machine, function: Callable[[Any, Any], Any]) -> None:
    second, first = m.stack.pop(), m.stack.pop()
    m.stack.append(function(first, second))


def _mark(m: Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _persistent(m: Machine) -> None:
    if m.tables.persistent is None:
        raise DodeError("it has a persistent id, which a file of one pickle has no use for")
    m.stack.append(m.tables.persistent(m.stack.pop()))


NUMBERS = "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
TEXTS = "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8"
Step = Callable[[Machine, Any], object]
STEPS: dict[str, Step] = {
    **dict.fromkeys(["PROTO", "FRAME", "STOP"], lambda m, a: None),
    **dict.fromkeys((NUMBERS + " " + TEXTS).split(), lambda m, a: m.stack.append(a)),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], lambda m, a: m.stack.append(m.memo[a])),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], _memoize),
    "MEMOIZE": lambda m, a: _memoize(m, len(m.memo)),
    "NONE": lambda m, a: m.stack.append(None),
    "NEWTRUE": lambda m, a: m.stack.append(True),
    "NEWFALSE": lambda m, a: m.stack.append(False),
    "EMPTY_DICT": lambda m, a: m.stack.append({}),
    "EMPTY_LIST": lambda m, a: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, a: m.stack.append(()),
    "EMPTY_SET": lambda m, a: m.stack.append(set()),
    "MARK": lambda m, a: _mark(m),
    "TUPLE": lambda m, a: _gather(m, tuple),
    "LIST": lambda m, a: _gather(m, list),
    "TUPLE1": lambda m, a: _tuple(m, 1),
    "TUPLE2": lambda m, a: _tuple(m, 2),
    "TUPLE3": lambda m, a: _tuple(m, 3),
    "DICT": lambda m, a: _dict(m),
    "SETITEM": lambda m, a: _pair(m),
    "SETITEMS": lambda m, a: _pairs(m),
    "APPEND": lambda m, a: _item(m),
    "APPENDS": lambda m, a: _items(m),
    "ADDITEMS": lambda m, a: _items(m),
    "GLOBAL": lambda m, a: m.stack.append(m.named(*a.split(" ", 1))),
    "STACK_GLOBAL": lambda m, a: _two(m, m.named),
    "REDUCE": lambda m, a: _two(m, m.called),
    "NEWOBJ": lambda m, a: _two(m, m.made),
    "BUILD": lambda m, a: m.build(m.stack.pop()),
    "BINPERSID": lambda m, a: _persistent(m),
}


def run(stream: io.BytesIO, tables: Tables, most: int = MOST) -> Any:
    """The value of the pickle at the stream's position; the stream then stands behind it.

    Raises ValueError, with a part of a sentence that starts with what the file does.
    """
    machine = Machine(tables)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > most:
                raise DodeError(f"it has more than {most} opcodes, which no network needs")
            step = STEPS.get(opcode.name)
            if step is None:
                raise DodeError(f"it has the opcode {opcode.name}, which no network needs; nothing was run")
            step(machine, argument)
        (result,) = machine.stack
    except ValueError:
        raise
    except Exception as error:  # whatever else a damaged file brings about is one thing to its reader
        raise DodeError(f"it is damaged, or no pickle ({type(error).__name__})") from error
    return result
