"""Fit the bundled mixture: python training/fit_mixture.py.  Four Gaussians of rank 16 a class, by k-means and PCA."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from dode_paper.baselines.data import fashion

PER_CLASS, RANK, ROUNDS = 4, 16, 30


def clusters(x: np.ndarray, seed: int) -> np.ndarray:
    """Lloyd's k-means: the cluster of each row."""
    rng = np.random.default_rng(seed)
    centres = x[rng.choice(len(x), PER_CLASS, replace=False)]
    for _ in range(ROUNDS):
        distance = (centres**2).sum(1) - 2 * x @ centres.T
        mine = distance.argmin(1)
        centres = np.stack([x[mine == k].mean(0) if np.any(mine == k) else centres[k] for k in range(PER_CLASS)])
    found: np.ndarray = mine
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("training/runs"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    images, labels = fashion("train")
    x, y = images.flatten(1).double().numpy(), labels.numpy()
    parts: dict[str, list[np.ndarray]] = {"weights": [], "means": [], "bases": [], "variances": [], "labels": []}
    outside = []
    for label in range(10):
        of_class = x[y == label]
        mine = clusters(of_class, seed=label)
        for k in range(PER_CLASS):
            members = of_class[mine == k]
            mean = members.mean(0)
            values, vectors = np.linalg.eigh(np.cov(members, rowvar=False))
            outside.append(len(members) * values[:-RANK].mean())
            parts["weights"].append(np.array(len(members) / len(x)))
            parts["means"].append(mean)
            parts["bases"].append(vectors[:, -RANK:])
            parts["variances"].append(values[-RANK:])
            parts["labels"].append(np.array(label))
    floor = sum(outside) / len(x)
    tensors = {key: torch.from_numpy(np.stack(value)) for key, value in parts.items()}
    tensors = {key: value if key == "labels" else value.half() for key, value in tensors.items()}
    tensors["floor"] = torch.tensor([floor], dtype=torch.float32)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "fashion-mixture.safetensors")
    (folder / "fashion-mixture.json").write_text(json.dumps({"seconds": time.monotonic() - began, "floor": floor}))


if __name__ == "__main__":
    main()
