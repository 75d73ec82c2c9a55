"""Train the bundled diffusion networks: python training/train_diffusion.py fashion | fashion-edm.

"fashion": DDPM (Ho et al. 2020), 1000 linear betas, noise prediction, the loss weighted by min(SNR, 5)/SNR
(Hang et al. 2023). "fashion-edm": EDM (Karras et al. 2022), data prediction. Both are class-conditional and see "no
label" (class 10) in a tenth of the examples. A checkpoint every two minutes; the same command goes on after a kill.

`fashion --polish 200000`, after the first run, goes on from the averaged weights with a small rate and without the fast
sinusoids of time: cos t and sin t at whole t are as good as random numbers, so a network that sees them is rough in t,
and a rough network cannot be extrapolated by any solver.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from dode.bundled_models.unet import UNet
from dode.bundled_models.wrappers import Folded, Preconditioned
from dode_paper.baselines.data import fashion

BATCH, RATE, WARMUP, NO_LABEL, DROP, EMA = 64, 8e-4, 300, 10, 0.1, 0.999
POLISH_RATE, FAST, CLIP = 4e-4, 5, {False: 5.0, True: 20.0}  # FAST: sinusoids of more than 0.06 radians a step
SIGMA_DATA, LOG_SIGMA = 0.87, (-0.6, 1.6)
ALPHAS_CUMPROD = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def ddpm_loss(net: nn.Module, x0: Tensor, label: Tensor, polish: bool) -> Tensor:
    t = torch.randint(1000, (len(x0),))
    a = ALPHAS_CUMPROD[t].float()[:, None, None, None]
    noise = torch.randn_like(x0)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, label)
    weight = (CLIP[polish] * (1 - a) / a).clamp(max=1)  # min(SNR, clip)/SNR
    loss: Tensor = (weight * (out.float() - noise) ** 2).mean()
    return loss


def edm_loss(net: nn.Module, x0: Tensor, label: Tensor, polish: bool) -> Tensor:
    sigma = torch.exp(LOG_SIGMA[0] + LOG_SIGMA[1] * torch.randn(len(x0)))
    s = sigma[:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x0 + s * torch.randn_like(x0), sigma, label)
    weight = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2
    loss: Tensor = (weight * (out.float() - x0) ** 2).mean()
    return loss


def rate(step: int, steps: int, highest: float) -> float:
    """Linear warm-up, then a cosine to zero."""
    return highest * min(1.0, step / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def slow_down(net: nn.Module) -> None:
    """Take the fast sinusoids from the time embedding: zero columns, so the architecture stays."""
    weight = net.get_parameter("net.time_embedding.linear_1.weight")
    half = weight.shape[1] // 2
    weight[:, :FAST] = 0
    weight[:, half : half + FAST] = 0


def train(name: str, images: int, folder: Path, polish: bool) -> None:
    torch.manual_seed(0)
    edm = name == "fashion-edm"
    first = torch.load(folder / f"{name}.pt", weights_only=True)["average"] if polish else None
    name = f"{name}-polished" if polish else name
    net: nn.Module = Folded(UNet())
    if edm:
        net = Preconditioned(net, SIGMA_DATA)
    if first is not None:
        net.load_state_dict(first)
        slow_down(net)
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    step, seconds, curve, steps = 0, 0.0, [], images // BATCH
    path = folder / f"{name}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
        torch.manual_seed(step)
    x, labels = fashion("train")
    loss_of = edm_loss if edm else ddpm_loss
    began, saved_at, running = time.monotonic() - seconds, time.monotonic(), curve[-1][1] if curve else 0.0
    order: list[Tensor] = []
    while step < steps:
        if not order:
            order = list(torch.randperm(len(x)).split(BATCH)[:-1])
        index = order.pop()
        label = torch.where(torch.rand(len(index)) < DROP, NO_LABEL, labels[index])
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps, POLISH_RATE if polish else RATE)
        optimiser.zero_grad()
        loss = loss_of(net, x[index], label, polish)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if polish:
            slow_down(net)
        step += 1
        decay = min(EMA, step / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        running = running * 0.99 + loss.item() * 0.01 if step > 1 else loss.item()
        if step % 200 == 0:
            curve.append([step, round(running, 5)])
            print(f"{name} step {step}/{steps} loss {running:.4f} {time.monotonic() - began:.0f} s", flush=True)
        if time.monotonic() - saved_at > 120 or step == steps:
            seconds, saved_at = time.monotonic() - began, time.monotonic()
            state = {"net": net.state_dict(), "average": average.state_dict(), "step": step, "steps": steps}
            state |= {"optimiser": optimiser.state_dict(), "seconds": seconds, "curve": curve}
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
    (folder / f"{name}.json").write_text(json.dumps({"steps": step, "seconds": seconds, "curve": curve}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["fashion", "fashion-edm"])
    parser.add_argument("--images", type=int, default=640_000)
    parser.add_argument("--polish", type=int, default=0, help="images of the second run, from the first one's weights")
    parser.add_argument("--folder", type=Path, default=Path("training/runs"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    train(arguments.name, arguments.polish or arguments.images, arguments.folder, arguments.polish > 0)
