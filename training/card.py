"""Write the model cards: python training/card.py.  Figures and contact sheets come from the exact solution.

Reads what training left in training/runs (steps, seconds, loss) and the exported weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import dode
from dode import plots
from dode.bundled_models import CLASSES, classifier
from dode.metrics import extracted, frechet, moments, to_uint8
from dode.metrics.evaluation import correct
from dode.metrics.reference_stats import bundled as statistics
from dode.model import Model

WEIGHTS = Path(__file__).parent.parent / "src/dode/bundled_models"
DATA = """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), 60,000 training images, padded from 28×28 to 32×32 with black,
values in [−1, 1]; from the Debian package dataset-fashion-mnist. MIT licence, for the data and for these weights."""
ABOUT = {
    "fashion": """Class-conditional DDPM: noise prediction, 1000 linear betas from 1e-4 to 0.02, whole times.
U-Net in the block structure of diffusers' UNet2DModel on 2×2 pixels folded into channels (4×16×16): widths 32, 64,
128, one resnet a block, attention in the middle, 2.5 M parameters. Classes 0 … 9, and 10 for "no label" (10 % label
dropout). Loss weighted by min(SNR, 5)/SNR; AdamW, batch 64, cosine decay from 8e-4, average of the weights with decay
0.999. Then a second, shorter run from the averaged weights, without the fast sinusoids of time (their columns of
time_embedding.linear_1 are zero), from 4e-4 and with min(SNR, 20)/SNR.""",
    "fashion-edm": """Class-conditional EDM: data prediction with the preconditioning of Karras et al. 2022, σ_data
0.87, c_noise = 4·ln σ, ln σ ~ N(−0.6, 1.6²) in training. The same U-Net as "fashion", the same optimiser and batch.""",
    "fashion-mixture": """An exact model, nothing trained: 40 Gaussians of rank 16 (four a class, by k-means and PCA)
plus isotropic noise; the data prediction is the posterior mean in closed form. On EDM's schedule.""",
    "classifier": """Three strided convolutions with GroupNorm, 64 features, 10 classes; flips as augmentation, 6
epochs. Its features serve the Fréchet distance, KID, precision and recall (classifier-fashion.npz: statistics of the
training images, features of 5,000 of them).""",
}


def figures(model: Model, guidance: float, samples: int) -> tuple[torch.Tensor, float, float]:
    """Exact solutions on test noise, the share classified as their label, and their Fréchet distance."""
    guided = model.guided(guidance)
    images = guided.exact(guided.start(range(samples), seed=0), rtol=5e-3, batch=100)
    agreement = float(correct(classifier()(to_uint8(images)), guided.conditions(range(samples))).mean())
    features = extracted(classifier().features, to_uint8(images))
    return images, agreement, frechet(moments(features), statistics().moments)


def agreement_lines(name: str, samples: int) -> str:
    model = dode.bundled(name)
    lines = []
    for guidance in (1.0, 3.0):
        images, agreement, distance = figures(model, guidance, samples)
        error = np.sqrt(agreement * (1 - agreement) / samples)
        lines.append(
            f"- guidance {guidance:g}: {100 * agreement:.1f} ± {100 * error:.1f} % of {samples} exact solutions are "
            f"classified as their label; Fréchet distance {distance:.2f} (n = {samples})"
        )
        if guidance == 3.0:
            plots.sheet(images[:100], WEIGHTS / f"{name}.png", columns=10)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("training/runs"))
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("names", nargs="*", default=list(ABOUT))
    arguments = parser.parse_args()
    with torch.no_grad():
        for name in arguments.names:
            runs = [arguments.folder / f"{name}{run}.json" for run in ("", "-polished")]
            made = [json.loads(path.read_text()) for path in runs if path.exists()]
            lines = [f"# {name}", "", ABOUT[name], "", DATA, ""]
            for run in made:
                steps = f"{run['steps']} steps of 64 images, " if "steps" in run else ""
                loss = f", last smoothed loss {run['curve'][-1][1]:.4f}" if "curve" in run else ""
                lines.append(f"- {steps}{run['seconds']:.0f} s on one shared core{loss}")
            if name == "classifier":
                lines.append(f"- accuracy on the 10,000 test images: {100 * made[0]['test accuracy']:.2f} %")
            else:
                lines += [agreement_lines(name, arguments.samples), ""]
                lines += [f"![exact solutions, classes from left to right]({name}.png)", ""]
                lines.append("Columns: " + ", ".join(CLASSES) + "; guidance 3, test noise.")
            (WEIGHTS / f"{name}.md").write_text("\n".join(lines) + "\n")
            print(f"{name}.md written", flush=True)


if __name__ == "__main__":
    main()
