"""The cache: the same bits with and without it, no call twice, nothing used that is damaged or of something else."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import SCHEDULES, conditioned, gaussian_model, swapped
from safetensors.torch import load, save_file

import dode
from dode.errors import DodeError
from dode.fingerprint import code_hash
from dode.output_cache import WHAT, checksum, open_cache
from dode.timesteps import grid

TESTS = Path(__file__).parent
KILLS = int(os.environ.get("DODE_KILLS", "3"))  # of each kind of run; more by hand and at night


def counted(where="discrete", **changes):
    """A model, and the list of the batches that its network was asked for."""
    made, calls = replace(gaussian_model(where), **changes), []
    network = made.network
    return swapped(
        made, dtype=torch.float32, network=lambda x, t, cond: calls.append(len(x)) or network(x.double(), t, cond)
    ), calls


def distil(model, solver="ddim", nfe=4, **options):
    return dode.distill(model, solver, **({"nfe": nfe, "scale": 4, "samples": 7, "batch": 3} | options))


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


pytestmark = pytest.mark.filterwarnings("ignore:.*is large")


@pytest.mark.parametrize("where", ["discrete", "edm"])
@pytest.mark.parametrize(
    ("solver", "options"),
    [
        ("ddim", {}),
        ("dpm-solver-2:states=teacher", {}),
        ("edm", {"formulation": "all"}),
        ("deis-2", {"formulation": "fixed"}),
        ("ddim", {"align": "count"}),
    ],
)
def test_the_cache_changes_no_bit_and_asks_nothing_twice(solver, options, where, tmp_path):
    model, calls = counted(where)
    plain = distil(model, solver, **options)
    asked = len(calls)
    first = distil(model, solver, cache=tmp_path, **options)
    assert len(calls) <= 2 * asked
    before = len(calls)
    again = distil(model, solver, cache=tmp_path, **options)
    assert len(calls) == before
    for made in (first, again):
        np.testing.assert_array_equal(made.plan.table, plain.plan.table)
        assert made.provenance == plain.provenance
    assert first.model is model  # and not one that goes on writing


@pytest.mark.parametrize("name", ["distil", "evaluate"])
def test_a_killed_run_goes_on(name):
    """kill -9 at random moments: at most the evaluation in flight is lost, and the end is the same, bit for bit."""
    done = subprocess.run(
        [sys.executable, TESTS / "killing.py", name, str(KILLS)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for bits, deaths, calls in found["rounds"]:
        assert bits == found["bits"]
        assert calls <= found["calls"] + deaths


def of_other(kind, path, other):
    """A file made unusable in one way or another."""
    whole = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif kind == "another":
        path.write_bytes(other.read_bytes())
    elif kind == "foreign":
        save_file({"output": torch.zeros(3, 1, 4, 4)}, path)
    elif kind == "pickle":
        torch.save({"output": torch.zeros(3, 1, 4, 4)}, path)
    elif kind == "other shape":
        output = torch.zeros(2, 1, 4, 4)
        said = {"what": WHAT, "key": path.stem, "strides": "16,16,4,1", "checksum": checksum(output, "16,16,4,1")}
        save_file({"output": output}, path, said)


@pytest.mark.parametrize("kind", ["empty", "torn", "flipped", "another", "foreign", "pickle", "other shape"])
def test_what_is_damaged_is_made_anew(kind, tmp_path):
    model, calls = counted()
    plain = distil(model, cache=tmp_path)
    kept = files(tmp_path)
    outputs = [load(path.read_bytes())["output"] for path in kept]
    for path in kept[::3]:
        of_other(kind, path, kept[1])
    calls.clear()
    again = distil(model, cache=tmp_path)
    np.testing.assert_array_equal(again.plan.table, plain.plan.table)
    assert len(calls) == len(kept[::3])
    assert files(tmp_path) == kept
    assert all(
        torch.equal(load(path.read_bytes())["output"], output) for path, output in zip(kept, outputs, strict=True)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dtype": torch.float64},
        {"threshold": True},
        {"fingerprint": "weights:other"},
        {"cache_dtype": "float16"},
        {"samples": 6, "batch": 2},
    ],
)
def test_what_is_of_something_else_is_not_used(change, tmp_path):
    model, calls = counted()
    distil(model, cache=tmp_path)
    options = {key: value for key, value in change.items() if key in ("seed", "cache_dtype", "samples", "batch")}
    model = swapped(model, **{key: change[key] for key in ("dtype", "fingerprint") if key in change})
    model = model.thresholded(0.5) if "threshold" in change else model
    calls.clear()
    distil(model, cache=tmp_path, **options)
    asked = len(calls)
    calls.clear()
    distil(model, **{key: value for key, value in options.items() if key != "cache_dtype"})
    assert asked == len(calls) - 3  # the first evaluation is the teacher's


def test_guidance_conditions_and_classifiers_are_told_apart(tmp_path):
    """By what the outputs are known by; a function without a fingerprint is probed."""

    def mark(model):
        return model.cached(tmp_path).denoiser.mark

    one = dode.bundled("fashion-mixture")
    marks = [mark(model) for model in (one, one.guided(2.0), swapped(one, fingerprint=""))]
    marks.append(mark(conditioned(one, one.conditioning.default, lambda indices: [0] * len(indices)).guided(2.0)))
    for scale in (1.0, 2.0):
        marks.append(mark(one.classifier_guided(lambda x, t, cond: x.flatten(1).sum(1), scale)))
    assert all(a != b for i, a in enumerate(marks) for b in marks[:i])
    assert mark(one) == mark(replace(one, name="of another name"))


def test_half_precision_is_half_the_bytes_and_goes_on_as_well(tmp_path):
    model, calls = counted()
    made = {dtype: distil(model, cache=tmp_path / str(dtype), cache_dtype=dtype) for dtype in ("float32", "float16")}
    sizes = [sum(path.stat().st_size for path in files(tmp_path / dtype)) for dtype in made]
    assert sizes[0] - sizes[1] == len(files(tmp_path / "float16")) * 7 / 3 * 16 * 2
    assert not np.array_equal(made["float32"].plan.table, made["float16"].plan.table)
    np.testing.assert_allclose(made["float16"].plan.table, made["float32"].plan.table, rtol=0.05, atol=0.01)
    calls.clear()
    again = distil(model, cache=tmp_path / "float16", cache_dtype="float16")
    np.testing.assert_array_equal(again.plan.table, made["float16"].plan.table)
    assert not calls


def test_what_half_precision_cannot_hold_is_said(tmp_path):
    model, _ = counted()
    network = model.network
    model = swapped(model, lambda x, t, cond: 1e6 * network(x, t, cond))
    with pytest.raises(ValueError, match=r"too large for a cache in torch\.float16; keep float32"):
        distil(model, cache=tmp_path, cache_dtype="float16")
    with pytest.raises(ValueError, match="dtype needs a cache"):
        distil(model, cache_dtype="float16")
    with pytest.raises(ValueError, match="cache_dtype must be one of float32, float16"):
        distil(model, cache=tmp_path, cache_dtype="float8")


def test_nan_is_not_kept(tmp_path):
    model, _ = counted()
    with pytest.raises(ValueError, match="NaN"):
        distil(swapped(model, lambda x, t, cond: x * float("nan")), cache=tmp_path)
    assert not files(tmp_path)


def test_an_unusual_layout_comes_back_as_it_was(tmp_path):
    """A network may round otherwise when its input has the channels last."""
    model = replace(gaussian_model("discrete"), shape=(2, 4, 4))
    last = torch.randn(3, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    known = swapped(model, lambda x, t, cond: last).cached(tmp_path).bound("noise", None)
    node = grid(SCHEDULES["discrete"], 4).nodes[0]
    for _ in range(2):
        found = known(torch.zeros(3, 2, 4, 4), node)
        assert torch.equal(found, last)
        assert found.stride() == last.stride()


def test_two_processes_share_a_cache(tmp_path):
    """Both at once: equal bits, no damaged file, and nothing left over."""
    code = f"""
