"""Gaussian paths from data to noise: x_t = α_t x0 + σ_t ε.

A path is a pair of functions (α, σ) on [0, 1], and t = 0 is data, t = 1 noise. Every
other quantity follows from the pair, and its derivatives come from `torch.func.jvp`,
not from formulas written a second time:

    drift       f_t  = α̇_t / α_t
    diffusion   g_t² = d(σ_t²)/dt − 2 f_t σ_t²
    log-SNR     λ_t  = log(α_t² / σ_t²)

Two end points need care. On the variance-preserving path σ ~ √(β₀ t) near t = 0: σ̇ is
infinite there while d(σ²)/dt = β₀ is not, so a path may carry σ² as a function of its
own. And the cosine and rectified paths end in pure noise, α(1) = 0 exactly, where the
drift is −∞.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.func import jvp

from genflow_lite._shapes import (
    check_floating,
    check_generator,
    check_same_shape,
    check_state,
    check_time,
    describe,
    expand_like,
    holds,
    time_like,
)

TimeFunction = Callable[[Tensor], Tensor]
"""An elementwise function of time; the result has the shape and dtype of t."""


def _checked(function: object, name: str) -> TimeFunction:
    """The function with its argument and the shape of its result checked."""
    if not callable(function):
        raise TypeError(f"{name} must be a function of t; got {describe(function)}")

    def checked(t: Tensor) -> Tensor:
        t = check_time(t)
        value = function(t)
        if not isinstance(value, Tensor) or value.shape != t.shape:
            raise TypeError(
                f"{name} must return a tensor of t's shape {tuple(t.shape)}; "
                f"got {describe(value)}"
            )
        return value

    return checked


def _rate(function: TimeFunction, t: Tensor) -> Tensor:
    """The derivative of an elementwise function at t, by forward-mode autodiff."""
    value, rate = jvp(function, (t,), (torch.ones_like(t),))
    return rate.expand_as(value)


@final
@dataclass(frozen=True, eq=False)
class GaussianPath:
    """The Gaussian path x_t = α_t x0 + σ_t ε, with ε standard normal.

    alpha, sigma: elementwise functions of t in [0, 1], finite, not negative, with
        σ/α increasing. `path.alpha(t)` keeps the shape and dtype of t and refuses
        times outside [0, 1].
    sigma_sq: σ² where it is smoother than σ (VP at t = 0); by default σ·σ.
    inverse: the time of a log-SNR in closed form; by default found by bisection.
    steps: the length N of the table that the path interpolates, if there is one.
    name: how error messages call the path.
    """

    alpha: TimeFunction
    sigma: TimeFunction
    sigma_sq: TimeFunction | None = None
    inverse: TimeFunction | None = None
    steps: int | None = None
    name: str = "custom"

    def __post_init__(self) -> None:
        sigma = self.sigma
        square = self.sigma_sq or (lambda t: sigma(t).square())
        for field, function in [
            ("alpha", self.alpha),
            ("sigma", sigma),
            ("sigma_sq", square),
        ]:
            object.__setattr__(self, field, _checked(function, field))
        half = torch.tensor(0.5, dtype=torch.float64)
        for field in ("alpha", "sigma"):
            value = getattr(self, field)(half)
            if not holds((value > 0) & value.isfinite()):
                raise ValueError(
                    f"{field} must be positive and finite inside (0, 1); "
                    f"at t = 0.5 it is {value.item():.6g}"
                )

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        """x_t = α_t x0 + σ_t ε.

        x0, eps (B, *S) of one shape; t () or (B,). Returns (B, *S) in x0's dtype.
        """
        x0 = check_state(x0, name="x0")
        check_same_shape(x0, check_floating(eps, name="eps"), names=("x0", "eps"))
        t = time_like(t, x0)
        alpha, sigma = expand_like(self.alpha(t), x0), expand_like(self.sigma(t), x0)
        return alpha * x0 + sigma * eps

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (α̇_t, σ̇_t), in the shape of t.

        On VP and on a table of betas σ̇ is infinite at t = 0 (see `sigma_sq_rate`).
        """
        t = check_time(t)
        return _rate(self.alpha, t), _rate(self.sigma, t)

    def sigma_sq_rate(self, t: Tensor | float) -> Tensor:
        """d(σ_t²)/dt, in the shape of t; finite at both ends of every named path."""
        assert self.sigma_sq is not None  # set by __post_init__
        return _rate(self.sigma_sq, check_time(t))

    def sde(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """f_t and g_t of the SDE dx = f_t x dt + g_t dW whose marginals are the path's.

        f = α̇/α and g² = d(σ²)/dt − 2 f σ² (Song et al. 2021, Kingma et al. 2021). Note
        that g is returned, not g². Both have the shape of t.

        Raises ValueError where α = 0 and f is infinite (t = 1 on the cosine and the
        rectified path: stop at a t_max < 1), and where g² would be negative, which
        means that σ/α does not increase.
        """
        assert self.sigma_sq is not None  # set by __post_init__
        t = check_time(t)
        alpha = self.alpha(t)
        if not holds(alpha != 0):
            raise ValueError(
                f"t reaches alpha = 0 on the path {self.name}, where the drift "
                "f = alpha'/alpha is infinite; start from a t_max < 1"
            )
        f = _rate(self.alpha, t) / alpha
        growth, decay = self.sigma_sq_rate(t), -2 * f * self.sigma_sq(t)
        g_sq = growth + decay
        # On a path whose g is exactly 0 somewhere, rounding may land just below.
        if not holds(g_sq >= -1e-12 * (growth.abs() + decay.abs())):
            raise ValueError(
                f"sigma/alpha must increase with t, but on the path {self.name} "
                f"g² is {g_sq.min().item():.3g} at one of the given t"
            )
        return f, g_sq.clamp(min=0).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        """λ_t = log(α_t²/σ_t²), in the shape of t; +∞ where σ = 0, −∞ where α = 0."""
        t = check_time(t)
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def t_of_log_snr(self, lam: Tensor | float) -> Tensor:
        """The time at which the log-SNR is λ, in the shape of λ.

        λ above λ(0) gives 0 and λ below λ(1) gives 1, so ±∞ are allowed. Raises
        ValueError for NaN.
        """
        if isinstance(lam, (int, float)):
            lam = torch.tensor(lam, dtype=torch.float64)
        lam = check_floating(lam, name="lam")
        if not holds(~lam.isnan()):
            raise ValueError("lam must not be NaN")
        if self.inverse is not None:
            return self.inverse(lam).clamp(0, 1)
        return _bisect(self.log_snr, lam)

    def prior(self, shape: Sequence[int], *, generator: torch.Generator) -> Tensor:
        """A start for a sampler at t = 1: σ(1)·ε, float64, of the given shape.

        Exact where α(1) = 0. Elsewhere α(1)·x0 is left out; on VP with its default
        betas that is 0.7 % of the data's scale, on VE all of it against σ_max.
        """
        check_generator(generator)
        noise = torch.randn(tuple(shape), dtype=torch.float64, generator=generator)
        return self.sigma(torch.tensor(1.0, dtype=torch.float64)) * noise


def _bisect(log_snr: TimeFunction, lam: Tensor) -> Tensor:
    """The largest t in [0, 1] with log_snr(t) ≥ λ, for a decreasing log_snr.

    Bisection runs over the bit patterns of the numbers in [0, 1], which as integers
    are in the numbers' own order: 62 halvings reach the last bit even of a t near 0,
    where halving the interval would stop at 2⁻⁶² absolute.
    """
    target = lam.detach().to(torch.float64)
    low = torch.zeros(target.shape, dtype=torch.int64)
    high = torch.ones_like(target).view(torch.int64)
    for _ in range(62):
        middle = low + (high - low + 1) // 2
        above = log_snr(middle.view(torch.float64)) >= target
        low = torch.where(above, middle, low)
        high = torch.where(above, high, middle - 1)
    return low.view(torch.float64).to(lam.dtype)


def _check_betas(beta_min: float, beta_max: float) -> None:
    for name, beta in [("beta_min", beta_min), ("beta_max", beta_max)]:
        if not (math.isfinite(beta) and beta > 0):
            raise ValueError(f"{name} must be positive and finite; got {beta}")
    if beta_max < beta_min:
        raise ValueError(
            f"beta_max must be at least beta_min = {beta_min}; got {beta_max}"
        )


def _linear_betas(
    beta_min: float, beta_max: float
) -> tuple[TimeFunction, TimeFunction]:
    """B(t) = ∫₀ᵗ β for β linear from beta_min to beta_max, and its inverse."""
    _check_betas(beta_min, beta_max)
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
        sigma=lambda t: (-torch.expm1(-integral(t))).sqrt(),
        sigma_sq=lambda t: -torch.expm1(-integral(t)),
        # λ = log(e^−B / (1 − e^−B)) solved for B is log(1 + e^−λ).
        inverse=lambda lam: inverse(torch.nn.functional.softplus(-lam)),
        steps=steps,
        name=name,
    )


