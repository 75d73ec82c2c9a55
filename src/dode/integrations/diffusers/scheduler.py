"""Solvers and calibrations as a scheduler of diffusers: `pipe.scheduler = DODEScheduler.from_config(…)`.

One `step` is one network evaluation, for solvers with several evaluations a step too.  Users, and saved pipelines, know
the class as `dode.diffusers.DODEScheduler`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from torch import Tensor

from dode.errors import DodeError
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.plan_selection import (
    Choice,
    as_planned,
    asked,
    choose,
    drawn,
    network_output,
    running,
    same_shape,
)
from dode.parameterization import convert
from dode.plan import Plan
from dode.samplers import as_content
from dode.sampling import State, advance, begin
from dode.schedule import Node, Schedule

CLOSE = 1e-5  # a time that went through float32 is a node's if it is this near


class DODEScheduler(SchedulerMixin, ConfigMixin):
    """Every solver of dode, plain or calibrated, wherever diffusers takes a scheduler.

    method: a name in `dode.METHODS`, with options like "deis-3:variable=rho", for runs without a calibration, or else
    dpm-solver++2m; calibration: a file of `dode distill`, its content, or a Sampler; num_inference_steps picks the
    plan.  guidance: of a calibration for several; on_missing: "error", or "base" for the plain solver where none is.
    noise_schedule: "vp" (betas), "edm" or "flow"; the other options are those of diffusers' schedulers.
    """

    __module__ = "dode.diffusers"  # what a saved pipeline names: it may never change
    _compatibles: ClassVar = [scheduler.name for scheduler in KarrasDiffusionSchedulers]
    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | list[float] | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "trailing",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        final_sigmas_type: str = "zero",
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        variance_type: str | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        rho: float = 7.0,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        base_shift: float = 0.5,  # this and the next three are read by pipelines, which compute mu from them
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        shift_terminal: float | None = None,
        noise_schedule: str = "vp",
        method: str = "dpm-solver++2m",
        calibration: Any = None,
        guidance: float | None = None,
        on_missing: str = "error",
    ) -> None:
        if calibration is not None:
            self.register_to_config(calibration=as_content(calibration))
        if trained_betas is not None:
            self.register_to_config(trained_betas=np.asarray(trained_betas).tolist())
        # another scheduler hands on what is no default: it must hand on whose schedule this is
        usual = [key for key in self.config.get("_use_default_values", ()) if key != "noise_schedule"]
        if usual:
            self.register_to_config(_use_default_values=usual)
        settings.check(self.config)
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1)
        self._checks_guidance = False  # `attach` sets it; never saved
        self._choice: Choice | None = None
        self._reset()

    def _reset(self) -> None:
        self._state: State | None = None
        self._plan: Plan | None = None  # that runs: the chosen one, or its tail if the run starts in the middle
        self._step_index: int | None = None
        self._begin_index: int | None = None

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From another scheduler's configuration and ours, `from_config(pipe.scheduler.config, calibration=…)`."""
        asked({} if return_unused_kwargs else kwargs, cls)
        config = settings.adopted(config, kwargs) if isinstance(config, Mapping) else config
        return super().from_config(config, return_unused_kwargs, **kwargs)

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of the configuration (of the last mu, with dynamic shifting)."""
        return self._choice.schedule if self._choice is not None else settings.schedule(self.config, mu=0.0)

    @property
    def plan(self) -> Plan:
        """The plan of the last `set_timesteps`.  Raises ValueError before the first."""
        if self._choice is None:
            raise DodeError("there is no plan before set_timesteps")
        return self._choice.plan

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation of the noise that sampling starts from."""
        if self._choice is not None and self._choice.plan.noise_scales[0]:
            return self._choice.plan.nodes[0].sigma
        schedule = self.schedule
        return schedule.node(schedule.t_max).sigma

    @property
    def sigmas(self) -> Tensor:
        """The noise levels of the evaluations and of the end: σ/α, for flow σ: (evaluations + 1,) float32."""
        flow = settings.family(self.config) == "flow"
        # pipelines may look before they ask for a number of steps
        nodes = settings.ladder(self.config, self.schedule) if self._choice is None else self._choice.plan.nodes
        levels = [n.sigma if flow or n.alpha == 0 else n.sigma / n.alpha for n in nodes]
        return torch.tensor(levels, dtype=torch.float32)

    @property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ at the training times, for pipelines that look: (num_train_timesteps,) float32; a VP schedule has it."""
        return torch.tensor(self._squares("alphas_cumprod"), dtype=torch.float32)

    @property
    def betas(self) -> Tensor:
        """β at the training times, of ᾱ as it is after a rescaling: (num_train_timesteps,) float32."""
        squares = self._squares("betas")
        return torch.tensor(1 - squares / np.append(1.0, squares[:-1]), dtype=torch.float32)

    def _squares(self, name: str) -> np.ndarray:
        if not self.schedule.knots:
            raise AttributeError(f"only schedules of betas have {name}")
        return np.array([self.schedule.node(t).alpha ** 2 for t in self.schedule.knots])

    @property
    def step_index(self) -> int | None:
        """Evaluations that lie behind, from the start of the timesteps."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where pipelines say that the run starts."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this evaluation: image to image, inpainting, a refiner."""
        self._begin_index = begin_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Choose the plan: by the number of evaluations, or through times that the network is told, or noise levels."""
        self._reset()
        pipe = running(self) if self._checks_guidance else None
        self._choice = choose(self.config, num_inference_steps, timesteps, sigmas, mu, pipe)
        nodes = self._choice.plan.nodes[:-1]
        self.num_inference_steps = len(nodes)
        times = [settings.told(self.config, node) for node in nodes]
        whole = settings.family(self.config) == "vp" and all(time == int(time) for time in times)
        self.timesteps = torch.tensor(times, dtype=torch.int64 if whole else torch.float32, device=device)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """EDM's c_in·x; x itself in the other families."""
        if settings.family(self.config) != "edm":
            return sample
        c_in, _, _ = settings.preconditioning(self.config, self._due(timestep).t)
        return sample * c_in

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: Any = None,
        return_dict: bool = True,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
    ) -> SchedulerOutput | tuple[Tensor]:
        """One evaluation: the network's output on `sample` at `timestep` → the next state, in the sample's dtype.

        eta, use_clipped_model_output: pipelines made for DDIM hand them on; refused if they ask for anything that the
        plan and the configuration do not do.  Raises ValueError, for that and when all evaluations are made.
        """
        as_planned(eta, use_clipped_model_output, settings.threshold(self.config) is not None)
        wide = sample.to(torch.promote_types(sample.dtype, torch.float32))
        if self._state is None:
            self._open(timestep, sample)
        plan, state = self._plan, self._state
        assert plan is not None
        assert state is not None
        assert self._step_index is not None
        if state.k == plan.nfe:
            raise DodeError(f"all {plan.nfe} evaluations are made; call set_timesteps before the next run")
        same_shape("sample", sample, state.y)
        output = self._output(model_output.to(wide.dtype), wide, plan.nodes[state.k], plan)
        state = state._replace(y=wide, draw=lambda k: drawn(sample, generator))
        self._state = state = advance(plan, state, output)._replace(draw=None)  # functions cannot be pickled
        self._step_index += 1
        after = state.y.to(sample.dtype)
        return SchedulerOutput(prev_sample=after) if return_dict else (after,)

    def _open(self, timestep: Any, sample: Tensor) -> None:
        if self._choice is None:
            raise DodeError("call set_timesteps before step")
        first = self._begin_index if self._begin_index is not None else self.index_for_timestep(timestep)
        self._choice.check_shape(tuple(sample.shape[1:]))
        self._plan = self._choice.starting_at(first)
        self._step_index = first
        sample = sample.to(torch.promote_types(sample.dtype, torch.float32))
        # x_T with its fresh noise is what the pipeline starts from: init_noise_sigma has it
        still = (
            replace(self._plan, noise=np.array([0.0, *self._plan.noise_scales[1:]]))
            if self._plan.noise_scales[0]
            else self._plan
        )
        self._plan = still
        self._state = begin(still, sample, draw=lambda k: torch.zeros_like(sample))._replace(draw=None)

    def _output(self, output: Tensor, sample: Tensor, node: Node, plan: Plan) -> Tensor:
        """The network's output as the plan wants it: preconditioned, thresholded, of the plan's kind."""
        output = network_output(self.config, output, sample, node.t)
        kind, threshold = settings.prediction(self.config), settings.threshold(self.config)
        if threshold is not None:
            output = threshold.of_output(sample, output, kind, node)
        return convert(sample, output, kind, plan.kind, node)

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Tensor | None = None) -> int:
        """The number of the evaluation that is nearest to a time; the first of several."""
        times = self.timesteps if schedule_timesteps is None else schedule_timesteps
        return int((times.cpu().double() - float(timestep)).abs().argmin())

    def _due(self, timestep: Any) -> Node:
        """The node of a time; once a run has begun, of its next evaluation if to read the time is to wait for it."""
        waits = isinstance(timestep, Tensor) and timestep.device.type != "cpu"
        if waits and self._state is not None and self._plan is not None and self._state.k < self._plan.nfe:
            return self._plan.nodes[self._state.k]
        return self._node(timestep)

    def _node(self, timestep: Any) -> Node:
        """The node whose time this is: the plan's own, where it is one of them but for rounding."""
        time = float(timestep)
        for node in self._choice.plan.nodes[:-1] if self._choice is not None else ():
            own = settings.told(self.config, node)
            if abs(own - time) <= CLOSE * max(1.0, abs(own)):
                return node
        return settings.heard(self.config, self.schedule, time)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """α·x₀ + σ·noise (B, …) at each sample's time (B,) or at one for all."""
        clean = original_samples.to(torch.promote_types(original_samples.dtype, torch.float32))
        nodes = [self._node(time) for time in torch.as_tensor(timesteps).flatten().tolist()]
        levels = torch.tensor([node[1:3] for node in nodes], dtype=torch.float64).to(clean.dtype).to(clean.device)
        alpha, sigma = levels.T.reshape(2, -1, *[1] * (clean.ndim - 1))
        noisy: Tensor = alpha * clean + sigma * noise.to(clean)
        return noisy.to(original_samples.dtype)

    def scale_noise(self, sample: Tensor, timestep: Any, noise: Tensor) -> Tensor:
        """The same under the name, and in the order, of flow pipelines."""
        return self.add_noise(sample, noise, timestep)

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])