import hashlib, sys
sys.path.insert(0, {str(TESTS)!r})
import warnings; warnings.simplefilter("ignore")
from test_cache import counted, distil
model, calls = counted()
made = [distil(model, nfe=nfe, scale=10, cache={str(tmp_path)!r}) for nfe in (6, 8)]
print(hashlib.sha256(b"".join(one.plan.table.tobytes() for one in made)).hexdigest())
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {one.communicate(timeout=120)[0] for one in both}
    assert len(said) == 1
    model, calls = counted()
    for nfe in (6, 8):
        distil(model, nfe=nfe, scale=10, cache=tmp_path)
    assert not calls
    assert all(path.suffix in (".safetensors", ".json") for path in tmp_path.rglob("*") if path.is_file())


def run_limited(size, *words):
    """The command line where no file may become larger than this: as a full disk would have it."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    code = f"{limit}; from dode.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)


def test_a_full_disk_and_a_folder_that_is_none_are_one_sentence(tmp_path):
    words = ["distill", "fashion-mixture", "--nfe", "3", "--samples", "8", "--scale", "2", "--paired", "0"]
    words += ["-o", str(tmp_path / "c.json")]
    done = run_limited(10000, *words, "--cache", str(tmp_path / "cache"), "--offload", "cpu")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert f"cannot write to the cache {tmp_path / 'cache'}: " in last
    assert last.endswith("File too large")
    assert "Traceback" not in done.stderr
    (tmp_path / "file").touch()
    with pytest.raises(DodeError, match=r"cannot write to the cache .*file: File exists; make room, or"):
        open_cache(tmp_path / "file")
    with pytest.raises(DodeError, match=r"cannot write to the cache .*: Not a directory"):
        open_cache(tmp_path / "file" / "below")


def test_a_read_only_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(DodeError, match="is read-only; give another folder"):
        open_cache(tmp_path)


class Scaled(torch.nn.Module):
    """A convolution times a plain attribute, as an adapter's scale is, after an activation."""

    def __init__(self, scale=1.0, activation=torch.nn.SiLU):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.activation, self.scale = torch.nn.Conv2d(2, 2, 3, padding=1), activation(), scale

    def forward(self, x, t):
        return self.activation(self.inner(x)) * self.scale


