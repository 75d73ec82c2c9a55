"""The architectures of the paper's checkpoints: names and shapes, sizes, and what they compute."""

import math

import edm_files
import pytest
import reference_nets
import torch
from layouts import layout

import dode
from dode.schedule import DiscreteVP, linear_betas
from dode_paper.checkpoints import ddpm, edm_config, preconditioning, registry
from dode_paper.checkpoints.adm import ADM, Settings
from dode_paper.checkpoints.adm_classifier import NoisyClassifier
from dode_paper.checkpoints.attention import attend, by_head, by_part, interleaved
from dode_paper.checkpoints.loading import load, state_dict
from dode_paper.checkpoints.registry import settings

NCSNPP = {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}


def close(a, b, tolerance=2e-5):
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def filled(module, seed=0):
    """Random weights of a size that keeps the signal alive."""
    module = module.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        bias = 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise
        value.copy_(noise / value[0].numel() ** 0.5 if value.ndim > 1 else bias)
    return module


def noise_of(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- names, shapes, sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in registry.names() if not name.startswith("ddpm")])
def test_names_and_shapes_are_the_published_ones(name):
    assert shapes(registry.read(name).build()) == layout(name)


@pytest.mark.parametrize("name", ["ddpm-cifar10", "ddpm-celeba64"])
def test_the_ddpm_layout_becomes_diffusers(name):
    recipe = registry.read(name)
    published = {key: torch.empty(shape, device="meta") for key, shape in layout(name).items()}
    renamed = ddpm.renamed({f"module.{key}": value for key, value in published.items()}, len(recipe.network["widths"]))
    assert {key: tuple(value.shape) for key, value in renamed.items()} == shapes(recipe.build().unet)


def test_the_classifier_has_the_published_names():
    recipe = registry.read("adm-imagenet128")
    with torch.device("meta"):
        made = NoisyClassifier(settings(recipe.classifier["network"]))
    assert shapes(made) == layout("adm-imagenet128-classifier")


def test_ncsnpp_has_the_published_names():
    recipe = registry.read("edm-cifar10")
    arguments = dict(recipe.network) | NCSNPP | {"label_dim": 0}
    assert shapes(edm_config.build(arguments.pop("class_name"), (), arguments).network) == layout("edm-cifar10-ncsnpp")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ddpm-cifar10", 35.7),  # Ho et al. 2020
        ("ddpm-celeba64", 78.7),  # Song, Meng & Ermon 2021
        ("adm-imagenet128", 422),  # Dhariwal & Nichol 2021
        ("adm-bedroom256", 552.8),
        ("edm-cifar10", 55.7),  # Karras et al. 2022
        ("edm-ffhq64", 61.8),
        ("edm-imagenet64", 296),
    ],
)
def test_sizes_are_those_of_the_papers(name, millions):
    digits = 0 if isinstance(millions, int) else 1
    assert round(count(registry.read(name).build()) / 1e6, digits) == millions


def test_adm_of_imagenet64_has_296_million():
    with torch.device("meta"):
        made = ADM(Settings(64, 192, (1, 2, 3, 4), 3, classes=1000, dropout=0.1, new_order=True))
    assert round(count(made) / 1e6) == 296


# --- what they compute -----------------------------------------------------------------------------------------


def test_the_three_orders_of_attention():
    """The same numbers, put in three orders, give the same attention."""
    heads, width, length = 2, 3, 5
    q, k, v = (noise_of(heads, width, length, seed=seed) for seed in range(3))
    expected = torch.cat([reference_nets.attention(q[h], k[h], v[h]) for h in range(heads)])[None]
    orders = {
        interleaved: torch.stack([q, k, v], dim=2).flatten(0, 2),
        by_head: torch.stack([q, k, v], dim=1).flatten(0, 2),
        by_part: torch.stack([q, k, v], dim=0).flatten(0, 2),
    }
    for unpack, qkv in orders.items():
        close(attend(qkv[None], heads, unpack), expected)


def test_ddpm_computes_what_its_layout_says():
    """UNet2DModel with renamed weights against a reference on the published names."""
    network = {"resolution": 8, "channels": 32, "widths": (1, 2, 2), "blocks": 1, "attention": (4,)}
    made = ddpm.Plain(ddpm.network(**network))
    names = {ddpm._name(f"{key}", 3): key for key in ddpm_names(3, 1)}
    published = {}
    for name, value in filled(made.unet).state_dict().items():
        key = names[name]
        square = key.split(".")[-2] in ("q", "k", "v", "proj_out") and key.endswith("weight")
        published[key] = value[:, :, None, None] if square else value
    fresh = ddpm.Plain(ddpm.network(**network))
    load(fresh.unet, ddpm.renamed(published, 3), "tiny")
    x, t = noise_of(2, 3, 8, 8), torch.tensor([3, 900])
    close(fresh(x, t), reference_nets.ddpm(published, x, t, levels=3, blocks=1))


