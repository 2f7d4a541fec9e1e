"""Time grids: n + 1 strictly decreasing times for n steps of a sampler."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from genflow_lite._shapes import check_count, check_number, check_positive, holds
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

Spacing = Literal["uniform", "log_snr", "karras", "trailing", "adams"]
"""The names of the spacings."""

NOISE_ENDS = (0.002, 80.0)
"""What stands for σ/α = 0 and σ/α = ∞ where a spacing needs a finite number."""

ADAMS_PLANE = (-1.506, -0.844, -0.601, -0.555, -0.378)
"""A shape of the spacing "adams": eight anisotropic Gaussians in the plane."""

ADAMS_DIGITS = (-0.436, -0.361, -0.053, -0.371, 0.2)
"""A shape of the spacing "adams": ten Gaussians in 64 dimensions, one a digit."""

ADAMS_PLANE_JUMP = (-1.39, -0.842, -0.575, -0.58, -0.342)
"""As ``ADAMS_PLANE``, after ``gaussian_jump`` to a level σ/α of 6.1."""

ADAMS_DIGITS_JUMP = (-0.714, -0.478, -0.434, 0.073, -0.059)
"""As ``ADAMS_DIGITS``, after ``gaussian_jump`` to a level σ/α of 6.1."""


def time_grid(
    path: GaussianPath,
    n: int,
    *,
    spacing: Spacing,
    t_max: float = 1.0,
    t_min: float = 0.0,
    rho: float = 7.0,
    shape: Sequence[float] = ADAMS_PLANE,
) -> Tensor:
    """A grid t_max = t_0 > t_1 > … > t_n = t_min, float64, shape (n + 1,).

    uniform: t_i = t_max + (t_min − t_max) i/n.
    trailing: the uniform grid rounded to the multiples of 1/N, the training times of
        a table of N betas (Lin et al. 2024): it starts at pure noise, t = 1, where a
        "leading" grid would not. A path without a table has nothing to round to, and
        gives the uniform grid.
    log_snr: λ = log(α²/σ²) is uniform from t_max to t_min (Lu et al. 2022,
        DPM-Solver).
    karras: (σ/α)^(1/rho) is uniform from t_max to t_min (Karras et al. 2022, eq. 5).

    adams: τ = σ/(α + σ), the clock of the rectified path, takes steps whose lengths are
        proportional to exp(Σ_k shape_k T_k(2u − 1)) at u = (i + ½)/n, T_k Chebyshev's
        polynomials from k = 1 on. ``ADAMS_PLANE`` and ``ADAMS_DIGITS`` were fitted by
        ``benchmarks/tune_adams.py``: they make the error of the sampler ``adams`` small
        at 5 to 20 steps from noise to data, for one kind of data each, of about unit
        variance in the plane and in [−1, 1] for the digits; ``ADAMS_PLANE_JUMP`` and
        ``ADAMS_DIGITS_JUMP`` likewise after a jump. shape = () is even in τ.

    log_snr and karras need finite ends. Where α(t_max) = 0, the noise level σ/α = 80
    stands for ∞ in the formula, and t_0 is t_max all the same. Where σ(t_min) = 0, the
    formula ends at σ/α = 0.002 with t_{n−1}, and the last step goes from there to
    t_min, as in Karras et al.; n = 1 is the single step from t_max to t_min.

    Raises ValueError where 0 ≤ t_min < t_max ≤ 1 does not hold, where rho is not
    positive, where n is so large that two times coincide, and where a stand-in for an
    end is not between the ends.
    """
    path = check_is_path(path)
    n = check_count(n, name="n")
    if spacing not in get_args(Spacing):
        names = ", ".join(repr(s) for s in get_args(Spacing))
        raise ValueError(f"spacing must be one of {names}; got {spacing!r}")
    t_max = check_number(t_max, name="t_max")
    t_min = check_number(t_min, name="t_min")
    rho = check_positive(rho, name="rho")
    if not 0 <= t_max <= 1:
        raise ValueError(f"t_max must lie in [0, 1]; got {t_max}")
    if not 0 <= t_min < t_max:
        raise ValueError(f"t_min must lie in [0, t_max) = [0, {t_max}); got {t_min}")
    if spacing in ("uniform", "trailing"):
        ts = torch.linspace(t_max, t_min, n + 1, dtype=torch.float64)
        if spacing == "trailing" and path.steps is not None:
            ts = (ts * path.steps).round() / path.steps
    elif spacing == "adams":
        ts = _for_adams(path, n, t_max, t_min, _shape(shape))
    else:
        power = 1 / rho if spacing == "karras" else None
        ts = _by_noise(path, n, t_max, t_min, power)
    ts[0], ts[-1] = t_max, t_min
    if not holds(ts.diff() < 0):
        raise ValueError(
            f"n = {n} steps of spacing {spacing!r} from {t_max} to {t_min} put two "
            "times on the same place; take fewer steps"
        )
    return ts


def _shape(shape: Sequence[float]) -> list[float]:
    numbers = [check_number(c, name="shape") for c in shape]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"shape must hold finite numbers; got {numbers}")
    return numbers


def _for_adams(
    path: GaussianPath, n: int, t_max: float, t_min: float, shape: list[float]
) -> Tensor:
    """Times whose τ = σ/(α + σ) = 1/(1 + α/σ) takes steps of the given shape."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    angle = (2 * u - 1).acos()
    logs = torch.zeros_like(u)
    for k, c in enumerate(shape, start=1):
        logs = logs + c * (k * angle).cos()
    ends = torch.tensor([t_max, t_min], dtype=torch.float64)
    high, low = (-path.log_snr(ends) / 2).sigmoid()
    done = torch.cat([u.new_zeros(1), logs.softmax(0).cumsum(0)])
    tau = high - (high - low) * done
    inner = path.t_of_log_snr(-2 * tau[1:-1].logit())
    return torch.cat([ends[:1], inner, ends[1:]])


def _by_noise(
    path: GaussianPath, n: int, t_max: float, t_min: float, power: float | None
) -> Tensor:
    """Times uniform in (σ/α)^power, or in log(σ/α) where power is None."""
    ends = torch.tensor([t_max, t_min], dtype=torch.float64)
    high, low = (-0.5 * path.log_snr(ends)).tolist()
    clean = low == -math.inf
    low = math.log(NOISE_ENDS[0]) if clean else low
    high = math.log(NOISE_ENDS[1]) if high == math.inf else high
    if low >= high:
        raise ValueError(
            "t_min and t_max must have noise levels sigma/alpha on either side of the "
            f"stand-ins {NOISE_ENDS} for 0 and infinity; got t_min = {t_min} and "
            f"t_max = {t_max} on the path {path.name}"
        )
    knots = n if clean else n + 1
    if power is None:
        logs = torch.linspace(high, low, knots, dtype=torch.float64)
    else:
        first, last = math.exp(power * high), math.exp(power * low)
        logs = torch.linspace(first, last, knots, dtype=torch.float64).log() / power
    ts = path.t_of_log_snr(-2 * logs)
    return torch.cat([ts, ends[1:]]) if clean else ts
