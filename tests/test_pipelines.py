"""Our scheduler runs in real pipelines, gives what the core gives there, and refuses what was not calibrated."""

import copy
import pickle
import warnings
from itertools import pairwise
from pipes import (
    EMBEDDED,
    drawn,
    fitted,
    flux,
    flux_call,
    quiet,
    sd3,
    sd3_call,
    seeded,
    stable_diffusion,
    text_unet,
    unet2d,
    vae,
)
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch

import dode
from dode.diffusers import DODEScheduler, attach, fashion_pipeline
from dode.integrations.diffusers.parts import evaluating
from dode.sampling import run
from dode.solvers import METHODS

NAMES = [name for name in METHODS if name != "dpm-solver-1"]
pytestmark = pytest.mark.filterwarnings("ignore:.*is large:UserWarning")  # untrained networks ask for it


def swapped(pipe, **config):
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, **config)
    return pipe


def ddpm(**config):
    settings = {"clip_sample": False} | config
    return quiet(diffusers.DDPMPipeline(unet2d(), diffusers.DDPMScheduler(**settings)))


def pixels(pipe, generator, steps, n=4):
    """As tensors (n, C, H, W); before diffusers 0.41 this pipeline has arrays (n, H, W, C) only."""
    images = pipe(batch_size=n, generator=generator, num_inference_steps=steps, output_type="pt").images
    return images if isinstance(images, torch.Tensor) else torch.as_tensor(images).movedim(-1, 1)


def noise_of(pipe, seeds):
    """What DDPMPipeline draws from one generator a sample."""
    shape = (1, pipe.unet.config.in_channels, pipe.unet.config.sample_size, pipe.unet.config.sample_size)
    return torch.cat([torch.randn(shape, generator=seeded(seed)) for seed in seeds])


@pytest.mark.parametrize("name", NAMES)
def test_every_solver_gives_the_cores_sample_through_a_pipeline(name):
    """From the same noise, in float32."""
    pipe = swapped(ddpm(), method=name)
    got = pixels(pipe, [seeded(i) for i in range(2)], 15, n=2)
    model = dode.from_diffusers(ddpm())
    wanted = dode.sampler(model, name, nfe=15).sample(noise=noise_of(pipe, range(2)))
    torch.testing.assert_close(got, (wanted / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("dpm-solver-") and name != "pndm"])
def test_every_solver_gives_the_cores_sample_on_a_flow(name):
    """From the same latents; guidance through both."""
    pipe = sd3()
    model = dode.from_diffusers(
        pipe,
        cond=lambda i: {"prompt": EMBEDDED.expand(len(i), 5, 8), "pooled": torch.linspace(-1, 1, 8).expand(len(i), 8)},
        null=lambda i: {"prompt": torch.zeros(len(i), 5, 8), "pooled": torch.zeros(len(i), 8)},
    ).guided(4.0)
    got = sd3_call(swapped(pipe, method=name), seeded(), 7)
    x_T = torch.randn(1, 4, 8, 8, generator=seeded())
    torch.testing.assert_close(got, dode.sampler(model, name, nfe=7).sample(noise=x_T), rtol=1e-5, atol=1e-5)


def test_ddim_on_a_flow_is_eulers_method():
    """diffusers' own scheduler, given the levels that pipelines of Flux pass, with a shift from the size."""
    pipe = flux()
    wanted = flux_call(pipe, seeded(), 6)
    got = flux_call(swapped(pipe, method="ddim"), seeded(), 6)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert all(a > b for a, b in pairwise(pipe.scheduler.timesteps.tolist()))


@pytest.fixture(scope="module")
def fashion():
    """The bundled network as a pipeline, and both calibrations."""
    pipe = quiet(fashion_pipeline(3))
    return pipe, fitted(pipe, lambda pipe, generator, steps: pixels(pipe, generator, steps, n=30), [5, 10], samples=30)


def test_a_fit_through_a_call_is_that_of_the_network(fashion):
    pipe, made = fashion
    core = dode.distill(dode.from_diffusers(pipe), "ddim", nfe=[5, 10], samples=30)
    for count in (5, 10):
        assert abs(made[count].plan.lambdas - core[count].plan.lambdas).max() < 1e-6
        assert made[count].plan.lambdas[1:].min() > 0.1  # and not something trivial


