"""What diffusers' users need: the scheduler, the swap with every check, and calibration through a pipeline's own call.

Saved pipelines name this module and `DODEScheduler` in it: neither may ever move.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from dode.fashion_pipeline import fashion_pipeline, unfolded
from dode.pipeline_distance import distances
from dode.pipelines import attach, calibrate
from dode.scheduler import DODEScheduler

# diffusers looks for SchedulerMixin beside the class when it loads a pipeline
__all__ = ["DODEScheduler", "SchedulerMixin", "attach", "calibrate", "distances", "fashion_pipeline", "unfolded"]
