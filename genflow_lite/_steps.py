"""What the samplers with memory share: the exponential step and its integrals.

In the clock ℓ = log α/σ a step t → r has the length h = ℓ_r − ℓ_t, and the probability
flow over it is x_r = (σ_r/σ_t) x_t + α_r ∫₀ʰ e^(s − h) D ds with s = ℓ − ℓ_t.
"""

import math

import torch
from torch import Tensor

from genflow_lite.paths import GaussianPath

_TERMS = 14
"""Terms of the series of an integral where h < ½: the next is below 1e-19."""


def lengths(path: GaussianPath, ts: Tensor) -> Tensor:
    """(n,): h = ℓ_r − ℓ_t of every step, infinite where α_t = 0 or σ_r = 0."""
    return path.log_snr(ts).diff() / 2


def ddim_steps(
    path: GaussianPath, t: Tensor, r: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """a and b of x_r = a x + b D, the flow's step t → r for a constant D."""
    return path.sigma(r) / path.sigma(t), -path.alpha(r) * torch.expm1(-h)


def integrals(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """∫₀ʰ e^(s − h) s^q ds for q = 0, 1, 2, each in the shape of h ≥ 0, h finite.

    I_0 = 1 − e^(−h) and I_q = h^q − q I_{q−1}. Where h < ½ the differences would lose
    digits, and the series h^(q+1) Σ_m (−h)^m q!/(q + 1 + m)! takes their place.
    """
    first = -torch.expm1(-h)
    second = h - first
    third = h.square() - 2 * second

    def series(q: int) -> Tensor:
        terms = torch.zeros_like(h)
        for m in reversed(range(_TERMS)):  # Horner's scheme
            terms = math.factorial(q) / math.factorial(q + 1 + m) - h * terms
        return h ** (q + 1) * terms

    small = h < 0.5
    return (
        first,
        torch.where(small, series(1), second),
        torch.where(small, series(2), third),
    )


def own(d: Tensor, x: Tensor) -> Tensor:
    """A copy, so that a denoiser may write its next result to the same place."""
    return d.to(x, copy=True)


def where_finite(h: Tensor, value: Tensor) -> Tensor:
    """The coefficient of a correction: 0, none, where the step is infinite."""
    return torch.where(h.isfinite(), value, 0.0)
