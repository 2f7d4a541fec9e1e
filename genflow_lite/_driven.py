"""Euler–Maruyama and Milstein on a given Wiener path, and the checks of paths.

The public names live in ``genflow_lite.brownian``. Both schemes are handed the path
that drives them, so that a scheme, its refinement and an exact solution can all be run
on one and the same noise.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.func import jvp

from genflow_lite._shapes import check_floating, describe

Coefficient = Callable[[Tensor, Tensor], Tensor | float]


def as_float64(value: object, name: str, device: torch.device | None = None) -> Tensor:
    """A number, a sequence of numbers or a tensor as a float64 tensor."""
    try:
        return torch.as_tensor(value, dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{name} must be a number or a tensor of numbers; got {describe(value)}"
        ) from None


def check_times(ts: Tensor | Sequence[float], least: int) -> Tensor:
    """``ts`` as a float64 grid, strictly increasing, with at least ``least`` times."""
    grid = as_float64(ts, "ts")
    if grid.ndim != 1 or len(grid) < least:
        raise ValueError(
            f"ts must be a 1-D grid of at least {least} times; "
            f"got shape {tuple(grid.shape)}"
        )
    if not (torch.isfinite(grid).all() and (grid.diff() > 0).all() and grid[0] >= 0):
        raise ValueError(
            "ts must be finite, strictly increasing and start at ts[0] ≥ 0; got "
            f"{grid.tolist() if len(grid) <= 8 else '[…]'}"
        )
    return grid


def check_paths(w: Tensor, name: str = "w") -> Tensor:
    """Paths w of shape (n, T, *S), widened to float64, or an error that names them."""
    w = check_floating(w, name=name)
    if w.ndim < 2:
        raise ValueError(
            f"{name} must have shape (n, T, *S), paths then times; got {tuple(w.shape)}"
        )
    return w.to(torch.float64)


def check_match(grid: Tensor, w: Tensor) -> None:
    """Refuse paths that do not hold one value for each time of the grid."""
    if w.shape[1] != len(grid):
        raise ValueError(
            f"w must hold one value for each of the {len(grid)} times in ts along "
            f"its second axis; got shape {tuple(w.shape)}"
        )


def sde_euler(
    drift: Coefficient,
    diffusion: Coefficient,
    x: Tensor | float,
    ts: Tensor | Sequence[float],
    w: Tensor,
) -> Iterator[Tensor]:
    """Euler–Maruyama for dX = a(X, t) dt + b(X, t) dW on the given Wiener path w.

    X_{k+1} = X_k + a(X_k, t_k) h_k + b(X_k, t_k) (w_{k+1} − w_k), one noise for each
    component (diagonal noise): strong order ½ (1 if b does not depend on x), weak
    order 1.

    drift, diffusion: called as (x, t), x of shape (n, *S), t a 0-dim tensor; they
    return a number or a tensor that broadcasts to x's shape.
    x: the start, a number or a tensor that broadcasts to (n, *S). w: (n, T, *S).
    Yields T fresh tensors (n, *S), the start included.

    Raises TypeError or ValueError at the call for arguments of another kind or that do
    not fit together, and at the step for a coefficient of the wrong kind or shape.
    Source: Kloeden and Platen (1992), 10.2.
    """
    grid, start, w = _sde_arguments(drift, diffusion, x, ts, w)

    def steps() -> Iterator[Tensor]:
        state = start
        yield state.clone()
        for k, h in enumerate(grid.diff()):
            a = _coefficient("drift", drift, state, grid[k])
            b = _coefficient("diffusion", diffusion, state, grid[k])
            state = state + a * h + b * (w[:, k + 1] - w[:, k])
            yield state.clone()

    return steps()


def sde_milstein(
    drift: Coefficient,
    diffusion: Coefficient,
    x: Tensor | float,
    ts: Tensor | Sequence[float],
    w: Tensor,
) -> Iterator[Tensor]:
    """Milstein's scheme; arguments, result and errors as in ``sde_euler``.

    X_{k+1} = X_k + a h + b ΔW + ½ b ∂b/∂x (ΔW² − h), everything at (X_k, t_k): the
    term that Itô's lemma adds for b. Strong and weak order 1.

    ∂b/∂x comes from ``torch.func.jvp``, so ``diffusion`` must be made of
    differentiable operations. It must also act on each entry of x alone: if the
    noise on one component depends on another, the scheme of order 1 needs iterated
    integrals ∫W_i dW_j that w on its grid does not determine (Lévy areas). Such a
    diffusion is found by a test of its Jacobian at (x, ts[0]) and raises ValueError
    at the call. Source: Milstein (1975); Kloeden and Platen (1992), 10.3.
    """
    grid, start, w = _sde_arguments(drift, diffusion, x, ts, w)

    def b_and_slope(state: Tensor, t: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        b, slope, *_ = jvp(
            lambda v: _coefficient("diffusion", diffusion, v, t), (state,), (tangent,)
        )
        return b, slope

    # J is diagonal exactly when J v = (J 1) v for every v; one v with unrelated
    # entries finds any other J, barring a coincidence.
    probe = torch.cos(torch.arange(start.numel(), dtype=start.dtype) + 1)
    probe = probe.reshape(start.shape).to(start.device)
    rows = b_and_slope(start, grid[0], torch.ones_like(start))[1]
    if not torch.allclose(b_and_slope(start, grid[0], probe)[1], rows * probe):
        raise ValueError(
            "diffusion must act on each entry of x alone (diagonal noise): where the "
            "noise on one entry depends on another, Milstein needs Lévy areas; use "
            "sde_euler"
        )

    def steps() -> Iterator[Tensor]:
        state = start
        yield state.clone()
        for k, h in enumerate(grid.diff()):
            a = _coefficient("drift", drift, state, grid[k])
            b = _coefficient("diffusion", diffusion, state, grid[k])
            bdb = b_and_slope(state, grid[k], b)[1]
            dw = w[:, k + 1] - w[:, k]
            state = state + a * h + b * dw + bdb * (dw.square() - h) / 2
            yield state.clone()

    return steps()


def _sde_arguments(
    drift: Coefficient,
    diffusion: Coefficient,
    x: Tensor | float,
    ts: Tensor | Sequence[float],
    w: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    grid, w = check_times(ts, 2), check_paths(w)
    check_match(grid, w)
    for name, function in (("drift", drift), ("diffusion", diffusion)):
        if not callable(function):
            raise TypeError(
                f"{name} must be a function (x, t); got {describe(function)}"
            )
    shape = (w.shape[0], *w.shape[2:])
    start = as_float64(x, "x", w.device)
    if not torch.isfinite(start).all():
        raise ValueError("x must be finite")
    try:
        return grid.to(w.device), start.expand(shape).clone(), w
    except RuntimeError:
        raise ValueError(
            f"x must broadcast to (n, *S) = {shape}, the shape of w without its time "
            f"axis; got {tuple(start.shape)}"
        ) from None


def _coefficient(name: str, fn: Coefficient, x: Tensor, t: Tensor) -> Tensor:
    value = as_float64(fn(x, t), f"what {name} returns", x.device)
    try:
        return value.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} must return a number or a tensor that broadcasts to x of shape "
            f"{tuple(x.shape)} (one noise for each entry); got {tuple(value.shape)}"
        ) from None
