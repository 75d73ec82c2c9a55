"""Students of network distillation, from a folder of `dode train`, as samplers with what they took."""

from dataclasses import dataclass

from dode.samplers import Sampler
from dode_paper.baselines import student_file
from dode_paper.reproduce.context import Lab


@dataclass(frozen=True)
class Taught:
    """A student at one number of evaluations."""

    method: str  # pd, cd …
    nfe: int
    sampler: Sampler
    calls: int  # of the network in training, forward, for one sample each
    seconds: float  # that a processor worked


def taught(lab: Lab) -> dict[str, Taught]:
    """The model's own students, by method, evaluations and fingerprint: one that was trained anew is measured anew."""
    found: dict[str, Taught] = lab.once(("taught",), lambda: _taught(lab))
    return found


def _taught(lab: Lab) -> dict[str, Taught]:
    found = {}
    for path in sorted(lab.students.glob("*.safetensors")) if lab.students else ():
        card, model = student_file.card_of(path), student_file.open_file(path)
        if student_file.teacher_of(path) != lab.model.fingerprint:
            continue  # another model's student has another exact solution
        for nfe, sampler in student_file.samplers(path).items():
            key = f"{card['method']}@{model.fingerprint.split(':')[-1]}:{nfe}"
            cost = card["network calls"], 60 * card["processor minutes"]
            found[key] = Taught(card["method"], nfe, sampler, *cost)
    return found


def short(key: str) -> str:
    """The method of a student's key, any other name as it is."""
    return key.split("@")[0]
