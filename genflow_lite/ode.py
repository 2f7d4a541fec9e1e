"""Explicit solvers for dx/dt = u(x, t), and the velocity of the probability flow.

A solver is a plain function of a velocity, a start and a grid. It checks its
arguments when it is called and returns an iterator over n + 1 states for a grid of
n + 1 times, the start included; nothing is computed before the iteration asks for
it. The grid is any strictly monotone one, in either direction: from noise to data it
samples, from data to noise it inverts.

States are float64 and fresh: what you do to one does not reach the next. Gradients
flow through the steps as through any torch code; where u is a network and you only
want samples, iterate under ``torch.no_grad()``. A step that overflows is passed on as
it is, with its infinities: how a solver diverges is a thing to look at.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from genflow_lite._runge_kutta import dormand_prince
from genflow_lite._shapes import (
    Denoiser,
    State,
    Time,
    check_count,
    check_path,
    check_state,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite._stepping import Velocity, _arguments, _one_step, _shape_kept
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

__all__ = [
    "adams_bashforth",
    "dormand_prince",
    "euler",
    "heun",
    "last",
    "rk4",
    "velocity",
]


def velocity(denoise: Denoiser, path: GaussianPath) -> Velocity:
    """The probability-flow velocity of a denoiser, u(x, t) = dx/dt.

    u = (σ̇/σ) x + (α̇ − α σ̇/σ) D(x, t),

    which is f x − ½ g² s without the score, and so finite where α = 0 and f is not
    (t = 1 on the cosine and the rectified path). The returned function takes
    x (B, *S) and t () or (B,) and gives (B, *S).

    Raises ValueError at the call if the denoiser was made for another path, and
    later for a t at which σ = 0: there x is data already and u has no limit in this
    form; stop at a t_min > 0. Source: Song, Sohl-Dickstein et al. (2021), 4.3.
    """
    denoise = _checked_denoiser(denoise, path)

    def u(x: State, t: Time) -> State:
        x = check_state(x)
        time = time_like(t, x)
        alpha, sigma = path.alpha(time), path.sigma(time)
        if not holds(sigma > 0):
            raise ValueError(
                f"t reaches sigma = 0 on the path {path.name}, where the velocity "
                "sigma'/sigma (x - alpha D) + alpha' D is 0/0; stop at a t_min > 0"
            )
        alpha_rate, sigma_rate = path.rates(time)
        growth = sigma_rate / sigma
        pull = alpha_rate - alpha * growth
        return expand_like(growth, x) * x + expand_like(pull, x) * denoise(x, time)

    return u


def euler(u: Velocity, x: State, ts: Tensor) -> Iterator[State]:
    """Euler's method, x_r = x_t + (r − t) u(x_t, t): order 1, one evaluation a step.

    u: called as (x, t) with x (B, *S) and t a 0-dim tensor; returns (B, *S).
    x: the start, (B, *S), widened to float64. ts: (n + 1,) float64, strictly monotone
    in [0, 1]. Yields n + 1 fresh states (B, *S), the first of them the start.

    Raises TypeError or ValueError at the call, naming the argument, for arguments of
    another kind, shape or order and for an x that is not finite; and at the step for
    a velocity of another shape than x.
    """

    def step(f: Velocity, x: Tensor, t: Tensor, _: Tensor, h: float) -> Tensor:
        return x.add(f(x, t), alpha=h)

    return _one_step(step, u, x, ts)


def heun(u: Velocity, x: State, ts: Tensor) -> Iterator[State]:
    """Heun's method, a trapezoid through Euler's prediction: order 2, two evaluations.

    k₁ = u(x_t, t), k₂ = u(x_t + h k₁, r), x_r = x_t + ½ h (k₁ + k₂), h = r − t.
    Arguments, result and errors as in ``euler``. Source: Heun (1900); Karras et
    al. (2022), algorithm 1, for its use on diffusion models.
    """

    def step(f: Velocity, x: Tensor, t: Tensor, r: Tensor, h: float) -> Tensor:
        k1 = f(x, t)
        return x.add(k1 + f(x.add(k1, alpha=h), r), alpha=h / 2)

    return _one_step(step, u, x, ts)


def rk4(u: Velocity, x: State, ts: Tensor) -> Iterator[State]:
    """The classical Runge–Kutta method: order 4, four evaluations a step.

    k₁ = u(x, t), k₂ = u(x + ½h k₁, t + ½h), k₃ = u(x + ½h k₂, t + ½h),
    k₄ = u(x + h k₃, r), x_r = x + h/6 (k₁ + 2k₂ + 2k₃ + k₄), h = r − t.
    Arguments, result and errors as in ``euler``. Source: Kutta (1901).
    """

    def step(f: Velocity, x: Tensor, t: Tensor, r: Tensor, h: float) -> Tensor:
        return _rk4_step(f, x, t, r, h, f(x, t))

    return _one_step(step, u, x, ts)


def adams_bashforth(
    u: Velocity, x: State, ts: Tensor, *, order: int = 3
) -> Iterator[State]:
    """Adams–Bashforth: one new evaluation a step, the earlier ones used again.

    x_r = x_t + Σ_j w_j u_j, where the w_j integrate from t to r the polynomial
    through the last ``order`` velocities u_j = u(x_{t_j}, t_j). The weights follow
    the grid, so steps of any unequal lengths keep the order. The first order − 1
    steps, which have no history yet, are steps of ``rk4``; that makes
    n + 3 (order − 1) evaluations for n steps (fewer for a grid shorter than that).

    order: 1 (Euler's method) to 4. Other arguments, result and errors as in
    ``euler``; ValueError too for another order. Source: Bashforth and Adams (1883);
    Hairer, Nørsett and Wanner (1993), section III.5, for unequal steps.
    """
    if check_count(order, name="order") > 4:
        raise ValueError(f"order must be 1, 2, 3 or 4; got {order}")
    f, start, ts = _arguments(u, x, ts)
    weights, steps = _ab_weights(ts, order).tolist(), ts.diff().tolist()

    def states() -> Iterator[State]:
        x, history = start, []
        yield x.clone()
        for k in range(len(ts) - 1):
            history = [f(x, ts[k]), *history[: order - 1]]
            if len(history) < order:
                x = _rk4_step(f, x, ts[k], ts[k + 1], steps[k], history[0])
            else:
                for w, v in zip(weights[k], history, strict=True):
                    x = x.add(v, alpha=w)
            yield x.clone()

    return states()


def last(states: Iterable[Tensor]) -> Tensor:
    """The last state of a solver or a sampler, with none of the others kept.

    Raises ValueError if there is no state at all.
    """
    end = None
    for end in states:  # noqa: B007
        pass
    if end is None:
        raise ValueError("states must hold at least one state; it was empty")
    return end


def _checked_denoiser(denoise: Denoiser, path: GaussianPath) -> Denoiser:
    """The denoiser, with the shape of its result checked; both arguments vetted."""
    if not callable(denoise):
        raise TypeError(f"denoise must be a function (x, t); got {describe(denoise)}")
    check_path(denoise, check_is_path(path))
    return _shape_kept(denoise, "denoise")


def _rk4_step(
    f: Velocity, x: Tensor, t: Tensor, r: Tensor, h: float, k1: Tensor
) -> Tensor:
    middle = t + h / 2
    k2 = f(x.add(k1, alpha=h / 2), middle)
    k3 = f(x.add(k2, alpha=h / 2), middle)
    k4 = f(x.add(k3, alpha=h), r)
    return x.add(k1.add(k2, alpha=2).add(k3, alpha=2).add(k4), alpha=h / 6)


def _ab_weights(ts: Tensor, order: int) -> Tensor:
    """(n, order): row k weighs u at t_k, t_{k−1}, ... in the step t_k → t_{k+1}.

    With c_j = (t_{k−j} − t_k)/h the weights h ω_j are those that integrate the powers
    1, c, c², ... over [0, 1] without error: Σ_j ω_j c_j^q = 1/(q + 1). Rows without
    a full history stay 0; they are never used.
    """
    n = len(ts) - 1
    weights = ts.new_zeros(n, order)
    powers = torch.arange(order, dtype=ts.dtype, device=ts.device)
    for k in range(order - 1, n):
        h = ts[k + 1] - ts[k]
        nodes = (ts[k - order + 1 : k + 1].flip(0) - ts[k]) / h
        vandermonde = nodes[None, :] ** powers[:, None]
        weights[k] = h * torch.linalg.solve(vandermonde, 1 / (powers + 1))
    return weights