def test_the_swap_line_brings_a_pipeline_nearer_to_the_exact_solution(fashion, tmp_path):
    pipe, made = fashion
    dode.save(tmp_path / "d-ddim.json", *made.values())
    model = dode.from_diffusers(pipe)
    noise = noise_of(pipe, range(16))
    exact = (model.exact(noise, rtol=2e-3) / 2 + 0.5).clamp(0, 1)
    config = diffusers.DDPMScheduler(clip_sample=False).config
    for count, most in ((5, 0.7), (10, 0.6)):
        pipe.scheduler = DODEScheduler.from_config(config, method="ddim")
        plain = pixels(pipe, [seeded(i) for i in range(16)], count, n=16)
        pipe.scheduler = DODEScheduler.from_config(config, calibration=tmp_path / "d-ddim.json")
        fitted = pixels(pipe, [seeded(i) for i in range(16)], count, n=16)
        assert float((fitted - exact).square().mean() / (plain - exact).square().mean()) ** 0.5 < most


def test_one_file_serves_every_number_of_steps_it_holds(tmp_path):
    pipe = ddpm()
    made = fitted(pipe, pixels, [5, 8, 10, 20], scale=2)
    dode.save(tmp_path / "c.json", *made.values())
    attach(pipe, tmp_path / "c.json")
    for count in (5, 8, 10, 20):
        pixels(pipe, seeded(), count, n=1)
        assert (pipe.scheduler.plan.table == made[count].plan.table).all()
    with pytest.raises(ValueError, match="calibrated for NFE 5, 8, 10, 20; asked for 7"):
        pixels(pipe, seeded(), 7)
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, on_missing="base")
    pixels(pipe, seeded(), 7, n=1)
    assert pipe.scheduler.plan.lambdas.tolist() == [0] * 7


def test_saved_and_loaded(tmp_path):
    pipe = ddpm()
    attach(pipe, fitted(pipe, pixels, 5, scale=2))
    wanted = pixels(pipe, seeded(), 5)
    pipe.save_pretrained(tmp_path)
    again = quiet(diffusers.DDPMPipeline.from_pretrained(tmp_path))
    assert isinstance(again.scheduler, DODEScheduler)
    assert torch.equal(pixels(again, seeded(), 5), wanted)


def test_guidance_and_prompts():
    """A text-to-image call is calibrated under its guidance, and another scale is refused."""
    pipe = stable_diffusion()
    before = pipe.scheduler
    made = fitted(pipe, drawn, [4, 6], scale=3)
    assert pipe.scheduler is before
    assert made[4].model.guidance == 3
    assert made[4].model.shape == (4, 8, 8)
    attach(pipe, made)
    assert torch.isfinite(drawn(pipe, seeded(), 6)).all()
    with pytest.raises(ValueError, match="calibrated for guidance 3; asked for 7"):
        drawn(pipe, seeded(), 6, scale=7.0)
    with pytest.raises(ValueError, match="calibrated for states of shape 4×8×8; this run has 4×8×16"):
        drawn(pipe, seeded(), 6, height=8, width=16)


def test_two_scales_in_one_file(tmp_path):
    pipe = stable_diffusion()
    several = [fitted(pipe, lambda p, g, n, s=s: drawn(p, g, n, scale=s), 4, scale=2) for s in (1.0, 3.0)]
    dode.save(tmp_path / "c.json", *several)
    attach(pipe, tmp_path / "c.json")
    for one, scale in zip(several, (1.0, 3.0), strict=True):
        drawn(pipe, seeded(), 4, scale=scale)
        assert (pipe.scheduler.plan.table == one.plan.table).all()
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, calibration=tmp_path / "c.json")
    with pytest.raises(ValueError, match="calibrated for guidance 1, 3; say which guidance"):
        drawn(pipe, seeded(), 4)
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, guidance=3.0)
    drawn(pipe, seeded(), 4)


def test_a_network_without_weights_is_refused_before_anything_runs():
    pipe, ran = stable_diffusion(), []
    pipe.unet.to("meta")
    with pytest.raises(ValueError, match=r"the weights .* are offloaded"):
        fitted(pipe, lambda p, g, n: ran.append(n), 4, scale=2)
    assert not ran


def test_dropout_has_no_say_in_a_fit():
    pipe = quiet(diffusers.DDPMPipeline(unet2d(dropout=0.5), diffusers.DDPMScheduler(clip_sample=False)))
    pipe.unet.eval()
    wanted = fitted(pipe, pixels, 3, scale=2).plan
    pipe.unet.train()
    made = fitted(pipe, pixels, 3, scale=2)
    assert (made.plan.mix == wanted.mix).all()
    assert pipe.unet.training


