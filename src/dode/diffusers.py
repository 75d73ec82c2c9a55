"""What diffusers' users need: the scheduler, the swap with every check, and calibration through a pipeline's own call.

Saved pipelines name this module and `DODEScheduler` in it: neither may ever move.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from dode.pipeline.distance import distances
from dode.pipeline.fashion import fashion_pipeline, unfolded
from dode.pipeline.scheduler import DODEScheduler
from dode.pipeline.swap import attach, calibrate

# diffusers looks for SchedulerMixin beside the class when it loads a pipeline
__all__ = ["DODEScheduler", "SchedulerMixin", "attach", "calibrate", "distances", "fashion_pipeline", "unfolded"]
