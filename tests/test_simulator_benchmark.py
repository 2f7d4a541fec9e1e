"""benchmarks/simulator.py: both sides compute the same, and a wrong one is seen."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cuda_labs import Kernel, check

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import simulator  # pyright: ignore[reportMissingImports] # noqa: E402
import simulator_cases  # pyright: ignore[reportMissingImports] # noqa: E402

CASES = simulator_cases.cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kernel)
def test_ours_is_verified_and_a_wrong_result_refused(case) -> None:
    Kernel(case.source, case.kernel)(case.grid, case.block, case.args)
    result = case.arrays[-1]
    assert simulator_cases.verify(case, result) <= 1
    result.flat[-1] += 0.01
    with pytest.raises(check.Mismatch):
        simulator_cases.verify(case, result)
    result.flat[0] = np.nan
    with pytest.raises(check.Mismatch, match="not finite"):
        simulator_cases.verify(case, result)


NUMBA = """
import importlib, json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import simulator_cases
kernels = importlib.import_module("numba_kernels")
found = {}
for case in simulator_cases.cases():
    out = case.arrays[-1]
    out.fill(np.nan)
    getattr(kernels, case.kernel)[(1,), case.block](*case.args)
    found[case.kernel] = out.ravel()[np.isfinite(out.ravel())].tolist()
print(json.dumps(found))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="no numba-cuda: see requirements-peers.txt",
)
def test_one_block_of_numbas_kernels_equals_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NUMBA, str(BENCHMARKS)],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for case in CASES:
        out = case.arrays[-1]
        out.fill(np.nan)
        Kernel(case.source, case.kernel)((1,), case.block, case.args)
        ours = out.ravel()[np.isfinite(out.ravel())]
        theirs = np.array(found[case.kernel])
        assert ours.size == theirs.size > 0
        assert theirs == pytest.approx(ours, rel=2e-5, abs=2e-5)


def test_means_and_clocks() -> None:
    assert simulator.geometric([2.0, 8.0]) == pytest.approx(4.0)
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 25.0])
    calls: list[int] = []
    found = simulator.seconds(lambda: calls.append(1), 3, lambda: next(ticks))
    assert (found, len(calls)) == (5.0, 4)  # of 9, 1 and 5


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux only")
def test_processor_time_counts_the_helper() -> None:
    source = (
        'extern "C" __global__ void spin(float* x) {\n'
        "  float v = x[threadIdx.x];\n"
        "  for (int i = 0; i < 20000000; ++i) v = v * 0.5f + 1.0f;\n"
        "  x[threadIdx.x] = v;\n}"
    )
    k = Kernel(source, "spin", checked=False)
    x = np.zeros(1, np.float32)
    k(1, 1, (x,))
    before = simulator.processor()
    k(1, 1, (x,))
    # 2e7 dependent multiply-adds take at least 8 cycles each: 0.03 s at 5 GHz.
    assert simulator.processor() - before > 0.02