def test_clipping_is_that_of_ddim_with_clipped_model_output():
    """Its noise belongs to the clipped prediction, which is what an output is here."""
    theirs = diffusers.DDIMScheduler(clip_sample=True, timestep_spacing="trailing")
    pipe = quiet(diffusers.DDIMPipeline(unet2d(), theirs))

    def ran(**options):
        return pipe(generator=seeded(0), num_inference_steps=5, output_type="np", **options).images

    clipped, left = ran(use_clipped_model_output=True), ran()
    pipe.scheduler = DODEScheduler.from_config(theirs.config, method="ddim")
    np.testing.assert_allclose(ran(use_clipped_model_output=True), clipped, atol=1e-5)
    np.testing.assert_allclose(ran(), clipped, atol=1e-5)
    assert abs(left - clipped).max() > 1e-3


def test_both_networks_of_a_pipeline_rest():
    first, second = torch.nn.Dropout(), torch.nn.Dropout().eval()
    with evaluating(SimpleNamespace(components={"transformer": first, "transformer_2": second, "scheduler": None})):
        assert not first.training
        assert not second.training
    assert first.training
    assert not second.training


def test_calls_that_change_what_is_fitted_are_refused():
    """States edited between evaluations, several guidance scales: the fit would be of neither."""
    pipe = stable_diffusion()

    def halved(pipe, number, t, given):
        return {"latents": given["latents"] / 2}

    with pytest.raises(ValueError, match="changes the states between evaluations"):
        fitted(pipe, lambda p, g, n: drawn(p, g, n, callback_on_step_end=halved), 4, scale=2)
    with pytest.raises(ValueError, match=r"different guidance scales .*3.0.*7.0"):
        fitted(pipe, [lambda p, g, n, s=s: drawn(p, g, n, scale=s) for s in (3.0, 7.0)], 4, scale=2)
    assert isinstance(pipe.scheduler, diffusers.PNDMScheduler)


def test_attach_knows_the_network():
    pipe = ddpm()
    made = fitted(pipe, pixels, 3, scale=2)
    other = ddpm()
    with torch.no_grad():
        other.unet.conv_in.weight += 1
    with pytest.raises(ValueError, match=r"the calibration is for the network DDPMPipeline \(weights:"):
        attach(other, made)
    with pytest.raises(ValueError, match="with prediction noise; this model has v"):
        attach(ddpm(prediction_type="v_prediction"), made)
    with pytest.raises(ValueError, match=r"with schedule \w+ .DiscreteVP .*; this model has \w+"):
        attach(ddpm(beta_end=0.03), made)
    assert isinstance(other.scheduler, diffusers.DDPMScheduler)


def controlled():
    """Stable Diffusion with a ControlNet, and its call."""
    torch.manual_seed(7)
    net = diffusers.ControlNetModel.from_unet(text_unet(), conditioning_embedding_out_channels=(8,))
    for part in net.controlnet_down_blocks:
        torch.nn.init.normal_(part.weight)  # as made, they are zero
    pipe = stable_diffusion(diffusers.StableDiffusionControlNetPipeline, controlnet=net, image_encoder=None)
    return pipe, lambda p, g, n: drawn(p, g, n, n=1, image=torch.ones(1, 3, 16, 16))


def test_every_network_of_a_pipeline_is_part_of_it():
    """A ControlNet (a second expert alike): asked with it, known with it, and refused without a call."""
    pipe, call = controlled()
    made = fitted(pipe, call, 3, scale=2)
    attach(pipe, made)
    assert torch.isfinite(call(pipe, seeded(), 3)).all()
    other, _ = controlled()
    with torch.no_grad():
        other.controlnet.conv_in.weight += 1
    with pytest.raises(ValueError, match="the calibration is for the network"):
        attach(other, made)
    with pytest.raises(ValueError, match=r"more than one network .*\(controlnet too\)"):
        dode.from_diffusers(pipe, prompts=["a"])


@pytest.mark.parametrize(
    "given",
    [
        {"sigmas": [1.0, 0.7, 0.2]},
        {"timesteps": [1000.0, 800.0, 300.0]},
        {"sigmas": [0.9, 0.7, 0.2], "timesteps": [900.0, 700.0, 200.0]},
    ],
)
def test_times_of_a_call_give_way_to_a_calibrations(given):
    """Pipelines that always give times of their own can be calibrated and run; the plan's stand, said once."""
    pipe = sd3()
    made = fitted(pipe, sd3_call, 3, scale=2)
    attach(pipe, made)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        pipe.scheduler.set_timesteps(**given)
    assert pipe.scheduler.plan.nodes == made.plan.nodes
    assert len(said) == ("sigmas" not in given or "timesteps" not in given)


def test_numbers_of_evaluations_may_be_numpys():
    assert fitted(ddpm(), pixels, np.int64(3), scale=2).nfe == 3


