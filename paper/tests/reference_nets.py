"""The published networks once more, as plain functions of a state dict and of its names: slow, and nothing shared."""

import math

import torch
from torch.nn.functional import avg_pool2d, conv1d, conv2d, conv_transpose2d, group_norm, interpolate, linear, pad, silu


def conv(s, name, x, **how):
    weight = s[f"{name}.weight"]
    return conv2d(x, weight, s[f"{name}.bias"], **({"padding": weight.shape[-1] // 2} | how))


def normed(s, name, x, groups, eps):
    return group_norm(x, groups, s[f"{name}.weight"], s[f"{name}.bias"], eps)


def dense(s, name, x):
    return linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def attention(q, k, v):
    """(C, L) each, one head of one sample."""
    weights = torch.softmax(q.T @ k / math.sqrt(len(q)), dim=1)
    return v @ weights.T


# --- DDPM ------------------------------------------------------------------------------------------------------


def ddpm(s, x, t, levels, blocks):
    """Ho et al. 2020, in the layout temb.dense.0, down.0.block.0, …"""
    half = s["temb.dense.0.weight"].shape[1] // 2
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
    e = torch.cat([angle.sin(), angle.cos()], dim=1)
    e = dense(s, "temb.dense.1", silu(dense(s, "temb.dense.0", e)))

    def block(name, x):
        h = conv(s, f"{name}.conv1", silu(normed(s, f"{name}.norm1", x, 32, 1e-6)))
        h = h + dense(s, f"{name}.temb_proj", silu(e))[:, :, None, None]
        h = conv(s, f"{name}.conv2", silu(normed(s, f"{name}.norm2", h, 32, 1e-6)))
        return h + (conv(s, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in s else x)

    def attend(name, x):
        if f"{name}.q.weight" not in s:
            return x
        h = normed(s, f"{name}.norm", x, 32, 1e-6)
        q, k, v = (conv(s, f"{name}.{n}", h).flatten(2) for n in "qkv")
        h = torch.stack([attention(*each) for each in zip(q, k, v, strict=True)]).reshape(x.shape)
        return x + conv(s, f"{name}.proj_out", h)

    x = conv(s, "conv_in", x)
    skips = [x]
    for level in range(levels):
        for i in range(blocks):
            x = attend(f"down.{level}.attn.{i}", block(f"down.{level}.block.{i}", x))
            skips.append(x)
        if level < levels - 1:
            x = conv(s, f"down.{level}.downsample.conv", pad(x, (0, 1, 0, 1)), stride=2, padding=0)
            skips.append(x)
    x = block("mid.block_2", attend("mid.attn_1", block("mid.block_1", x)))
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            x = attend(f"up.{level}.attn.{i}", block(f"up.{level}.block.{i}", torch.cat([x, skips.pop()], dim=1)))
        if level:
            x = conv(s, f"up.{level}.upsample.conv", interpolate(x, scale_factor=2.0, mode="nearest"))
    return conv(s, "conv_out", silu(normed(s, "norm_out", x, 32, 1e-6)))


# --- ADM -------------------------------------------------------------------------------------------------------


def adm_embedding(s, t, label=None):
    half = s["time_embed.0.weight"].shape[1] // 2
    angle = t.float()[:, None] * 10000 ** (-torch.arange(half) / half)
    e = dense(s, "time_embed.2", silu(dense(s, "time_embed.0", torch.cat([angle.cos(), angle.sin()], dim=1))))
    return e if label is None else e + s["label_emb.weight"][label]


def adm_block(s, name, x, e, groups, change):
    move = {"": lambda h: h, "down": lambda h: avg_pool2d(h, 2), "up": lambda h: interpolate(h, scale_factor=2.0)}[
        change
    ]
    h = conv(s, f"{name}.in_layers.2", move(silu(normed(s, f"{name}.in_layers.0", x, groups, 1e-5))))
    moved = dense(s, f"{name}.emb_layers.1", silu(e))[:, :, None, None]
    if moved.shape[1] == h.shape[1]:
        h = normed(s, f"{name}.out_layers.0", h + moved, groups, 1e-5)
    else:
        scale, shift = moved[:, : h.shape[1]], moved[:, h.shape[1] :]
        h = normed(s, f"{name}.out_layers.0", h, groups, 1e-5) * (1 + scale) + shift
    h = conv(s, f"{name}.out_layers.3", silu(h))
    x = move(x)
    return h + (conv(s, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in s else x)


def heads_of(qkv, heads, new_order):
    """The published two orders, channel by channel: (3C, L) → heads × (q, k, v)."""
    width = len(qkv) // (3 * heads)
    for h in range(heads):
        if new_order:
            starts = [part * heads * width + h * width for part in range(3)]
        else:
            starts = [h * 3 * width + part * width for part in range(3)]
        yield [qkv[start : start + width] for start in starts]


def adm_attention(s, name, x, heads, groups, new_order):
    h = normed(s, f"{name}.norm", x, groups, 1e-5).flatten(2)
    qkv = conv1d(h, s[f"{name}.qkv.weight"], s[f"{name}.qkv.bias"])
    h = torch.stack([torch.cat([attention(*head) for head in heads_of(one, heads, new_order)]) for one in qkv])
    return x + conv1d(h, s[f"{name}.proj_out.weight"], s[f"{name}.proj_out.bias"]).reshape(x.shape)


def adm_layers(s, name, x, e, groups, width, new_order, change=""):
    """The layers name.0, name.1, … that the state dict has."""
    for i in range(3):
        layer = f"{name}.{i}"
        if f"{layer}.in_layers.0.weight" in s:
            last = f"{name}.{i + 1}.in_layers.0.weight" not in s and f"{name}.{i + 1}.qkv.weight" not in s
            x = adm_block(s, layer, x, e, groups, change if last and (i or change == "down") else "")
        elif f"{layer}.qkv.weight" in s:
            x = adm_attention(s, layer, x, x.shape[1] // width, groups, new_order)
        elif f"{layer}.op.weight" in s:
            x = conv(s, f"{layer}.op", x, stride=2)
        elif f"{layer}.conv.weight" in s:
            x = conv(s, f"{layer}.conv", interpolate(x, scale_factor=2.0))
        elif f"{layer}.weight" in s:
            x = conv(s, layer, x)
    return x


def adm(s, x, t, label, levels, blocks, groups, width, new_order):
    """Dhariwal & Nichol 2021; `width` channels a head."""
    e = adm_embedding(s, t, label)
    skips = []
    for k in range(levels * (blocks + 1)):
        x = adm_layers(
            s, f"input_blocks.{k}", x, e, groups, width, new_order, "down" if k and k % (blocks + 1) == 0 else ""
        )
        skips.append(x)
    x = adm_layers(s, "middle_block", x, e, groups, width, new_order)
    for k in range(levels * (blocks + 1)):
        x = torch.cat([x, skips.pop()], dim=1)
        change = "up" if k % (blocks + 1) == blocks and k < (levels - 1) * (blocks + 1) else ""
        x = adm_layers(s, f"output_blocks.{k}", x, e, groups, width, new_order, change)
    return conv(s, "out.2", silu(normed(s, "out.0", x, groups, 1e-5)))


def adm_classifier(s, x, t, levels, blocks, groups, width):
    e = adm_embedding(s, t)
    for k in range(levels * (blocks + 1)):
        x = adm_layers(
            s, f"input_blocks.{k}", x, e, groups, width, False, "down" if k and k % (blocks + 1) == 0 else ""
        )
    x = silu(normed(s, "out.0", adm_layers(s, "middle_block", x, e, groups, width, False), groups, 1e-5)).flatten(2)
    x = torch.cat([x.mean(2, keepdim=True), x], dim=2) + s["out.2.positional_embedding"]
    qkv = conv1d(x, s["out.2.qkv_proj.weight"], s["out.2.qkv_proj.bias"])
    heads = x.shape[1] // width
    h = torch.stack([torch.cat([attention(*head) for head in heads_of(one, heads, True)]) for one in qkv])
    return conv1d(h, s["out.2.c_proj.weight"], s["out.2.c_proj.bias"])[:, :, 0]


# --- Karras et al. 2022 ----------------------------------------------------------------------------------------


def filtered(s, name, x, up):
    """Resampling by the filter of this layer, depthwise."""
    taps = s[f"{name}.resample_filter"]
    size, channels = taps.shape[-1], x.shape[1]
    if up:
        return torch.cat(
            [conv_transpose2d(x[:, c : c + 1], 4 * taps, stride=2, padding=size // 2 - 1) for c in range(channels)],
            dim=1,
        )
    return torch.cat([conv2d(x[:, c : c + 1], taps, stride=2, padding=size // 2 - 1) for c in range(channels)], dim=1)


def edm_block(s, name, x, e, song, width):
    eps, scale = (1e-6, math.sqrt(0.5)) if song else (1e-5, 1.0)
    up = name.endswith("_up")

    def norm(part, h):
        return normed(s, f"{name}.{part}", h, min(32, h.shape[1] // 4), eps)

    def through(part, h):
        if f"{name}.{part}.resample_filter" in s:
            h = filtered(s, f"{name}.{part}", h, up)
        return conv(s, f"{name}.{part}", h) if f"{name}.{part}.weight" in s else h

    h = through("conv0", silu(norm("norm0", x)))
    moved = dense(s, f"{name}.affine", e)[:, :, None, None]
    if song:
        h = silu(norm("norm1", h + moved))
    else:
        h = silu(norm("norm1", h) * (1 + moved[:, : h.shape[1]]) + moved[:, h.shape[1] :])
    x = (through("conv1", h) + through("skip", x)) * scale
    if f"{name}.qkv.weight" in s:
        heads = 1 if song else x.shape[1] // width
        qkv = conv(s, f"{name}.qkv", norm("norm2", x)).flatten(2)
        part = x.shape[1] // heads
        rows = [[h * part * 3 + c * 3 + j for c in range(part)] for h in range(heads) for j in range(3)]
        mixed = [torch.cat([attention(*(one[rows[3 * h + j]] for j in range(3))) for h in range(heads)]) for one in qkv]
        x = (x + conv(s, f"{name}.proj", torch.stack(mixed).reshape(x.shape))) * scale
    return x


def edm_embedding(s, noise, labels, song):
    channels = s["map_layer0.weight"].shape[1]
    if "map_noise.freqs" in s:
        angle = noise[:, None] * 2 * math.pi * s["map_noise.freqs"]
    else:
        half = channels // 2
        angle = noise[:, None] * 10000 ** (-torch.arange(half) / (half - 1 if song else half))
    first, second = (angle.sin(), angle.cos()) if song else (angle.cos(), angle.sin())
    e = torch.cat([first, second], dim=1)
    if song:
        if labels is not None:
            e = e + dense(s, "map_label", labels * math.sqrt(labels.shape[1]))
        return silu(dense(s, "map_layer1", silu(dense(s, "map_layer0", e))))
    e = dense(s, "map_layer1", silu(dense(s, "map_layer0", e)))
    return silu(e if labels is None else e + dense(s, "map_label", labels))


def edm(s, x, noise, labels, order, song, width=64):
    """F of Karras et al. 2022; `order` holds the names of enc and dec in the order of the state dict."""
    e = edm_embedding(s, noise, labels, song)
    skips, side = [], x
    for name in (n for n in order if n.startswith("enc.")):
        if name.endswith("_conv"):
            x = conv(s, name, x)
        elif name.endswith("aux_residual"):
            taps = s[f"{name}.resample_filter"]
            wide = conv2d(side, s[f"{name}.weight"], None, padding=1 + taps.shape[-1] // 2 - 1)
            down = torch.cat([conv2d(wide[:, c : c + 1], taps, stride=2) for c in range(wide.shape[1])], dim=1)
            x = side = (x + down + s[f"{name}.bias"][:, None, None]) / math.sqrt(2)
            skips[-1] = x
            continue
        else:
            x = edm_block(s, name, x, e, song, width)
        skips.append(x)
    for name in (n for n in order if n.startswith("dec.") and "aux" not in n):
        if "block" in name:
            x = torch.cat([x, skips.pop()], dim=1)
        x = edm_block(s, name, x, e, song, width)
    if song:
        last = next(n for n in order if "aux_norm" in n)
        x = silu(normed(s, last, x, min(32, x.shape[1] // 4), 1e-6))
        return conv(s, last.replace("norm", "conv"), x)
    return conv(s, "out_conv", silu(normed(s, "out_norm", x, min(32, x.shape[1] // 4), 1e-5)))