class Named(Scaled):
    """The scale by the name of an adapter, as some libraries keep it."""

    def __init__(self, scale):
        super().__init__()
        self.scaling = {"default": scale}

    def forward(self, x, t):
        return super().forward(x, t) * self.scaling["default"]


def coded(number):
    """A network that has its scale in its code alone; all are called alike."""
    words = {"Scaled": Scaled}
    exec(f"class Coded(Scaled):\n    def forward(self, x, t):\n        return self.inner(x) * {number}", words)
    return words["Coded"]()


def of(net):
    return dode.from_callable(net, schedule=SCHEDULES["vp"], prediction="noise", shape=(2, 8, 8))


def heavier(net):
    net.inner.weight.data *= 1 + 1e-7
    return net


@pytest.mark.parametrize(
    "other", [lambda: Scaled(1.5), lambda: Scaled(activation=torch.nn.ReLU), lambda: heavier(Scaled())]
)
def test_modules_of_equal_fingerprint_are_told_apart(other, tmp_path):
    distil(of(Scaled()), cache=tmp_path)
    plain, kept = distil(of(other())), distil(of(other()), cache=tmp_path)
    np.testing.assert_array_equal(kept.plan.table, plain.plan.table)


@pytest.mark.parametrize("made", [Named, coded])
def test_a_scale_in_a_dict_or_in_the_code_is_told_apart(made, tmp_path):
    distil(of(made(0.5)), cache=tmp_path)
    plain, kept = distil(of(made(0.7))), distil(of(made(0.7)), cache=tmp_path)
    np.testing.assert_array_equal(kept.plan.table, plain.plan.table)
    assert code_hash(made(0.7)) == code_hash(made(0.7))


class Keeping(Scaled):
    """What it computed last stays in it, and a table that no dense memory holds."""

    def __init__(self):
        super().__init__()
        self.last, self.seen, self.table = None, [], torch.eye(2).to_sparse()
        setattr(self, "", 1)

    def forward(self, x, t):
        self.last = x
        self.seen.append(x)
        return super().forward(x, t)


def test_what_a_network_computed_last_is_not_what_it_is(tmp_path):
    net = Keeping().eval()
    before = code_hash(net)
    distil(of(net), cache=tmp_path)
    assert net.seen
    assert code_hash(net) == before


def test_weights_changed_in_place_are_another_network(tmp_path):
    net = Scaled()
    model = of(net)
    distil(model, cache=tmp_path)
    heavier(net)
    np.testing.assert_array_equal(distil(model, cache=tmp_path).plan.table, distil(model).plan.table)


def test_outputs_under_autocast_are_for_autocast_alone(tmp_path):
    model = of(Scaled())
    with torch.autocast("cpu", torch.bfloat16):
        distil(model, cache=tmp_path)
    np.testing.assert_array_equal(distil(model, cache=tmp_path).plan.table, distil(model).plan.table)


def test_the_layout_of_a_state_decides_too(tmp_path):
    model = of(Scaled())
    noise = model.start(range(7), 0, "fit")
    last = noise.contiguous(memory_format=torch.channels_last)
    distil(model, noise=noise, cache=tmp_path)
    kept, plain = distil(model, noise=last, cache=tmp_path), distil(model, noise=last)
    np.testing.assert_array_equal(kept.plan.table, plain.plan.table)


def test_another_default_condition_is_another_run(tmp_path):
    """Each costs what it costs, and finds its own outputs again."""
    calls = []
    network = lambda x, t, cond: calls.append(1) or torch.sin(x + cond.reshape(-1, 1, 1, 1))  # noqa: E731
    made = [
        dode.from_callable(
            network,
            schedule=SCHEDULES["vp"],
            prediction="noise",
            shape=(1, 4, 4),
            cond=lambda n, value=value: torch.full((len(n),), value),
        )
        for value in (1.0, 2.0)
    ]
    twin = [swapped(model, fingerprint="weights:one") for model in made]
    calls.clear()  # those that the models were opened with
    distil(twin[0], cache=tmp_path)
    first = len(calls)
    distil(twin[1], cache=tmp_path)
    assert len(calls) == 2 * first
    distil(twin[0], cache=tmp_path)
    assert len(calls) == 2 * first
