"""A pipeline, from memory or from disk, is a Model: its network, its schedule, its prompts."""

import subprocess
import sys
import threading
from pipes import (
    EMBEDDED,
    dit,
    fitted,
    flux,
    quiet,
    sd3,
    sdxl,
    seeded,
    stable_diffusion,
    text_encoder,
    text_unet,
    unet2d,
    vae,
)

import diffusers
import pytest
import torch
from console import dode as command

import dode
from dode import calibration
from dode.cli.files import inspect
from dode.diffusers import DODEScheduler, fashion_pipeline, unfolded
from dode.integrations.diffusers import from_pipeline

ROOM = pytest.mark.filterwarnings("ignore:.*is large:UserWarning")  # untrained networks ask for it


def test_the_bundled_network_is_the_same_in_diffusers():
    pipe = fashion_pipeline(7)
    model = dode.bundled("fashion")
    x = model.start(range(3), 0)
    t, label = torch.tensor([10, 500, 999]), torch.full((3,), 7)
    folded = torch.nn.functional.pixel_unshuffle(x, 2)
    wanted = model.network(x, t, label)
    torch.testing.assert_close(unfolded(pipe.unet(folded, t).sample), wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(unfolded(fashion_pipeline().unet(folded, t).sample), wanted, atol=1e-2)
    with pytest.raises(ValueError, match="label must be 0 … 9, or None; got 10"):
        fashion_pipeline(10)


def test_from_a_folder(tmp_path):
    pipe = fashion_pipeline(1)
    pipe.save_pretrained(tmp_path)
    one, other = dode.from_diffusers(pipe), dode.from_diffusers(tmp_path)
    assert one.fingerprint == other.fingerprint
    noise = one.start(range(2), 0)
    a, b = (dode.sampler(m, "ddim", nfe=3).sample(noise=noise) for m in (one, other))
    assert torch.equal(a, b)


def test_a_pipeline_saved_with_our_scheduler_opens_by_itself(tmp_path, monkeypatch):
    """It names a module of ours, which diffusers does not import."""
    pipe = fashion_pipeline(1)
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, method="ddim")
    pipe.save_pretrained(tmp_path)
    monkeypatch.delitem(sys.modules, "dode.diffusers")
    assert dode.from_diffusers(tmp_path).fingerprint == dode.from_diffusers(pipe).fingerprint


def test_latents_are_decoded_as_sdxl_decodes_them():
    """Some models say the mean and the spread of every channel."""
    decoder = vae()
    decoder.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.5], latents_std=[1.0, 2.0, 0.5, 3.0])
    pipe = stable_diffusion(vae=decoder)
    model = dode.from_diffusers(pipe, cond=lambda indices: {"prompt": EMBEDDED.expand(len(indices), -1, -1)})
    latents = torch.randn(2, *model.shape)
    spread, mean = (torch.tensor(decoder.config[f"latents_{name}"]).view(1, 4, 1, 1) for name in ("std", "mean"))
    wanted = decoder.decode(latents * spread / decoder.config.scaling_factor + mean).sample
    torch.testing.assert_close(model.decode(latents), wanted)


def test_a_pipeline_keeps_its_own_network():
    pipe = fashion_pipeline(1)
    before = pipe.unet.dtype
    model = dode.from_diffusers(pipe, dtype=torch.float64)
    assert dode.sampler(model, "ddim", nfe=2).sample(2).dtype == torch.float64
    assert pipe.unet.dtype == before


def test_a_text_pipeline_in_other_precisions(tmp_path):
    for dtype in (torch.float64, torch.bfloat16):
        pipe = stable_diffusion(encoder=text_encoder(tmp_path))
        model = dode.from_diffusers(pipe, prompts=["a", "b"], dtype=dtype)
        assert dode.sampler(model.guided(2.0), "ddim", nfe=2).sample(2).dtype == dtype
        later = dode.from_diffusers(pipe, prompts=["a"]).to(dtype=dtype)
        assert later.conditions(range(2))["prompt"].dtype == dtype


def test_latents_go_where_the_decoder_is():
    pipe = stable_diffusion()
    model = dode.from_diffusers(pipe, cond=lambda indices: {"prompt": EMBEDDED.expand(len(indices), -1, -1)})
    pipe.vae.to("meta")
    assert model.decode(torch.zeros(2, *model.shape)).device.type == "meta"


def test_what_can_be_no_pipeline_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", None)
    (tmp_path / "edm.pkl").touch()
    with pytest.raises(ValueError, match="is a file, and no pipeline of diffusers is one"):
        dode.from_diffusers(tmp_path / "edm.pkl")
    with pytest.raises(ValueError, match="no folder at"):
        dode.from_diffusers(tmp_path / "none")


def test_clipping_belongs_to_the_model():
    pipe = quiet(diffusers.DDPMPipeline(unet2d(), diffusers.DDPMScheduler()))  # clip_sample is its default
    pipe.scheduler = diffusers.DDPMScheduler(clip_sample=True, clip_sample_range=0.5)
    model = dode.from_diffusers(pipe)
    assert model.denoiser.threshold.limit == 0.5
    got = dode.sampler(model, "ddim", nfe=3).sample(noise=model.start(range(2), 0))
    assert float(got.abs().max()) <= 0.5 + 1e-6


