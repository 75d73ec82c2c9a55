"""A pipeline of diffusers as a `Model`: its network, told its own times, on the noise schedule of its scheduler.

Written for the networks in `NETWORKS`; with a call of the pipeline, for all (`paused_call`).
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from dode import json_schema
from dode.conditioning import Default, classes_in_turn, rows
from dode.denoisers import Thresholded
from dode.errors import DodeError
from dode.fingerprint import weights_hash
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.parts import Call, denoiser_of, networks
from dode.integrations.diffusers.paused_call import PausedCalls
from dode.integrations.diffusers.scheduler import DODEScheduler
from dode.messages import extra
from dode.model import Model, from_callable
from dode.schedule import Schedule

Forward = Callable[[Any, Tensor, Tensor, Any], Tensor]  # (network, x, t, cond) → output


def _unet(net: Any, x: Tensor, t: Tensor, cond: Any) -> Tensor:
    output: Tensor = net(x, t, class_labels=cond).sample
    return output


def _text_unet(net: Any, x: Tensor, t: Tensor, cond: Any) -> Tensor:
    added = {key: value for key, value in cond.items() if key != "prompt"} or None
    output: Tensor = net(x, t, encoder_hidden_states=cond["prompt"], added_cond_kwargs=added).sample
    return output


def _dit(net: Any, x: Tensor, t: Tensor, cond: Any) -> Tensor:
    output: Tensor = net(x, timestep=t, class_labels=cond).sample
    return output


def _sd3(net: Any, x: Tensor, t: Tensor, cond: Any) -> Tensor:
    output: Tensor = net(x, timestep=t, encoder_hidden_states=cond["prompt"], pooled_projections=cond["pooled"]).sample
    return output


NETWORKS: dict[str, Forward] = {
    "UNet2DModel": _unet,
    "UNet2DConditionModel": _text_unet,
    "DiTTransformer2DModel": _dit,
    "SD3Transformer2DModel": _sd3,
}


@overload
def from_diffusers(
    pipe_or_path: Any, call: Call | Sequence[Call], *, steps: int = 50, seed: int = 0
) -> AbstractContextManager[Model]: ...
@overload
def from_diffusers(
    pipe_or_path: Any,
    call: None = None,
    *,
    prompts: Sequence[str] | None = None,
    negative_prompt: str | None = None,
    cond: Default | None = None,
    null: Default | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model: ...
def from_diffusers(
    pipe_or_path: Any,
    call: Call | Sequence[Call] | None = None,
    *,
    steps: int = 50,
    seed: int = 0,
    prompts: Sequence[str] | None = None,
    negative_prompt: str | None = None,
    cond: Default | None = None,
    null: Default | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Model | AbstractContextManager[Model]:
    """A model from a pipeline of diffusers, or from where one was saved: a folder, or a name on the hub.

    With `call`, any pipeline: ``with from_diffusers(pipe, call) as model``.  call(pipe, generator, steps) samples as
    you do, with prompts, guidance, size, ControlNets and adapters of its own; or several such calls, whose rows are
    the conditions of the model.  Their networks answer through the calls, which end with the `with`.  steps: what they
    are told; seed: of their generators.  Raises Unsupported for a call whose answers follow the number of the step.

    Without, for the networks in `NETWORKS`:

    pipe_or_path: the pipeline, the folder or the name. prompts: for text-to-image, sample i gets prompt i mod n,
    encoded once by the pipeline; negative_prompt: what guidance steers away from, as the pipeline has it where none is
    said. cond and null: the same given by hand, as for `from_callable`. Class-conditional networks get their classes in
    turn. States are latents, where the pipeline has a VAE. dtype, device: where it runs. Raises ValueError for a
    network that is not known here, with what to use instead.
    """
    pipe = opened(pipe_or_path) if isinstance(pipe_or_path, str | Path) else pipe_or_path
    if call is not None:
        return PausedCalls(pipe, [call] if callable(call) else list(call), steps, seed)
    if not hasattr(pipe, "components"):
        raise DodeError(
            f"from_diffusers takes a pipeline, which has a scheduler; a {type(pipe).__name__} by itself goes to "
            "dode.from_callable(lambda x, t: network(x, t).sample, …), with its schedule"
        )
    network = _network(pipe, dtype, device)
    config = DODEScheduler.from_config({**pipe.scheduler.config, "calibration": None}).config
    schedule = settings.schedule(config)
    if cond is None:
        cond, null = _conditions(pipe, network, prompts, negative_prompt, null)
    made = from_callable(
        Told(network, config, schedule),
        schedule=schedule,
        prediction=settings.prediction(config),
        shape=_shape(network),
        cond=cond,
        null=null,
        classes=_classes(network) and _classes(network) + (null is not None),
        variance=network.config.out_channels == 2 * network.config.in_channels,
        name=type(pipe).__name__,
        dtype=dtype,
        device=device,
    )
    decode = partial(_decoded, pipe.vae) if pipe.components.get("vae") else None
    core = replace(made.denoiser.core, fingerprint=weights_hash(network))
    threshold = settings.threshold(config)
    denoiser = core if threshold is None else Thresholded(core, threshold)
    return replace(made, denoiser=denoiser, form=settings.form(config), decode=decode)


def _network(pipe: Any, dtype: torch.dtype, device: str) -> Any:
    """The pipeline's denoiser, ready for use; ValueError if it is not known here."""
    network: Any = denoiser_of(pipe)
    if more := [name for name, part in networks(pipe).items() if part is not network]:
        raise DodeError(
            f"more than one network answers in this pipeline ({', '.join(more)} too): "
            "use dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
        )
    kind = type(network).__name__
    if kind not in NETWORKS:
        raise DodeError(
            f"from_diffusers knows {', '.join(NETWORKS)}; this pipeline has {kind}: "
            "use dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
        )
    taken, given = network.config.in_channels, network.config.out_channels
    if given not in (None, taken, 2 * taken):
        raise DodeError(
            f"this network takes {taken} channels and returns {given}, so more than the state goes in (masks, "
            "images): use dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
        )
    if network.config.get("time_cond_proj_dim"):
        raise DodeError(
            "this network is told its guidance scale (time_cond_proj_dim), which from_diffusers cannot: "
            "use dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
        )
    if network.dtype != dtype or network.device != torch.device(device):
        network = copy.deepcopy(network).to(device, dtype)  # the pipeline keeps its own
    return network.eval()


