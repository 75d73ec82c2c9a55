"""Tensors by name from the layouts in tests/layouts: what a published state dict holds, written down by hand."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "layouts"


def linear(i, o):
    return {"weight": (o, i), "bias": (o,)}


def conv(i, o, k):
    return {"weight": (o, i, k, k), "bias": (o,)}


def line(i, o):
    return {"weight": (o, i, 1), "bias": (o,)}


def norm(c):
    return {"weight": (c,), "bias": (c,)}


def joined(**parts):
    return {f"{part.replace('__', '.')}.{name}": shape for part, held in parts.items() for name, shape in held.items()}


def edm_block(i, o, flags, e, f, adaptive):
    taps = {"resample_filter": (1, 1, f, f)} if "resample" in flags else {}
    parts = {"norm0": norm(i), "conv0": conv(i, o, 3) | taps, "affine": linear(e, o * (2 if adaptive else 1))}
    parts |= {"norm1": norm(o), "conv1": conv(o, o, 3)}
    if i != o or taps:
        kernel = conv(i, o, 1) if i != o or not adaptive else {}  # ADM in EDM resamples its residual branch only
        parts["skip"] = kernel | taps
    if "attention" in flags:
        parts |= {"norm2": norm(o), "qkv": conv(o, 3 * o, 1), "proj": conv(o, o, 1)}
    return joined(**parts)


def adm_block(i, o, e):
    parts = {"in_layers__0": norm(i), "in_layers__2": conv(i, o, 3), "emb_layers__1": linear(e, 2 * o)}
    parts |= {"out_layers__0": norm(o), "out_layers__3": conv(o, o, 3)}
    return joined(**parts, **({"skip_connection": conv(i, o, 1)} if i != o else {}))


def ddpm_block(i, o, e):
    parts = {"norm1": norm(i), "conv1": conv(i, o, 3), "temb_proj": linear(e, o), "norm2": norm(o)}
    return joined(**parts, conv2=conv(o, o, 3), **({"nin_shortcut": conv(i, o, 1)} if i != o else {}))


def tensors(kind, i, o, flags, e, f):
    """Name → shape within one block."""
    taps = {"resample_filter": (1, 1, f, f)} if "resample" in flags else {}
    made = {
        "linear": lambda: linear(i, o),
        "matrix": lambda: {"weight": (o, i)},
        "table": lambda: {"weight": (i, o)},
        "freqs": lambda: {"freqs": (i,)},
        "conv3": lambda: conv(i, o, 3) | taps,
        "norm": lambda: norm(i),
        "song": lambda: edm_block(i, o, flags, e, f, adaptive=False),
        "dhariwal": lambda: edm_block(i, o, flags, e, f, adaptive=True),
        "adm": lambda: adm_block(i, o, e),
        "line": lambda: joined(norm=norm(i), qkv=line(i, 3 * i), proj_out=line(i, i)),
        "pool": lambda: {"positional_embedding": (i, 65)} | joined(qkv_proj=line(i, 3 * i), c_proj=line(i, o)),
        "ddpm": lambda: ddpm_block(i, o, e),
        "pixels": lambda: joined(norm=norm(i), **{n: conv(i, i, 1) for n in ("q", "k", "v", "proj_out")}),
    }
    return made[kind]()


def layout(name):
    """Name → shape of every tensor of a published state dict."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    e = int(re.search(r"embedding (\d+)", lines[0])[1])
    f = int((re.search(r"filter (\d+)", lines[0]) or [0, "0"])[1])
    made = {}
    for row in lines[1:]:
        block, kind, i, o, *flags = row.split()
        held = tensors(kind, int(i), int(o), flags, e, f)
        some = re.search(r"(\d+)\.\.(\d+)", block)
        numbers = range(int(some[1]), int(some[2]) + 1) if some else [""]
        for k in numbers:
            place = block.replace(some[0], str(k)) if some else block
            made |= {f"{place}.{tensor}": shape for tensor, shape in held.items()}
    return made
