"""What every test runs under: one thread, the same examples, no network."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings

# The guard that the notebook test gives to its kernels, here for the tests themselves.
GUARD = Path(__file__).parent / "no_network" / "sitecustomize.py"
runpy.run_path(str(GUARD))

torch.set_num_threads(1)

# `book` draws the same examples every time; `stress` is for `make stress`.
settings.register_profile(
    "book",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "stress",
    deadline=None,
    max_examples=2000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "book"))
