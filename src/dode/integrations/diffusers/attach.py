"""The swap of a pipeline's scheduler, with every check that the calibration belongs to it."""

from inspect import signature
from typing import Any

from dode import calibration
from dode.errors import DodeError
from dode.fingerprint import schedule_hash
from dode.integrations.diffusers import config as settings
from dode.integrations.diffusers.parts import fingerprint
from dode.integrations.diffusers.scheduler import DODEScheduler
from dode.messages import unknown
from dode.samplers import as_content

NOT_DROP_IN = ("CogVideoXPipeline", "StableCascadePipeline")  # they need a scheduler of their own


def attach(pipe: Any, calibration_or_file: Any, **config: Any) -> Any:
    """The pipeline with a calibrated DODEScheduler, once it is certain that they belong together.

    calibration_or_file: what `DODEScheduler` takes; config: options of the scheduler, such as on_missing="base".  The
    network is checked now, by its weights; the guidance scale in every call, for pipelines that show it.  Raises
    ValueError, with what was calibrated and what this is, and leaves the pipeline as it was.
    """
    drop_in(pipe)
    known_options = signature(DODEScheduler).parameters
    for name in config:
        if name not in known_options:  # which diffusers would pass over
            raise unknown("option of DODEScheduler", name, known_options)
    made = DODEScheduler.from_config(pipe.scheduler.config, calibration=as_content(calibration_or_file), **config)
    known = made.config["calibration"]
    calibration.recognise(known, type(pipe).__name__, fingerprint(pipe))
    calibration.match(known, {"prediction": settings.prediction(made.config)})
    if not made.config["use_dynamic_shifting"]:
        calibration.match(known, {"schedule": schedule_hash(made.schedule)})
    made._checks_guidance = True
    pipe.scheduler = made
    return pipe


def drop_in(pipe: Any) -> None:
    """DodeError for a pipeline that takes no other scheduler."""
    if type(pipe).__name__ in NOT_DROP_IN:
        raise DodeError(
            f"{type(pipe).__name__} works with a scheduler of its own only; dode.distill takes the network itself, "
            "wrapped by dode.from_callable"
        )
