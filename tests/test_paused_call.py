"""A pipeline's own call as a model: equal to the pipeline, whatever is in the call, and the pipeline as it was."""

import copy
import pipes
import signal
import threading

import diffusers
import pytest
import torch
from torch import nn

import dode
from dode.diffusers import DODEScheduler, attach, fashion_pipeline, unfolded
from dode.errors import DodeError, Unsupported
from dode.integrations.diffusers.paused_call import PROBES
from dode.sampling import run


def pixels(pipe, generator, steps, n=3):
    return pipe(batch_size=n, generator=generator, num_inference_steps=steps, output_type="np").images


def edm():
    return pipes.quiet(diffusers.DDPMPipeline(pipes.unet2d(), diffusers.EDMEulerScheduler()))


def edm_call(pipe, generator, steps):
    """EDM's loop, as pipelines with such schedulers have it."""
    scheduler = pipe.scheduler
    scheduler.set_timesteps(steps)
    x = torch.randn(2, 3, 8, 8, generator=generator) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(pipe.unet(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
    return x


def classes(pipe, generator, steps):
    return pipe([1, 2], generator=generator, num_inference_steps=steps, output_type="np").images


def own_levels(pipe, generator, steps):
    levels = [1 - i / (steps + 1) for i in range(steps)]
    return pipe(
        prompt_embeds=pipes.EMBEDDED,
        pooled_prompt_embeds=pipes.POOLED,
        generator=generator,
        sigmas=levels,
        output_type="latent",
        height=16,
        width=16,
    ).images


CASES = {
    "ddpm": (lambda: fashion_pipeline(3), pixels),
    "sd": (pipes.stable_diffusion, pipes.drawn),
    "flux": (pipes.flux, pipes.flux_call),
    "flux with levels of its own": (pipes.flux, own_levels),
    "sd3": (pipes.sd3, pipes.sd3_call),
    "dit": (pipes.dit, classes),
    "wan, two experts": (pipes.wan, pipes.wan_call),
    "edm": (edm, edm_call),
}


def opened(name):
    make, call = CASES[name]
    pipe = make()
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    return pipe, call


def watched(pipe, call, steps, **options):
    """The first state and the last of the pipeline's own run under our scheduler, and its plan."""
    own = DODEScheduler.from_config(pipe.scheduler.config, **options)
    before, pipe.scheduler, states = pipe.scheduler, own, []
    step = own.step
    own.step = lambda output, t, sample, **more: states.append(sample.clone()) or step(output, t, sample, **more)
    call(pipe, pipes.seeded(), steps)
    pipe.scheduler = before
    return states[0], own._state.y, own.plan


def no_thread():
    return not [thread for thread in threading.enumerate() if thread.name == "paused call"]


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_pipeline(name):
    """The plan of the stock schedule through the model ends in the pipeline's own latents."""
    pipe, call = opened(name)
    start, end, plan = watched(pipe, call, 5)
    before = dict(vars(pipe))
    with dode.from_diffusers(pipe, call) as model:
        cond = model.conditions(range(len(start)))
        made = run(plan, model.bound(plan.kind, cond), start)
    assert float((made - end).square().mean().sqrt()) <= 1e-5 * float(end.std())
    assert vars(pipe).keys() == before.keys()
    assert all(vars(pipe)[key] is value for key, value in before.items())
    assert no_thread()


@pytest.mark.filterwarnings("ignore:.*is large")
@pytest.mark.parametrize("name", ["ddpm", "sd", "flux", "sd3", "wan, two experts"])
def test_what_is_fitted_on_it_is_attached(name, tmp_path):
    pipe, call = opened(name)
    with dode.from_diffusers(pipe, call) as model:
        fast = dode.distill(model, "ddim", nfe=4, samples=4, scale=3)
    dode.save(tmp_path / "fast.json", fast)
    fast_pipe = attach(copy.copy(pipe), tmp_path / "fast.json")
    call(fast_pipe, pipes.seeded(), 4)
    assert (fast_pipe.scheduler.plan.table == fast.plan.table).all()


def test_a_search_through_the_call_is_the_search_on_the_network():
    """Nearer to the exact solution than the best plain solver; and the same model as from_diffusers makes without."""
    pipe, call = opened("ddpm")
    with dode.from_diffusers(pipe, call) as model:
        direct = dode.from_diffusers(pipe)
        x_T = model.start(range(3), 3)
        fast = dode.distill(model, "ddim", nfe=5, samples=6, scale=3)
        same = dode.distill(direct, "ddim", nfe=5, samples=6, scale=3)
        torch.testing.assert_close(fast.sample(noise=x_T), same.sample(noise=x_T), rtol=1e-5, atol=1e-5)
        exact = dode.sampler(model, "dpm-solver++3m", nfe=40).sample(noise=x_T)
        plain = dode.sampler(model, "ddim", nfe=5).sample(noise=x_T)
        assert (fast.sample(noise=x_T) - exact).square().mean() < (plain - exact).square().mean()
        pictures = model.decode(exact)
    assert unfolded(pictures).shape == (3, 1, 32, 32)


@pytest.mark.parametrize("name", ["flux", "wan, two experts"])
def test_auto_takes_any_pipeline(name):
    pipe, call = opened(name)
    with dode.from_diffusers(pipe, call) as model:
        fast = dode.auto(model, 4, samples=4, quick=True)
        assert torch.isfinite(fast.sample(2)).all()
    attach(pipe, fast)
    call(pipe, pipes.seeded(), 4)
    assert pipe.scheduler.plan.nodes == fast.plan.nodes


def test_rows_of_several_calls_are_conditions():
    """Every sample is asked at its own prompt, however samples are cut into batches."""
    pipe, _ = opened("sd")

    def call(scale):
        return lambda pipe, generator, steps: pipe(
            prompt_embeds=torch.cat([pipes.EMBEDDED, scale * pipes.EMBEDDED]),
            negative_prompt_embeds=0 * torch.cat([pipes.EMBEDDED] * 2),
            guidance_scale=3.0,
            generator=generator,
            num_inference_steps=steps,
            output_type="latent",
        )

    with dode.from_diffusers(pipe, [call(-1.0), call(2.0)]) as model:
        sampler = dode.sampler(model, "ddim", nfe=3)
        x_T = model.start([0] * 7, 0)
        ends = sampler.sample(noise=x_T)
        assert torch.equal(ends[:3], ends[4:])  # four rows in turn
        assert torch.equal(ends[0], ends[2])  # the same prompt in both calls
        assert not torch.equal(ends[1], ends[3])
        torch.testing.assert_close(sampler.sample(noise=x_T, batch=2), ends)
    assert no_thread()


def test_evaluations_are_counted():
    pipe, call = opened("ddpm")
    asked = []
    pipe.unet.register_forward_hook(lambda net, given, output: asked.append(len(given[0])))
    paused = dode.from_diffusers(pipe, call)
    with paused as model:
        dode.sampler(model, "ddim", nfe=4).sample(5)
    assert paused.evaluations == sum(asked)


def test_a_search_goes_on_from_its_cache_and_another_prompt_has_its_own(tmp_path):
    """Outputs are found again in another session of the same call, and never for another prompt."""

    def spent(scale):
        pipe, _ = opened("sd")

        def call(pipe, generator, steps):
            return pipe(
                prompt_embeds=scale * pipes.EMBEDDED,
                negative_prompt_embeds=0 * pipes.EMBEDDED,
                guidance_scale=3.0,
                generator=generator,
                num_inference_steps=steps,
                output_type="latent",
            )

        paused = dode.from_diffusers(pipe, call)
        with paused as model:
            before = paused.evaluations
            fast = dode.auto(model, 4, samples=4, quick=True, cache=tmp_path)
            return paused.evaluations - before, fast.plan.table

    first, table = spent(1.0)
    again, same = spent(1.0)
    assert first > 300
    assert again == 0
    assert (same == table).all()
    assert spent(2.0)[0] > 300


class Counting(nn.Module):
    """A network whose answer follows the number of its call."""

    def __init__(self, net):
        super().__init__()
        self.net, self.calls = net, 0

    def __getattr__(self, name):
        if name in ("config", "dtype", "device"):
            return getattr(self.net, name)
        return super().__getattr__(name)

    def forward(self, x, t, **more):
        self.calls += 1
        output = self.net(x, t, **more)
        output.sample *= self.calls
        return output


def test_answers_that_follow_the_step_are_refused():
    pipe, call = opened("ddpm")
    before = pipe.unet
    pipe.register_modules(unet=Counting(before))
    with pytest.raises(Unsupported, match="another step"), dode.from_diffusers(pipe, call):
        pass
    assert isinstance(pipe.unet, Counting)
    assert no_thread()


def early(pipe, generator, steps):
    pass


def breaks(pipe, generator, steps):
    raise LookupError("of the call itself")


def lists_its_times(pipe, generator, steps):
    pipe.scheduler.set_timesteps(steps)
    x = torch.randn(1, 4, 16, 16, generator=generator)
    for t in pipe.scheduler.timesteps.tolist():
        x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample


def changes_its_states(pipe, generator, steps):
    pipe.scheduler.set_timesteps(steps)
    x = torch.randn(1, 4, 16, 16, generator=generator)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x + 0.1).prev_sample


def copies_its_scheduler(pipe, generator, steps):
    copy.deepcopy(pipe.scheduler)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (early, DodeError, "ended before"),
        (breaks, LookupError, "of the call itself"),
        (lists_its_times, Unsupported, "copies its timesteps"),
        (changes_its_states, DodeError, "changes the states"),
        (copies_its_scheduler, Unsupported, "copies its scheduler"),
    ],
)
def test_what_goes_wrong_in_a_call_is_said(call, error, says):
    pipe, _ = opened("ddpm")
    before = dict(vars(pipe))
    with pytest.raises(error, match=says), dode.from_diffusers(pipe, call) as model:
        dode.sampler(model, "ddim", nfe=3).sample(1)
    assert vars(pipe) == before
    assert no_thread()


