"""Fit the shapes of the spacing "adams" in genflow_lite/grids.py.

    python benchmarks/tune_adams.py mixture_2d
    python benchmarks/tune_adams.py gaussians_64d

Five numbers for each task make the sum of log RMS errors of the sampler `adams` least
over 5, 10 and 20 calls, from pure noise and after a jump to a level σ/α of 6.1 in the
plane and of 11.8 in 64 dimensions, by L-BFGS with differences, starting at an even
grid in τ. The problems are of the kind of `samplers.py`, and none of its own: ring
mixtures of seeds 0 to 5, and the digits' other half, each with noise of its own. Takes
about a minute and two minutes of processor time. The results are copied into
``ADAMS_PLANE`` and ``ADAMS_DIGITS`` by hand.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
import torch
from samplers import STRAIGHT, Problem, digit_mixture, ring_mixture
from scipy.optimize import minimize

import genflow_lite as gl

CALLS = (5, 10, 20)
LEVEL = {"mixture_2d": 6.1, "gaussians_64d": 11.8}


def problems_of(task: str) -> list[Problem]:
    """What the shape of a task is fitted to."""
    if task == "gaussians_64d":
        return [Problem(digit_mixture(half=0), 150, 1)]
    return [Problem(ring_mixture(seed), 64, seed) for seed in range(6)]


def errors(
    shape: list[float], problems: list[Problem], level: float | None
) -> list[float]:
    """RMS distance from the flow from pure noise, one for each number of calls."""
    t_max = 1.0 if level is None else level / (1 + level)
    found = []
    for n in CALLS:
        ts = gl.time_grid(STRAIGHT, n, spacing="adams", shape=shape, t_max=t_max)
        squares = []
        for problem in problems:
            x = problem.noise if level is None else problem.jumped(t_max)
            end = gl.last(gl.adams(problem.denoise, STRAIGHT, x, ts))
            squares.append((end - problem.exact(math.inf)).square().sum(-1))
        found.append(float(torch.cat(squares).mean().sqrt()))
    return found


def main() -> int:
    """The command line."""
    torch.set_num_threads(1)
    task = sys.argv[1] if len(sys.argv) > 1 else ""
    if task not in LEVEL:
        print(__doc__)
        return 2
    problems = problems_of(task)

    def loss(shape: np.ndarray) -> float:
        both = (errors(shape.tolist(), problems, at) for at in (None, LEVEL[task]))
        return sum(math.log(e) for found in both for e in found)

    options = {"maxiter": 40, "maxfun": 260, "eps": 1e-3}
    best = minimize(loss, np.zeros(5), method="L-BFGS-B", options=options)
    shape = [round(float(c), 3) for c in best.x]
    print(f"{task}: shape {tuple(shape)} after {best.nfev} evaluations")
    for level in (None, LEVEL[task]):
        print(f"  from {level or 'pure noise'}: {errors(shape, problems, level)}")
    print(f"  {time.process_time():.0f} s of processor time")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
