"""The reader of EDM pickles: it takes what is published, and runs, imports or allocates nothing for the rest."""

import contextlib
import io
import json
import pickle
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import OrderedDict

import edm_files
import numpy as np
import pytest
import torch
from safetensors import safe_open

from dode_paper.checkpoints import edm_file, restricted_unpickler, stubs

CANARY = "canary"


@pytest.fixture
def good(tmp_path):
    """A good snapshot, its network and its arguments."""
    network, kwargs = edm_files.tiny(label_dim=4)
    return edm_files.write(tmp_path / "network-snapshot-000001.pkl", network, kwargs), network, kwargs


def command(folder, *words):
    code = "from dode.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("protocol", [3, 4])
def test_the_published_form_is_read(tmp_path, protocol):
    network, kwargs = edm_files.tiny(label_dim=4)
    path = edm_files.write(tmp_path / "a.pkl", network, kwargs, protocol=protocol)
    read = edm_file.read_pickle(path)
    assert (read.class_name, read.args, read.kwargs) == ("EDMPrecond", (), kwargs)
    expected = network.state_dict()
    assert read.tensors.keys() == expected.keys()
    assert all(torch.equal(read.tensors[key], value) for key, value in expected.items())


def test_storages_are_shared_views_and_keep_their_type(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    module = torch.nn.Module()
    for name, value in {
        "turned": base.T,
        "row": base[1],
        "sixteen": base.half(),
        "brain": base.bfloat16(),
        "whole": base.long(),
        "truth": base > 3,
        "empty": torch.zeros(0, 3),
        "one": torch.tensor(2.0),
    }.items():
        module.register_buffer(name, value)
    module.register_buffer("hidden", torch.ones(2), persistent=False)
    state = edm_files.state_of(module) | {"_non_persistent_buffers_set": {"hidden"}}
    with edm_files.published_modules():
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(edm_files.Persistent("Some", state)))
    read = edm_file.read_pickle(tmp_path / "a.pkl").tensors  # a network alone, without the dict
    assert read.keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_numpy_values_are_read():
    values = [np.float64(0.5), np.int64(3), np.bool_(True), np.arange(6, dtype=np.float32).reshape(2, 3)]
    one, two, three, array = restricted_unpickler.run(io.BytesIO(pickle.dumps(values)), stubs.tables())
    assert (one, two, three) == (0.5, 3, True)
    assert np.array_equal(array.value, values[3])
    turned = restricted_unpickler.run(io.BytesIO(pickle.dumps(np.asfortranarray(values[3]))), stubs.tables())
    assert np.array_equal(turned.value, values[3])


def test_convert_writes_tensors_and_arguments(good):
    path, network, kwargs = good
    out = path.with_name("out.safetensors")
    done = command(path.parent, "convert", "edm", path.name, out.name)
    assert done.returncode == 0, done.stderr
    assert "EDMPrecond" in done.stdout
    with safe_open(out, "pt") as file:
        about = json.loads(file.metadata()["dode"])
        assert (about["class_name"], about["args"], about["kwargs"]) == ("EDMPrecond", [], kwargs)
        for key, value in network.state_dict().items():
            assert torch.equal(file.get_tensor(key), value)
    assert not (path.parent / CANARY).exists()


def test_other_networks_of_the_file_by_key(good):
    with pytest.raises(ValueError, match="no network under the key 'teacher'"):
        edm_file.read_pickle(good[0], "teacher")
    with pytest.raises(ValueError, match="without constructor arguments or without tensors"):
        edm_file.read_pickle(good[0], "loss_fn")


# --- hostile files ---------------------------------------------------------------------------------------------


class Calls:
    """An object that pickles as a call."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def raw(*parts):
    """A pickle of protocol 4 from opcodes written by hand."""
    return b"\x80\x04" + b"".join(parts) + b"."


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


def named(module, name):
    return text(module) + text(name) + b"\x93"


def persistent(state, **changes):
    """A call of the reconstructing function with this state."""
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": "EDMPrecond", "state": state} | changes
    return Calls(edm_files._reconstruct_persistent_obj, (meta,))


def tensor_call(*arguments):
    return Calls(torch._utils._rebuild_tensor_v2, arguments)


def storage_bytes(count, written=None, data=b"\0" * 8, kind="FloatStorage", extra=b"", view=b"N"):
    """A storage in torch.save's format without zip, with any numbers in it."""
    head = [pickle.dumps(v, 2) for v in (stubs.MAGIC, 1001, {"little_endian": True})]
    number = pickle.dumps(count, 2)[2:-1]
    key = b"X\x01\0\0\0k"
    pid = b"(X\x07\0\0\0storagectorch\n" + kind.encode() + b"\n" + key + b"X\x03\0\0\0cpu" + number + view + b"t"
    parts = [*head, b"\x80\x02" + pid + b"Q.", b"\x80\x02]" + key + b"a.", extra]
    return b"".join(parts) + struct.pack("<q", count if written is None else written) + data