@torch.no_grad()
def _decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents (N, C, h, w) → images (N, 3, H, W) in [−1, 1]."""
    latents, config = latents.to(vae.device, vae.dtype), vae.config
    spread, middle = config.get("latents_std"), config.get("latents_mean")  # of each channel, for some SDXL models
    if spread is None or middle is None:
        scaled = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    else:
        scale, shift = (latents.new_tensor(values).view(1, -1, 1, 1) for values in (spread, middle))
        scaled = latents * scale / config.scaling_factor + shift
    images: Tensor = vae.decode(scaled).sample
    return images


def understood(pipe: Any) -> bool:
    """Whether its network is one that is asked directly, without the pipeline's call."""
    parts = networks(pipe)
    return len(parts) == 1 and type(next(iter(parts.values()))).__name__ in NETWORKS


def prompted(pipe: Any, prompts: Sequence[str], negative: str | None, guidance: float) -> Call:
    """The plain call of a text-to-image or text-to-video pipeline: a row for each prompt, the rest as it stands.

    Raises DodeError for a pipeline that takes no prompt, and where there is none.
    """
    takes = signature(pipe.__call__).parameters
    if "prompt" not in takes or not prompts:
        why = "and none was given" if "prompt" in takes else "which this pipeline does not take"
        raise DodeError(
            f"the command line calls a {type(pipe).__name__} with a prompt, {why}: in Python, "
            "dode.from_diffusers(pipe, call) takes any call"
        )
    more: dict[str, Any] = {"guidance_scale": guidance} if "guidance_scale" in takes else {}
    if negative is not None:
        more["negative_prompt"] = [negative] * len(prompts)

    def call(pipe: Any, generator: torch.Generator, steps: int) -> Any:
        return pipe(prompt=list(prompts), generator=generator, num_inference_steps=steps, **more)

    return call


def opened(path: str | Path) -> Any:
    """A pipeline from its folder or the hub; DodeError says what is in the way."""
    from diffusers import DiffusionPipeline

    import_module("dode.diffusers")  # where a pipeline that was saved with our scheduler says that it is
    if Path(path).is_file():
        raise DodeError(
            f"{path} is a file, and no pipeline of diffusers is one; to open a pickle of EDM, dode convert edm it first"
        )
    if Path(path).is_absolute() and not Path(path).is_dir():
        raise DodeError(f"no folder at {path}; give the folder of a saved pipeline, or its name on the hub")
    try:
        return DiffusionPipeline.from_pretrained(str(path))
    except OSError as error:
        raise DodeError(
            f"no pipeline of diffusers at {path}, as a folder or on the hub ({json_schema.line(error)})"
        ) from error
    except (ImportError, AttributeError, ValueError) as error:  # of a package that a part needs, or of a part unknown
        raise DodeError(
            f"diffusers cannot load {path} ({json_schema.line(error)}); {extra('diffusers')} brings all"
        ) from error


