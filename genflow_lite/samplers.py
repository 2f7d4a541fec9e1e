"""Samplers that go from noise to data with a denoiser D(x, t) = E[x0 | x_t = x].

Every sampler walks along an explicit grid ``ts`` and knows both ends t → r of a step.
It checks its arguments when it is called, prepares the coefficients of all steps at
once, and returns an iterator over n + 1 fresh float64 states, the start included. A
grid that ends where σ = 0 ends with the denoiser itself: the last state is D(x, t) at
the last noisy time.

A step is always one of x_r = A x_t + B D(x_t, t) + C z with numbers A, B, C that come
from the path, so the samplers differ in those three numbers and in nothing else.
Gradients flow through the steps; where D is a network and you only want samples,
iterate under ``torch.no_grad()``.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import (
    Denoiser,
    State,
    check_count,
    check_generator,
    check_grid,
    check_number,
)
from genflow_lite._stepping import _start
from genflow_lite.ode import _checked_denoiser
from genflow_lite.paths import GaussianPath

__all__ = ["ddim", "euler_maruyama", "langevin"]

Direction = Literal["either", "decreasing"]


def euler_maruyama(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    kappa: float = 1.0,
    generator: Generator | None,
) -> Iterator[State]:
    """Euler–Maruyama on the reverse-time family, all with the marginals of the path.

    dx = [f x − ½(1 + κ²) g² s] dt + κ g dW̄ with the score s = (α D − x)/σ². Over a step
    t → r of length h = t − r > 0, all coefficients at t,

    x_r = x − h [f x − ½(1 + κ²) g² s(x, t)] + κ g √h z.

    κ = 1 is the reverse-time SDE of Anderson (1982), κ = 0 Euler's method on the
    probability-flow ODE. A last step to σ = 0 gives D(x, t) instead. Weak order 1.

    denoise: D(x, t) with x (B, *S) and t a 0-dim tensor. x: (B, *S), a sample of the
    marginal at ts[0]. ts: (n + 1,) float64, strictly decreasing in [0, 1].
    kappa: a number ≥ 0. generator: draws z; may be None when kappa is 0.

    Raises TypeError or ValueError at the call for arguments of another kind, shape
    or order, an x that is not finite, a denoiser made for another path, and a grid
    that reaches α = 0, where f is infinite (start from a t_max < 1).
    Source: Song, Sohl-Dickstein et al. (2021); Karras et al. (2022); Cao et al. (2023)
    for the family.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    kappa = _number(kappa, "kappa")
    if kappa > 0:
        check_generator(generator)
    t, h = ts[:-1], -ts.diff()
    f, g = path.sde(t)
    pull = h * (1 + kappa**2) / 2 * g.square() / path.sigma(t).square()
    a, b, c = 1 - h * f - pull, pull * path.alpha(t), kappa * g * h.sqrt()
    if path.sigma(ts[-1]) == 0:
        a[-1], b[-1], c[-1] = 0, 1, 0
    return _walk(denoise, x, t, (a, b, c), generator)


def ddim(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    eta: float = 0.0,
    generator: Generator | None = None,
) -> Iterator[State]:
    """The sampler of DDIM for any Gaussian path; η = 1 is DDPM's ancestral step.

    With ε̂ = (x − α_t D)/σ_t, over a step t → r,

    x_r = α_r D + √(σ_r² − s²) ε̂ + s z,   s² = η² σ_r² (1 − α_t² σ_r² / (α_r² σ_t²)).

    At η = 1, s² is the variance of q(x_r | x_t, x0), DDPM's β̃ on its own grid. At
    η = 0 no noise is drawn and the step is Euler's on the probability flow in the
    coordinates x/α against σ/α; it may then run in either direction (inversion). A
    last step to σ = 0 gives D(x, t), whatever η.

    denoise, x, ts as in ``euler_maruyama``, but a grid may reach α = 0 and, for
    η = 0, may increase. eta: 0 ≤ η ≤ 1. generator: draws z; needed when eta > 0.

    Raises TypeError or ValueError at the call as ``euler_maruyama`` does, for an eta
    outside [0, 1], and for a grid that starts at σ = 0, where ε̂ is 0/0 (start from a
    t_min > 0). Source: Song, Meng and Ermon (2021), equations 12 and 16.
    """
    eta = _number(eta, "eta")
    if eta > 1:
        raise ValueError(
            "eta must lie in [0, 1], or the step asks for more noise than sigma_r "
            f"holds; got {eta}"
        )
    direction: Direction = "decreasing" if eta > 0 else "either"
    denoise, x, ts = _arguments(denoise, path, x, ts, direction)
    if eta > 0:
        check_generator(generator)
    alpha, sigma = path.alpha(ts), path.sigma(ts)
    if sigma[0] == 0:
        raise ValueError(
            f"ts starts at sigma = 0 on the path {path.name}, where the noise in x is "
            "0/0; start from a t_min > 0"
        )
    # How much of σ_r would be left of the noise at t, carried along by the signal.
    kept = alpha[:-1] * sigma[1:] / (alpha[1:] * sigma[:-1])
    # (1 − ρ)(1 + ρ) keeps digits that 1 − ρ² loses on a fine grid.
    share = eta**2 * (1 - kept) * (1 + kept)
    # An inversion has ρ > 1, infinite where it reaches α_r = 0, and no noise at all.
    share = share.clamp(0, 1) if eta > 0 else torch.zeros_like(kept)
    c = sigma[1:] * share.sqrt()
    a = sigma[1:] * (1 - share).sqrt() / sigma[:-1]
    return _walk(denoise, x, ts[:-1], (a, alpha[1:] - a * alpha[:-1], c), generator)


