"""Every file that the paper's package reads, as tests/readers.py has those of dode."""

from dataclasses import replace
from functools import partial

import edm_files
import mutants
import taught
import torch
from problems import conditioned, swapped
from readers import Reader, model

from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode.denoisers import CallableNetwork
from dode_paper.baselines import checkpoints, data, direct, student_file, train_state
from dode_paper.checkpoints import edm_file, loading
from dode_paper.reproduce.result_store import Records


def recorded(path):
    made = Records(path, {"samples": 2}, "dode reproduce", loud=False)
    made.put("row", {"rms": 0.5, "each": [1, 2]})


def read_records(path):
    made = Records(path, {"samples": 2}, "dode reproduce", loud=False)
    made.put("row", 1)


def pickled(path):
    edm_files.write(path, *edm_files.tiny(label_dim=4, attn_resolutions=[]))


def read_pickle(path):
    return edm_file.model_of(edm_file.read_pickle(path), "net")


def converted(path):
    pickled(path.with_suffix(".pkl"))
    edm_file.convert(path.with_suffix(".pkl"), path)
    path.with_suffix(".pkl").unlink()


def small_students():
    """Students of a network that opens in a moment."""
    student_file.UNet = partial(UNet, widths=(8,), groups=2)


FORM = student_file.Form("data", "ddim", {1: (80.0, 0.0), 2: (80.0, 1.0, 0.0)})
CARD = {"method": "pd", "network calls": 3, "processor minutes": 0.1, "options": {"batch": 2}}


def student(path):
    small_students()
    net = Preconditioned(Folded(student_file.UNet()), 0.5).requires_grad_(False)
    student_file.write(path, net, FORM, replace(model(), name="fashion-edm"), CARD)


def packed_student(path):
    student(path)
    teacher = Preconditioned(Folded(student_file.UNet()), 0.5)
    small = swapped(model(), CallableNetwork(teacher, True))
    student_file.bundled = lambda name: small
    student_file.write(path, Preconditioned(Folded(student_file.UNet()), 0.5), FORM, replace(small, name="x"), CARD)
    student_file.rewrite_packed(path, path)


def read_student(path):
    small_students()
    if student_file.written(path):
        for one in student_file.samplers(path).values():
            one.sample(1)
        student_file.card_of(path)


def labelled():
    """A model with a condition that it does not heed."""
    made = model()
    return conditioned(swapped(made, lambda x, t, cond: made.network(x, t, None)), lambda i: torch.zeros(len(i)))


def paired(path):
    direct.pairs(labelled(), 4, 2, 0, path, lambda done, total: None)


def read_pairs(path):
    direct.pairs(labelled(), 4, 2, 0, path, lambda done, total: None)


def weights(path):
    torch.save({"weight": torch.arange(6.0).reshape(2, 3)}, path)


def old_weights(path):
    torch.save({"weight": torch.arange(6.0).reshape(2, 3)}, path, _use_new_zipfile_serialization=False)


def read_weights(path):
    module = torch.nn.Module()
    with torch.device("meta"):
        module.weight = torch.nn.Parameter(torch.empty(2, 3))
    loading.load(module, loading.state_dict(path), "net")


STAGES = [
    train_state.Stage("one", 1.0, lambda net: taught.Affine([1, 2]), lambda trio, rng, done: None, 2),
    train_state.Stage("two", 1.0, lambda net: net, lambda trio, rng, done: None, 2),
]


def kept(path):
    run = train_state.begin(STAGES, 0, taught.Gaussian())
    run.curve, run.smooth = [[50, 0.5]], 0.5
    for parameter in run.student.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimiser.step()
    checkpoints.save(path, run, {"what": "test"})


def read_checkpoint(path):
    """As `dode train` goes on with it."""
    run = checkpoints.restore(path, STAGES, taught.Gaussian(), {"what": "test"})
    for parameter in run.student.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimiser.step()
    train_state.part(STAGES, run, train_state.Budget(steps=10))
    checkpoints.save(path.with_suffix(".again"), run, {"what": "test"})


def images(path):
    taught.write_images(path.parent, 3)
    (path.parent / "train-images-idx3-ubyte.gz").replace(path)
    (path.parent / "train-labels-idx1-ubyte.gz").unlink()


ZIP = mutants.of_zip(mutants.of_checkpoint)
READERS = {
    "records": Reader("r.json", recorded, mutants.of_json, read_records),
    "edm-pickle": Reader("net.pkl", pickled, mutants.of_pickle, read_pickle),
    "edm-safetensors": Reader("net.safetensors", converted, mutants.of_safetensors, edm_file.open_file),
    "student": Reader("pd.safetensors", student, mutants.of_safetensors, read_student),
    "packed-student": Reader("packed.safetensors", packed_student, mutants.of_safetensors, read_student),
    "pairs": Reader("pairs.safetensors", paired, mutants.of_safetensors, read_pairs),
    "weights": Reader("w.pt", weights, ZIP, read_weights),
    "old-weights": Reader("w.ckpt", old_weights, mutants.of_bytes, read_weights),
    "checkpoint": Reader("checkpoint.pt", kept, ZIP, read_checkpoint),
    "images": Reader("images.gz", images, mutants.of_bytes, data.read_idx),
}
