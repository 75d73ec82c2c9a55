"""Memory does not grow with the number of batches: one is on the device, the others rest in a store."""

import gc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian_model, swapped

import dode
from dode.analytic import Gaussian
from dode.errors import DodeError
from dode.tensor_store import DiskStore, TensorStore, tensor_store

PLACES = {"here": TensorStore, "cpu": lambda: TensorStore("cpu"), "disk": DiskStore}


def alive():
    """Bytes of all tensors that exist."""
    found = (one for one in gc.get_objects() if type(one) is torch.Tensor and one.device.type == "cpu")
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in found}.values())


def peak(nfe=5, scale=2, samples=8, offload="disk", **options):
    """The most bytes in tensors at any network call of a distillation, in multiples of one batch of 4 samples.

    Data are large enough here for the products of slopes, some numbers a sample, not to count.
    """
    spread = torch.linspace(0.1, 1.4, 1024, dtype=torch.float64).reshape(1, 32, 32)
    model, most = Gaussian(spread / 2, spread).model(SCHEDULES["discrete"], "noise"), [0]
    network = model.network

    def weighing(x, t, cond):
        most[0] = max(most[0], alive())
        return network(x, t, cond)

    model = swapped(model, weighing)
    gc.collect()
    gc.freeze()  # what is there already is not looked at
    try:
        dode.distill(model, "ddim", nfe=nfe, scale=scale, samples=samples, batch=4, offload=offload, **options)
    finally:
        gc.unfreeze()
    return most[0] / (4 * 1024 * model.dtype.itemsize)


@pytest.mark.filterwarnings("ignore:.*is large")
@pytest.mark.parametrize("formulation", ["d", "all", "fixed"])
def test_offloaded_memory_depends_on_neither_batches_nor_scale(formulation):
    few = peak(formulation=formulation)
    assert peak(samples=48, formulation=formulation) == pytest.approx(few, abs=0.6)
    assert peak(scale=8, formulation=formulation) == pytest.approx(few, abs=0.1)
    assert peak(samples=48, formulation=formulation, offload=None) > 2 * few  # so that the measure can fail


@pytest.mark.filterwarnings("ignore:.*is large")
def test_offloaded_memory_is_linear_in_evaluations_at_most():
    """All outputs are read by the formulation "all", two by the paper's."""
    assert peak(nfe=40) == pytest.approx(peak(nfe=5), abs=0.1)
    five, twenty, forty = (peak(nfe=nfe, formulation="all") for nfe in (5, 20, 40))
    assert forty - twenty == pytest.approx((twenty - five) * 20 / 15, rel=0.1)


@pytest.mark.filterwarnings("ignore:.*is large")
@pytest.mark.parametrize("offload", ["cpu", "disk"])
@pytest.mark.parametrize(
    ("solver", "options"), [("dpm-solver-3", {}), ("edm:states=teacher", {}), ("ddim", {"formulation": "all"})]
)
def test_where_states_rest_changes_no_bit(offload, solver, options):
    made, other = (
        dode.distill(gaussian_model("discrete"), solver, nfe=[5, 7], samples=10, batch=4, offload=place, **options)
        for place in (None, offload)
    )
    for nfe, one in made.items():
        np.testing.assert_array_equal(one.plan.table, other[nfe].plan.table)
        assert one.provenance == other[nfe].provenance


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_what_is_got_is_what_was_put(place, dtype):
    """Layout too: a network may round otherwise with the channels last."""
    kept = PLACES[place]()
    plain = torch.arange(48).reshape(2, 2, 3, 4).to(dtype) / 7
    last = plain.contiguous(memory_format=torch.channels_last)
    for name, tensor in (("plain", plain), ("last", last), ("view", plain[:, :1]), ("plain", plain * 2)):
        kept.put(name, tensor)
    for name, tensor in (("plain", plain * 2), ("last", last), ("view", plain[:, :1])):
        found = kept.get(name)
        assert torch.equal(found, tensor)
        assert found.dtype == tensor.dtype
    assert kept.get("last").stride() == last.stride()
    kept.drop("last")
    kept.drop("last")
    with pytest.raises(KeyError):
        kept.get("last")


def test_a_file_uses_its_room_again():
    kept = DiskStore()
    for i in range(100):
        kept.put(i % 3, torch.full((5,), float(i)))
    assert kept._file.seek(0, 2) == 3 * 20


def test_float64_is_for_the_cpu_alone():
    """Some devices have none: sums go to the CPU first.  (Weights are read there.)"""
    for path in (Path(__file__).parent.parent / "src/dode").rglob("*.py"):
        if path.parent.name != "bundled_models":
            text = path.read_text()
            assert not re.findall(r"(?<!cpu\(\))\.double\(\)", text), path
            assert not re.findall(r"(?<!cpu\(\))\.to\(torch\.float64", text), path


def test_unknown_places_are_refused():
    with pytest.raises(ValueError, match="offload must be one of cpu, disk"):
        dode.distill(gaussian_model("discrete"), "ddim", nfe=3, samples=2, offload="gpu")
    with pytest.raises(DodeError, match="cannot keep resting states in /no/such/folder"):
        tensor_store("disk", "/no/such/folder")


def test_a_full_disk_is_one_sentence():
    """The system refuses to write more than a limit into a file, as a full disk does."""
    code = """
import resource, torch
from dode.errors import DodeError
from dode.tensor_store import DiskStore
kept = DiskStore()
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    for i in range(10):
        kept.put(i, torch.zeros(500))
except DodeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot keep resting states in" in done.stdout
    assert "make room" in done.stdout
