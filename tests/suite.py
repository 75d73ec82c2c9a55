"""Strict for the suite: one thread, so that two workers do not fight; no gradients; the same examples every time."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("dode", deadline=None, derandomize=True)
settings.load_profile("dode")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield
