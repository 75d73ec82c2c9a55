"""What a torn disk, a careless hand and a hostile one make of a good file: one change or a few, by chance alone.

Each function takes a `random.Random` and a good file's bytes, and gives changed bytes; equal states of chance, equal
bytes.
"""

import io
import json
import pickletools
import re
import struct
import zipfile

EDGES = (0, 1, 0x7F, 0x80, 0xFF)
SIZES = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**40, 2**62, 2**63 - 1)
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e-300, 1e308, -1e308, 10**12, 2**63, -(2**63), 10**30),
    *("", "a", "nan", "ddim", "../../etc/passwd", "\ud800", "λ\n\x1b[2J", "x" * 5000, "1e999"),
    *([], {}, [[]], [None], [[1, 2], [3]], {"": 0}, {"a": {"b": []}}, float("nan"), float("inf"), -float("inf")),
)


def changed(chance, content, *ways):
    """One to four changes, each of one of these ways."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = chance.choice(ways)(chance, content)
    return content


def of_bytes(chance, content):
    """The file as bytes: bits flipped, cut, stretched, shuffled, numbers made large."""
    return changed(chance, content, flipped, poked, cut, inserted, deleted, swapped, doubled, sized)


def flipped(chance, content):
    made = bytearray(content)
    for _ in range(chance.randint(1, 8) if made else 0):
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return bytes(made)


def poked(chance, content):
    made = bytearray(content)
    if made:
        made[chance.randrange(len(made))] = chance.choice(EDGES)
    return bytes(made)


def cut(chance, content):
    return content[: chance.randrange(len(content) + 1)]


def _span(chance, content):
    first = chance.randrange(len(content) + 1)
    return first, min(len(content), first + chance.choice((1, 2, 4, 8, 64, 1000)))


def inserted(chance, content):
    i = chance.randrange(len(content) + 1)
    return content[:i] + chance.randbytes(chance.choice((1, 4, 100))) + content[i:]


def deleted(chance, content):
    i, j = _span(chance, content)
    return content[:i] + content[j:]


def doubled(chance, content):
    i, j = _span(chance, content)
    return content[:j] + content[i:]


def swapped(chance, content):
    (i, j), (k, m) = sorted((_span(chance, content), _span(chance, content)))
    return content[:i] + content[k:m] + content[j:k] + content[i:j] + content[m:] if j <= k else content


def sized(chance, content):
    """Four or eight bytes as a number that a reader may take for a size."""
    form = chance.choice(("<q", "<i", ">q", ">i", "<Q"))
    width = struct.calcsize(form)
    number = chance.choice(SIZES) & ((1 << (8 * width - (form[1] != "Q"))) - 1)
    i = chance.randrange(max(1, len(content) - width))
    return content[:i] + struct.pack(form, number) + content[i + width :]


def of_json(chance, content):
    """A JSON file: its values as a rule, sometimes its text or its bytes."""
    way = chance.random()
    if way < 0.7:
        return json.dumps(of_value(chance, json.loads(content))).encode()
    return _text(chance, content) if way < 0.85 else of_bytes(chance, content)


def _text(chance, content):
    """What JSON's own writer never writes: keys twice, numbers without end, depth, other encodings."""
    text = content.decode()
    way = chance.randrange(5)
    if way == 0:
        keys = re.findall(r'"[^"\n]*"(?=\s*:)', text) or ['"a"']
        place = chance.choice([found.end() for found in re.finditer(r"\{", text)] or [0])
        text = f"{text[:place]}{chance.choice(keys)}: {json.dumps(chance.choice(VALUES))}, {text[place:]}"
    elif way == 1:
        found = chance.choice([*re.finditer(r"-?\d+(\.\d+)?(e-?\d+)?", text)])
        number = chance.choice(("9" * 5000, "1e999", "-1e999", "NaN", "Infinity", "0.0e-9999", "1" * 400, "00", "+1"))
        text = text[: found.start()] + number + text[found.end() :]
    elif way == 2:
        found = chance.choice([*re.finditer(r"\d+|\{|\[", text)])
        deep = chance.choice((50, 900, 2000, 100_000))
        text = text[: found.start()] + chance.choice(("[" * deep + "]" * deep, '{"a":' * deep, "[" * deep))
        text += content.decode()[found.end() :]
    elif way == 3:
        return text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
    else:
        text = chance.choice(("", " ", "null", "[]", "{}", "0", '"a"', text + text, text + ",", "﻿" + text))
    return text.encode(errors="surrogatepass")


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def of_value(chance, value):
    """A JSON value with one to four places changed; the value that is given stays as it is."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        every = [place for place in places(value) if place]
        if not every:
            return chance.choice(VALUES)
        depth = chance.choice([len(place) for place in every[:: max(1, len(every) // 50)]])  # few places lie high
        *path, last = chance.choice([place for place in every if len(place) == depth])
        home = value
        for key in path:
            home = home[key]
        _change(chance, home, last, [place[-1] for place in every if isinstance(place[-1], str)] or ["a"])
    return value


def _change(chance, home, key, names):
    way, old = chance.randrange(8), home[key]
    if way == 0:
        del home[key]
    elif way == 1 and isinstance(home, dict):
        home[chance.choice((*names, "", "new", "λ"))] = home.pop(key)
    elif way == 1:
        home.insert(chance.randrange(len(home) + 1), old)
    elif way == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        home[key] = chance.choice((old + 1, old - 1, -old, old * 2, old / 2, old * 1e6, old + 1e-9, str(old), [old]))
    elif way == 3 and isinstance(old, str) and old:
        home[key] = chance.choice((old[:-1], old.upper(), old + old, old + "\n", [old], old[::-1]))
    elif way == 3 and isinstance(old, list) and old:
        home[key] = chance.choice((old[:-1], old[::-1], old + old, old[:1], [old], old[0], old * 100))
    elif way == 4 and isinstance(old, dict) and old:
        home[key] = chance.choice(([*old.values()], [*old], {**old, **old}, dict.fromkeys(old)))
    else:
        home[key] = json.loads(json.dumps(chance.choice(VALUES)))


def of_pickle(chance, content):
    """A pickle: its opcodes as a rule, sometimes its bytes."""
    if chance.random() < 0.4:
        return of_bytes(chance, content)
    ends = [position for _, _, position in pickletools.genops(content)]
    parts = [content[a:b] for a, b in zip(ends, [*ends[1:], len(content)], strict=True)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        i, j = chance.randrange(len(parts)), chance.randrange(len(parts))
        way = chance.randrange(6)
        if way == 0:
            del parts[i]
        elif way == 1:
            parts.insert(i, parts[j])
        elif way == 2:
            parts[i], parts[j] = parts[j], parts[i]
        elif way == 3:
            parts[i] = chance.choice((b"N", b"K\x01", b"]", b"}", b")", b"\x88", b"M\xff\xff", b"(", b"0", b"2", b"."))
        elif way == 4:
            parts[i] = b"\x8a\x08" + struct.pack("<Q", chance.choice(SIZES) & (2**63 - 1))
        else:
            parts[i] = of_bytes(chance, parts[i])
    return b"".join(parts)


def of_zip(inner):
    """A change of a zip file: of one of its members by inner(chance, name, content), of its form, or of its bytes."""

    def change(chance, content):
        if chance.random() < 0.4:
            return of_bytes(chance, content)
        with zipfile.ZipFile(io.BytesIO(content)) as known:
            members = [(name, known.read(name)) for name in known.namelist()]
        i = chance.randrange(len(members))
        way = chance.randrange(8)
        if way == 0:
            del members[i]
        elif way == 1:
            members.insert(chance.randrange(len(members) + 1), (chance.choice(members)[0], members[i][1]))
        elif way == 2:
            name = chance.choice(("../../outside", "/tmp/outside", members[i][0] + "x", "", chance.choice(members)[0]))
            members[i] = (name, members[i][1])
        elif way == 3:
            members[i] = (members[i][0], bytes(chance.choice((1 << 20, 1 << 22))) + members[i][1])
        else:
            members[i] = (members[i][0], inner(chance, *members[i]))
        packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
        return zipped(members, packing)

    return change


def zipped(members, packing=zipfile.ZIP_STORED):
    """A zip file of these names and contents, names twice where they are given twice."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name or "_")
            info.compress_type = packing
            file._didModify = True  # zipfile warns of names that are there twice; here they are meant
            file.NameToInfo.pop(info.filename, None)
            file.writestr(info, content)
    return made.getvalue()


