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
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import record
import torch
from peers import Peer, Run, all_peers
from scipy.integrate import solve_ivp
from sklearn.datasets import load_digits
from torch import Tensor

import genflow_lite as gl
from genflow_lite.grids import (
    ADAMS_DIGITS,
    ADAMS_DIGITS_JUMP,
    ADAMS_PLANE,
    ADAMS_PLANE_JUMP,
)

RESULTS = record.RESULTS / "samplers.json"
CALLS = (5, 10, 20, 50)
LEVELS = (2.0, 3.4, 6.1, 11.8)
"""Levels σ/α to which a peer may jump."""
HELD_OUT, POINTS = (100, 101, 102), {"mixture_2d": 400, "gaussians_64d": 400}
TUNED = "Adams, tuned grid"
"""The row of ours that was tuned to problems of a task's kind, but not to its own."""
SHAPES = {"mixture_2d": ADAMS_PLANE, "gaussians_64d": ADAMS_DIGITS}
JUMP_SHAPES = {"mixture_2d": ADAMS_PLANE_JUMP, "gaussians_64d": ADAMS_DIGITS_JUMP}
PACKAGES = ("torch", "diffusers", "k-diffusion", "flow_matching", "torchdiffeq")
STRAIGHT = gl.rectified()


def ring_mixture(seed: int) -> gl.GaussianMixture:
    """Eight Gaussians near a ring of radius 0.8 to 1.6, with stds from .15 to .4."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    angle = 2 * math.pi * (torch.arange(8) + 0.6 * (uniform(8) - 0.5)) / 8
    radius = 0.8 + 0.8 * uniform(8)
    means = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    stds = 0.15 * (0.4 / 0.15) ** uniform(8, 2)
    tilt = math.pi * uniform(8)
    rows = [torch.stack([tilt.cos(), -tilt.sin()], -1)]
    rows.append(torch.stack([tilt.sin(), tilt.cos()], -1))
    turn = torch.stack(rows, dim=-2)
    covs = turn @ torch.diag_embed(stds.square()) @ turn.mT
    return gl.GaussianMixture(0.5 + uniform(8), means, covs=0.5 * (covs + covs.mT))


def digit_mixture(half: int) -> gl.GaussianMixture:
    """The mean and covariance of each digit, 8 × 8 in [−1, 1], plus 1e-3 I.

    Fitted to every second image: half 0 is for tuning, half 1 for measuring.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = images[half::2], labels[half::2]
    x, labels = torch.from_numpy(images) / 8 - 1, torch.from_numpy(labels)
    parts = [x[labels == k] for k in range(10)]
    covs = torch.stack([torch.cov(part.T) for part in parts])
    return gl.GaussianMixture(
        torch.tensor([float(len(part)) for part in parts], dtype=torch.float64),
        torch.stack([part.mean(0) for part in parts]),
        covs=0.5 * (covs + covs.mT) + 1e-3 * torch.eye(64, dtype=torch.float64),
    )


class Problem:
    """A mixture, noise to start from, and where the exact flow leads."""

    def __init__(self, mixture: gl.GaussianMixture, points: int, seed: int) -> None:
        self.mixture = mixture
        generator = torch.Generator().manual_seed(seed)
        shape = (points, mixture.means.shape[1])
        self.noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.calls = 0
        self.exact = cache(self._exact)
        self._denoise = mixture.denoiser(STRAIGHT)

    def denoise(self, y: Tensor, tau: Tensor) -> Tensor:
        """The denoiser on the rectified path, counted."""
        self.calls += 1
        return self._denoise(y, tau)

    def model(self, z: Tensor, e: float) -> Tensor:
        """The same in the peers' coordinates; e = ∞ stands for z = ε itself."""
        tau = 1.0 if e == math.inf else e / (1 + e)
        y = z if e == math.inf else z / (1 + e)
        return self.denoise(y, torch.tensor(tau, dtype=torch.float64))

    def _exact(self, level: float) -> Tensor:
        """The flow from the level e, at e ε, to the data."""
        tau = 1.0 if level == math.inf else level / (1 + level)
        end = 1e-6

        def rate(t: float, flat: np.ndarray) -> np.ndarray:
            y = torch.from_numpy(flat).reshape(self.noise.shape)
            d = self._denoise(y, torch.tensor(t, dtype=torch.float64))
            return ((y - d) / t).numpy().ravel()

        start = (tau * self.noise).numpy().ravel()
        tight = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-10}
        y = solve_ivp(rate, (tau, end), start, **tight).y[:, -1]
        y = torch.from_numpy(y).reshape(self.noise.shape)
        return self._denoise(y, torch.tensor(end, dtype=torch.float64))

    def jumped(self, tau: float) -> Tensor:
        """Pure noise carried to τ on the rectified path by the Gaussian's flow."""
        mean, cov = self.mixture.mean, self.mixture.cov
        return gl.gaussian_jump(self.noise, STRAIGHT, mean, cov, stop=tau)


