"""The rows of `samplers.py`: our samplers on their grids, and the peers, run alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from peers import Peer, Run
from sampler_problems import STRAIGHT, Problem
from torch import Tensor

import genflow_lite as gl
from genflow_lite.grids import (
    ADAMS_DIGITS,
    ADAMS_DIGITS_JUMP,
    ADAMS_PLANE,
    ADAMS_PLANE_JUMP,
)

TUNED = "Adams, tuned grid"
"""The row of ours that was tuned to problems of a task's kind, but not to its own."""
SHAPES = {"mixture_2d": ADAMS_PLANE, "gaussians_64d": ADAMS_DIGITS}
JUMP_SHAPES = {"mixture_2d": ADAMS_PLANE_JUMP, "gaussians_64d": ADAMS_DIGITS_JUMP}


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