@ROOM
def test_classes_and_learned_variances(tmp_path, capsys):
    """A DiT: classes in turn, one more for none, half of its outputs dropped; equal to its pipeline under guidance."""
    pipe = dit()
    model = dode.from_diffusers(pipe).guided(4.0)
    assert model.shape == (4, 4, 4)
    assert model.conditions(range(3)).tolist() == [0, 1, 2]
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, method="dpm-solver++2m")
    noise = torch.randn(2, 4, 4, 4, generator=seeded())
    mine = dode.sampler(model, "dpm-solver++2m", nfe=5).sample(noise=noise, cond=[7, 8])
    seen = []
    pipe.vae.decode = lambda latents: seen.append(latents) or diffusers.models.autoencoders.vae.DecoderOutput(latents)
    with torch.no_grad():
        pipe(class_labels=[7, 8], guidance_scale=4.0, num_inference_steps=5, generator=seeded(), output_type="pt")
    torch.testing.assert_close(seen[0] * pipe.vae.config.scaling_factor, mine, rtol=1e-5, atol=1e-5)
    del pipe.vae.decode
    made = fitted(
        pipe, lambda p, g, n: p(class_labels=[1, 2], generator=g, num_inference_steps=n, output_type="pt"), 4, scale=2
    )
    assert made.model.shape == (4, 4, 4)
    assert made.model.guidance is None  # this pipeline does not show it
    made.save(tmp_path / "dit.json")
    inspect(tmp_path / "dit.json")
    assert "guidance not known" in capsys.readouterr().out


def test_prompts(tmp_path):
    """Words are encoded by the pipeline's own text model; sample i gets prompt i mod n; guidance as in the pipeline."""
    pipe = stable_diffusion(encoder=text_encoder(tmp_path))
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, method="ddim")
    model = dode.from_diffusers(pipe, prompts=["ab", "c"], negative_prompt="d").guided(2.0)
    noise = pipe.scheduler.init_noise_sigma * torch.randn(2, 4, 8, 8, generator=seeded())
    mine = dode.sampler(model, "ddim", nfe=4).sample(noise=noise)
    few = {"guidance_scale": 2.0, "num_inference_steps": 4, "output_type": "latent"}
    theirs = pipe(["ab", "c"], negative_prompt=["d", "d"], generator=seeded(), **few).images
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert model.decode(mine).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"give prompts=\[…\]"):
        dode.from_diffusers(pipe)


@pytest.mark.parametrize("negative", [None, "", "d"])
def test_what_guidance_steers_away_from_is_what_the_pipeline_takes(tmp_path, negative):
    """SDXL takes zeros where no negative prompt is given, and the words of an empty one."""
    pipe = sdxl(tmp_path)
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, method="ddim")
    model = dode.from_diffusers(pipe, prompts=["ab", "c"], negative_prompt=negative).guided(5.0)
    noise = pipe.scheduler.init_noise_sigma * torch.randn(2, 4, 8, 8, generator=seeded())
    mine = dode.sampler(model, "ddim", nfe=3).sample(noise=noise)
    few = {"guidance_scale": 5.0, "num_inference_steps": 3, "output_type": "latent", "height": 8, "width": 8}
    given = None if negative is None else [negative] * 2
    theirs = pipe(["ab", "c"], negative_prompt=given, generator=seeded(), **few).images
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_the_command_line_calls_pipelines_of_other_networks(tmp_path, monkeypatch):
    """A pipeline whose network is not known is asked through its own call; the same λ as when it is known."""
    pipe = stable_diffusion(encoder=text_encoder(tmp_path))
    pipe.save_pretrained(tmp_path / "pipe")
    words = ["distill", "pipe", "--prompt", "ab", "--prompt", "cd", "--guidance", "3"]
    few = ["--nfe", "3", "--samples", "4", "--scale", "3", "--paired", "0", "-o"]

    def lambdas(name):
        done = command(tmp_path, *words, *few, name)
        assert done.returncode == 0, done.stderr
        (entry,) = calibration.read(tmp_path / name)["plans"]
        assert entry["guidance"] == 3
        return torch.tensor(calibration.plan_from_json(entry["plan"]).lambdas)

    direct = lambdas("direct.json")
    monkeypatch.setattr(from_pipeline, "NETWORKS", {})
    torch.testing.assert_close(lambdas("called.json"), direct, rtol=1e-4, atol=1e-5)
    assert not [thread for thread in threading.enumerate() if thread.name == "paused call"]
    done = command(tmp_path, *words[:2], *few, "none.json")
    assert done.returncode == 2
    assert "calls a StableDiffusionPipeline with a prompt, and none was given" in done.stderr


