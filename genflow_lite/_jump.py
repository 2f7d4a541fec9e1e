"""The flow of a Gaussian, which has a closed form between any two times."""

import torch
from torch import Tensor

from genflow_lite._shapes import (
    State,
    check_finite,
    check_number,
    check_state,
    holds,
)
from genflow_lite._spectra import Spectra
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path


def gaussian_jump(
    x: State,
    path: GaussianPath,
    mean: Tensor,
    cov: Tensor,
    *,
    start: float = 1.0,
    stop: float,
) -> State:
    """The probability flow of N(mean, cov) from the time start to the time stop.

    With C = Q diag(λ) Qᵀ and v_i(t) = α_t² λ_i + σ_t², the variance of x_t along the
    i-th eigenvector,

    x_stop = α_r m + Q diag(√(v_i(r)/v_i(t))) Qᵀ (x − α_t m),   t = start, r = stop.

    It is exact if the data are that Gaussian, and costs no evaluation of a denoiser.
    For other data of this mean and covariance it is exact in the limit of much noise,
    where p_t is nearly a Gaussian: a sampler may jump from pure noise over the first
    part of the way. How far is a matter of the data; the error of the jump falls
    with α_r/σ_r, and what is left of it goes into the sample.

    x: (B, *S). mean: D numbers in the shape S or (D,), cov: (D, D), symmetric with no
    negative eigenvalue, D the number of entries of S; the data's, as ``.mean`` and
    ``.cov`` of a ``GaussianMixture``. start, stop: times in [0, 1] in either order.
    Returns (B, *S) in float64; gradients with respect to x pass.

    Raises TypeError or ValueError for arguments of another kind or shape, times
    outside [0, 1], and where some v_i(start) = 0: the start has no spread to stretch.
    Source: Wang and Vastola (2024), "The unreasonable effectiveness of Gaussian score
    approximation for diffusion models and its applications".
    """
    path = check_is_path(path)
    x = check_state(x)
    size = x[0].numel() if len(x) else x.new_zeros(x.shape[1:]).numel()
    mean = check_finite(mean, name="mean")
    if mean.shape not in (x.shape[1:], (size,)):
        raise ValueError(
            f"mean must have the shape of one state, {tuple(x.shape[1:])}, or ({size},)"
            f"; got {tuple(mean.shape)}"
        )
    cov = check_finite(cov, name="cov")
    if cov.shape != (size, size):
        raise ValueError(
            f"cov must have shape (D, D) = ({size}, {size}); got {tuple(cov.shape)}"
        )
    spectra = Spectra.from_covs(cov[None], 1, size)
    times = []
    for name, t in (("start", start), ("stop", stop)):
        t = check_number(t, name=name)
        if not 0 <= t <= 1:
            raise ValueError(f"{name} must lie in [0, 1]; got {t}")
        times.append(torch.tensor(t, dtype=torch.float64))
    alphas = [path.alpha(t) for t in times]
    before, after = (
        path.alpha(t) ** 2 * spectra.values[0] + path.sigma_sq(t) for t in times
    )
    if not holds(before > 0):
        raise ValueError(
            "start must leave every direction some spread; at start = "
            f"{start} the variance alpha² cov + sigma² has an eigenvalue 0"
        )
    flat = x.to(torch.float64).reshape(len(x), 1, size)
    centre = mean.reshape(size)
    local = spectra.rotate(flat - alphas[0] * centre) * (after / before).sqrt()
    moved = spectra.unrotate(local) + alphas[1] * centre
    return moved.reshape(x.shape)