def test_states_that_the_call_writes_into_are_copies():
    pipe, call = opened("ddpm")

    def writes(pipe, generator, steps):
        pipe.scheduler.set_timesteps(steps)
        x = torch.randn(3, 4, 16, 16, generator=generator)
        for t in pipe.scheduler.timesteps:
            output = pipe.unet(x, t).sample
            kept = x.clone()
            x.zero_()
            x = pipe.scheduler.step(output, t, kept).prev_sample

    with dode.from_diffusers(pipe, call) as model:
        wanted = dode.sampler(model, "unipc-2", nfe=3).sample(2)
    with dode.from_diffusers(pipe, writes) as model:
        torch.testing.assert_close(dode.sampler(model, "unipc-2", nfe=3).sample(2), wanted)


@pytest.mark.parametrize("when", [1, PROBES, PROBES + 1, PROBES + 2, PROBES + 5])
def test_interrupted_it_ends_within_one_evaluation(when):
    """Ctrl-C while the network works: while the call is opened, in its long session's first evaluation, later."""
    pipe, call = opened("ddpm")
    seen, before = [], dict(vars(pipe))

    def interrupts(net, given, output):
        seen.append(1)
        if len(seen) == when:
            signal.raise_signal(signal.SIGINT)

    pipe.unet.register_forward_hook(interrupts)
    with pytest.raises(KeyboardInterrupt), dode.from_diffusers(pipe, call) as model:
        dode.sampler(model, "ddim", nfe=20).sample(1)
    assert len(seen) <= when + 1
    assert vars(pipe) == before
    assert no_thread()


