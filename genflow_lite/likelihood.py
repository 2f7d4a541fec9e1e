"""Log-likelihood along a flow, and the bound of a chain beside it.

Along dx/dt = u(x, t) the log-density of a moving point changes by −div u (the
instantaneous change of variables, Chen et al. 2018), so that

    log p_a(x_a) = log p_b(x_b) + ∫_a^b div u(x_t, t) dt

between any two times a and b. State and integral are carried by one solver; the
density at the noise end is the prior's. Logarithms are natural, in nats.
"""

import math
from typing import Literal, Unpack, overload

import torch
from torch import Generator, Tensor

from genflow_lite._divergence import divergence, draw_probes, hutchinson
from genflow_lite._priors import LogDensity, moment_prior, standard_normal
from genflow_lite._shapes import (
    Denoiser,
    Numbers,
    State,
    check_count,
    check_floating,
    check_grid,
    check_number,
    check_positive,
    describe,
)
from genflow_lite._stepping import Velocity
from genflow_lite._transport import Transported, TransportOptions, transport
from genflow_lite._variational import ReverseVariance, variational_terms
from genflow_lite.ode import velocity
from genflow_lite.paths import GaussianPath

__all__ = [
    "Transported",
    "bits_per_dim",
    "divergence",
    "draw_probes",
    "elbo",
    "flow_log_likelihood",
    "hutchinson",
    "log_likelihood",
    "moment_prior",
    "standard_normal",
    "tangent_grid",
    "transport",
]


@overload
def log_likelihood(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = ...,
    return_stderr: Literal[False] = ...,
    **options: Unpack[TransportOptions],
) -> Tensor: ...
@overload
def log_likelihood(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = ...,
    return_stderr: Literal[True],
    **options: Unpack[TransportOptions],
) -> tuple[Tensor, Tensor]: ...
def log_likelihood(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = None,
    return_stderr: bool = False,
    **options: Unpack[TransportOptions],
) -> Numbers | tuple[Numbers, Numbers]:
    """log p(x) under the probability flow of a denoiser, in nats; (B,) float64.

    `flow_log_likelihood` of `velocity(denoise, path)` (Song, Sohl-Dickstein et al.
    2021, section 4.3).
    It is the density at t = min ts, where x is taken to be; the velocity of a
    denoiser is 0/0 where σ = 0, so there the grid must stop short, as at 1e-4.

    prior: the law at t = max ts, N(0, σ²) unless given, which is where
        `GaussianPath.prior` starts; `moment_prior` is closer.
    options: divergence = "exact" or "hutchinson", probes, n_probes, generator and
        solver, as in `transport`.
    return_stderr: also the standard error over the probes.

    Raises as `flow_log_likelihood`, and ValueError for a denoiser of another path and
    for a grid that reaches σ = 0.
    """
    u = velocity(denoise, path)
    prior = moment_prior(path) if prior is None else prior
    if return_stderr:
        return flow_log_likelihood(u, x, ts, prior=prior, return_stderr=True, **options)
    return flow_log_likelihood(u, x, ts, prior=prior, **options)


