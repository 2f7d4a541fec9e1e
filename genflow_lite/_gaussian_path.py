"""The one definition of a Gaussian path, x_t = α_t x0 + σ_t ε.

A path is a pair of functions (α, σ) on [0, 1], and t = 0 is data, t = 1 noise. Every
other quantity follows from the pair, and its derivatives come from automatic
differentiation, not from formulas written a second time:

    drift       f_t  = α̇_t / α_t
    diffusion   g_t² = d(σ_t²)/dt − 2 f_t σ_t²
    log-SNR     λ_t  = log(α_t² / σ_t²)

Two end points need care. On the variance-preserving path σ ~ √(β₀ t) near t = 0: σ̇ is
infinite there while d(σ²)/dt = β₀ is not, so a path may carry σ² as a function of its
own. And the cosine and rectified paths end in pure noise, α(1) = 0 exactly, where the
drift is −∞.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from genflow_lite._rates import with_rate
from genflow_lite._reversed_clock import ReversedClock
from genflow_lite._shapes import (
    Curve,
    Instant,
    State,
    Time,
    check_floating,
    check_generator,
    check_same_shape,
    check_shape,
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

    checked.unchecked = function  # type: ignore[attr-defined]
    return checked


def _with_rate(function: TimeFunction, t: Tensor) -> tuple[Tensor, Tensor]:
    """A function of a path and its derivative at a time that is checked already."""
    return with_rate(getattr(function, "unchecked", function), t)


@final
@dataclass(frozen=True, eq=False, repr=False)
class GaussianPath:
    """The Gaussian path x_t = α_t x0 + σ_t ε, with ε standard normal.

    alpha, sigma: elementwise functions of t in [0, 1], not negative, with σ/α
        increasing. `path.alpha(t)` keeps the shape and dtype of t and raises
        ValueError for a time outside [0, 1].
    square: σ², for a path on which it is smoother than σ (VP at t = 0).
    inverse: the time of a log-SNR in closed form; without it bisection finds it.
    steps: the length N of the table that the path interpolates, if there is one.
    name: what error messages call the path.

    Raises TypeError where alpha or sigma is not an elementwise function of t, and
    ValueError where σ/α does not increase, as when time is turned round.
    """

    alpha: TimeFunction
    sigma: TimeFunction
    square: TimeFunction | None = None
    inverse: TimeFunction | None = None
    steps: int | None = None
    name: str = "custom"

    def __repr__(self) -> str:
        """Its name: the functions would show as addresses, other in every run."""
        return f"GaussianPath({self.name})"

    def __post_init__(self) -> None:
        for field in ("alpha", "sigma"):
            checked = _checked(getattr(self, field), field)
            object.__setattr__(self, field, checked)
        t = torch.linspace(0, 1, 33, dtype=torch.float64)
        alpha, sigma = self.alpha(t), self.sigma(t)
        for field, value in [("alpha", alpha), ("sigma", sigma)]:
            if not holds((value >= 0) & value.isfinite()):
                raise ValueError(
                    f"{field} must be finite and not negative on [0, 1]; it takes "
                    f"values from {value.min().item():.3g} to {value.max().item():.3g}"
                )
        # σ/α itself may be infinite at the end, so the quotients are multiplied out.
        if not holds(sigma[1:] * alpha[:-1] > sigma[:-1] * alpha[1:]):
            raise ValueError(
                "sigma/alpha must increase from t = 0 (data) to t = 1 (noise); on the "
                f"path {self.name} it does not: is its time turned round?"
            )

    def sigma_sq(self, t: Instant) -> Curve:
        """σ_t², in the shape of t."""
        t = check_time(t)
        return self._square()(t)

    def _square(self) -> TimeFunction:
        return self.square or (lambda t: self.sigma(t).square())

    def mix(self, x0: State, eps: State, t: Time) -> State:
        """x_t = α_t x0 + σ_t ε.

        x0, eps (B, *S) of one shape; t () or (B,). Returns (B, *S).
        """
        x0 = check_state(x0, name="x0")
        check_same_shape(x0, check_floating(eps, name="eps"), names=("x0", "eps"))
        t = time_like(t, x0)
        alpha, sigma = expand_like(self.alpha(t), x0), expand_like(self.sigma(t), x0)
        return alpha * x0 + sigma * eps

    def rates(self, t: Instant) -> tuple[Curve, Curve]:
        """The derivatives (α̇_t, σ̇_t), in the shape of t.

        On VP and on a table of betas σ̇ is infinite at t = 0; see `sigma_sq_rate`.
        """
        (_, alpha_rate), (_, sigma_rate) = self._moving(check_time(t))
        return alpha_rate, sigma_rate

    def _moving(self, t: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(α, α̇) and (σ, σ̇) at a time that is checked already."""
        return _with_rate(self.alpha, t), _with_rate(self.sigma, t)

    def sigma_sq_rate(self, t: Instant) -> Curve:
        """d(σ_t²)/dt, in the shape of t; finite at both ends of every named path."""
        return _with_rate(self._square(), check_time(t))[1]

    def sde(self, t: Instant) -> tuple[Curve, Curve]:
        """f_t and g_t of the SDE dx = f_t x dt + g_t dW whose marginals are the path's.

        f = α̇/α and g² = d(σ²)/dt − 2 f σ² (Song, Sohl-Dickstein et al. 2021;
        Kingma et al. 2021). It is g that is returned, not g². Both have the shape
        of t.

        Raises ValueError where α = 0 and f is infinite (t = 1 on the cosine and the
        rectified path: stop at a t_max < 1), and where g² would be negative.
        """
        t = check_time(t)
        alpha, alpha_rate = _with_rate(self.alpha, t)
        if not holds(alpha > 0):
            raise ValueError(
                f"t reaches alpha = 0 on the path {self.name}, where the drift "
                "alpha'/alpha is infinite; take a grid with t_max < 1"
            )
        f = alpha_rate / alpha
        sigma_sq, growth = _with_rate(self._square(), t)
        decay = -2 * f * sigma_sq
        g_sq = growth + decay
        # Where g is exactly 0, rounding may land on either side of it.
        if not holds(g_sq >= -1e-12 * (growth.abs() + decay.abs())):
            raise ValueError(
                f"sigma/alpha must increase with t, but on the path {self.name} "
                f"g² = {g_sq.min().item():.3g} at one of the given t"
            )
        return f, g_sq.clamp(min=0).sqrt()

    def log_snr(self, t: Instant) -> Curve:
        """λ_t = log(α_t²/σ_t²), in the shape of t; +∞ where σ = 0, −∞ where α = 0."""
        t = check_time(t)
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def t_of_log_snr(self, lam: Instant) -> Curve:
        """The time at which the log-SNR is λ, in the shape of λ.

        λ above λ(0) gives 0 and λ below λ(1) gives 1, so ±∞ are allowed. Raises
        ValueError for NaN.
        """
        if isinstance(lam, int | float):
            lam = torch.tensor(lam, dtype=torch.float64)
        lam = check_floating(lam, name="lam")
        if not holds(~lam.isnan()):
            raise ValueError("lam must be a number; it holds NaN")
        if self.inverse is None:
            t = _bisect(self.log_snr, lam)
        else:
            t = self.inverse(lam).clamp(0, 1)
        highest, lowest = self.log_snr(torch.tensor([0.0, 1.0], dtype=lam.dtype))
        # The ends exactly, also where an inverse would give ∞/∞ or a rounded 1.
        return torch.where(lam >= highest, 0.0, torch.where(lam <= lowest, 1.0, t))

    def reversed_clock(self) -> ReversedClock:
        """This path on the literature's clock τ = 1 − t, noise first, as a view."""
        return ReversedClock(self)

    def prior(self, shape: Sequence[int], *, generator: torch.Generator) -> Tensor:
        """A start for a sampler at t = 1: σ(1)·ε, float64, of the given shape.

        Exact where α(1) = 0. Elsewhere α(1)·x0 is left out: on VP with its default
        betas 0.7 % of the data, on VE all of it, small against sigma_max.
        """
        check_generator(generator)
        shape = check_shape(shape)
        noise = torch.randn(shape, dtype=torch.float64, generator=generator)
        return self.sigma(torch.tensor(1.0, dtype=torch.float64)) * noise


def _bisect(log_snr: TimeFunction, lam: Tensor) -> Tensor:
    """The largest t in [0, 1] with log_snr(t) ≥ λ, for a decreasing log_snr.

    Bisection runs over the bit patterns of the numbers in [0, 1], which as integers
    are in the numbers' own order: 62 halvings reach the last bit even of a t near 0,
    where halving the interval would stop at an absolute 2⁻⁶².
    """
    target = lam.detach().to(torch.float64)
    low = torch.zeros(target.shape, dtype=torch.int64)
    high = torch.ones(target.shape, dtype=torch.float64).view(torch.int64)
    for _ in range(62):
        middle = low + (high - low + 1) // 2
        above = log_snr(middle.view(torch.float64)) >= target
        low = torch.where(above, middle, low)
        high = torch.where(above, high, middle - 1)
    return low.view(torch.float64).to(lam.dtype)