def ddpm_names(levels, blocks):
    """Every name that the layout can have."""
    block = ["norm1", "conv1", "temb_proj", "norm2", "conv2", "nin_shortcut"]
    pixels = ["norm", "q", "k", "v", "proj_out"]
    made = ["temb.dense.0", "temb.dense.1", "conv_in", "norm_out", "conv_out"]
    made += [f"mid.{name}.{part}" for name in ("block_1", "block_2") for part in block]
    made += [f"mid.attn_1.{part}" for part in pixels]
    for level in range(levels):
        for half, number, change in (("down", blocks, "downsample"), ("up", blocks + 1, "upsample")):
            made += [f"{half}.{level}.block.{i}.{part}" for i in range(number) for part in block]
            made += [f"{half}.{level}.attn.{i}.{part}" for i in range(number) for part in pixels]
            made.append(f"{half}.{level}.{change}.conv")
    return [f"{name}.{kind}" for name in made for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 5, "head_channels": None, "heads": 2},
        {"classes": 5, "new_order": True},
        {"scale_shift": False, "residual_resampling": False},
        {"blocks": 2},
    ],
)
def test_adm_computes_what_its_names_say(options):
    chosen = {"head_channels": 8, "blocks": 1, **options}
    s = Settings(8, 16, (1, 2, 2), attention=(4, 2), groups=8, **chosen)
    with torch.device("meta"):
        made = ADM(s)
    made = filled(made)
    x, t = noise_of(2, 3, 8, 8), torch.tensor([3, 900])
    label = torch.tensor([1, 4]) if s.classes else None
    width = 32 // s.heads if s.head_channels is None else s.head_channels  # levels with attention have 32 channels
    expected = reference_nets.adm(made.state_dict(), x, t, label, 3, s.blocks, 8, width, s.new_order)
    close(made(x, t, label), expected)
    assert expected.shape == (2, 6, 8, 8)


def test_adm_refuses_labels_that_do_not_fit():
    with torch.device("meta"):
        made = ADM(Settings(8, 16, (1, 2), 1, attention=(4,), head_channels=8, groups=8, classes=3))
    with pytest.raises(ValueError, match="the network has 3 classes; label is missing"):
        made(torch.zeros(1, 3, 8, 8, device="meta"), torch.zeros(1, device="meta"))
    with pytest.raises(ValueError, match="cannot be halved"):
        Settings(10, 16, (1, 2, 2), 1)


def judge():
    s = Settings(8, 16, (1, 2), 1, attention=(4,), head_channels=8, groups=8, out_channels=5)
    with torch.device("meta"):
        made = NoisyClassifier(s)
    return filled(made)


def test_the_classifier_computes_what_its_names_say():
    made = judge()
    x, t = noise_of(2, 3, 8, 8), torch.tensor([3, 900])
    logits = reference_nets.adm_classifier(made.state_dict(), x, t, 2, 1, 8, 8)
    close(made(x, t), logits)
    label = torch.tensor([4, 0])
    close(made.log_probability(x, t, label), torch.log_softmax(logits, 1)[[0, 1], label])


def test_adm_under_its_classifier():
    """ε̂ moves by −scale·σ·∇ log p, the learned variances are dropped."""
    with torch.device("meta"):
        made = ADM(Settings(8, 16, (1, 2), 1, attention=(4,), head_channels=8, groups=8, classes=5))
    made, classifier = filled(made), judge()
    model = dode.from_callable(
        made,
        schedule=DiscreteVP.from_betas(linear_betas()),
        prediction="noise",
        shape=(3, 8, 8),
        cond=lambda indices: torch.tensor([i % 5 for i in indices]),
        variance=True,
    )
    node = model.schedule.node(500.0)
    x, label = noise_of(2, 3, 8, 8), torch.tensor([1, 2])
    plain = model.bound("noise", label)(x, node)
    moved = model.classifier_guided(classifier.log_probability, 2.0).bound("noise", label)(x, node)
    gradient = (plain - moved) / (2 * node.sigma)
    direction, step = noise_of(2, 3, 8, 8, seed=5), 1e-2
    t = torch.full((2,), 500.0)
    up, down = (classifier.log_probability(x + sign * step * direction, t, label) for sign in (1, -1))
    close((gradient * direction).flatten(1).sum(1), (up - down) / (2 * step), tolerance=0.02)
    assert (
        dode.distill(model.classifier_guided(classifier.log_probability, 2.0), "ddim", nfe=2, samples=2, scale=2).nfe
        == 2
    )


