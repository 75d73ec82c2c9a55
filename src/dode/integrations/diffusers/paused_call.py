"""A pipeline's own call as a network: paused at its scheduler, it answers any (x, t).

The call runs in a thread of its own, under a scheduler that hands out every output and waits for the next question.
Its timesteps are one tensor, and what a pipeline iterates over are views of it: writing t there makes it the next time.
So prompts are encoded once, and guidance, ControlNets, adapters, offloading stay the pipeline's.
"""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from dode.conditioning import Conditioning
from dode.denoisers import NetworkDenoiser, Thresholded
from dode.errors import DodeError, Unsupported
from dode.fingerprint import digest, schedule_hash
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.attach import drop_in
from dode.integrations.diffusers.parts import Call, evaluating, fingerprint
from dode.integrations.diffusers.plan_selection import guidance_of, network_output, untouched
from dode.integrations.diffusers.scheduler import DODEScheduler
from dode.model import Model
from dode.schedule import Schedule

LONG = 10_000  # evaluations of a session; the one that begins the next is lost
PROBES = 4  # evaluations of the session that asks the same question at several indices
EQUAL = 1e-3  # of an output's spread: repeated answers of half precision differ by less


class _Stopped(BaseException):
    """Leaves a call that is asked for nothing more; no Exception, which a pipeline might catch."""


class AskingScheduler(DODEScheduler):
    """The scheduler of a session: every step hands the output out and waits for the next state and time."""

    def attend(self, session: "Session | Last", count: int) -> None:
        """Belong to a session of `count` evaluations."""
        self._session, self._count = session, count
        self._known: Schedule | None = None
        self._time = 0.0  # what the network is told next

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of the configuration, with the shift that the call has told."""
        return self._known if self._known is not None else settings.schedule(self.config, mu=0.0)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """One time, many times over; which the pipeline asks for is passed over."""
        self._reset()
        self._known = settings.schedule(self.config, mu)
        self._time = settings.told(self.config, self._known.node(self._known.t_max))
        self.num_inference_steps = self._count
        self.timesteps = torch.full((self._count,), self._time, dtype=torch.float32, device=device)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """EDM's c_in·x at the time that is asked for; x itself in the other families."""
        if settings.family(self.config) != "edm":
            return sample
        into, _, _ = settings.preconditioning(self.config, settings.heard(self.config, self.schedule, self._time).t)
        return sample * into

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, *_: Any, return_dict: bool = True, **__: Any
    ) -> SchedulerOutput | tuple[Tensor]:
        """Hand out the output; return the next state that is asked for."""
        if abs(float(timestep) - self._time) > 1e-3 * max(1.0, abs(self._time)):
            raise Unsupported(
                f"the pipeline told its network the time {float(timestep):g}, asked for {self._time:g}: it copies its "
                "timesteps before its loop, so its call cannot be paused"
            )
        x, self._time = self._session.answer(model_output, sample)
        self.timesteps.fill_(self._time)
        return SchedulerOutput(prev_sample=x) if return_dict else (x,)

    def __deepcopy__(self, memo: Any) -> Any:
        raise Unsupported(
            "this pipeline copies its scheduler, for a second state beside the first; its call is no model"
        )


@dataclass(frozen=True)
class _Ended:
    """Why there is no answer: the call's error, or its end."""

    error: BaseException | None = None


