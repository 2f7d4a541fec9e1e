"""Densities for the noise end of a flow."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genflow_lite._shapes import (
    Numbers,
    State,
    check_finite,
    check_state,
    holds,
    time_like,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

NormalDensity = Callable[[Tensor, Tensor | float], Tensor]
"""log p_t(x) of a normal law, x (B, *S), t () or a number; the result (B,)."""

LogDensity = Callable[[Tensor, Tensor], Tensor]
"""log p_t(x): x (B, *S), t (), the result (B,)."""


def standard_normal(x: State, t: Tensor | float = 1.0) -> Numbers:
    """log N(x; 0, I), (B,), the same at every t; x (B, *S)."""
    del t
    flat = check_state(x).reshape(len(x), -1)
    return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))


def moment_prior(
    path: GaussianPath, mean: Tensor | None = None, cov: Tensor | None = None
) -> NormalDensity:
    """The normal law with the moments that x_t has: N(α m, α² C + σ² I) at time t.

    For data of mean m and covariance C the first two moments of x_t are exactly these,
    at every t. Where α(1) is small but not 0 (VP), or σ(1) large but not infinite (VE),
    the data still shine through, and N(0, σ²), which mean = cov = 0 gives, leaves an
    error that no number of steps removes.

    mean: shape S or (D,) for states (B, *S) of D entries; None is 0.
    cov: (D, D), symmetric and positive semi-definite; None is 0.

    Returns a function of (x, t), x (B, *S), t () with the log-density (B,) in float64.
    Raises ValueError for shapes that do not fit and for a cov that is not a covariance,
    and, when called, where the density is singular (σ = 0 and a cov without inverse).
    """
    path = check_is_path(path)
    m = None if mean is None else check_finite(mean, name="mean").reshape(-1)
    spectrum = None
    if cov is not None:
        cov = check_finite(cov, name="cov")
        if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
            raise ValueError(f"cov must have shape (D, D); got {tuple(cov.shape)}")
        size = cov.abs().max()
        if not holds((cov - cov.mT).abs() <= 1e-9 * size):
            raise ValueError("cov must be symmetric")
        spectrum = torch.linalg.eigh((cov + cov.mT) / 2)
        if not holds(spectrum[0] >= -1e-9 * size):
            raise ValueError("cov must have no negative eigenvalue")
        if m is not None and len(m) != len(cov):
            raise ValueError(
                f"mean and cov must agree in D; got {len(m)} and {len(cov)} entries"
            )

    def log_density(x: State, t: Tensor | float) -> Numbers:
        x = check_state(x).to(torch.float64)
        flat = x.reshape(len(x), -1)
        known = m if m is not None else None if cov is None else cov[0]
        if known is not None and flat.shape[1] != len(known):
            raise ValueError(
                f"x must have D = {len(known)} entries in each row, as the moments do; "
                f"got shape {tuple(x.shape)}"
            )
        t = time_like(t, x)
        if t.ndim:
            raise ValueError(f"t must be one time, shape (); got {tuple(t.shape)}")
        alpha, variance = path.alpha(t), path.sigma_sq(t).expand(flat.shape[1])
        centred = flat if m is None else flat - alpha * m
        if spectrum is not None:
            variance = variance + alpha.square() * spectrum[0].clamp(min=0)
            centred = centred @ spectrum[1]
        if not holds(variance > 0):
            raise ValueError(
                f"t reaches sigma = 0 on the path {path.name}, where the law of these "
                "moments has no density"
            )
        terms = centred.square() / variance + (2 * math.pi * variance).log()
        return -0.5 * terms.sum(1)

    return log_density
