"""What diffusers' users need: the scheduler, the swap with every check, and calibration through a pipeline's own call.

Saved pipelines name this module and `DODEScheduler` in it: neither may ever move.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from dode.integrations.diffusers.bundled_pipeline import fashion_pipeline, unfolded
from dode.integrations.diffusers.calibrate import attach, calibrate
from dode.integrations.diffusers.evaluate import distances
from dode.integrations.diffusers.scheduler import DODEScheduler

# diffusers looks for SchedulerMixin beside the class when it loads a pipeline
__all__ = ["DODEScheduler", "SchedulerMixin", "attach", "calibrate", "distances", "fashion_pipeline", "unfolded"]
