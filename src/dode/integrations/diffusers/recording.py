"""A pipeline's call watched at its scheduler: the teacher's run recorded, and outputs answered that a fit asks for.

The scheduler hands every output to a script, which says the next state.  What the pipeline does around it (prompts,
guidance, control networks) needs no knowledge here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dode.denoisers import NetworkDenoiser, Thresholded
from dode.distillation.api import sampler_of
from dode.distillation.config import FitTarget
from dode.distillation.fit import Batch, Fit, fitting
from dode.distillation.runner import Teachers, fit_target, teachers_of
from dode.distillation.teacher import TeacherRun
from dode.errors import DodeError
from dode.fingerprint import schedule_hash
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.plan_selection import guidance_of
from dode.model import Model
from dode.plan import Plan
from dode.progress import Progress
from dode.samplers import Sampler
from dode.sampling import State, advance, begin, move, observe
from dode.schedule import Schedule

if TYPE_CHECKING:
    from dode.integrations.diffusers.scheduler import DODEScheduler

Call = Callable[[Any, torch.Generator, int], Any]  # (pipe, generator, num_inference_steps): runs the pipeline once
DENOISERS = ("unet", "transformer", "prior")  # what pipelines call their network


def denoiser_of(pipe: Any) -> nn.Module:
    """The network of a pipeline."""
    for name in DENOISERS:
        found = pipe.components.get(name)
        if isinstance(found, nn.Module):
            return found
    raise DodeError(f"{type(pipe).__name__} has none of {', '.join(DENOISERS)} to calibrate")


@contextmanager
def evaluating(pipe: Any) -> Iterator[None]:
    """All networks in evaluation mode, as dropout would have its say in what is measured; then each part as it was."""
    networks = [one for one in pipe.components.values() if isinstance(one, nn.Module)]
    training = [part for one in networks for part in one.modules() if part.training]  # some may rest on purpose
    try:
        for one in networks:
            one.eval()
        yield
    finally:
        for part in training:
            part.training = True


class Answered(Exception):
    """Stops a call when the output that was asked for is there."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


@dataclass(eq=False)
class Job:
    """One calibration: its pipeline, its calls, and what the first run told."""

    pipe: Any
    scheduler: "DODEScheduler"
    calls: Sequence[Call]
    seed: int
    steps: int  # said to the calls; the plan decides
    progress: Progress | None
    fingerprint: str  # of the network, taken before anything long
    ask: Callable[[Model], list[FitTarget]] = field(init=False)
    model: Model | None = None
    asked: list[FitTarget] = field(default_factory=list)
    taught: Teachers = field(default_factory=list)
    done: int = 0

    def run(self) -> dict[int, Sampler]:
        """Teach and fit everything that is asked for."""
        made: dict[int, Sampler] = {}
        number = 0
        while number == 0 or number < len(self.taught):  # the first run says how many teachers there are
            recorders = [Recorder(self, number) for _ in self.calls]
            for i, recorder in enumerate(recorders):
                self.watch(i, recorder)
                recorder.check()
            lesson, members = self.taught[number]
            model = self.described(recorders)
            for position, member in enumerate(members):
                student = self.asked[member]
                found = self.fitted(student, recorders, lesson, position)
                total = sum(len(recorder.x_T) for recorder in recorders)
                student = replace(student, config=replace(student.config, samples=total))
                made[student.nfe] = sampler_of(model, student, lesson, found)
            number += 1
        return dict(sorted(made.items()))

    def fitted(self, student: FitTarget, recorders: "Sequence[Recorder]", lesson: TeacherRun, position: int) -> Fit:
        """The student's fit: in one run of a single call, else by asking every call again and again."""
        targets = [[recorder.kept[k] for k in lesson.targets[position]] for recorder in recorders]
        if len(self.calls) == 1 and student.config.form.directions is not None:
            script = Dialogue(self, student, recorders[0].x_T, targets[0])
            self.watch(0, script)
            return script.found()
        batches = [
            Batch(recorder.start, Asker(self, i, student.plan, recorder.x_T), known.__getitem__)
            for i, (recorder, known) in enumerate(zip(recorders, targets, strict=True))
        ]
        return fit_target(student, batches, lambda calls: None)

    def watch(self, number: int, script: Any) -> None:
        """One call of the pipeline under a script."""
        self.scheduler._script = script
        generator = torch.Generator("cpu").manual_seed(self.seed * 1000 + number)
        self.calls[number](self.pipe, generator, self.steps)

    def tick(self) -> None:
        """One network evaluation more."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total())

    def total(self) -> int:
        """Evaluations in all: the teachers' and the fits'."""
        each = sum(_evaluations(student, len(self.calls) == 1) for student in self.asked)
        return len(self.calls) * (sum(lesson.plan.nfe for lesson, _ in self.taught) + each)

    def begin(self, schedule: Schedule, config: settings.Config) -> None:
        """What is to be taught, once the pipeline has told its schedule."""
        if self.model is not None:
            if schedule_hash(self.model.schedule) != schedule_hash(schedule):
                raise DodeError("the calls have different noise schedules (other image sizes?); calibrate each alone")
            return
        name = type(self.pipe).__name__
        core = NetworkDenoiser(no_network, settings.prediction(config), schedule.integer)
        threshold = settings.threshold(config)
        denoiser = core if threshold is None else Thresholded(core, threshold)
        self.model = Model(denoiser, schedule, (), name, form=settings.form(config))
        self.asked = self.ask(self.model)
        self.taught = teachers_of(self.model, self.asked)

    def described(self, recorders: "Sequence[Recorder]") -> Model:
        """The model that the calibration is for."""
        assert self.model is not None
        shapes = {tuple(recorder.x_T.shape[1:]) for recorder in recorders}
        if len(shapes) > 1:
            raise DodeError(f"the calls have states of different shapes, {shapes}; calibrate each alone")
        scales = {recorder.guidance for recorder in recorders}
        if len(scales) > 1:
            raise DodeError(f"the calls have guidance scales {sorted(scales, key=str)}; calibrate each alone")
        core = replace(
            self.model.denoiser.core,
            fingerprint=self.fingerprint,
            guidance=scales.pop(),
            dtype=recorders[0].x_T.dtype,
        )
        return replace(self.model, shape=shapes.pop(), denoiser=self.model.denoiser.rewrap(core))


def no_network(x: Tensor, t: Tensor, cond: Any) -> Tensor:
    raise DodeError("this sampler was calibrated through a pipeline; attach it to the pipeline and sample there")


class Recorder:
    """The teacher's run: follows its plan and keeps the states that are targets."""

    def __init__(self, job: Job, number: int) -> None:
        self.job, self.number = job, number
        self.kept: dict[int, Tensor] = {}
        self.seen = 0

    def plan(self, config: settings.Config, schedule: Schedule) -> Plan:
        self.job.begin(schedule, config)
        self.lesson = self.job.taught[self.number][0]
        return self.lesson.plan

    def open(self, sample: Tensor, first: int) -> State:
        if self.seen:
            raise DodeError("the call ran the pipeline twice; it must run it once, from noise to data")
        self.x_T, self.guidance = sample, guidance_of(self.job.pipe)
        self.wanted = self.lesson.wanted
        return begin(self.lesson.plan, sample.to(torch.promote_types(sample.dtype, torch.float32)))

    def start(self) -> Tensor:
        return self.x_T

    def advance(self, state: State, output: Tensor) -> State:
        state = advance(self.lesson.plan, state, output)
        self.job.tick()
        self.seen = state.k
        if state.k in self.wanted:
            self.kept[state.k] = state.y
        return state

    def check(self) -> None:
        """ValueError unless the call ran the whole plan."""
        if not hasattr(self, "lesson") or self.seen != self.lesson.plan.nfe:
            raise DodeError(
                f"the call made {self.seen} of the teacher's evaluations and stopped; it must run the pipeline once, "
                "from noise to data, with the scheduler that the pipeline has"
            )


