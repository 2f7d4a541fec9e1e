"""The simulator of CUDA kernels beside Numba's, on equal kernels in one run.

    python benchmarks/simulator.py            needs numba-cuda (requirements-peers.txt)
    python benchmarks/simulator.py --ours     without the comparison

Three kernels, the same algorithm on the same data with the same grid and block:
vector addition of 1e5 elements, sums in shared memory of 1e5 elements by blocks of 256
threads, and tiled multiplication of 128 x 128 matrices. Both sides must agree with the
float64 reference. Times of the comparison are processor times of all processes, which
a busy machine does not lengthen. Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs in a
process of its own, once for each kernel after a block that does not count. Ours is the
median over whole calls with one worker, copies included: in the fast, the checked
(default) and the profiled build, and from `Kernel(...)` to the first result with an
empty cache of kernels, so that the compiler runs. The figures of the simulator by
itself follow, by the clock on the wall: the first call from the cache, the cost of a
launch, flash attention; and accesses a second of processor time. The result is printed
and written to ``benchmarks/results/simulator.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from simulator_cases import SMALL, Case, cases, verify

from cuda_labs import Kernel, flash
from cuda_labs.sim import build, process

RESULTS = record.RESULTS / "simulator.json"
GOALS = {"cold": 250.0, "fast": 5000.0, "checked": 2000.0, "profiled": 1000.0}
LIMITS = {
    "first call, cached (s)": 0.050,
    "first profile, cached (s)": 0.100,
    "first call of a small kernel, compiled (s)": 0.5,
    "launch (s)": 0.5e-3,
    "flash forward 4 x 256 x 64, fast (s)": 0.040,
    "flash forward 4 x 256 x 64, profiled (s)": 1.2,
}
ACCESSES_GOAL = 20e6


# --- Numba's simulator ---------------------------------------------------------------


def numba_times() -> dict[str, float]:
    """Processor seconds of each kernel on Numba's simulator, results verified."""
    kernels = importlib.import_module("numba_kernels")
    times = {}
    for case in cases():
        run = getattr(kernels, case.kernel)
        run[(1,), case.block](*case.args)  # imports and caches, not counted
        case.arrays[-1].fill(np.nan)
        start = time.process_time()
        run[case.grid, case.block](*case.args)
        times[case.name] = time.process_time() - start
        verify(case, case.arrays[-1])
    return times


# --- ours ----------------------------------------------------------------------------


def processor() -> float:
    """Processor seconds so far: this process, its helper, and compilers that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + used.ru_utime + used.ru_stime
    for helper in process._current:
        schedule = Path(f"/proc/{helper._child.pid}/schedstat").read_text()
        total += 1e-9 * int(schedule.split()[0])
    return total


def seconds(
    run: Callable[[], object],
    repeats: int = 9,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median of `repeats` times, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return statistics.median(times)


def our_times(case: Case) -> dict[str, float]:
    """Seconds of a call in each build; the results are verified."""
    found = {}
    for name, checked in (("fast", False), ("checked", True)):
        k = Kernel(case.source, case.kernel, checked=checked)
        case.arrays[-1].fill(np.nan)
        found[name] = seconds(
            lambda k=k: k(case.grid, case.block, case.args), clock=processor
        )
        verify(case, case.arrays[-1])
    k = Kernel(case.source, case.kernel)
    case.arrays[-1].fill(np.nan)
    found["profiled"] = seconds(
        lambda: k.profile(case.grid, case.block, case.args), 5, processor
    )
    verify(case, case.arrays[-1])
    return found


_FIRST = """
import sys, time
sys.path.insert(0, {folder!r})
import simulator, simulator_cases
from cuda_labs import Kernel
from cuda_labs.sim import build
build.host()
source, name, grid, block, args = simulator_cases.first({which!r})
wall, used = time.perf_counter(), simulator.processor()
k = Kernel(source, name)
(k.profile if {profiled!r} else k)(grid, block, args)
print(time.perf_counter() - wall, simulator.processor() - used)
"""


def first_call(which: str, cache: Path, profiled: bool = False) -> tuple[float, float]:
    """From `Kernel(...)` to the first result in a new process: seconds on the wall
    and of the processor."""
    folder = str(Path(__file__).parent)
    code = _FIRST.format(folder=folder, which=which, profiled=profiled)
    env = os.environ | {"CUDA_LABS_CACHE": str(cache)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    wall, used = map(float, done.stdout.split())
    return wall, used


def by_itself() -> dict[str, Any]:
    """What the simulator promises without a comparison."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        cache.chmod(0o700)
        found["first call of a small kernel, compiled (s)"] = first_call(
            "small", cache
        )[0]
        first_call("small", cache, profiled=True)
        for name, profiled in (("first call", False), ("first profile", True)):
            times = [first_call("small", cache, profiled)[0] for _ in range(5)]
            found[f"{name}, cached (s)"] = statistics.median(times)
    x = np.zeros(32, np.float32)
    k = Kernel(SMALL, "one")
    found["launch (s)"] = seconds(lambda: k((1,), (32,), (x,)), 200)
    case = cases()[2]
    k = Kernel(case.source, case.kernel)
    profile = k.profile(case.grid, case.block, case.args)
    lanes = sum(
        a.lanes for line in profile.lines.values() for a in line.access.values()
    )
    found["accesses of the matrix product"] = lanes
    rng = np.random.default_rng(0)
    q, key, v = (rng.standard_normal((4, 256, 64), dtype=np.float32) for _ in range(3))
    name = "flash forward 4 x 256 x 64"
    found[f"{name}, fast (s)"] = seconds(
        lambda: flash.forward(q, key, v, checked=False), 5
    )
    found[f"{name}, profiled (s)"] = seconds(lambda: flash.profile(q, key, v), 3)
    return found


def geometric(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values)))


def main() -> int:
    """The command line; 0 when every goal is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ours", action="store_true", help="without the comparison")
    parser.add_argument("--numba", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.numba:
        print(json.dumps(numba_times()))
        return 0
    result = record.about(
        ("numba-cuda", "numba", "numpy"), compiler=build.compiler().identity
    )
    build.host()
    times = {case.name: our_times(case) for case in cases()}
    for name, found in times.items():
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            cache.chmod(0o700)
            found["cold"] = first_call(name, cache)[1]
    alone = by_itself()
    accesses = alone["accesses of the matrix product"]
    for flavour in ("checked", "profiled"):
        rate = accesses / times[cases()[2].name][flavour]
        alone[f"accesses a second, {flavour}"] = rate
    result |= {"seconds": times, "by itself": alone}
    missed = [name for name, limit in LIMITS.items() if alone[name] > limit]
    if alone["accesses a second, profiled"] < ACCESSES_GOAL:
        missed.append("accesses a second, profiled")
    if not options.ours:
        env = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
        command = [sys.executable, __file__, "--numba"]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
        numba = json.loads(done.stdout)
        ratios = {
            flavour: geometric([numba[name] / times[name][flavour] for name in numba])
            for flavour in GOALS
        }
        missed += [name for name, goal in GOALS.items() if ratios[name] < goal]
        result |= {"seconds of numba": numba, "times faster": ratios, "goals": GOALS}
        for name, ratio in ratios.items():
            print(f"{name:48}{ratio:12.0f} x numba, goal {GOALS[name]:.0f}")
    for name, value in alone.items():
        limit = f", at most {LIMITS[name]:g}" if name in LIMITS else ""
        print(f"{name:48}{value:12.4g}{limit}")
    result |= {"limits": LIMITS, "missed": missed}
    print("missed: " + ", ".join(missed) if missed else "every goal is reached")
    record.save(RESULTS, result)
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
