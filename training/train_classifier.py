"""Train the bundled classifier: python training/train_classifier.py.  A few minutes; continues after a kill.

Besides the weights it writes what training/reference.py writes for the bundled ones.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from reference import save
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from dode.bundled_models.classifier_network import Classifier
from dode.metrics import to_uint8
from dode_paper.baselines.data import fashion

BATCH, RATE = 128, 1.5e-3


def accuracy(net: Classifier, images: Tensor, labels: Tensor) -> float:
    net.eval()
    with torch.no_grad():
        guesses = torch.cat([net(part).argmax(1) for part in images.split(500)])
    net.train()
    return float((guesses == labels).float().mean())


def train(net: Classifier, epochs: int, folder: Path) -> float:
    """Returns the seconds of training."""
    images, labels = fashion("train")
    pixels = to_uint8(images)
    steps = epochs * (len(pixels) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    first, seconds = 0, 0.0
    path = folder / "classifier.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        first, seconds = saved["epoch"], saved["seconds"]
    began = time.monotonic() - seconds
    for epoch in range(first, epochs):
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(epoch))
        for index in order.split(BATCH)[:-1]:
            batch = pixels[index].float()
            flip = torch.rand(len(index)) < 0.5
            batch[flip] = batch[flip].flip(3)
            optimiser.zero_grad()
            loss = cross_entropy(net(batch), labels[index], label_smoothing=0.05)
            loss.backward()
            optimiser.step()
            schedule.step()
        seconds = time.monotonic() - began
        state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
        torch.save(state | {"epoch": epoch + 1, "seconds": seconds}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        print(f"epoch {epoch + 1}/{epochs} loss {loss.item():.3f} {seconds:.0f} s", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("training/runs"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    net = Classifier()
    seconds = train(net, arguments.epochs, arguments.folder)
    net = net.half().float()  # what is measured is what is bundled
    images, labels = fashion("t10k")
    figures = {"seconds": seconds, "test accuracy": accuracy(net, to_uint8(images), labels)}
    net.eval()
    save(net, arguments.folder / "classifier-fashion.npz")
    save_file({k: v.half() for k, v in net.state_dict().items()}, arguments.folder / "classifier.safetensors")
    (arguments.folder / "classifier.json").write_text(json.dumps(figures))
    print(figures)


if __name__ == "__main__":
    main()
