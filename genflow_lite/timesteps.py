"""Laws of the training time t: where along the path a network is asked most often.

Each law is a map of a uniform number, its quantile function, with its density. Drawing
t from the density π and weighting the loss by w(t) is, in the mean, the same as drawing
t uniformly and weighting by w(t) π(t): the density is the weight that a sampler of
times induces. As everywhere, t = 0 is data and t = 1 noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import (
    Curve,
    Instant,
    Numbers,
    check_count,
    check_floating,
    check_generator,
    check_number,
    check_positive,
    check_time,
)

__all__ = [
    "TimeLaw",
    "data_heavy",
    "logit_normal",
    "shift_times",
    "shifted",
    "uniform",
]


@final
@dataclass(frozen=True, eq=False, repr=False)
class TimeLaw:
    """A law of t on (0, 1).

    quantile: u in [0, 1] to the time below which the law has mass u; increasing.
    density: π(t), of the shape of t; it integrates to 1, and may be infinite at an end.
    name: what it is called.
    """

    quantile: Callable[[Tensor], Tensor]
    density: Callable[[Tensor], Tensor]
    name: str

    def __repr__(self) -> str:
        return f"TimeLaw({self.name})"

    def sample(
        self, n: int, *, generator: Generator, stratified: bool = False
    ) -> Numbers:
        """n times, (n,) float64.

        stratified: one from each of n slices of equal mass, in random order. Each is
        still of this law; together they cover it evenly, so that the mean of a batch
        varies less (Kingma et al. 2021, section I.1).
        """
        n, generator = check_count(n, name="n", least=0), check_generator(generator)
        u = torch.rand(n, dtype=torch.float64, generator=generator)
        if stratified:
            u = (torch.randperm(n, generator=generator) + u) / max(n, 1)
        # torch.rand may give 0, where a quantile is −∞ before its sigmoid.
        return self.quantile(u.clamp(min=2.0**-54))


def uniform() -> TimeLaw:
    """t = u, density 1."""
    return TimeLaw(lambda u: u.clone(), torch.ones_like, "uniform")


def logit_normal(mean: float = 0.0, std: float = 1.0) -> TimeLaw:
    """log(t/(1 − t)) ~ N(mean, std²): few times near either end.

    π(t) = exp(−(logit t − mean)²/(2 std²)) / (std √(2π) t (1 − t)), 0 at both ends
    (Esser et al. 2024, equation 19, on the same clock). A positive mean favours the
    noise. Raises ValueError unless std is positive.
    """
    m, s = check_number(mean, name="mean"), check_positive(std, name="std")
    if not math.isfinite(m):
        raise ValueError(f"mean must be finite; got {mean}")

    def density(t: Tensor) -> Tensor:
        logit = check_time(t).logit()
        peak = -0.5 * ((logit - m) / s).square() - math.log(s * math.sqrt(2 * math.pi))
        inside = (t > 0) & (t < 1)
        safe = torch.where(inside, t * (1 - t), 1.0)
        return torch.where(inside, peak.exp() / safe, 0.0)

    return TimeLaw(
        lambda u: torch.sigmoid(m + s * torch.special.ndtri(u)),
        density,
        f"logit_normal({m:g}, {s:g})",
    )


def shift_times(t: Instant, shift: float) -> Curve:
    """s t/(1 + (s − 1) t), in the shape of t: every σ/α of the straight path times s.

    An image of m times as many pixels, over which a structure is spread, shows as much
    of it at a noise √m times as strong, hence s = √m (Esser et al. 2024, equation 23).
    It turns a grid for one resolution into one for the other: the ends stay where they
    are and the order is kept. Inverse: the shift by 1/s. Raises ValueError unless shift
    is positive and t in [0, 1].
    """
    s, t = check_positive(shift, name="shift"), check_time(t)
    return s * t / (1 + (s - 1) * t)


def shifted(shift: float = 3.0, base: TimeLaw | None = None) -> TimeLaw:
    """The times of another law, shifted by `shift_times`; of the uniform one if None.

    π(t) = π_base(r) · s/(s − (s − 1) t)² at r = t/(s − (s − 1) t), the time before the
    shift. s > 1 favours the noise.
    """
    s = check_positive(shift, name="shift")
    base = uniform() if base is None else base

    def density(t: Tensor) -> Tensor:
        below = s - (s - 1) * check_time(t)
        return base.density((t / below).clamp(0, 1)) * s / below.square()

    return TimeLaw(
        lambda u: shift_times(base.quantile(u), s), density, f"shifted({s:g}, {base})"
    )


def data_heavy(power: float = 2.0) -> TimeLaw:
    """t = u^p, p ≥ 1: the more times near the data the larger p.

    π(t) = t^(1/p − 1)/p, infinite at t = 0 for p > 1. On the reversed clock of the
    literature it is τ = 1 − u^p. Raises ValueError for p < 1.
    """
    p = check_positive(power, name="power")
    if p < 1:
        raise ValueError(f"power must be at least 1; got {power}")

    def density(t: Tensor) -> Tensor:
        return check_floating(check_time(t), name="t").pow(1 / p - 1) / p

    return TimeLaw(lambda u: u.pow(p), density, f"data_heavy({p:g})")