def stored(data):
    return Calls(torch.storage._load_from_bytes, (data,))


def with_tensor(value):
    """A snapshot whose only parameter is this."""
    return {"ema": persistent({"_parameters": {"weight": value}, "_init_args": (), "_init_kwargs": {}})}


def with_kwargs(value):
    weight = torch.ones(3)
    return {"ema": persistent({"_parameters": {"weight": weight}, "_init_args": (), "_init_kwargs": value})}


def nested_list(depth):
    return b"]" * depth + b"a" * (depth - 1)


def laughs():
    """A list of ten lists of ten lists …: 10³⁰ values in a file of 400 bytes."""
    made = ["ha"]
    for _ in range(30):
        made = [made] * 10
    return made


def itself():
    made = {}
    made["a"] = made
    return made


def module_in_itself():
    state = {"_parameters": {"weight": torch.ones(3)}, "_init_args": (), "_init_kwargs": {}}
    made = persistent(state)
    state["_modules"] = {"again": made}
    return made


def copied(path):
    import os

    return Calls(os.system, (f"touch {path}",))


def hostile(folder):
    """Name → the bytes of a file, or an object to pickle."""
    canary = str(folder / CANARY)
    shell = f"touch {canary}"
    write = f"open({canary!r}, 'w').close()"
    call = b"\x8c" + bytes([len(shell)]) + shell.encode() + b"\x85R"
    large = b"\x8e" + struct.pack("<Q", 1 << 60)
    floats = stored(storage_bytes(2))
    chain = named("builtins", "getattr") + named("torch", "_utils") + text("os") + b"\x86R"
    return {
        "os.system": copied(canary),
        "posix.system": raw(named("posix", "system"), call),
        "subprocess": Calls(subprocess.check_output, (["touch", canary],)),
        "builtins.eval": Calls(eval, (write,)),
        "builtins.exec": Calls(exec, (write,)),
        "global of protocol 0": f"cos\nsystem\n(S'{shell}'\ntR.".encode(),
        "inst": f"(S'{shell}'\nios\nsystem\n.".encode(),
        "obj": b"(cos\nsystem\nX" + struct.pack("<I", len(shell)) + shell.encode() + b"o.",
        "getattr chain": raw(chain, text("system"), b"\x86R", call),
        "dotted name": raw(named("torch._utils", "os.system"), call),
        "dotted module": raw(named("torch._utils.os", "system"), call),
        "module of an allowed name": raw(named("torch", "load"), text(canary), b"\x85R"),
        "attribute of an allowed function": raw(named("torch.storage", "_load_from_bytes.__globals__")),
        "importlib": raw(named("importlib", "import_module"), text("os"), b"\x85R"),
        "copyreg": raw(named("copyreg", "_reconstructor"), b")R"),
        "copyreg newobj": raw(named("copyreg", "__newobj__"), b")R"),
        "operator": raw(named("operator", "methodcaller"), text("system"), b"\x85R"),
        "functools": raw(named("functools", "partial"), named("os", "system"), b"\x85R"),
        "apply": raw(named("builtins", "apply"), named("os", "system"), b"\x85R"),
        "nested reduce": {"ema": {"a": [(1, copied(canary))]}},
        "a call inside a state": with_kwargs({"a": copied(canary)}),
        "a call inside the arguments of a call": with_tensor(tensor_call(copied(canary), 0, (2,), (1,))),
        "reduce of a result": raw(named("collections", "OrderedDict"), b")R", b")R"),
        "reduce of text": raw(text("os.system"), b")R"),
        "setstate by name": raw(named("collections", "OrderedDict"), b")R}", text("__setstate__"), b"K\1sb"),
        "build on a class": raw(named("torch.nn.modules.container", "ModuleDict"), b"}b"),
        "build on a tensor": {"ema": Calls(torch._utils._rebuild_parameter, (torch.ones(2), True, {}), {"a": 1})},
        "build on a dict": raw(named("dnnlib.util", "EasyDict"), b")\x81}b"),
        "build with slots": raw(named("torch.nn.modules.container", "ModuleDict"), b")\x81N}\x86b"),
        "build twice": raw(
            named("torch.nn.modules.container", "ModuleDict"), b")\x81", (b"}" + text("a") + b"K\1sb") * 2
        ),
        "newobj with arguments": raw(named("dnnlib.util", "EasyDict"), b"K\1\x85\x81"),
        "newobj of a function": raw(named("torch._utils", "_rebuild_tensor_v2"), b")\x81"),
        "newobj_ex": raw(named("dnnlib.util", "EasyDict"), b")}\x92"),
        "extension 1": raw(b"\x82\x01"),
        "extension 2": raw(b"\x83\x01\x00"),
        "extension 4": raw(b"\x84\x01\x00\x00\x00"),
        "persistent id": raw(text("storage"), b"Q"),
        "persistent id of protocol 0": b"Pstorage\n.",
        "buffers out of band": raw(b"\x97"),
        "bytearray": raw(b"\x96" + struct.pack("<Q", 1 << 50)),
        "bytes of a quintillion": raw(large),
        "text of a quintillion": raw(b"\x8d" + struct.pack("<Q", 1 << 60)),
        "frame of a quintillion": raw(b"\x95" + struct.pack("<Q", 1 << 60), b"N"),
        "memo of four billion": raw(b"Nr" + struct.pack("<I", 0xFFFFFFFF)),
        "memo in text": b"Np" + b"9" * 4000 + b"\n.",
        "a number of many digits": b"I" + b"9" * 100_000 + b"\n.",
        "a number that is a novel": b"I" + b"it was a dark night " * 5000 + b"\n.",
        "a name of several lines": raw(named("os\n\x1b[2J", "system\nerror: all is well")),
        "a name in the way of the shell": {"ema": persistent({}, class_name="\x1b[2J")},
        "a parameter with a name of several lines": {"ema": persistent({"_parameters": {"a\nb": torch.ones(1)}})},
        "a parameter with half a letter as its name": {"ema": persistent({"_parameters": {"\ud800": torch.ones(1)}})},
        "a long head of a storage": with_tensor(stored(b"\x80\x02" + b"N" * 5000 + b".")),
        "an argument of many digits": with_kwargs({"a": 10**400}),
        "a million lists in lists": raw(nested_list(1_000_000)),
        "three million marks": raw(b"(" * 3_000_000),
        "deep tuples as a key": raw(b"}", b")" + b"\x85" * 200_000, b"Ns"),
        "deep tuples in a set": raw(b"\x8f(", b")" + b"\x85" * 200_000, b"\x90"),
        "laughs": with_kwargs({"a": laughs()}),
        "a dict in itself": with_kwargs(itself()),
        "a storage of a quintillion": with_tensor(tensor_call(stored(storage_bytes(1 << 60)), 0, (1 << 60,), (1,))),
        "a storage larger than its data": with_tensor(tensor_call(stored(storage_bytes(3)), 0, (3,), (1,))),
        "a storage of two sizes": with_tensor(tensor_call(stored(storage_bytes(2, written=1 << 40)), 0, (2,), (1,))),
        "a storage of less than none": with_tensor(tensor_call(stored(storage_bytes(-2, data=b"")), 0, (0,), (1,))),
        "a storage of objects": with_tensor(stored(storage_bytes(2, kind="ObjectStorage"))),
        "a view of a storage": with_tensor(stored(storage_bytes(2, view=b"X\1\0\0\0kK\0K\1\x87"))),
        "a call inside a storage": with_tensor(stored(pickle.dumps(copied(canary)))),
        "a zip as a storage": with_tensor(stored(b"PK\3\4" + b"\0" * 100)),
        "truth values of two": with_tensor(
            tensor_call(stored(storage_bytes(8, data=b"\2" * 8, kind="BoolStorage")), 0, (8,), (1,))
        ),
        "a tensor larger than its storage": with_tensor(tensor_call(floats, 0, (3,), (1,))),
        "a tensor beside its storage": with_tensor(tensor_call(floats, 1, (2,), (1,))),
        "a tensor before its storage": with_tensor(tensor_call(floats, -1, (1,), (1,))),
        "a tensor of one number repeated": with_tensor(tensor_call(floats, 0, (1 << 50,), (0,))),
        "a tensor with a long step": with_tensor(tensor_call(floats, 0, (2,), (1 << 62,))),
        "a tensor of no storage": with_tensor(tensor_call([1.0], 0, (1,), (1,))),
        "a parameter that is none": with_tensor([1, 2]),
        "the same numbers a thousand times": {
            "ema": persistent(
                {"_parameters": dict.fromkeys(map(str, range(1000)), torch.ones(500)), "_init_kwargs": {}}
            )
        },
        "an array of objects": np.array([{}, copied(canary)], dtype=object),
        "an array larger than its data": raw(
            named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), b"K\0\x85C\1b\x87R",
            b"(K\1J\0\0\0\x7f\x85", named("numpy", "dtype"), text("f8"), b"\x89\x88\x87R\x89C\0tb",
        ),
        "a dtype by another name": raw(named("numpy", "dtype"), text("O8"), b"\x85R"),
        "an object that is no class": {"ema": persistent({}, type="function")},
        "a class without a state": {"ema": persistent(None)},
        "a class without a name": {"ema": persistent({}, class_name=["a"])},
        "parameters that are no dict": {"ema": persistent({"_parameters": [1]})},
        "a class among the arguments": raw(named("numpy", "ndarray")),
        "no pickle": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        "text": b"network, ema, everything\n",
        "nothing": b"",
        "a stop alone": b".",
        "an empty stack": raw(b"0"),
        "two values": raw(b"NN"),
        "a list": raw(b"]"),
    }  # fmt: skip