class Dialogue:
    """A single call answers the fit: every output goes to it, and it says the next state."""

    def __init__(self, job: Job, student: FitTarget, x_T: Tensor, targets: Sequence[Tensor]) -> None:
        self.job, self.student, self.x_T = job, student, x_T
        config = student.config
        assert config.form.directions is not None
        batch = Batch(lambda: x_T, lambda x, node: x, targets.__getitem__)  # the call is the network
        forced = config.states == "teacher"
        self.steps = fitting(student.plan, [batch], config.rho, config.form.directions, forced)
        self.result: Fit | None = None

    def plan(self, config: settings.Config, schedule: Schedule) -> Plan:
        self.job.begin(schedule, config)
        return self.student.plan

    def open(self, sample: Tensor, first: int) -> State:
        _repeated(sample, self.x_T)
        return next(self.steps)[1]

    def advance(self, state: State, output: Tensor) -> State:
        self.job.tick()
        try:
            return self.steps.send(output)[1]
        except StopIteration as done:
            self.result = done.value
            return move(done.value.plan, observe(done.value.plan, state, output))

    def found(self) -> Fit:
        """The fit; ValueError if the call stopped before its end."""
        if self.result is None:
            raise DodeError("the call did not make all evaluations of its second run; it must run to the end")
        return self.result


def _evaluations(student: FitTarget, single: bool) -> int:
    """Of a fit, in each call: N in one run, N·(N + 1)/2 where runs are stopped, and that for every constant tried."""
    if student.config.form.constant is None and single:
        return student.nfe
    return student.runs * student.nfe * (student.nfe + 1) // 2


class Replay:
    """A call is led through known states up to one evaluation, and stopped with its output."""

    def __init__(self, job: Job, plan: Plan, states: Sequence[Tensor]) -> None:
        self.job, self.fixed, self.states = job, plan, states

    def plan(self, config: settings.Config, schedule: Schedule) -> Plan:
        self.job.begin(schedule, config)
        return self.fixed

    def open(self, sample: Tensor, first: int) -> State:
        _repeated(sample, self.states[0])
        return begin(self.fixed, self.states[0])

    def advance(self, state: State, output: Tensor) -> State:
        self.job.tick()
        if state.k + 1 == len(self.states):
            raise Answered(output)
        return state._replace(k=state.k + 1, y=self.states[state.k + 1])


class Asker:
    """A call as a network: the output at a state, by running the call up to there."""

    def __init__(self, job: Job, number: int, plan: Plan, x_T: Tensor) -> None:
        self.job, self.number, self.plan, self.x_T = job, number, plan, x_T
        self.states: list[Tensor] = []

    def __call__(self, y: Tensor, node: Any) -> Tensor:
        if len(self.states) == self.plan.nfe or torch.equal(y, self.x_T):  # another run begins
            self.states = []
        self.states.append(y)
        try:
            self.job.watch(self.number, Replay(self.job, self.plan, self.states))
        except Answered as answer:
            return answer.output
        raise DodeError(f"call {self.number + 1} ended before evaluation {len(self.states)}; it must be repeatable")


def _repeated(sample: Tensor, x_T: Tensor) -> None:
    if sample.shape != x_T.shape or not torch.equal(sample, x_T):
        raise DodeError("the call started from other noise than in its first run; use the generator that it is given")