def _shape(network: Any) -> tuple[int, ...]:
    size = network.config.sample_size
    if size is None:
        raise DodeError(
            "this network does not say which size its samples have (sample_size): use dode.from_callable, or "
            "dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return (network.config.in_channels, height, width)


class Told(nn.Module):
    """A network told the schedule's times in its own way, with EDM's preconditioning around it where it is outside."""

    def __init__(self, network: Any, config: settings.Config, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.config, self.schedule = network, dict(config), schedule
        self.call = NETWORKS[type(network).__name__]

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """X (B, …), t (B,) of the schedule, the same for all → the output."""
        if settings.family(self.config) == "vp":
            return self.call(self.network, x, t, cond)
        node = self.schedule.node(float(t[0]))
        told = torch.full_like(t, settings.told(self.config, node))
        if settings.family(self.config) == "flow":
            return self.call(self.network, x, told, cond)
        c_in, _, _ = settings.preconditioning(self.config, node.t)
        return settings.unpreconditioned(self.config, self.call(self.network, x * c_in, told, cond), x, node.t)


def _classes(network: Any) -> int:
    """How many classes a class-conditional network has; 0 for others."""
    name = {"DiTTransformer2DModel": "num_embeds_ada_norm", "UNet2DModel": "num_class_embeds"}.get(
        type(network).__name__
    )
    return int(network.config[name] or 0) if name else 0


def _conditions(
    pipe: Any, network: Any, prompts: Sequence[str] | None, negative: str | None, null: Default | None
) -> tuple[Default | None, Default | None]:
    """Defaults for samples by number: the prompts in turn, or the classes in turn."""
    kind = type(network).__name__
    if kind in ("UNet2DConditionModel", "SD3Transformer2DModel"):
        if not prompts:
            raise DodeError(
                "this pipeline draws what a prompt says; give prompts=[…], or a call, from_diffusers(pipe, call)"
            )
        if not hasattr(pipe, "encode_prompt"):
            raise DodeError(
                f"a {type(pipe).__name__} encodes its prompts in a way of its own: "
                "use dode.from_diffusers(pipe, call), which asks through the pipeline's own call"
            )
        known, none = _encoded(pipe, list(prompts)), _encoded(pipe, [negative or ""])
        if negative is None and pipe.config.get("force_zeros_for_empty_prompt"):  # as the pipeline's own call has it
            none |= {name: torch.zeros_like(none[name]) for name in ("prompt", "text_embeds")}
        return (
            lambda indices: rows(known, [i % len(prompts) for i in indices]),
            lambda indices: rows(none, [0] * len(indices)),
        )
    if prompts:
        raise DodeError(f"a {type(pipe).__name__} draws no text: leave the prompts out")
    classes = _classes(network)
    if not classes:
        return None, None
    if kind == "DiTTransformer2DModel":  # one class more than it counts is no class
        null = null or (lambda indices: torch.full((len(indices),), classes))
    return classes_in_turn(classes), null


@torch.no_grad()
def _encoded(pipe: Any, prompts: list[str]) -> dict[str, Tensor]:
    """Text embeddings, one row a prompt, as the pipeline's family wants them."""
    kind = type(pipe).__name__
    few: dict[str, Any] = {"device": pipe._execution_device, "num_images_per_prompt": 1}
    few["do_classifier_free_guidance"] = False
    if "XL" in kind:
        prompt, _, pooled, _ = pipe.encode_prompt(prompts, **few)
        size = pipe.unet.config.sample_size * pipe.vae_scale_factor
        times = torch.tensor([[size, size, 0, 0, size, size]], dtype=prompt.dtype).repeat(len(prompts), 1)
        return {"prompt": prompt, "text_embeds": pooled, "time_ids": times}
    if "3" in kind:
        prompt, _, pooled, _ = pipe.encode_prompt(prompts, prompts, prompts, **few)
        return {"prompt": prompt, "pooled": pooled}
    return {"prompt": pipe.encode_prompt(prompts, **few)[0]}
