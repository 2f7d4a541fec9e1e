"""Error against network calls: the samplers of genflow_lite beside other libraries'.

    python benchmarks/samplers.py                          both tasks
    python benchmarks/samplers.py mixture_2d               one of them

Two tasks, each a Gaussian mixture, whose denoiser is exact: eight anisotropic
Gaussians on an uneven ring in the plane (three mixtures), and ten Gaussians in 64
dimensions with the means and full covariances of the digits 0 to 9. Neither the
mixtures nor the noise are among those that `tune_adams.py` has seen; for the digits
that means means and covariances of the other half of the images. The error is the root
mean square of |x − x*|: x is where a sampler ends, x* where the probability flow leads
from the sampler's own start, by an adaptive Runge–Kutta method of order 8 at a
tolerance of 1e-9; the median of |x − x*| stands beside it, because in 64 dimensions a
few points that end in another mode make up most of the square. A wrapper around the
denoiser counts the calls.

With the jump, a method starts from pure noise with the closed-form flow of the
Gaussian of the mixture's mean and covariance; x* is then the flow from pure noise.
Every method, ours too, may jump to any of four levels, and the best of them counts,
chosen for each number of calls after seeing the errors.

The result is printed and written to ``benchmarks/results/samplers.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import record
import torch
from peers import all_peers
from sampler_methods import TUNED, Method, of_peer, our_methods, transferred
from sampler_problems import Problem, digit_mixture, ring_mixture

RESULTS = record.RESULTS / "samplers.json"
CALLS = (5, 10, 20, 50)
LEVELS = (2.0, 3.4, 6.1, 11.8)
"""Levels σ/α to which a peer may jump."""
HELD_OUT, POINTS = (100, 101, 102), {"mixture_2d": 400, "gaussians_64d": 400}
PACKAGES = ("torch", "diffusers", "k-diffusion", "flow_matching", "torchdiffeq")


def error(
    method: Method, problems: list[Problem], calls: int, at: float | None
) -> tuple[float, float]:
    """Root mean square and median distance over all points; inf where not finite."""
    distances = []
    for problem in problems:
        problem.calls = 0
        end, exact = method.run(problem, calls, at)
        if problem.calls > calls:
            raise RuntimeError(f"{method.name} took {problem.calls} calls, not {calls}")
        distances.append((end - exact).norm(dim=1))
    distance = torch.cat(distances).nan_to_num(nan=math.inf)
    return float(distance.square().mean().sqrt()), float(distance.median())


def row(method: Method, problems: list[Problem], jump: bool) -> dict[str, Any]:
    """The errors of one method at 5, 10, 20 and 50 calls."""
    ours = method.library == "genflow_lite"
    errors: list[float | None] = []
    medians: list[float | None] = []
    for calls in CALLS:
        places: tuple[float | None, ...] = LEVELS if jump else (None,)
        found = []
        for place in places:
            try:
                found.append(error(method, problems, calls, place))
            except (ValueError, IndexError, AssertionError) as refused:
                print(f"   {method.name}, {calls} calls: refused: {str(refused)[:70]}")
        finite = [values for values in found if math.isfinite(values[0])]
        best = min(finite, default=None)
        errors.append(float(f"{best[0]:.4g}") if best else None)
        medians.append(float(f"{best[1]:.4g}") if best else None)
    return {
        "method": method.name,
        "library": method.library,
        "ours": ours,
        "jump": jump,
        "calls": list(CALLS),
        "error": errors,
        "median": medians,
    }


def problems_of(task: str) -> list[Problem]:
    """The held-out problems of a task."""
    points = POINTS[task]
    if task == "gaussians_64d":
        return [Problem(digit_mixture(half=1), points, 200)]
    return [Problem(ring_mixture(seed), points, 1000 + seed) for seed in HELD_OUT]


def verdicts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ours against the best peer at each number of calls, with and without the jump."""
    found: dict[str, Any] = {}
    for jump in (False, True):
        own = [r for r in rows if r["ours"] and r["jump"] is jump]
        peers = [r for r in rows if not r["ours"] and r["jump"] is jump]
        for k, calls in enumerate(CALLS):
            valid = [r for r in peers if r["error"][k] is not None]
            if not valid:
                continue
            best = min(valid, key=lambda r: r["error"][k])
            tuned = next(r for r in own if r["method"] == TUNED)
            plain = min(
                (r for r in own if r["method"] != TUNED),
                key=lambda r: r["error"][k] or math.inf,
            )
            found[f"{'jump' if jump else 'no jump'}, {calls} calls"] = {
                "best peer": f"{best['method']} ({best['library']})",
                "its error": best["error"][k],
                "tuned / best peer": round(tuned["error"][k] / best["error"][k], 3),
                "untuned / best peer": round(plain["error"][k] / best["error"][k], 3),
                "untuned": plain["method"],
            }
    return found


def measure(task: str) -> dict[str, Any]:
    """All rows of a task."""
    began = time.process_time()
    problems = problems_of(task)
    methods = [*our_methods(task), *map(of_peer, all_peers())]

    def shown(method: Method, jump: bool) -> dict[str, Any]:
        found = row(method, problems, jump)
        errors = (f"{e:9.2e}" if e is not None else f"{'–':>9}" for e in found["error"])
        name = f"{method.library:14}{method.name:30}"
        print(f"{'jump' if jump else '    '} {name}{'  '.join(errors)}", flush=True)
        return found

    rows = [shown(method, jump) for jump in (False, True) for method in methods]
    across = [shown(transferred(task), jump) for jump in (False, True)]
    seconds = round(time.process_time() - began, 1)
    return {
        "cpu_seconds": seconds,
        "rows": rows,
        "transfer": across,
        "verdicts": verdicts(rows),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(POINTS)}")
    chosen = parser.parse_args().tasks or list(POINTS)
    for task in chosen:
        if task not in POINTS:
            parser.error(f"there is no task {task!r}; there are {', '.join(POINTS)}")
    torch.set_num_threads(1)
    tasks = record.load(RESULTS).get("tasks", {})
    meta = record.about(
        PACKAGES,
        error="RMS distance from the exact flow of the method's own start",
        **{"held out": {"mixture seeds": HELD_OUT, "points each": POINTS}},
    )
    for task in chosen:
        print(f"{task}\n{'':49}" + "".join(f"{n:>11}" for n in CALLS), flush=True)
        tasks[task] = measure(task)
        print(json.dumps(tasks[task]["verdicts"], indent=2, ensure_ascii=False))
    record.save(RESULTS, {"meta": meta, "tasks": tasks}, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