def test_attach_knows_its_options():
    """diffusers passes over options that it does not know."""
    pipe = ddpm()
    made = fitted(pipe, pixels, 3, scale=2)
    with pytest.raises(ValueError, match="unknown option of DODEScheduler 'on_mising'; did you mean on_missing"):
        attach(pipe, made, on_mising="base")
    with pytest.raises(ValueError, match="is not a calibration file"):
        attach(pipe, None)
    assert isinstance(pipe.scheduler, diffusers.DDPMScheduler)


def test_pipelines_that_hand_on_options_of_ddim(tmp_path):
    """DDIMPipeline gives eta and more to every step: nothing is asked, or it is refused."""
    pipe = quiet(diffusers.DDIMPipeline(unet2d(), diffusers.DDIMScheduler(clip_sample=False)))
    pipe.scheduler = DODEScheduler.from_config(pipe.scheduler.config, method="dpm-solver++2m")
    same = quiet(diffusers.DDPMPipeline(pipe.unet, pipe.scheduler))
    assert torch.equal(pixels(pipe, seeded(0), 4), pixels(same, seeded(0), 4))
    with pytest.raises(ValueError, match=r"eta=0.5 asks for DDIM's noise; make .* method='ddim:eta=0.5'"):
        pipe(num_inference_steps=4, eta=0.5)
    with pytest.raises(
        ValueError, match=r"use_clipped_model_output asks for clipped predictions; give .* clip_sample="
    ):
        pipe(num_inference_steps=4, use_clipped_model_output=True)
    made = fitted(pipe, pixels, 3, scale=2)
    made.save(tmp_path / "fast.json")
    nodes = made.plan.nodes
    attach(pipe, tmp_path / "fast.json")
    pixels(pipe, seeded(0), 3)
    assert pipe.scheduler.plan.nodes == nodes


def test_the_scheduler_refuses_another_schedule_and_prediction():
    pipe = ddpm()
    made = fitted(pipe, pixels, 3, scale=2)
    for config, words in (({"beta_end": 0.03}, "schedule"), ({"prediction_type": "sample"}, "prediction")):
        with pytest.raises(ValueError, match=f"the calibration is for DDPMPipeline with {words}"):
            DODEScheduler.from_config(pipe.scheduler.config, calibration=made, **config).set_timesteps(3)
    damaged = dode.samplers.content(made)
    damaged["plans"][0]["plan"]["mix"][1][2] += 1
    with pytest.raises(ValueError, match="was changed after it was written"):
        DODEScheduler(calibration=damaged)


@pytest.mark.filterwarnings("ignore:samples=1")
def test_a_flow_calibration_belongs_to_its_shift():
    pipe = flux()
    attach(pipe, fitted(pipe, flux_call, 4, scale=3))
    assert torch.isfinite(flux_call(pipe, seeded(), 4)).all()
    with pytest.raises(ValueError, match=r"shift 1\.596\); this model has .*shift 1\.649"):
        flux_call(pipe, seeded(), 4, size=32)


def test_a_calibration_knows_how_the_network_is_called():
    pipe = quiet(diffusers.DDPMPipeline(unet2d(), diffusers.EDMEulerScheduler()))
    made = fitted(pipe, lambda p, g, n: pixels(p, g, n, n=2), 3, scale=2)
    config = pipe.scheduler.config
    DODEScheduler.from_config(config, calibration=made).set_timesteps(3)
    for other in ({"sigma_data": 1.0}, {"prediction_type": "v_prediction"}):
        with pytest.raises(ValueError, match=r"called as an EDM epsilon network with sigma_data 0\.5; this"):
            DODEScheduler.from_config({**config, **other}, calibration=made).set_timesteps(3)


@pytest.mark.parametrize("copied", [copy.deepcopy, diffusers.StableDiffusionPipeline.from_pipe])
def test_a_copy_of_a_pipeline_is_looked_at_itself(copied):
    """Its own guidance counts, not that of the pipeline that the calibration was attached to."""
    pipe = stable_diffusion()
    attach(pipe, fitted(pipe, drawn, 4, scale=2))
    drawn(pipe, seeded(), 4)
    other = quiet(copied(pipe))
    drawn(other, seeded(), 4)
    with pytest.raises(ValueError, match="calibrated for guidance 3; asked for 7"):
        drawn(other, seeded(), 4, scale=7.0)
    drawn(pipe, seeded(), 4)