def vp(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """The variance-preserving path: α = exp(−½∫β), σ² = 1 − α², β linear in t.

    Then f = −β/2 and g² = β (Song et al. 2021, appendix C). At t = 0 σ̇ is infinite
    and g² = beta_min. Raises ValueError unless 0 < beta_min ≤ beta_max < ∞.
    """
    integral, inverse = _linear_betas(beta_min, beta_max)
    return _preserving(integral, inverse, f"vp({beta_min:g}, {beta_max:g})")


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """The sub-VP path: α = exp(−½∫β), σ = 1 − α², β linear in t.

    Then f = −β/2 and g² = β (1 − α⁴) (Song et al. 2021, appendix C), 0 at t = 0.
    Raises ValueError unless 0 < beta_min ≤ beta_max < ∞.
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

    Then f = 0 and g² = 2 σ² log(sigma_max/sigma_min) (Song et al. 2021, appendix C).
    Data at t = 0 carries noise sigma_min already, and the start at t = 1 is
    N(0, sigma_max²), not N(0, 1). Raises ValueError unless
    0 < sigma_min < sigma_max < ∞.
    """
    for name, value in [("sigma_min", sigma_min), ("sigma_max", sigma_max)]:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite; got {value}")
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


def from_betas(betas: Tensor) -> GaussianPath:
    """The path of a DDPM table β₁ … β_N: α = √ᾱ, σ = √(1 − ᾱ).

    ᾱ_n = ∏_{i ≤ n} (1 − β_i) holds at the knots t = n/N (Ho et al. 2020); between
    them −log ᾱ is linear, so that f = ½ N log(1 − β_n) and g² = −2f are constant on
    the n-th interval. At a knot the derivative is that of the interval to its right,
    at t = 1 to its left. betas (N,), each in (0, 1); float64 is kept and float32
    widened. Raises TypeError for other kinds, ValueError for other shapes or values.
    """
    betas = check_floating(betas, name="betas").detach().to(torch.float64)
    if betas.ndim != 1 or betas.shape[0] == 0:
        raise ValueError(
            f"betas must have shape (N,) with N >= 1; got {tuple(betas.shape)}"
        )
    if not holds((betas > 0) & (betas < 1)):
        raise ValueError(
            "betas must lie strictly between 0 and 1; got values from "
            f"{betas.min().item():.6g} to {betas.max().item():.6g}"
        )
    n = betas.shape[0]
    knots = torch.arange(n + 1, dtype=torch.float64) / n
    increments = -torch.log1p(-betas)
    heights = torch.cat([increments.new_zeros(1), increments.cumsum(0)])

    def interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
        left = torch.searchsorted(xs.to(x.dtype), x.detach().contiguous(), right=True)
        left = (left - 1).clamp(0, n - 1)
        slope = (ys[left + 1] - ys[left]) / (xs[left + 1] - xs[left])
        return ys[left].to(x.dtype) + (x - xs[left].to(x.dtype)) * slope.to(x.dtype)

    return _preserving(
        integral=lambda t: interpolate(t, knots, heights),
        inverse=lambda b: interpolate(b, heights, knots),
        steps=n,
        name=f"from_betas(N={n})",
    )