def langevin(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    steps: int,
    step_size: float = 0.2,
    generator: Generator,
) -> Iterator[State]:
    """Annealed Langevin dynamics: ``steps`` updates at every noise level of the grid.

    x ← x + ½ δ_t s(x, t) + √δ_t z with δ_t = step_size · σ_t², which in terms of D is
    x ← x + ½ step_size (α_t D(x, t) − x) + √step_size σ_t z.

    x is a sample of the marginal at ts[0], so the updates begin at ts[1]; each later
    state has been through the updates at its own time. A last time with σ = 0 allows
    no update and gives D(x, t) of the level before. On a path that ends with σ > 0
    (VE), denoise the last state yourself: ``denoise(x, ts[-1])``.

    step_size has no units; at fixed t the updates are stable for 0 < step_size < 4,
    and where the data is one point they settle on the variance σ_t²/(1 − step_size/4)
    and not on σ_t²: the law of the updates is right only in the limit of small steps.
    The default is the ratio ε/σ_L² of the source's experiments.

    denoise, x, ts as in ``euler_maruyama``, but a grid may reach α = 0.

    Raises TypeError or ValueError at the call as ``euler_maruyama`` does, for
    steps < 1 and for a step_size outside (0, 4).
    Source: Song and Ermon (2019), algorithm 1.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    steps = check_count(steps, name="steps")
    step_size = _number(step_size, "step_size")
    if not 0 < step_size < 4:
        raise ValueError(
            "step_size must lie in (0, 4), where the updates are stable; "
            f"got {step_size}"
        )
    check_generator(generator)
    half = step_size / 2
    alpha, sigma = path.alpha(ts).tolist(), path.sigma(ts).tolist()

    def states() -> Iterator[State]:
        state = x
        yield state.clone()
        for k in range(1, len(ts)):
            if sigma[k] == 0:
                yield denoise(state, ts[k - 1]).to(state, copy=True)
                return
            a, b = 1 - half, half * alpha[k]
            c = math.sqrt(step_size) * sigma[k]
            t = ts[k]
            for _ in range(steps):
                z = _normal_like(state, generator)
                state = torch.add(state * a, denoise(state, t), alpha=b)
                state = state.add(z, alpha=c)
            yield state.clone()

    return states()


def _arguments(
    denoise: Denoiser, path: GaussianPath, x: State, ts: Tensor, direction: Direction
) -> tuple[Denoiser, Tensor, Tensor]:
    denoise = _checked_denoiser(denoise, path)
    ts = check_grid(ts, direction=direction).clone()
    return denoise, _start(x), ts


def _number(value: float, name: str) -> float:
    value = check_number(value, name=name)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and at least 0; got {value}")
    return value


def _normal_like(x: Tensor, generator: Generator) -> Tensor:
    z = torch.randn(
        x.shape, generator=generator, dtype=x.dtype, device=generator.device
    )
    return z.to(x.device)


def _walk(
    denoise: Denoiser,
    x: State,
    ts: Tensor,
    coefficients: tuple[Tensor, Tensor, Tensor],
    generator: Generator | None,
) -> Iterator[State]:
    """x ← A x + B D(x, t) + C z along the grid; z is drawn only where C is not 0."""
    a, b, c = (column.tolist() for column in coefficients)

    def states() -> Iterator[State]:
        state = x
        yield state.clone()
        for k, t in enumerate(ts):
            state = torch.add(state * a[k], denoise(state, t), alpha=b[k])
            if generator is not None and c[k] != 0:
                state = state.add(_normal_like(state, generator), alpha=c[k])
            yield state.clone()

    return states()