class Method(NamedTuple):
    """A row of the table: run(problem, calls, jump) gives (end, exact end)."""

    name: str
    library: str
    run: Callable[[Problem, int, float | None], tuple[Tensor, Tensor]]


def of_peer(peer: Peer) -> Method:
    """A peer, started from its own level, or at a level after the jump."""

    def run(problem: Problem, calls: int, jump: float | None) -> tuple[Tensor, Tensor]:
        ready: Run = peer.ready(calls, math.inf if jump is None else jump)
        e = ready.start
        if jump is None:
            start = problem.noise if e == math.inf else e * problem.noise
            return ready.go(problem.model, start), problem.exact(e)
        start = problem.jumped(e / (1 + e)) * (1 + e)
        return ready.go(problem.model, start), problem.exact(math.inf)

    return Method(peer.name, peer.library, run)


Grid = Callable[[int, float], Tensor]
Sampler = Callable[..., Any]


def of_ours(name: str, sampler: Sampler, grid: Grid) -> Method:
    """A sampler of genflow_lite on the rectified path."""

    def run(problem: Problem, calls: int, jump: float | None) -> tuple[Tensor, Tensor]:
        ts = grid(calls, 1.0 if jump is None else jump / (1 + jump))
        start = problem.noise if jump is None else problem.jumped(float(ts[0]))
        end = gl.last(sampler(problem.denoise, STRAIGHT, start, ts))
        return end, problem.exact(math.inf)

    return Method(name, "genflow_lite", run)


def spaced(spacing: Any, **more: Any) -> Grid:
    """A grid of genflow_lite for n steps from t on."""
    return lambda n, t: gl.time_grid(STRAIGHT, n, spacing=spacing, t_max=t, **more)


def tuned_to(task: str) -> Grid:
    """The grid that was tuned to a task's kind, from pure noise or after a jump."""
    noise, jump = (spaced("adams", shape=s[task]) for s in (SHAPES, JUMP_SHAPES))
    return lambda n, t: noise(n, t) if t == 1.0 else jump(n, t)


def our_methods(task: str) -> list[Method]:
    """Four that are tuned to nothing, and one that is tuned to this kind of data."""

    def bashforth(*arguments: Any) -> Any:
        return gl.adams(*arguments, correct=False)

    return [
        of_ours("Adams–Bashforth-3, uniform", bashforth, spaced("uniform")),
        of_ours("Adams, uniform", gl.adams, spaced("uniform")),
        of_ours("DPM-Solver++(2M), Karras", gl.dpmpp_2m, spaced("karras")),
        of_ours("DPM-Solver++(3M), Karras", gl.dpmpp_3m, spaced("karras")),
        of_ours(TUNED, gl.adams, tuned_to(task)),
    ]


def transferred(task: str) -> Method:
    """The same with the grid that was tuned to the other kind of data."""
    other = next(name for name in SHAPES if name != task)
    return of_ours("Adams, the other task's grid", gl.adams, tuned_to(other))


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
