"""Makes plain `pytest --nbval book/` right, from any folder and from a fresh clone.

nbval's own settings depend on the working directory and on the machine; here they are
fixed: which text is not compared, which Python runs the notebooks, and an environment
for the kernels in which a second run prints what the first one printed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
NBVAL_DEFAULT_TIMEOUT = 2000
CELL_TIMEOUT = 300.0  # a whole chapter is meant to take less than 60 s

KERNEL_ENVIRONMENT = {
    "GENFLOW_STATIC": "1",  # interactive figures without a live widget
    "TQDM_DISABLE": "1",  # a progress bar never prints the same twice
    "OMP_NUM_THREADS": "1",  # sums in one order, and two kernels fit two cores
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}

collect_ignore_glob = ["_build/*"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if not getattr(option, "nbval", False):
        return
    if not option.nbval_sanitize_with:
        option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")
    if not option.nbval_kernel_name:
        option.nbval_current_env = True
    if option.nbval_cell_timeout == NBVAL_DEFAULT_TIMEOUT:
        option.nbval_cell_timeout = CELL_TIMEOUT
    # A notebook's cells share one kernel, so one worker has to run them all.
    if getattr(option, "dist", "no") in ("load", "worksteal"):
        option.dist = "loadscope"
    os.environ.update(KERNEL_ENVIRONMENT)
    # A kernel chooses its inline figures only where no backend is asked for.
    os.environ.pop("MPLBACKEND", None)
    folders = [str(ROOT / "tests" / "no_network"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