SONG_CASES = [{}, {"label_dim": 4}, NCSNPP, NCSNPP | {"channel_mult": [1, 2, 1], "num_blocks": 2}]


@pytest.mark.parametrize("changes", SONG_CASES)
def test_ddpmpp_and_ncsnpp_compute_what_their_names_say(changes):
    made, kwargs = edm_files.tiny(**changes)
    x, noise = noise_of(2, 3, 8, 8), torch.tensor([-1.1, 0.7])
    labels = torch.eye(4)[[1, 3]] if kwargs["label_dim"] else None
    order = order_of(made.model)
    close(made.model(x, noise, labels), reference_nets.edm(made.model.state_dict(), x, noise, labels, order, song=True))


def order_of(module):
    """Names of the layers of enc and dec, in their order."""
    return list(
        dict.fromkeys(".".join(key.split(".")[:2]) for key in module.state_dict() if key[:4] in ("enc.", "dec."))
    )


def test_adm_of_edm_computes_what_its_names_say():
    changes = {"model_type": "DhariwalUNet", "model_channels": 64, "label_dim": 4}
    song = ("embedding_type", "encoder_type", "decoder_type", "channel_mult_noise", "resample_filter")
    kwargs = {key: value for key, value in (edm_files.TINY | changes).items() if key not in song}
    rebuilt = edm_config.build("EDMPrecond", (), kwargs)
    made = edm_files.filled(rebuilt.network)
    x, noise, labels = noise_of(2, 3, 8, 8), torch.tensor([-1.1, 0.7]), torch.eye(4)[[1, 3]]
    order = order_of(made.model)
    close(
        made.model(x, noise, labels), reference_nets.edm(made.model.state_dict(), x, noise, labels, order, song=False)
    )
    assert rebuilt.classes == 4


# --- preconditioning -------------------------------------------------------------------------------------------


def test_edm_preconditioning_keeps_unit_variance():
    """Karras et al. 2022, appendix B.6: c_in·x has variance 1, so has the target of F; c_out is the smallest such."""
    sigma = torch.tensor([0.002, 0.1, 0.5, 3.0, 80.0], dtype=torch.float64)
    skip, out, into, noise = preconditioning.edm(sigma)
    data = 0.5
    assert torch.allclose(into**2 * (data**2 + sigma**2), torch.ones(5, dtype=torch.float64))
    assert torch.allclose(((1 - skip) ** 2 * data**2 + skip**2 * sigma**2) / out**2, torch.ones(5, dtype=torch.float64))
    assert torch.allclose(noise, torch.log(sigma) / 4)
    for change in (0.99, 1.01):
        assert torch.all((1 - change * skip) ** 2 * data**2 + (change * skip) ** 2 * sigma**2 > out**2)


def test_vp_preconditioning_tells_the_time():
    t = torch.tensor([1e-3, 0.1, 0.5, 1.0], dtype=torch.float64)
    sigma = torch.expm1(0.5 * 19.9 * t**2 + 0.1 * t).sqrt()
    skip, out, into, noise = preconditioning.vp(sigma)
    assert torch.allclose(noise, 999 * t)
    assert torch.equal(out, -sigma)  # F predicts the noise
    assert torch.equal(skip, torch.ones_like(sigma))
    node = dode.schedule.VP().node(0.5)
    assert math.isclose(float(into[2]), node.alpha, rel_tol=1e-9)
    assert math.isclose(float(sigma[2]), node.sigma / node.alpha, rel_tol=1e-9)


def test_ve_preconditioning():
    sigma = torch.tensor([0.02, 1.0, 100.0])
    skip, out, into, noise = preconditioning.ve(sigma)
    assert torch.equal(out, sigma)
    assert torch.equal(into, skip)
    assert torch.allclose(noise, (sigma / 2).log())


@pytest.mark.parametrize("kind", ["EDMPrecond", "VPPrecond", "VEPrecond"])
def test_a_preconditioned_network_is_its_equation(kind):
    made, _ = edm_files.tiny(kind)
    x, sigma = noise_of(3, 3, 8, 8), torch.tensor([0.1, 1.0, 20.0])
    skip, out, into, noise = (c[:, None, None, None] for c in preconditioning.KINDS[kind].scales(sigma))
    close(made(x, sigma), skip * x + out * made.model(into * x, noise.flatten()))


