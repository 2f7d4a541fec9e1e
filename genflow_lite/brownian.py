"""Brownian motion and the stochastic calculus on it.

Everything in this module is ordinary stochastic calculus, so here (and only here)
time runs forward on an *increasing* grid. A bundle of paths is a float64 tensor
w of shape (n, T, *S): n independent paths, seen at the T times ``ts``, each with
values of shape S. Randomness enters only through ``generator``.

A path that was drawn once can be looked at again more finely: ``refine`` adds the
midpoints that the same path would have passed through. Convergence of a scheme is
then measured on one path, not between two unrelated ones.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from genflow_lite._driven import (
    as_float64,
    check_match,
    check_paths,
    check_times,
    sde_euler,
    sde_milstein,
)
from genflow_lite._shapes import check_count, check_generator, check_shape, describe

__all__ = [
    "bridge",
    "ito_sum",
    "quadratic_variation",
    "refine",
    "sde_euler",
    "sde_milstein",
    "stratonovich_sum",
    "total_variation",
    "wiener",
]


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    check_generator(generator)
    return torch.randn(
        shape, generator=generator, dtype=torch.float64, device=generator.device
    )


def _along_time(values: Tensor, w: Tensor) -> Tensor:
    """(T,) values shaped so that they multiply w of shape (n, T, *S)."""
    return values.reshape(-1, *[1] * (w.ndim - 2))


def wiener(
    ts: Tensor | Sequence[float],
    n: int,
    *,
    shape: tuple[int, ...] = (),
    generator: Generator,
) -> Tensor:
    """n Wiener paths W seen at the times ``ts``; shape (n, T, *shape), float64.

    W_t − W_s ~ N(0, t − s), increments over disjoint intervals independent, W_0 = 0.
    The law at the grid's times is exact, whatever the spacing: W at ts[0] is drawn
    from N(0, ts[0]), so it is exactly 0 when ts[0] = 0. With ``shape`` every
    component is a Wiener process of its own, independent of the others.

    Raises ValueError unless ts is strictly increasing from ts[0] ≥ 0 and n ≥ 1, and
    TypeError for arguments of another kind.
    Source: Øksendal (2003), section 2.2.
    """
    grid = check_times(ts, 1)
    size = (check_count(n, name="n"), len(grid), *check_shape(shape))
    z = _normal(size, generator)
    steps = torch.cat([grid[:1], grid.diff()]).sqrt().to(z.device)
    return (_along_time(steps, z) * z).cumsum(dim=1)


def bridge(
    ts: Tensor | Sequence[float],
    a: Tensor | float,
    b: Tensor | float,
    n: int,
    *,
    shape: tuple[int, ...] = (),
    generator: Generator,
) -> Tensor:
    """n Brownian bridges with B(ts[0]) = a and B(ts[-1]) = b; (n, T, *shape).

    B_t = a + (W_t − W_{t₀}) − (t − t₀)/(t₁ − t₀) · (W_{t₁} − W_{t₀} − (b − a)),
    a Wiener path conditioned on both ends: mean on the chord from a to b, covariance
    (s − t₀)(t₁ − t)/(t₁ − t₀) for s ≤ t. ``a`` and ``b`` are numbers or tensors that
    broadcast to (n, *shape); both ends are met exactly.

    Raises ValueError for fewer than two times and for ends that are not finite or do
    not broadcast, and TypeError for arguments of another kind.
    Source: Karatzas and Shreve (1991), section 5.6.B.
    """
    grid, n, shape = check_times(ts, 2), check_count(n, name="n"), check_shape(shape)
    ends = []
    for name, value in (("a", a), ("b", b)):
        end = as_float64(value, name)
        if not torch.isfinite(end).all():
            raise ValueError(f"{name} must be finite; it holds an infinity or NaN")
        try:
            ends.append(end.expand(n, *shape))
        except RuntimeError:
            raise ValueError(
                f"{name} must broadcast to (n, *shape) = {(n, *shape)}; "
                f"got shape {tuple(end.shape)}"
            ) from None
    w = wiener(grid - grid[0], n, shape=shape, generator=generator)
    first, final = ends[0].to(w.device), ends[1].to(w.device)
    share = _along_time((grid - grid[0]) / (grid[-1] - grid[0]), w).to(w.device)
    out = first[:, None] + w - share * (w[:, -1:] - (final - first)[:, None])
    out[:, -1] = final
    return out


def refine(
    ts: Tensor | Sequence[float], w: Tensor, *, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The same Wiener paths with every interval halved: (ts2, w2), 2T − 1 times.

    Given both ends of an interval of length h, W at its midpoint is
    N((W_left + W_right)/2, h/4). Drawing it leaves every value that was already
    known as it was, ``w2[:, ::2]`` equals ``w``, and the finer path is again a Wiener
    path: this is Lévy's construction, one level at a time.

    Raises ValueError unless w has shape (n, T, *S) with T = len(ts) ≥ 2, and TypeError
    for a w that is not a floating-point tensor.
    Source: Karatzas and Shreve (1991), section 2.3.
    """
    grid, w = check_times(ts, 2), check_paths(w)
    check_match(grid, w)
    h = grid.diff()
    spread = _along_time((h / 4).sqrt(), w).to(w.device)
    middle = (w[:, 1:] + w[:, :-1]) / 2
    middle = middle + spread * _normal(tuple(middle.shape), generator)
    ts2 = torch.empty(2 * len(grid) - 1, dtype=torch.float64)
    ts2[::2], ts2[1::2] = grid, grid[:-1] + h / 2
    w2 = w.new_empty((w.shape[0], len(ts2), *w.shape[2:]))
    w2[:, ::2], w2[:, 1::2] = w, middle
    return ts2, w2


