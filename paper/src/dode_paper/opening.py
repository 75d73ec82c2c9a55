"""What this package opens for `dode.open_model`: files of `dode convert edm` and of `dode train`."""

from pathlib import Path

from dode.model import Model


def open_file(name: str) -> Model | None:
    """The model of a .safetensors file of `dode train` or `dode convert edm`; None for anything else."""
    from dode_paper.baselines import student_file
    from dode_paper.checkpoints import edm_file

    if Path(name).suffix != ".safetensors":
        return None
    return student_file.open_file(name) if student_file.written(name) else edm_file.open_file(name)
