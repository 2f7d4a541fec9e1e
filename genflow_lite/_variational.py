"""The variational bound of a chain of Gaussian steps, term by term.

The steps are those of `from_betas`: step n leads from x_{n−1} to x_n at t = n/N, with
α_n² = ᾱ_n. All logarithms are natural, so the unit is the nat.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.special import log_ndtr

from genflow_lite._shapes import (
    Denoiser,
    State,
    check_count,
    check_floating,
    check_generator,
    check_path,
    check_same_shape,
    check_state,
    describe,
    expand_like,
    holds,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

ReverseVariance = (
    Literal["beta", "beta_tilde"]
    | Float[Tensor, " N"]
    | Callable[[Tensor, int], Tensor | float]
)
"""The variances of the reverse steps n = 1 … N, the first one being the decoder's."""


def gaussian_kl(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """KL(N(mean1, var1) ‖ N(mean2, var2)) of each entry, in nats.

    ½ [log(var2/var1) + var1/var2 − 1 + (mean1 − mean2)²/var2], the shapes broadcast;
    sum over the entries of a thing for its divergence. Variances, not deviations.
    Raises ValueError for a variance that is not positive, TypeError for a
    non-tensor.
    """
    given = {"mean1": mean1, "var1": var1, "mean2": mean2, "var2": var2}
    for name, value in given.items():
        check_floating(value, name=name)
    for name in ("var1", "var2"):
        if not holds(given[name] > 0):
            raise ValueError(f"{name} must be positive")
    ratio = var1 / var2
    return 0.5 * (ratio - 1 - ratio.log() + (mean1 - mean2).square() / var2)


def discretised_nll(
    x0: Tensor, mean: Tensor, log_scale: Tensor, *, levels: int = 256
) -> Tensor:
    """−log of the mass that N(mean, e^{2 log_scale}) puts on the bin of x0, in nats.

    The `levels` values of x0 lie evenly from −1 to 1, that is levels − 1 gaps of
    2/(levels − 1). A bin reaches half a gap to either side, and the bins at −1 and 1
    reach to infinity, so that the masses of all levels sum to 1. Exact in the tails
    too: nothing is clipped (Ho et al. 2020, equation 13).

    x0, mean, log_scale broadcast; log_scale is the log of a standard deviation.
    Returns one number for each entry. Raises ValueError where x0 is not one of the
    levels (dequantised data has a density, not masses).
    """
    levels = check_count(levels, name="levels", least=2)
    for name, value in (("x0", x0), ("mean", mean), ("log_scale", log_scale)):
        check_floating(value, name=name)
    number = (x0 + 1) * ((levels - 1) / 2)
    on_grid = (number - number.round()).abs() <= 1e-3
    if not holds(on_grid & (x0.abs() <= 1 + 1e-6)):
        raise ValueError(
            f"x0 must hold values of the {levels} levels from -1 to 1; got values from "
            f"{x0.min().item():.6g} to {x0.max().item():.6g}"
        )
    half, scale = 1 / (levels - 1), (-log_scale).exp()
    low, high = (x0 - half - mean) * scale, (x0 + half - mean) * scale
    # Φ(high) − Φ(low) = Φ(−low) − Φ(−high); the lower tail keeps its digits.
    near = torch.where(low + high > 0, -low, high)
    far = torch.where(low + high > 0, -high, low)
    log_near = log_ndtr(near)
    inner = log_near + (-torch.expm1(log_ndtr(far) - log_near)).log()
    at_top, at_bottom = number > levels - 1.5, number < 0.5
    inner = torch.where(at_top, log_ndtr(-low), inner)
    return -torch.where(at_bottom, log_ndtr(high), inner)


class Chain(NamedTuple):
    """DDPM's chain of N steps; entry n − 1 of each tensor, (N,), belongs to step n.

    q(x_n | x_{n−1}) = N(√(1 − beta) x_{n−1}, beta), and
    q(x_{n−1} | x_n, x0) = N(on_x0 · x0 + on_xn · x_n, beta_tilde), where beta_tilde is
    0 at n = 1.
    """

    beta: Tensor
    beta_tilde: Tensor
    on_x0: Tensor
    on_xn: Tensor


def ddpm_chain(path: GaussianPath) -> Chain:
    """The coefficients of every step of a `from_betas` path, as a `Chain`.

    With α_n, σ_n at t = n/N: beta = 1 − α_n²/α_{n−1}², beta_tilde = β σ_{n−1}²/σ_n²,
    on_x0 = α_{n−1} β/σ_n², on_xn = √(1 − β) σ_{n−1}²/σ_n² (Ho et al. 2020, equations
    6 and 7). Raises ValueError for a path without a table of betas.
    """
    path = check_is_path(path)
    if path.steps is None:
        raise ValueError(f"path must come from from_betas; got {path.name}")
    t = torch.arange(path.steps + 1, dtype=torch.float64) / path.steps
    alpha, var = path.alpha(t), path.sigma_sq(t)
    keep = alpha[1:] / alpha[:-1]
    beta = -torch.expm1(2 * keep.log())
    kept_noise = var[:-1] / var[1:]
    return Chain(
        beta, beta * kept_noise, alpha[:-1] * beta / var[1:], keep * kept_noise
    )


def interpolated_log_variance(v: State, n: int | Tensor, path: GaussianPath) -> State:
    """v log β_n + (1 − v) log β̃_n: a learned variance (Nichol & Dhariwal 2021, eq. 15).

    v (B, *S), the network's second output; v outside [0, 1] extrapolates. n: a step
    from 1 to N, or (B,) of them. β̃_1 = 0 has no logarithm: β̃_2 stands in for it.
    Raises ValueError for a step outside the table, and for a table of one step.
    """
    v = check_state(v, name="v")
    chain = ddpm_chain(path)
    count = len(chain.beta)
    if count < 2:
        raise ValueError("path must have at least two steps; got one")
    step = torch.as_tensor(n)
    if step.is_floating_point() or step.dtype == torch.bool:
        raise TypeError(f"n must be an int or an integer tensor; got {describe(n)}")
    if not holds((step >= 1) & (step <= count)):
        raise ValueError(f"n must lie between 1 and {count}; got {describe(n)}")
    low = torch.cat([chain.beta_tilde[1:2], chain.beta_tilde[1:]]).log()
    low, high = low[step - 1], chain.beta.log()[step - 1]
    return v * expand_like(high, v) + (1 - v) * expand_like(low, v)


def variational_terms(
    denoise: Denoiser,
    path: GaussianPath,
    x0: State,
    *,
    generator: Generator,
    variance: ReverseVariance = "beta",
    levels: int | None = None,
) -> dict[str, Tensor]:
    """One-sample estimates of the terms of −ELBO(x0) = L_T + Σ_n L_n + L_0, in nats.

    "L_T" (B,): KL(q(x_N | x0) ‖ N(0, I)), exact.
    "L_n" (B, N − 1): column n − 1 is KL(q(x_n | x_{n+1}, x0) ‖ p(x_n | x_{n+1})) for
        n = 1 … N − 1, at one draw of x_{n+1} each: unbiased.
    "L_0" (B,): −log p(x0 | x_1) at one draw of x_1.

    The reverse step n is p(x_{n−1} | x_n) = N(on_x0 D(x_n, n/N) + on_xn x_n, v_n) with
    the `Chain` of the path. N denoiser calls, in float64.

    path: from `from_betas`. x0 (B, *S). generator draws the noise.
    variance: "beta", "beta_tilde" (with β_1 in the decoder, where β̃_1 = 0), a tensor
        (N,), or a function v(x_n, n) that returns a number or a tensor like x_n, for
        learned variances. Its value at n = 1 is the decoder's.
    levels: None for a Gaussian decoder, whose L_0 is a log-density and may be
        negative; a number of levels for the masses of `discretised_nll`.

    Raises TypeError and ValueError for bad arguments.
    """
    chain = ddpm_chain(path)
    check_path(denoise, path)
    check_generator(generator)
    x0 = check_state(x0, name="x0").to(torch.float64)
    count = len(chain.beta)
    reverse = _reverse_variance(variance, chain)
    t = torch.arange(1, count + 1, dtype=torch.float64) / count
    alpha, var = path.alpha(t), path.sigma_sq(t)

    def total(entries: Tensor) -> Tensor:
        return entries.reshape(x0.shape[0], -1).sum(1)

    one = torch.ones_like(x0)
    prior = total(gaussian_kl(alpha[-1] * x0, var[-1] * one, 0 * one, one))
    steps, decoder = [], torch.empty(0)
    for k in range(count):
        noise = torch.randn(
            x0.shape, generator=generator, dtype=x0.dtype, device=generator.device
        ).to(x0.device)
        x = alpha[k] * x0 + var[k].sqrt() * noise
        clean = denoise(x, t[k])
        check_same_shape(clean, x0, names=("denoise(x, t)", "x0"))
        v = torch.as_tensor(reverse(x, k + 1), dtype=x0.dtype) * one
        if k == 0 and levels is not None:
            decoder = total(discretised_nll(x0, clean, 0.5 * v.log(), levels=levels))
        elif k == 0:
            nll = 0.5 * ((2 * math.pi * v).log() + (x0 - clean).square() / v)
            decoder = total(nll)
        else:
            miss = chain.on_x0[k] * (x0 - clean)
            kl = gaussian_kl(miss, chain.beta_tilde[k] * one, 0 * one, v)
            steps.append(total(kl))
    columns = torch.stack(steps, 1) if steps else x0.new_zeros(x0.shape[0], 0)
    return {"L_T": prior, "L_n": columns, "L_0": decoder}


def _reverse_variance(
    variance: ReverseVariance, chain: Chain
) -> Callable[[Tensor, int], Tensor | float]:
    if callable(variance) and not isinstance(variance, Tensor):
        return variance
    if isinstance(variance, str):
        if variance not in ("beta", "beta_tilde"):
            raise ValueError(
                "variance must be 'beta', 'beta_tilde', a tensor or a function; "
                f"got {variance!r}"
            )
        table = chain.beta.clone()
        if variance == "beta_tilde":
            table[1:] = chain.beta_tilde[1:]
    else:
        table = check_floating(variance, name="variance").to(torch.float64)
        if table.shape != chain.beta.shape or not holds(table > 0):
            raise ValueError(
                f"variance must hold N = {len(chain.beta)} positive numbers; "
                f"got {describe(variance)}"
            )
    return lambda _, n: table[n - 1]
