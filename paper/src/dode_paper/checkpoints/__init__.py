"""Checkpoints that are pickles, read as data: nothing in them is run."""
