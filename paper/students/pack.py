"""Pack the students of a folder, and measure what that does: python paper/students/pack.py FOLDER

FOLDER has the files of `dode train`; the packed ones are written beside this script, and what moved into README.md.
Samples are those of validation noise, the same for both; Fréchet distance to the bundled reference.
"""

import argparse
import re
from pathlib import Path

import torch

from dode.metrics import distance, extracted, frechet, moments, to_uint8
from dode.metrics.evaluation import bundled_evaluator
from dode_paper.baselines import student_file
from dode_paper.reproduce.result_store import table

HERE = Path(__file__).parent
PLACE = re.compile(r"(?<=<!-- moved -->\n).*?(?=<!-- end -->)", re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    lines = []
    for source in sorted(arguments.folder.glob("*.safetensors")):
        target = HERE / source.name
        student_file.rewrite_packed(source, target)
        for nfe, before in student_file.samplers(source).items():
            after = student_file.samplers(target)[nfe]
            x_T = before.model.start(range(arguments.samples), 0, "validation")
            ends = [sampler.sample(noise=x_T, batch=100) for sampler in (before, after)]
            moved = distance(ends[1], ends[0])
            fd = [f"{_frechet(end):.2f}" for end in ends]
            size = [f"{path.stat().st_size / 1e6:.2f}" for path in (source, target)]
            lines.append([source.stem, str(nfe), *size, f"{moved.rms:.4f}", f"{moved.median:.4f}", *fd])
            print(*lines[-1], flush=True)
    heads = ["student", "NFE", "MB", "MB packed", "RMS moved", "median moved", "FD", "FD packed"]
    text = f"{arguments.samples} samples each.\n\n{table(heads, lines)}"
    (HERE / "README.md").write_text(PLACE.sub(lambda found: text, (HERE / "README.md").read_text()))


def _frechet(images: torch.Tensor) -> float:
    evaluator = bundled_evaluator()
    return frechet(moments(extracted(evaluator.features, to_uint8(images))), evaluator.statistics.moments)


if __name__ == "__main__":
    main()
