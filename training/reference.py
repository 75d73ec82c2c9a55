"""The statistics that ship with the bundled classifier: python training/reference.py.  A minute.

Mean and covariance of its features on the 60,000 training images, and the features of 5,000 of them, drawn at random,
in half precision; for Fréchet distance, KID, precision and recall.
"""

from pathlib import Path

import numpy as np
import torch

from dode.bundled_models import classifier
from dode.bundled_models.classifier_network import Classifier
from dode.metrics import extracted, moments, to_uint8
from dode.metrics.reference_stats import Statistics, write
from dode_paper.baselines.data import fashion

KEPT = 5000
HOME = Path(__file__).parent.parent / "src/dode/bundled_models/classifier-fashion.npz"


def save(net: Classifier, path: Path) -> None:
    """Write the statistics of a classifier."""
    images, _ = fashion("train")
    features = extracted(net.features, to_uint8(images))
    chosen = np.sort(np.random.default_rng(0).permutation(len(features))[:KEPT])
    write(path, Statistics(moments(features), features[chosen].astype(np.float16)))


def main() -> None:
    with torch.no_grad():
        save(classifier(), HOME)
    print(f"{HOME.name} written")


if __name__ == "__main__":
    main()
