"""The divergence of a velocity field: exactly, or by random probes.

div u = tr ∂u/∂x costs D products with the Jacobian, one for each coordinate. With
a random vector v of E[v vᵀ] = I, vᵀ (∂u/∂x) v costs one, and its mean is the trace
(Hutchinson 1990). The Jacobian itself is never formed.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from genflow_lite._shapes import (
    Numbers,
    State,
    Time,
    check_count,
    check_floating,
    check_generator,
    check_state,
    describe,
    time_like,
)

ProbeLaw = Literal["rademacher", "gaussian"]
"""The laws of probes: signs ±1 with equal odds, or standard normal numbers."""

Probes = Float[Tensor, "P B *S"]
"""P probes for each thing in a batch."""

Estimates = Float[Tensor, "P B"]
"""One number for each probe and each thing in the batch."""


def draw_probes(
    x: State, n: int, *, law: ProbeLaw = "rademacher", generator: Generator
) -> Probes:
    """n probes for each row of x, independent with E[v vᵀ] = I; (n, *x.shape).

    For a Jacobian J with symmetric part A the variance of vᵀ J v is 2 Σ_{i≠j} A_ij²
    with "rademacher" probes, signs ±1, and 2 Σ_ij A_ij² with "gaussian" ones: signs
    are never worse, and exact where A is diagonal.

    Raises ValueError for another law, TypeError and ValueError for other bad arguments.
    """
    x = check_state(x)
    n = check_count(n, name="n")
    check_generator(generator)
    if law not in get_args(ProbeLaw):
        raise ValueError(f"probes must be 'rademacher' or 'gaussian'; got {law!r}")
    shape = (n, *x.shape)
    if law == "gaussian":
        v = torch.randn(shape, dtype=torch.float64, generator=generator)
    else:
        v = 2.0 * torch.randint(2, shape, generator=generator) - 1
    return v.to(x)


def divergence(u: Callable[[Tensor, Tensor], Tensor], x: State, t: Time) -> Numbers:
    """div u = Σ_i ∂u_i/∂x_i at (x, t), exactly; (B,), without gradients.

    One evaluation of u and D products with its Jacobian, for states of D entries.
    u: called as (x, t), and row b of u may depend on row b of x alone (no batch
    normalisation). x (B, *S), t () or (B,).

    Raises ValueError for a u of another shape than x, and for one that autograd cannot
    follow back to x. A velocity that is constant in x is written 0 * x + c.
    """
    x = check_state(x)
    return with_divergence(u, x, time_like(t, x))[1][0]


def hutchinson(
    u: Callable[[Tensor, Tensor], Tensor], x: State, t: Time, probes: Probes
) -> Estimates:
    """vᵀ (∂u/∂x) v at (x, t) for each probe v; (P, B), without gradients.

    One evaluation of u and one product with its Jacobian for each probe. Each row of
    the result is unbiased for `divergence`; probes (P, B, *S) as from `draw_probes`.
    u, x, t and errors as in `divergence`, and ValueError for probes of another shape.
    """
    x = check_state(x)
    probes = check_floating(probes, name="probes")
    if probes.ndim != x.ndim + 1 or probes.shape[1:] != x.shape or len(probes) < 1:
        raise ValueError(
            f"probes must have shape (P, B, *S) = (P, {', '.join(map(str, x.shape))}); "
            f"got {tuple(probes.shape)}"
        )
    return with_divergence(u, x, time_like(t, x), probes)[1]


def with_divergence(
    u: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    t: Tensor,
    probes: Tensor | None = None,
    *,
    differentiable: bool = False,
) -> tuple[Tensor, Tensor]:
    """u (B, *S) and its divergence, (1, B) exact or (P, B) by probes.

    With `differentiable` both carry gradients, to x and to the parameters of u.
    """
    with torch.enable_grad():
        if not (differentiable and x.requires_grad):
            x = x.detach().requires_grad_()
        value = u(x, t)
        if not isinstance(value, Tensor) or value.shape != x.shape:
            raise ValueError(
                f"u must return a tensor of x's shape {tuple(x.shape)}; "
                f"got {describe(value)}"
            )
        flat = value.reshape(len(x), -1)

        def pulled_back(scalar: Tensor, *, more: bool) -> Tensor:
            (gradient,) = (
                torch.autograd.grad(
                    scalar,
                    x,
                    retain_graph=more or differentiable,
                    create_graph=differentiable,
                    allow_unused=True,
                )
                if scalar.requires_grad
                else (None,)
            )
            if gradient is None:
                raise ValueError(
                    "u must be differentiable in x, but autograd finds no way from its "
                    "result back to x: is it computed under torch.no_grad, or "
                    "detached? A velocity that is constant in x is 0 * x + c"
                )
            return gradient

        if probes is None:
            d = flat.shape[1]
            total = sum(
                pulled_back(flat[:, i].sum(), more=i + 1 < d).reshape(len(x), -1)[:, i]
                for i in range(d)
            )
            traces = torch.as_tensor(total)[None]
        else:
            last = len(probes) - 1
            traces = torch.stack(
                [
                    (v * pulled_back((v * value).sum(), more=k < last))
                    .reshape(len(x), -1)
                    .sum(1)
                    for k, v in enumerate(probes)
                ]
            )
    return (value, traces) if differentiable else (value.detach(), traces.detach())


def standard_error(estimates: Estimates) -> Numbers:
    """The standard error of the mean over probes, (B,); NaN for a single probe."""
    if len(estimates) < 2:
        return torch.full_like(estimates[0], math.nan)
    return estimates.std(0) / math.sqrt(len(estimates))
