"""The paths that have names: VP, VE, sub-VP, cosine, rectified, and a DDPM table.

Each is a `GaussianPath`: its (α, σ), σ² where that is smoother than σ, and the inverse
of its log-SNR, all in the form that keeps its digits at both ends of time. Times are
t = 0 for data and t = 1 for noise.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from genflow_lite._gaussian_path import GaussianPath, TimeFunction
from genflow_lite._shapes import Numbers, check_finite, check_positive

__all__ = [
    "GaussianPath",
    "cosine",
    "from_betas",
    "rectified",
    "sub_vp",
    "ve",
    "vp",
]


def _linear_betas(
    beta_min: float, beta_max: float
) -> tuple[TimeFunction, TimeFunction]:
    """B(t) = ∫₀ᵗ β for β linear from beta_min to beta_max, and its inverse."""
    check_positive(beta_min, name="beta_min")
    check_positive(beta_max, name="beta_max")
    if beta_max < beta_min:
        raise ValueError(
            f"beta_max must be at least beta_min = {beta_min}; got {beta_max}"
        )
    slope = beta_max - beta_min

    def integral(t: Tensor) -> Tensor:
        return t * (beta_min + 0.5 * slope * t)

    def inverse(b: Tensor) -> Tensor:
        # The root of ½ slope t² + beta_min t = b in the form without cancellation.
        return 2 * b / (beta_min + (beta_min**2 + 2 * slope * b).sqrt())

    return integral, inverse


def _preserving(
    integral: TimeFunction, inverse: TimeFunction, name: str, steps: int | None = None
) -> GaussianPath:
    """The path α = exp(−½B), σ² = 1 − α² of an integrated β."""
    return GaussianPath(
        alpha=lambda t: (-0.5 * integral(t)).exp(),
        # 1 − α² by expm1: the difference would lose every digit near t = 0.
        sigma=lambda t: (-torch.expm1(-integral(t))).sqrt(),
        square=lambda t: -torch.expm1(-integral(t)),
        # α² = e^−B = sigmoid(λ).
        inverse=lambda lam: inverse(-logsigmoid(lam)),
        steps=steps,
        name=name,
    )


def vp(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """The variance-preserving path: α = exp(−½∫β), σ² = 1 − α², β linear in t.

    Then f = −β/2 and g² = β (Song, Sohl-Dickstein et al. 2021, appendix C). At t = 0
    σ̇ is infinite and g² = beta_min. Raises ValueError unless
    0 < beta_min ≤ beta_max < ∞.
    """
    integral, inverse = _linear_betas(beta_min, beta_max)
    return _preserving(integral, inverse, f"vp({beta_min:g}, {beta_max:g})")


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """The sub-VP path: α = exp(−½∫β), σ = 1 − α², β linear in t.

    Then f = −β/2 and g² = β (1 − α⁴) (Song, Sohl-Dickstein et al. 2021, appendix C),
    0 at t = 0. Raises ValueError unless 0 < beta_min ≤ beta_max < ∞.
    """
    integral, inverse = _linear_betas(beta_min, beta_max)
    return GaussianPath(
        alpha=lambda t: (-0.5 * integral(t)).exp(),
        sigma=lambda t: -torch.expm1(-integral(t)),
        # σ/α = 1/α − α = 2 sinh(B/2), and σ/α = e^(−λ/2).
        inverse=lambda lam: inverse(2 * (0.5 * (-0.5 * lam).exp()).asinh()),
        name=f"sub_vp({beta_min:g}, {beta_max:g})",
    )


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> GaussianPath:
    """The variance-exploding path: α = 1, σ = sigma_min^(1−t) sigma_max^t.

    Then f = 0 and g² = 2 σ² log(sigma_max/sigma_min) (Song, Sohl-Dickstein et al.
    2021, appendix C). Data at t = 0 carries noise sigma_min already, and the start at
    t = 1 is N(0, sigma_max²), not N(0, 1). Raises ValueError unless
    0 < sigma_min < sigma_max < ∞.
    """
    check_positive(sigma_min, name="sigma_min")
    check_positive(sigma_max, name="sigma_max")
    if sigma_max <= sigma_min:
        raise ValueError(
            f"sigma_max must exceed sigma_min = {sigma_min}; got {sigma_max}"
        )
    low, high = math.log(sigma_min), math.log(sigma_max)
    return GaussianPath(
        alpha=torch.ones_like,
        # Powers, not one exponential: x⁰ = 1 and x¹ = x make both ends exact.
        sigma=lambda t: torch.pow(sigma_min, 1 - t) * torch.pow(sigma_max, t),
        inverse=lambda lam: (-0.5 * lam - low) / (high - low),
        name=f"ve({sigma_min:g}, {sigma_max:g})",
    )


def cosine() -> GaussianPath:
    """The cosine path: α = cos(πt/2), σ = sin(πt/2).

    Then f = −(π/2) tan(πt/2) and g² = π tan(πt/2): 0 at t = 0, infinite at t = 1,
    where α = 0 exactly. (Nichol & Dhariwal 2021, without their offset.)
    """
    return GaussianPath(
        # cos(πt/2) in floating point is 6e-17 at t = 1; this sine is 0.
        alpha=lambda t: (0.5 * math.pi * (1 - t)).sin(),
        sigma=lambda t: (0.5 * math.pi * t).sin(),
        inverse=lambda lam: (2 / math.pi) * (-0.5 * lam).exp().atan(),
        name="cosine",
    )


def rectified() -> GaussianPath:
    """The rectified path, a straight line: α = 1 − t, σ = t.

    Then f = −1/(1 − t) and g² = 2t/(1 − t): 0 at t = 0, infinite at t = 1, where
    α = 0 exactly. (Liu et al. 2023, with time turned so that t = 1 is noise.)
    """
    return GaussianPath(
        alpha=lambda t: 1 - t,
        sigma=lambda t: t.clone(),
        inverse=lambda lam: torch.sigmoid(-0.5 * lam),
        name="rectified",
    )


def from_betas(betas: Numbers) -> GaussianPath:
    """The path of a DDPM table β₁ … β_N: α = √ᾱ, σ = √(1 − ᾱ).

    ᾱ_n = ∏_{i ≤ n} (1 − β_i) holds at the knots t = n/N (Ho et al. 2020). Between them
    −log ᾱ is linear, so that f = ½ N log(1 − β_n) and g² = −2f are constant on the n-th
    interval; at a knot they are those of the interval to its right, at t = 1 to its
    left. betas (N,), each in (0, 1), is taken in float64. Raises TypeError for a tensor
    that is not floating-point, ValueError for another shape or value.
    """
    betas = check_finite(betas, name="betas")
    if betas.ndim != 1 or betas.shape[0] == 0:
        raise ValueError(
            f"betas must have shape (N,) with N >= 1; got {tuple(betas.shape)}"
        )
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError(
            "betas must lie strictly between 0 and 1; got values from "
            f"{betas.min().item():.6g} to {betas.max().item():.6g}"
        )
    n = betas.shape[0]
    knots = torch.arange(n + 1, dtype=torch.float64) / n
    increments = -torch.log1p(-betas)
    heights = torch.cat([increments.new_zeros(1), increments.cumsum(0)])
    return _preserving(
        integral=lambda t: _interpolate(t, knots, heights),
        inverse=lambda b: _interpolate(b, heights, knots),
        steps=n,
        name=f"from_betas(N={n})",
    )


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """The piecewise linear function through (xs, ys), extended at both ends."""
    flat = x.detach().reshape(-1)
    left = torch.searchsorted(xs.to(x.dtype), flat, right=True) - 1
    left = left.clamp(0, len(xs) - 2)

    def at(table: Tensor) -> Tensor:
        return table.index_select(0, left).reshape(x.shape)

    slope = at(ys.diff() / xs.diff()).to(x.dtype)
    return at(ys).to(x.dtype) + (x - at(xs).to(x.dtype)) * slope