@pytest.mark.parametrize("name", ["ddim:eta=1", "dpm-solver++2m", "d-ddim"])
def test_a_scheduler_is_pickled_in_the_middle_of_a_run(name):
    """And goes on as the other does."""
    pipe = ddpm()
    own = attach(pipe, fitted(pipe, pixels, 3, scale=2)) if name == "d-ddim" else swapped(pipe, method=name)
    scheduler, x = own.scheduler, torch.randn(1, 3, 8, 8, generator=seeded())
    scheduler.set_timesteps(3)
    for k, t in enumerate(scheduler.timesteps):
        again = pickle.loads(pickle.dumps(scheduler))
        before, x = x, scheduler.step(0.1 * x, t, x, generator=seeded(k)).prev_sample
        assert torch.equal(again.step(0.1 * before, t, before, generator=seeded(k)).prev_sample, x)


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", ["ddim", "d-ddim", "dpm-solver-3", "edm", "dpm-solver++2m", "deis-3", "unipc-2"])
def test_image_to_image(name, strength):
    """A run from the middle, also where that lies inside a step; a point mass is reached exactly all the same."""
    pipe = stable_diffusion(diffusers.StableDiffusionImg2ImgPipeline, image_encoder=None)
    if name == "d-ddim":
        attach(pipe, fitted(stable_diffusion(), drawn, 10, scale=2))
    else:
        swapped(pipe, method=name)
    point = torch.full((1, 4, 8, 8), 0.25)

    def only_one_point(x, t, **_):
        node = pipe.scheduler._node(t)
        return ((x - node.alpha * point) / node.sigma,)

    pipe.unet.forward = only_one_point
    latents = drawn(pipe, seeded(), 10, n=1, image=torch.zeros(1, 3, 8, 8), strength=strength)
    torch.testing.assert_close(latents, point, rtol=1e-4, atol=1e-4)


def test_inpainting_keeps_what_is_not_masked():
    parts = stable_diffusion().components | {"image_encoder": None}
    pipe = quiet(diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False))
    swapped(pipe, method="dpm-solver++2m")
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    image = torch.full((1, 3, 8, 8), 0.3)
    few = {"image": image, "mask_image": mask, "strength": 0.8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        latents = drawn(pipe, seeded(), 8, n=1, **few)
        again = pipe.vae.encode(image * 2 - 1).latent_dist
    kept = latents[..., :4] / pipe.vae.config.scaling_factor
    assert float((kept - again.mean[..., :4]).abs().max()) < 6 * float(again.std.max())
    assert torch.isfinite(latents).all()


def test_base_and_refiner_share_a_run():
    """The refiner begins where the base stopped: for DDIM, that is one run."""
    parts = {"vae": vae(), "text_encoder": None, "tokenizer": None, "text_encoder_2": None, "tokenizer_2": None}
    unet = text_unet(
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 8
    )
    scheduler = DODEScheduler(method="ddim", beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    base = quiet(diffusers.StableDiffusionXLPipeline(**parts, unet=unet, scheduler=scheduler))
    refiner = quiet(diffusers.StableDiffusionXLImg2ImgPipeline(**parts, unet=unet, scheduler=copy.deepcopy(scheduler)))
    pooled = torch.linspace(-1, 1, 8).reshape(1, 8)
    more = {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": 0 * pooled}
    whole = drawn(base, seeded(), 10, n=1, height=8, width=8, **more)
    half = drawn(base, seeded(), 10, n=1, height=8, width=8, denoising_end=0.6, **more)
    sizes = {"original_size": (8, 8), "target_size": (8, 8)}
    rest = drawn(refiner, seeded(), 10, n=1, image=half, denoising_start=0.6, **sizes, **more)
    torch.testing.assert_close(rest, whole, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(half, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """States and samples keep their precision; a calibration of the half network is that of the whole one, nearly."""
    pipe = quiet(fashion_pipeline(3))

    def many(pipe, generator, steps):
        return pixels(pipe, generator, steps, n=12)

    wanted = fitted(pipe, many, 4, scale=4).plan.lambdas
    pipe.unet.to(dtype)
    made = fitted(pipe, many, 4, scale=4)
    most = 0.01 if dtype == torch.float16 else 0.1  # bfloat16 has three digits
    assert abs(made.plan.lambdas - wanted).max() < most
    attach(pipe, made)
    assert pixels(pipe, seeded(), 4).dtype == dtype


def test_the_core_runs_what_a_pipeline_calibrated(fashion, tmp_path):
    pipe, made = fashion
    dode.save(tmp_path / "c.json", *made.values())
    model = dode.from_diffusers(pipe)
    noise = model.start(range(2), 5)
    loaded = dode.load(tmp_path / "c.json", model, 5)
    wanted = run(made[5].plan, model.bound("noise", None), noise)
    torch.testing.assert_close(loaded.sample(noise=noise), wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="attach a sampler to the"):
        made[5].sample(1)
