"""Conditional flow matching: regress on the velocity of one pair (x0, eps).

The mean of the conditional velocity given x_t is the marginal velocity, so least
squares on pairs learns the field that carries one law into the other (Lipman et al.
2023; Albergo and Vanden-Eijnden 2023; Liu et al. 2023). Here time runs from data to
noise: dx/dt points towards the noise, and sampling integrates it backwards.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from genflow_lite._shapes import (
    Numbers,
    State,
    Time,
    check_floating,
    check_same_shape,
    check_state,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

Interpolant = Callable[[Tensor, Tensor, Tensor], Tensor]
"""I(x0, eps, t) with I = x0 at t = 0 and eps at t = 1; t comes as (B, 1, ..., 1)."""

TimeWeight = Callable[[Tensor], Tensor]
"""A weight w(t), of the shape of t."""


def conditional_velocity(path: GaussianPath, x0: State, eps: State, t: Time) -> State:
    """The velocity of one pair on a Gaussian path, dx_t/dt = α̇_t x0 + σ̇_t ε; (B, *S).

    x0, eps (B, *S), t () or (B,). Raises ValueError where a rate is infinite (VP and a
    table of betas at t = 0), and for shapes that do not fit.
    """
    x0, eps = _pair(x0, eps)
    return _moved(path, x0, eps, time_like(t, x0))[1]


def interpolate(
    interpolant: Interpolant, x0: State, eps: State, t: Time
) -> tuple[State, State]:
    """(x_t, dx_t/dt) of an interpolant, the derivative by forward autodiff.

    interpolant: called as I(x0, eps, t) with t as (B, 1, ..., 1), so that formulas can
        be written as they stand; any function that torch can differentiate in t. Noise
        of its own, such as γ(t) z with γ(0) = γ(1) = 0, it brings along.
    x0, eps (B, *S): two ends, of any laws and any coupling. t: () or (B,).

    Raises ValueError where x_t or dx_t/dt is not finite or has another shape than x0.
    """
    if not callable(interpolant):
        raise TypeError(
            f"interpolant must be a function (x0, eps, t); got {describe(interpolant)}"
        )
    x0, eps = _pair(x0, eps)
    t = time_like(t, x0).expand(len(x0))
    laid = expand_like(t, x0).clone()
    x_t, rate = jvp(
        lambda s: interpolant(x0, eps, s), (laid,), (torch.ones_like(laid),)
    )[:2]
    for name, value in (("interpolant", x_t), ("the derivative of interpolant", rate)):
        if not isinstance(value, Tensor) or value.shape != x0.shape:
            raise ValueError(
                f"{name} must be a tensor of x0's shape {tuple(x0.shape)}; "
                f"got {describe(value)}"
            )
        if not holds(value.isfinite()):
            raise ValueError(f"{name} must be finite; it is not at one of the given t")
    return x_t, rate


def flow_matching_loss(
    net: Callable[[Tensor, Tensor], Tensor],
    path: GaussianPath,
    x0: State,
    eps: State,
    t: Time,
    *,
    weight: TimeWeight | None = None,
) -> Numbers:
    """w(t) · mean over S of |net(x_t, t) − (α̇ x0 + σ̇ ε)|², x_t = α x0 + σ ε; (B,).

    The conditional flow matching loss of a Gaussian path. Its minimiser is the velocity
    of the probability flow, `velocity(denoise, path)` of the best denoiser, whatever
    the coupling of x0 and eps, as long as each has its law.

    net: called as net(x, t) with x (B, *S) and t (B,), in the dtype of x0.
    weight: a function of t alone; None is 1. Drawing t from a density that is not
        uniform (`genflow_lite.timesteps`) weights in the same way.

    Raises ValueError for a network whose output has not the shape of its input, where
    a rate or the weight is infinite, and for shapes that do not fit.
    """
    x0, eps = _pair(x0, eps)
    t = time_like(t, x0)
    return _regression(net, *_moved(path, x0, eps, t), t, weight)


def interpolant_loss(
    net: Callable[[Tensor, Tensor], Tensor],
    interpolant: Interpolant,
    x0: State,
    eps: State,
    t: Time,
    *,
    weight: TimeWeight | None = None,
) -> Numbers:
    """w(t) · mean over S of |net(I_t, t) − dI_t/dt|² for any interpolant I; (B,).

    I_t = I(x0, eps, t) as in `interpolate`; eps is whatever stands at t = 1, and need
    not be normal. net, weight and errors as in `flow_matching_loss`.
    """
    x_t, target = interpolate(interpolant, x0, eps, t)
    return _regression(net, x_t, target, time_like(t, x_t), weight)


def _moved(
    path: GaussianPath, x0: Tensor, eps: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """x_t of a pair and its velocity, at a time that fits."""
    (alpha, alpha_rate), (sigma, sigma_rate) = check_is_path(path)._moving(t)
    if not holds(alpha_rate.isfinite() & sigma_rate.isfinite()):
        raise ValueError(
            f"t must be where the path {path.name} has finite rates; alpha' or sigma' "
            "is infinite at one of the given t (take t > 0)"
        )
    a, s, a_rate, s_rate = (
        expand_like(c, x0) for c in (alpha, sigma, alpha_rate, sigma_rate)
    )
    return a * x0 + s * eps, a_rate * x0 + s_rate * eps


def _regression(
    net: Callable[[Tensor, Tensor], Tensor],
    x_t: Tensor,
    target: Tensor,
    t: Tensor,
    weight: TimeWeight | None,
) -> Tensor:
    t = t.to(x_t.dtype).expand(len(x_t))
    out = net(x_t, t)
    if not isinstance(out, Tensor) or out.shape != x_t.shape:
        raise ValueError(
            f"net must return a tensor of x's shape {tuple(x_t.shape)}; "
            f"got {describe(out)}"
        )
    error = (out - target).square().reshape(len(x_t), -1).mean(1)
    if weight is None:
        return error
    w = weight(t)
    if not isinstance(w, Tensor) or w.shape != t.shape:
        raise TypeError(
            f"weight must return a tensor of t's shape {tuple(t.shape)}; "
            f"got {describe(w)}"
        )
    if not holds(w.isfinite()):
        raise ValueError("weight must be finite; it is not at one of the given t")
    return w * error


def _pair(x0: State, eps: State) -> tuple[Tensor, Tensor]:
    x0 = check_state(x0, name="x0")
    check_same_shape(x0, check_floating(eps, name="eps"), names=("x0", "eps"))
    return x0, eps
