"""Put the trained networks into the package: python training/export.py.  Averaged weights, as float16."""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

WEIGHTS = Path(__file__).parent.parent / "src/dode/bundled_models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("training/runs"))
    folder = parser.parse_args().folder
    for name, run in (("fashion", "fashion-polished"), ("fashion-edm", "fashion-edm")):
        average = torch.load(folder / f"{run}.pt", weights_only=True)["average"]
        save_file({key: value.half().contiguous() for key, value in average.items()}, WEIGHTS / f"{name}.safetensors")
    for name in ("classifier.safetensors", "classifier-fashion.npz", "fashion-mixture.safetensors"):
        shutil.copyfile(folder / name, WEIGHTS / name)
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        path.chmod(0o644)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