NAMES = sorted(hostile(__import__("pathlib").Path("/nowhere")))


def written(folder, name):
    """The hostile file of this name."""
    content = hostile(folder)[name]
    if not isinstance(content, bytes):
        with edm_files.published_modules():
            content = pickle.dumps(content, 4)
    path = folder / "bad.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_refused(tmp_path, monkeypatch, name):
    path = written(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is refused: ") as refusal:
            edm_file.convert(path, tmp_path / "out.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(refusal.value)
    assert message.startswith(f"{path} is refused: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250
    assert {entry.name for entry in tmp_path.iterdir()} == {"bad.pkl"}
    assert time.monotonic() - start < 60
    assert peak < 1e9
    assert not {"subprocess32", "dnnlib", "torch_utils"} & (set(sys.modules) - modules)


def test_a_module_in_itself_is_refused(tmp_path):
    body = (
        named("torch.nn.modules.container", "ModuleDict")
        + b")\x81\x94}"
        + text("_modules")
        + b"}"
        + text("a")
        + b"h\0ss"
    )
    (tmp_path / "bad.pkl").write_bytes(raw(b"}" + text("ema") + body + b"bs"))
    with pytest.raises(ValueError, match="too many, too deep"):
        edm_file.read_pickle(tmp_path / "bad.pkl")


@pytest.mark.parametrize(
    "name", ["os.system", "memo of four billion", "laughs", "a storage of a quintillion", "nothing"]
)
def test_a_refusal_is_one_line_and_exit_code_2(tmp_path, name):
    path = written(tmp_path, name)
    done = command(tmp_path, "convert", "edm", path.name, "out.safetensors")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: bad.pkl is refused: ")
    assert done.stdout == ""
    assert {entry.name for entry in tmp_path.iterdir()} == {"bad.pkl"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.pkl", "out.safetensors"], "no pickle at none.pkl"),
        (["a.pkl", "out.pt"], "must end with .safetensors"),
        (["a.pkl", "no/out.safetensors"], "the folder no does not exist"),
        (["a.pkl"], "TARGET"),
    ],
)
def test_bad_paths_are_one_line(tmp_path, words, says):
    (tmp_path / "a.pkl").write_bytes(b"")
    done = command(tmp_path, "convert", "edm", *words)
    assert done.returncode == 2
    assert says.lower() in done.stderr.lower()
    assert len(done.stderr.strip().splitlines()) == 1


def test_python_alone_would_have_run_them(tmp_path, monkeypatch):
    """The canary works: the files are as hostile as they look."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "builtins.eval", "global of protocol 0", "nested reduce"):
        pickle.loads(written(tmp_path, name).read_bytes())
        assert (tmp_path / CANARY).exists()
        (tmp_path / CANARY).unlink()


def test_every_cut_is_refused(good):
    path, *_ = good
    whole = path.read_bytes()
    for k in range(0, len(whole) - 1, len(whole) // 60):
        path.write_bytes(whole[:k])
        with pytest.raises(ValueError, match="is refused"):
            edm_file.read_pickle(path)


def test_mutations_are_read_or_refused(tmp_path):
    """300 files with one to eight bytes changed: a network or a ValueError, never anything else, never a long wait."""
    network = torch.nn.Module()
    network.register_buffer("weight", torch.arange(6.0))
    path = edm_files.write(tmp_path / "a.pkl", network, {"img_resolution": 8, "channel_mult": [1, 2]})
    whole = path.read_bytes()
    chance = random.Random(0)
    outcomes = []
    start = time.monotonic()
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        with contextlib.suppress(ValueError):
            outcomes.append(edm_file.read_pickle(path))
    assert all(isinstance(outcome, edm_file.PickledNetwork) for outcome in outcomes)
    assert 0 < len(outcomes) < 300
    assert time.monotonic() - start < 60


def test_an_ordered_dict_is_a_dict():
    read = restricted_unpickler.run(io.BytesIO(pickle.dumps(OrderedDict(a=1))), stubs.tables())
    assert read == {"a": 1}
    assert type(read) is dict


def test_changed_safetensors_are_refused(good):
    path, *_ = good
    out = path.with_name("out.safetensors")
    edm_file.convert(path, out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        edm_file.open_file(out)
    with pytest.raises(ValueError, match="no file at"):
        edm_file.open_file(out.with_name("none.safetensors"))