class Session:
    """One call in a thread, paused between evaluations; `pipe` has this call's attributes while it runs."""

    def __init__(self, calls: "PausedCalls", number: int, count: int) -> None:
        self.pipe, self.left = calls.pipe, count
        self.last: Tensor | None = None
        self.copies = 1  # of each row, in a call's states
        self.questions: SimpleQueue[tuple[Tensor, float] | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Tensor, Tensor] | _Ended] = SimpleQueue()
        self.scheduler = calls.scheduler()
        self.scheduler.attend(self, count)
        self.variables = calls.variables | {"scheduler": self.scheduler}
        generator = torch.Generator("cpu").manual_seed(calls.seed * 1000 + number)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        cast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)  # which threads do not share

        def run() -> None:
            try:
                with torch.no_grad(), torch.autocast(device, enabled=cast[0], dtype=cast[1]):
                    calls.calls[number](self.pipe, generator, calls.steps)
                self.answers.put(_Ended())
            except _Stopped:
                pass
            except BaseException as error:
                self.answers.put(_Ended(error))

        self.thread = threading.Thread(target=run, name="paused call", daemon=True)
        restore(self.pipe, self.variables)
        self.thread.start()
        try:
            self.output, self.sample = self._received()
        except BaseException:  # Ctrl-C too
            self.stop()
            raise

    @property
    def rows(self) -> int:
        """How many states a question has."""
        return len(self.sample) // self.copies

    def answer(self, output: Tensor, sample: Tensor) -> tuple[Tensor, float]:
        """In the call's thread: an output for whoever asked; the next question."""
        if self.last is not None and not torch.equal(sample, self.last):
            half = self.last[: len(sample) // 2]  # DiT keeps guided pairs as one state, of which the first half counts
            if torch.equal(sample, torch.cat([half, half])):
                self.copies = 2
            else:
                untouched(sample, self.last)
        self.answers.put((output.detach().clone(), sample.detach().clone()))
        question = self.questions.get()
        if question is None:
            raise _Stopped
        self.last, time = question
        return self.last.clone(), time  # a copy: some pipelines write into their states

    def ask(self, x: Tensor, time: float) -> Tensor:
        """The output at states of all rows (rows, *shape) and the time that the network is told."""
        restore(self.pipe, self.variables)
        self.questions.put((torch.cat([x.to(self.sample)] * (len(self.sample) // len(x))), time))
        return self._received()[0][: len(x)]

    def _received(self) -> tuple[Tensor, Tensor]:
        answer = self.answers.get()
        self.variables = dict(vars(self.pipe))
        if not isinstance(answer, _Ended):
            self.left -= 1
            return answer
        if answer.error is not None:
            raise answer.error
        raise DodeError("the call ended before its scheduler's last step; it must run the pipeline once, to its end")

    def stop(self) -> None:
        """End the call, within one evaluation."""
        self.questions.put(None)
        self.thread.join()


def restore(pipe: Any, variables: dict[str, Any]) -> None:
    """Give a pipeline back the attributes that it had."""
    vars(pipe).clear()
    vars(pipe).update(variables)


class PausedCalls(AbstractContextManager[Model]):
    """A pipeline's calls as one model, inside `with`; afterwards the pipeline is what it was, and no thread is left.

    Every row of every call is a condition: sample i of the model is asked at row i modulo their number.

    Attributes:
        evaluations: How many the network has made, of one sample each; those that were lost or padded count.
    """

    def __init__(self, pipe: Any, calls: Sequence[Call], steps: int, seed: int) -> None:
        if not calls:
            raise DodeError("give a call, call(pipe, generator, steps), or several; got none")
        self.pipe, self.calls, self.steps, self.seed = pipe, calls, steps, seed
        self.evaluations, self.open = 0, False
        self.stack = ExitStack()
        self.sessions: dict[int, Session] = {}

    def scheduler(self) -> AskingScheduler:
        """A scheduler of the pipeline's configuration that asks."""
        scheduler: AskingScheduler = AskingScheduler.from_config(self.config)
        return scheduler

    def __enter__(self) -> Model:
        """Begin the calls: `PROBES` evaluations each, and one that is lost."""
        drop_in(self.pipe)
        self.fingerprint = fingerprint(self.pipe)  # first: it refuses weights that are not here
        self.config = {key: value for key, value in self.pipe.scheduler.config.items() if key != "calibration"}
        self.variables = dict(vars(self.pipe))
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.pipe))
            stack.callback(self._finish, dict(self.variables))
            self.pipe.set_progress_bar_config(disable=True)
            self.variables = dict(vars(self.pipe))
            marks = [self._probed(number) for number in range(len(self.calls))]
            model = self._model(marks)
            self.stack, self.open = stack.pop_all(), True
        return model

    def __exit__(self, *error: Any) -> None:
        """Stop the calls."""
        self.open = False
        self.stack.close()

    def _finish(self, variables: dict[str, Any]) -> None:
        for session in self.sessions.values():
            restore(self.pipe, session.variables)
            session.stop()
        self.sessions.clear()
        restore(self.pipe, variables)
        if hasattr(self.pipe, "maybe_free_model_hooks"):  # what a call does at its end
            self.pipe.maybe_free_model_hooks()

    def _probed(self, number: int) -> Session:
        """A short session, ended: the same question at its first, third and last index, and another between."""
        session = Session(self, number, PROBES)
        try:
            x, time, first = session.sample, session.scheduler._time, session.output
            session.ask(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), time)
            others = [session.ask(x, time) for _ in range(PROBES - 2)]
        finally:
            self.evaluations += (PROBES - session.left) * session.rows
            session.stop()
        for output in others:
            far = float((output - first).abs().amax())
            if far > EQUAL * float(first.std()):
                raise Unsupported(
                    f"the pipeline answers the same question otherwise at another step, by {far:.2g} where its outputs "
                    f"have a spread of {float(first.std()):.2g}: something in the call follows the number of the step "
                    "(skip-layer guidance, guidance that stops, a cache between steps); switch it off"
                )
        session.output = first
        return session

    def _model(self, probed: Sequence[Session]) -> Model:
        schedules = {schedule_hash(session.scheduler.schedule) for session in probed}
        shapes = {tuple(session.sample.shape[1:]) for session in probed}
        scales = {_guidance(session) for session in probed}
        for what, values in (("noise schedules", schedules), ("shapes", shapes), ("guidance scales", scales)):
            if len(values) > 1:
                raise DodeError(f"the calls have different {what} ({sorted(map(str, values))}); take each alone")
        first = probed[0]
        self.owners = [(number, row) for number, session in enumerate(probed) for row in range(session.rows)]
        # what a row answered tells its prompt from others, for caches
        marks = [
            int(digest((one,))[:15], 16) for session in probed for one in session.output[: session.rows].float().cpu()
        ]
        rows = torch.arange(len(marks)), torch.tensor(marks)
        self.schedule, self.kinds = first.scheduler.schedule, first.scheduler.config
        core = NetworkDenoiser(
            self.network,
            settings.prediction(self.kinds),
            self.schedule.integer,
            dtype=torch.promote_types(first.sample.dtype, torch.float32),
            device=str(first.sample.device),
            fingerprint=self.fingerprint,
            guidance=scales.pop(),
        )
        threshold = settings.threshold(self.kinds)
        denoiser = core if threshold is None else Thresholded(core, threshold)
        conditions = Conditioning(lambda indices: tuple(part[[i % len(marks) for i in indices]] for part in rows))
        return Model(
            denoiser,
            self.schedule,
            shapes.pop(),
            type(self.pipe).__name__,
            conditions,
            decode=self.decode,
            form=settings.form(self.kinds),
        )

    def network(self, x: Tensor, t: Tensor, cond: tuple[Tensor, Tensor]) -> Tensor:
        """The pipeline at states (B, *shape), times (B,) of the schedule, the same for all, and rows."""
        node = self.schedule.node(float(t[0]))
        time = settings.told(self.kinds, node)
        waiting: dict[int, dict[int, list[int]]] = {}
        for position, number in enumerate(cond[0].tolist()):
            call, row = self.owners[number]
            waiting.setdefault(call, {}).setdefault(row, []).append(position)
        output = torch.empty_like(x)
        for call, by_row in waiting.items():
            for turn in range(max(map(len, by_row.values()))):
                asked = {row: places[turn] for row, places in by_row.items() if turn < len(places)}
                first = next(iter(asked.values()))  # stands in rows that are not asked for
                batch = x[[asked.get(row, first) for row in self._rows(call)]]
                answer = network_output(self.kinds, self._asked(call, batch, time), batch, node.t)
                for row, position in asked.items():
                    output[position] = answer[row]
        return output

    def _rows(self, call: int) -> range:
        return range(sum(owner == call for owner, _ in self.owners))

    def _asked(self, call: int, x: Tensor, time: float) -> Tensor:
        """One evaluation of a call, in a session that has one left."""
        if not self.open:
            raise DodeError(
                "this model ended with its `with dode.from_diffusers(…)`: use it inside, or attach a sampler to the "
                "pipeline and sample there"
            )
        session = self.sessions.get(call)
        if session is not None and not session.left:
            self.sessions.pop(call).stop()
        if call not in self.sessions:
            self.sessions[call] = Session(self, call, LONG)
            self.evaluations += len(x)
        self.evaluations += len(x)
        try:
            answer = self.sessions[call].ask(x, time)
        except BaseException:  # of the call, or Ctrl-C: whoever asks again gets a session of its own
            self.sessions.pop(call).stop()
            raise
        return answer.to(x)

    def decode(self, states: Tensor) -> Tensor:
        """States (n, *shape) → what the call returns for them, by a run of one evaluation for all rows of a call.

        Returns:
            Images (n, C, H, W) in [−1, 1]; or, where the call returns its latents, these.
        """
        count, made, before = len(self._rows(0)), [], dict(vars(self.pipe))
        for start in range(0, len(states), count):
            part = states[start : start + count]
            x = torch.cat([part, part[:1].expand(count - len(part), *part.shape[1:])])
            try:
                restore(self.pipe, self.variables)
                made.append(_images(self._shown(x))[: len(part)])
            finally:
                restore(self.pipe, before)
        return torch.cat(made).to(states.device)

    def _shown(self, x: Tensor) -> Any:
        """What the first call returns if these states are its last."""
        scheduler = self.scheduler()
        self.pipe.scheduler = scheduler
        scheduler.attend(Last(x), 1)
        self.evaluations += len(x)
        with torch.no_grad():
            return self.calls[0](self.pipe, torch.Generator("cpu").manual_seed(self.seed * 1000), self.steps)


@dataclass(frozen=True)
class Last:
    """In place of a session: every question is answered by the same last state."""

    x: Tensor

    def answer(self, output: Tensor, sample: Tensor) -> tuple[Tensor, float]:
        """The state, at no time."""
        return torch.cat([self.x.to(sample)] * (len(sample) // len(self.x))), 0.0


def _guidance(session: Session) -> float | None:
    """The guidance scale that a call showed."""
    restore(session.pipe, session.variables)
    return guidance_of(session.pipe)


def _images(result: Any) -> Tensor:
    """What a call returned, as a tensor: pictures of diffusers with pixels in [−1, 1], or tensors as they are."""
    for name in ("images", "frames", "audios"):
        result = getattr(result, name, result)
    if isinstance(result, Tensor):
        return result
    pictures = np.stack([np.asarray(one) for one in result])
    pixels = torch.as_tensor(pictures).float() / (255 if pictures.dtype == np.uint8 else 1)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return 2 * pixels.movedim(-1, 1) - 1
