"""What users of diffusers need: the scheduler, and the swap with every check; `dode.from_diffusers` makes the models.

Saved pipelines name this module and `DODEScheduler` in it: neither may ever move.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from dode.integrations.diffusers.attach import attach
from dode.integrations.diffusers.bundled_pipeline import fashion_pipeline, unfolded
from dode.integrations.diffusers.scheduler import DODEScheduler

# diffusers looks for SchedulerMixin beside the class when it loads a pipeline
__all__ = ["DODEScheduler", "SchedulerMixin", "attach", "fashion_pipeline", "unfolded"]
