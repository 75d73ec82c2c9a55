"""What stands beside a student: how it was made, for programs (JSON) and for people (Markdown)."""

import platform

import torch

import dode
from dode.calibration import Json
from dode.model import Model
from dode_paper.baselines.student_file import Form
from dode_paper.baselines.train_state import Run

NAMES = {
    "pd": "progressive distillation (Salimans & Ho 2022)",
    "cd": "consistency distillation (Song et al. 2023)",
    "ct": "consistency training (Song et al. 2023)",
    "direct": "direct distillation (Luhman & Luhman 2021)",
    "guided": "guided distillation (Meng et al. 2023)",
}


def card(method: str, teacher: Model, form: Form, run: Run, extra: int, seed: int, options: Json) -> Json:
    """What training took up to this student, with the stages before it; extra: network calls before training."""
    return {
        "method": method,
        "teacher": teacher.name,
        "fingerprint": teacher.fingerprint,
        "solver": form.solver,
        "evaluations": sorted(form.times),
        "minutes": round(run.seconds / 60, 1),
        "processor minutes": round(run.processor / 60, 1),
        "steps": run.steps,
        "network calls": run.calls + extra,
        "seed": seed,
        "options": options,
        "versions": {"dode": dode.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def markdown(name: str, said: Json, form: Form) -> str:
    """The card for people."""
    grids = [f"| {nfe} | {', '.join(f'{t:.4g}' for t in nodes)} |" for nfe, nodes in sorted(form.times.items())]
    told = "" if form.guidance is None else f"- guidance scales {form.guidance[0]:g} to {form.guidance[1]:g}, told\n"
    command = f"dode sample {name}.safetensors --solver {form.solver} --nfe {min(form.times)} -o sheet.png"
    options = ", ".join(f"{key} {value}" for key, value in said["options"].items())
    return f"""# {name}

A student of {said["teacher"]} by {NAMES[said["method"]]}.

- sampled with `{command}`; the file knows the noise levels below
{told}- {said["steps"]} steps of training in {said["minutes"]:.1f} minutes, the stages before it counted
- {said["processor minutes"]:.1f} minutes of that a processor worked: the machine had other work
- {said["network calls"]:,} network calls for one sample each, forward; a backward pass follows the student's own
- seed {said["seed"]}; {options}
- teacher {said["fingerprint"]}
- {", ".join(f"{key} {value}" for key, value in said["versions"].items())}

| network evaluations | noise levels |
|---|---|
{chr(10).join(grids)}
"""