def _integrand(f: Tensor, w: Tensor) -> Tensor:
    """f as (n or 1, T, *S or 1s), aligned with w from the left."""
    if not isinstance(f, Tensor) or f.is_complex():
        raise TypeError(f"f must be a tensor of real numbers; got {describe(f)}")
    full = (f[None] if f.ndim == 1 else f).to(torch.float64)
    if full.ndim <= w.ndim:
        full = full.reshape(*full.shape, *[1] * (w.ndim - full.ndim))
        if full.shape[1] == w.shape[1] and all(
            k in (1, size) for k, size in zip(full.shape, w.shape, strict=True)
        ):
            return full
    raise ValueError(
        "f must have shape (T,) or (n, T, *S) to match w of shape "
        f"{tuple(w.shape)}; got {tuple(f.shape)}"
    )


def _running(terms: Tensor) -> Tensor:
    """Running sums along time that begin with an exact zero."""
    return torch.cat([torch.zeros_like(terms[:, :1]), terms.cumsum(dim=1)], dim=1)


def ito_sum(f: Tensor, w: Tensor) -> Tensor:
    """Running left-point sums Σ f_k (w_{k+1} − w_k), of w's shape; first entry 0.

    As the grid is refined they tend to Itô's integral ∫ f dW: the integrand is taken
    before the increment is known, which makes the sum a martingale. ``f`` has w's
    shape (n, T, *S); missing trailing axes broadcast, and (T,) is one deterministic
    integrand for all paths. The last entry of f is never used.

    Raises ValueError if f does not fit w. Source: Itô (1944); Øksendal (2003), 3.1.
    """
    w = check_paths(w)
    return _running(_integrand(f, w)[:, :-1] * w.diff(dim=1))


def stratonovich_sum(f: Tensor, w: Tensor) -> Tensor:
    """Running sums Σ ½(f_k + f_{k+1}) (w_{k+1} − w_k); arguments as in ``ito_sum``.

    They tend to Stratonovich's integral ∫ f ∘ dW, which obeys the chain rule of
    ordinary calculus. It exceeds Itô's by half the covariation of f and W.

    Raises ValueError if f does not fit w. Source: Stratonovich (1966).
    """
    w = check_paths(w)
    f = _integrand(f, w)
    return _running((f[:, :-1] + f[:, 1:]) / 2 * w.diff(dim=1))


def quadratic_variation(w: Tensor) -> Tensor:
    """Running sums Σ (w_{k+1} − w_k)², of w's shape (n, T, *S); first entry 0.

    For a Wiener path on n equal steps up to t the mean is t and the variance 2t²/n,
    so the sum tends to t; for a path of bounded variation it tends to 0.
    """
    return _running(check_paths(w).diff(dim=1).square())


def total_variation(w: Tensor) -> Tensor:
    """Running sums Σ |w_{k+1} − w_k|, of w's shape (n, T, *S); first entry 0.

    For a Wiener path on n equal steps up to t the mean is √(2nt/π): it has no limit,
    which is why ∫ f dW is not a Stieltjes integral.
    """
    return _running(check_paths(w).diff(dim=1).abs())