# --- arguments of files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "UNet"}, "model_type must be SongUNet or DhariwalUNet"),
        ({"model_type": 3}, "model_type must be"),
        ({"depth": 3}, "an argument that is not known here: 'depth'"),
        ({"num_blocks": 10**9}, "num_blocks is no value of a network"),
        ({"num_blocks": True}, "num_blocks is no value"),
        ({"img_resolution": -8}, "img_resolution is no value"),
        ({"img_resolution": 9}, "cannot be halved 1 times"),
        ({"label_dim": 1e3}, "label_dim is no value"),
        ({"channel_mult": []}, "channel_mult is no value"),
        ({"channel_mult": [2] * 40}, "channel_mult is no value"),
        ({"channel_mult": "12"}, "channel_mult is no value"),
        ({"dropout": float("nan")}, "dropout is no value"),
        ({"dropout": 2}, "dropout must be from 0 to 1"),
        ({"embedding_type": "learned"}, "embedding must be positional or fourier"),
        ({"encoder_type": "skip"}, "encoder standard or residual"),
        ({"decoder_type": "skip"}, "decoder_type must be standard"),
        ({"model_channels": 10}, "model_channels must be a multiple of 4"),
        ({"resample_filter": [1, 2, 1]}, "resample_filter must have 2 or 4 entries"),
        ({"resample_filter": [0, 0]}, "resample_filter must have 2 or 4 entries"),
        ({"sigma_data": "0.5"}, "sigma_data is no value"),
    ],
)
def test_arguments_that_make_no_network_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        edm_config.build("EDMPrecond", (), edm_files.TINY | changes)


def test_heads_that_do_not_divide_are_refused():
    kwargs = {"img_resolution": 8, "model_channels": 200, "channel_mult": [1], "attn_resolutions": [8]}
    with pytest.raises(ValueError, match="200 channels cannot be divided among 3 heads"):
        edm_config.build("EDMPrecond", (), kwargs)


def test_classes_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="class must be one of EDMPrecond, VPPrecond, VEPrecond; got 'iDDPMPrecond'"):
        edm_config.build("iDDPMPrecond", (), edm_files.TINY)
    with pytest.raises(ValueError, match="named arguments; the file has 1 without names"):
        edm_config.build("EDMPrecond", (32,), edm_files.TINY)
    missing = {key: value for key, value in edm_files.TINY.items() if key != "img_resolution"}
    with pytest.raises(ValueError, match="img_resolution is missing"):
        edm_config.build("EDMPrecond", (), missing)


def test_state_dicts_are_data_only(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(state_dict(tmp_path / "a.pt")["a"], torch.ones(2))
    torch.save([{"module.a": torch.ones(2)}, 3, {"a": torch.zeros(2)}], tmp_path / "b.pt")
    assert torch.equal(state_dict(tmp_path / "b.pt", 0)["a"], torch.ones(2))
    assert torch.equal(state_dict(tmp_path / "b.pt", -1)["a"], torch.zeros(2))
    for entry, says in ((None, "does not hold tensors by name"), (7, "no entry 7"), ("ema", "no entry 'ema'")):
        with pytest.raises(ValueError, match=says):
            state_dict(tmp_path / "b.pt", entry)
    with pytest.raises(ValueError, match="no checkpoint at"):
        state_dict(tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(ValueError, match="is not a checkpoint of tensors alone"):
        state_dict(tmp_path / "d.pt")
    (tmp_path / "e.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a checkpoint of tensors alone"):
        state_dict(tmp_path / "e.pt")


def test_a_state_dict_of_another_network_is_refused():
    with pytest.raises(ValueError, match=r"tiny: 1 of its tensors are not those of the network; 'bias' is missing"):
        load(torch.nn.Linear(2, 3), {"weight": torch.ones(3, 2)}, "tiny")
    with pytest.raises(ValueError, match=r"tiny: 'weight' is of type torch\.int64, expected numbers with a point"):
        load(torch.nn.Linear(2, 3), {"weight": torch.ones(3, 2).long(), "bias": torch.ones(3)}, "tiny")
    with pytest.raises(ValueError, match="is no parameter of DDPM's network"):
        ddpm.renamed({"encoder.0.weight": torch.ones(1)}, 3)
