"""What every solver of dx/dt = u shares: checks at the call, steps on demand."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from genflow_lite._shapes import State, check_grid, check_state, describe, holds

Velocity = Callable[[Tensor, Tensor], Tensor]
"""u(x, t) = dx/dt: x (B, *S), t (), the result like x."""


def _shape_kept(function: Velocity, name: str) -> Velocity:
    def kept(x: Tensor, t: Tensor) -> Tensor:
        y = function(x, t)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            raise ValueError(
                f"{name} must return a tensor of x's shape {tuple(x.shape)}; "
                f"got {describe(y)}"
            )
        return y

    return kept


def _start(x: Tensor) -> Tensor:
    x = check_state(x)
    if not holds(x.isfinite()):
        raise ValueError("x must be finite; it holds NaN or infinity")
    return x.to(torch.float64, copy=True)


def _arguments(u: Velocity, x: State, ts: Tensor) -> tuple[Velocity, Tensor, Tensor]:
    if not callable(u):
        raise TypeError(f"u must be a function (x, t) -> dx/dt; got {describe(u)}")
    return _shape_kept(u, "u"), _start(x), check_grid(ts).clone()


def _one_step(
    step: Callable[[Velocity, Tensor, Tensor, Tensor, float], Tensor],
    u: Velocity,
    x: State,
    ts: Tensor,
) -> Iterator[State]:
    """Every one-step method: check now, step on demand."""
    f, start, ts = _arguments(u, x, ts)
    steps = ts.diff().tolist()

    def states() -> Iterator[State]:
        x = start
        yield x.clone()
        for (t, r), h in zip(pairwise(ts), steps, strict=True):
            x = step(f, x, t, r, h)
            yield x.clone()

    return states()