def of_numpy(chance, name, content):
    """A member of an .npz: what its head says of its shape and type, or its bytes."""
    found = re.search(rb"\{.*\}", content[:200])
    if found is None or chance.random() < 0.3:
        return of_bytes(chance, content)
    head = found[0].decode()
    shape = chance.choice(
        ("(1000000000000,)", "(4, 4611686018427387904)", "()", "(0,)", "(-1,)", "(2, 2, 2)", "(" * 200, "(1e3,)", "5")
    )
    kind = chance.choice(("|O", "<f2", "<i8", ">f8", "<U9", "<c16", "|b1", "<f16", "<M8[s]", "|V8", "|S0", "what"))
    head = chance.choice(
        (
            re.sub(r"'shape': \([^)]*\)", f"'shape': {shape}", head),
            re.sub(r"'descr': '[^']*'", f"'descr': '{kind}'", head),
            head.replace("False", "True"),
            head.replace("'shape'", "'shap'"),
            "[" * 1000,
            "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }",
            "__import__('os').system('touch canary')",
        )
    )
    return _headed(content, head)


def _headed(content, head):
    """The array's bytes under another head, of format 1.0."""
    width = int.from_bytes(content[8:10], "little")
    text = head.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) & 0xFFFF) + text + content[10 + width :]


def of_safetensors(chance, content):
    """Weights: their head, what they say of themselves, or their bytes."""
    if chance.random() < 0.3:
        return of_bytes(chance, content)
    width = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + width])
    if chance.random() < 0.5 and "dode" in head.get("__metadata__", {}):
        head["__metadata__"]["dode"] = of_json(chance, head["__metadata__"]["dode"].encode()).decode(errors="replace")
        text = json.dumps(head).encode()
    else:
        text = of_json(chance, json.dumps(head).encode())
    said = len(text) if chance.random() < 0.95 else chance.choice(SIZES) & (2**63 - 1)
    return struct.pack("<Q", said) + text + content[8 + width :]


def of_checkpoint(chance, name, content):
    """A member of a file of torch.save: the pickle among them by its opcodes."""
    return of_pickle(chance, content) if name.endswith("data.pkl") else of_bytes(chance, content)
