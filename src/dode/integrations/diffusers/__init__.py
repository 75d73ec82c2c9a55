"""Behind `dode.diffusers`: the scheduler, what a pipeline's calls show of it, and pipelines as models."""