def test_networks_that_are_called_in_another_way_are_refused(tmp_path):
    lcm = stable_diffusion(encoder=text_encoder(tmp_path), unet=text_unet(time_cond_proj_dim=8))
    with pytest.raises(ValueError, match=r"told its guidance scale .* use dode.from_diffusers"):
        dode.from_diffusers(lcm, prompts=["ab"])
    pipe = quiet(diffusers.DDPMPipeline(unet2d(), diffusers.DDPMScheduler()))
    pipe.unet.register_to_config(sample_size=None)
    with pytest.raises(ValueError, match="does not say which size its samples have"):
        dode.from_diffusers(pipe)

    inpainting = stable_diffusion(encoder=text_encoder(tmp_path), unet=text_unet(9))
    with pytest.raises(ValueError, match=r"takes 9 channels and returns 4, so more than the state goes in"):
        dode.from_diffusers(inpainting, prompts=["ab"])

    class Kandinsky(diffusers.DiffusionPipeline):
        def __init__(self, unet, scheduler):
            super().__init__()
            self.register_modules(unet=unet, scheduler=scheduler)

    with pytest.raises(ValueError, match="a Kandinsky encodes its prompts in a way of its own"):
        dode.from_diffusers(quiet(Kandinsky(text_unet(), diffusers.DDPMScheduler())), prompts=["ab"])


@ROOM
def test_the_command_line_opens_pipelines(tmp_path):
    pipe = stable_diffusion(encoder=text_encoder(tmp_path))
    pipe.save_pretrained(tmp_path / "pipe")

    def dode(*words):
        code = "from dode.cli import main; main()"
        return subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)

    how = ["--prompt", "ab", "--prompt", "cd", "--guidance", "3"]
    few = ["--nfe", "3,4", "--samples", "4", "--scale", "3", "--paired", "0", "-o", "c.json"]
    done = dode("distill", "pipe", *how, *few)
    assert done.returncode == 0, done.stderr
    done = dode("sample", "pipe", *how, "--calibration", "c.json", "--nfe", "4", "-n", "2", "-o", "s.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.png").exists()
    for words, said in (
        ([*how[:-1], "2", "--nfe", "4"], "calibrated for guidance 3; asked for 2"),
        ([*how, "--nfe", "5"], "calibrated for NFE 3, 4; asked for 5"),
        (["--nfe", "4"], "give prompts"),
    ):
        done = dode("sample", "pipe", *words, "--calibration", "c.json", "-o", "t.png")
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]
        assert not (tmp_path / "t.png").exists()
    done = dode("sample", "no/pipe", "--solver", "ddim", "--nfe", "3", "-o", "t.png")
    assert done.returncode == 2
    assert "no pipeline of diffusers at no/pipe" in done.stderr
    done = dode("sample", "fashion-mixture", "--prompt", "a", "--solver", "ddim", "--nfe", "3", "-o", "t.png")
    assert done.returncode == 2
    assert "takes no prompt" in done.stderr


def test_edm_preconditioning_is_around_the_network():
    """diffusers' own EDM scheduler, whose Euler step is DDIM, steps the same states."""
    pipe = quiet(diffusers.DDPMPipeline(unet2d(), diffusers.EDMEulerScheduler()))
    model = dode.from_diffusers(pipe)
    assert (model.prediction, model.schedule.t_max, model.schedule.t_min) == ("data", 80.0, 0.002)
    theirs = diffusers.EDMEulerScheduler()
    theirs.set_timesteps(6)
    noise = torch.randn(2, 3, 8, 8, generator=seeded())
    x = 80.0 * noise
    with torch.no_grad():
        for t in theirs.timesteps:
            x = theirs.step(pipe.unet(theirs.scale_model_input(x, t), t).sample, t, x).prev_sample
    mine = dode.sampler(model, "ddim", nfe=6).sample(noise=80.0 * noise)
    torch.testing.assert_close(mine, x, rtol=2e-4, atol=2e-4)  # their noise levels are float32


def test_unknown_networks_are_sent_to_a_call():
    with pytest.raises(ValueError, match=r"this pipeline has FluxTransformer2DModel: use dode.from_diffusers"):
        dode.from_diffusers(flux())
    flow = sd3()
    flow.register_modules(transformer=None)
    with pytest.raises(ValueError, match="has none of unet, transformer, prior"):
        dode.from_diffusers(flow, prompts=["a"])


def test_a_prompt_for_a_pipeline_that_draws_no_text_is_not_passed_over():
    with pytest.raises(ValueError, match="a DDPMPipeline draws no text: leave the prompts out"):
        dode.from_diffusers(fashion_pipeline(label=0), prompts=["a shoe"])


def test_flow_models_keep_their_shift():
    pipe = sd3()
    model = dode.from_diffusers(
        pipe, cond=lambda i: {"prompt": torch.zeros(len(i), 5, 8), "pooled": torch.zeros(len(i), 8)}
    )
    assert model.schedule.shift == 3
    nodes = dode.sampler(model, "ddim", nfe=3).plan.nodes
    assert [node.t for node in nodes] == pytest.approx([1, 6 / 7, 3 / 5, 0])
    assert model.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 3, 8, 8)