def test_after_an_error_of_the_network_it_can_be_asked_again():
    pipe, call = opened("ddpm")
    seen = []

    def fails_once(net, given, output):
        seen.append(1)
        if len(seen) == PROBES + 3:
            raise MemoryError("for once")

    pipe.unet.register_forward_hook(fails_once)
    with dode.from_diffusers(pipe, call) as model:
        sampler, x_T = dode.sampler(model, "ddim", nfe=4), model.start(range(3), 0)
        with pytest.raises(MemoryError, match="for once"):
            sampler.sample(noise=x_T)
        assert torch.isfinite(sampler.sample(noise=x_T)).all()
    assert no_thread()


def test_a_call_of_float16_has_states_of_float32():
    pipe, _ = opened("sd")
    pipe.to(torch.bfloat16)

    def half(pipe, generator, steps):
        return pipe(
            prompt_embeds=pipes.EMBEDDED.bfloat16(),
            negative_prompt_embeds=0 * pipes.EMBEDDED.bfloat16(),
            guidance_scale=3.0,
            generator=generator,
            num_inference_steps=steps,
            output_type="latent",
        )

    with dode.from_diffusers(pipe, half) as model:
        assert model.dtype == torch.float32
        assert torch.isfinite(dode.sampler(model, "ddim", nfe=3).sample(2)).all()