@overload
def flow_log_likelihood(
    u: Velocity,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = ...,
    return_stderr: Literal[False] = ...,
    **options: Unpack[TransportOptions],
) -> Tensor: ...
@overload
def flow_log_likelihood(
    u: Velocity,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = ...,
    return_stderr: Literal[True],
    **options: Unpack[TransportOptions],
) -> tuple[Tensor, Tensor]: ...
def flow_log_likelihood(
    u: Velocity,
    x: State,
    ts: Tensor,
    *,
    prior: LogDensity | None = None,
    return_stderr: bool = False,
    **options: Unpack[TransportOptions],
) -> Numbers | tuple[Numbers, Numbers]:
    """log p(x) at the data end of a flow whose law at the noise end is known; (B,).

    log p_a(x) = log prior(x_b, b) + ∫_a^b div u dt, with a = min ts and b = max ts: a
    grid that decreases, as for sampling, is walked from its end.

    u: called as (x, t), x (B, *S) float64, t (); for example a network trained by
        flow matching.
    prior: called as (x (B, *S), t ()) at b, gives (B,); N(0, I) unless given.
    options: as in `transport`; the result carries no gradients.
    return_stderr: also the standard error over the probes, (B,), for which Hutchinson's
        estimate needs n_probes of at least 2. It knows nothing of the solver's error.

    Raises as `transport`, and ValueError for a prior whose result is not (B,).
    """
    ts = check_grid(ts)
    prior = standard_normal if prior is None else prior
    if not callable(prior):
        raise TypeError(f"prior must be a function (x, t); got {describe(prior)}")
    alone = options.get("n_probes", 1) == 1
    if return_stderr and options.get("divergence") == "hutchinson" and alone:
        raise ValueError("n_probes must be at least 2 for a standard error; got 1")
    end = transport(u, x, ts.flip(0) if ts[0] > ts[-1] else ts, **options)
    with torch.no_grad():
        at_end = check_floating(prior(end.x, ts.max()), name="prior(x, t)")
    if at_end.shape != end.log_det.shape:
        raise ValueError(
            f"prior must return shape (B,) = ({len(x)},); got {tuple(at_end.shape)}"
        )
    value = at_end.to(torch.float64) + end.log_det
    return (value, end.stderr) if return_stderr else value


def tangent_grid(n: int, *, bend: float = 2.0, t_min: float = 0.0) -> Tensor:
    """n steps from t_min, the data, to 1, with more of them near the data; (n + 1,).

    t_i = tan(θ_i)/bend, θ even from arctan(bend t_min) to arctan(bend): the density of
    steps falls like 1/(1 + bend² t²), which on the straight path and mixtures in the
    plane evens out the errors of the steps better than any power of an even grid.

    Raises ValueError unless bend > 0 and 0 ≤ t_min < 1, TypeError for other kinds.
    """
    n, bend = check_count(n, name="n"), check_positive(bend, name="bend")
    if not 0 <= check_number(t_min, name="t_min") < 1:
        raise ValueError(f"t_min must lie in [0, 1); got {t_min}")
    ends = math.atan(bend * t_min), math.atan(bend)
    ts = torch.linspace(*ends, n + 1, dtype=torch.float64).tan() / bend
    ts[0], ts[-1] = t_min, 1.0
    return ts


def elbo(
    denoise: Denoiser,
    path: GaussianPath,
    x0: State,
    *,
    generator: Generator,
    variance: ReverseVariance = "beta",
    levels: int | None = None,
    draws: int = 1,
) -> Numbers:
    """A lower bound on log p(x0) of the chain of a `from_betas` path, in nats; (B,).

    −(L_T + Σ_n L_n + L_0), each term of `variational_terms` at `draws` draws of the
    noise, and averaged: unbiased for the bound, with draws · N denoiser calls. A single
    estimate may lie above log p(x0); its mean does not.

    path, variance, levels and errors as in `variational_terms`.
    """
    check_count(draws, name="draws")
    total = torch.zeros(())
    for _ in range(draws):
        terms = variational_terms(
            denoise, path, x0, generator=generator, variance=variance, levels=levels
        )
        total = total - (terms["L_T"] + terms["L_n"].sum(1) + terms["L_0"])
    return total / draws


def bits_per_dim(log_p: Tensor, dim: int, *, bin_width: float = 1.0) -> Tensor:
    """−log₂ of the mass that a density puts on a bin, for each of `dim` entries.

    −(log_p/dim + log bin_width)/log 2, the shape of log_p; log_p in nats for a whole
    thing of `dim` entries. Fewer is better.

    bin_width: the distance of neighbouring grey levels in the units of x, such as 2/255
        for 256 levels from −1 to 1. With uniform noise of that width added to the data
        the mean is an upper bound on the bits of the discrete model (Theis et al.
        2016). For a log_p that is a mass already, and for data that have no levels,
        it is 1.

    Raises TypeError and ValueError for bad arguments, also for NaN.
    """
    log_p = check_floating(log_p, name="log_p")
    if log_p.isnan().any():
        raise ValueError("log_p must be a number; it holds NaN")
    dim = check_count(dim, name="dim")
    width = check_positive(bin_width, name="bin_width")
    return -(log_p / dim + math.log(width)) / math.log(2)
