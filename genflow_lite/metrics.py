"""How far apart are two samples? Four distances, three with their sampling error.

Two finite samples of one distribution are never at distance zero. A distance means
something beside its spread under the null hypothesis that both samples come from
one distribution, and that spread can be had from the data: shuffle the labels x and
y, compute the distance again, repeat. ``TwoSample`` carries the value and what the
shuffles gave.

Samples are tensors (n, *S): the first axis counts, all others are flattened into
one of D coordinates; (n,) is n real numbers. The arithmetic is float64.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from genflow_lite._permutations import TwoSample, shuffles, two_sample
from genflow_lite._shapes import (
    check_count,
    check_floating,
    check_generator,
    check_positive,
)

__all__ = ["TwoSample", "energy_distance", "frechet_distance", "mmd", "sliced_w2"]

_ROWS = 512  # rows of the pairwise matrix in memory at once: 80 MB for 2 × 10 000
_MEDIAN = 2000  # points that the median heuristic looks at


def energy_distance(
    x: Tensor, y: Tensor, *, permutations: int = 0, generator: Generator | None = None
) -> TwoSample:
    """Energy distance 2 E|X − Y| − E|X − X'| − E|Y − Y'|, estimated without bias.

    value = 2/(n m) Σ_{i,j} |x_i − y_j| − 1/(n(n−1)) Σ_{i≠j} |x_i − x_j|
            − 1/(m(m−1)) Σ_{i≠j} |y_i − y_j|,

    Euclidean norms, in the units of x (it is the *squared* energy metric). It is zero
    in the population exactly when both laws are equal. As a U-statistic it has mean
    zero for equal laws, so it can be slightly negative. x (n, *S), y (m, *S).

    Raises ValueError for samples of different coordinates, fewer than two points,
    or values that are not finite; TypeError for permutations without a generator.
    Source: Székely and Rizzo (2013).
    """
    x, y = _samples(x, y)
    sums = _block_sums(x, y, _distance, shuffles(x, y, permutations, generator))
    return two_sample(-_within_minus_between(sums, len(x), len(y)))


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float | None = None,
    permutations: int = 0,
    generator: Generator | None = None,
) -> TwoSample:
    """Squared maximum mean discrepancy with a Gaussian kernel, without bias.

    value = 1/(n(n−1)) Σ_{i≠j} k(x_i, x_j) + 1/(m(m−1)) Σ_{i≠j} k(y_i, y_j)
            − 2/(n m) Σ_{i,j} k(x_i, y_j),   k(a, b) = exp(−|a − b|² / (2 h²)).

    No units; mean zero for equal laws, so it can be slightly negative. The bandwidth
    h is in the units of x; by default it is the median of all pairwise distances of
    the pooled sample (the lower one of two; beyond 2000 points that of 2000 of them,
    evenly spaced in lexicographic order), which depends neither on chance nor on the
    labels.

    Raises as ``energy_distance``, TypeError for a bandwidth that is not a number, and
    ValueError for one that is not positive and finite or for a median of 0.
    Source: Gretton et al. (2012), Lemma 6.
    """
    x, y = _samples(x, y)
    if bandwidth is None:
        h = _median_distance(torch.cat([x, y]))
        if h == 0:
            raise ValueError("bandwidth must be given where the median distance is 0")
    else:
        h = check_positive(bandwidth, name="bandwidth")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return _distance(a, b).div_(h).square_().mul_(-0.5).exp_()

    sums = _block_sums(x, y, kernel, shuffles(x, y, permutations, generator))
    return two_sample(_within_minus_between(sums, len(x), len(y), diagonal=1.0))


def sliced_w2(
    x: Tensor,
    y: Tensor,
    *,
    projections: int = 100,
    permutations: int = 0,
    generator: Generator,
) -> TwoSample:
    """Sliced 2-Wasserstein distance of the empirical laws.

    value = (mean over θ of W₂²(θ·x, θ·y))^½, over ``projections`` directions θ uniform
    on the unit sphere of R^D; in one dimension W₂² = ∫₀¹ (F_x⁻¹(u) − F_y⁻¹(u))² du,
    which is exact here for n ≠ m too. In the units of x; for D = 1 it is W₂ itself.
    Not without bias: two samples of one law are at a positive distance, which is
    what null_mean shows. The same directions serve value and permutations.

    Raises as ``energy_distance``, and ValueError for projections < 1.
    Source: Bonneel et al. (2015).
    """
    x, y = _samples(x, y)
    check_count(projections, name="projections")
    check_generator(generator)
    theta = torch.randn(
        projections, x.shape[1], generator=generator, dtype=x.dtype, device=x.device
    )
    theta = theta / theta.norm(dim=1, keepdim=True)
    labels = shuffles(x, y, permutations, generator).bool()  # (1 + permutations, N)
    ranks_x, ranks_y, share = _quantile_steps(len(x), len(y))
    pooled = torch.cat([x, y])
    total = torch.zeros(len(labels), dtype=x.dtype)
    for direction in theta:
        values, order = (pooled @ direction).sort()
        for k, label in enumerate(labels):
            is_x = label[order]  # the sorted values of each side, without a new sort
            gap = values[is_x][ranks_x] - values[~is_x][ranks_y]
            total[k] += share @ gap.square()
    return two_sample((total / projections).sqrt())


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared Fréchet distance of the two samples' Gaussian fits.

    It is |μ_x − μ_y|² + tr(C_x + C_y − 2 (C_x^½ C_y C_x^½)^½) with sample means and
    sample covariances (divisor n − 1), in the units of x squared. It sees two moments
    and no more, and it is biased upwards by an amount that shrinks like 1/n: compare
    only values from samples of one size. Roots by ``torch.linalg.eigh``; singular
    covariances are fine.

    Raises as ``energy_distance``. Sources: Dowson and Landau (1982);
    Heusel et al. (2017) for its use on features of a network.
    """
    x, y = _samples(x, y)
    root_x, root_y = _root(torch.cov(x.T)), _root(torch.cov(y.T))
    # tr (A B A)^½ with A = C_x^½, B = C_y is the sum of the singular values of
    # C_x^½ C_y^½: no eigenvalue is squared on the way and none can come out negative.
    overlap = torch.linalg.matrix_norm(root_x @ root_y, ord="nuc")
    spread = root_x.square().sum() + root_y.square().sum() - 2 * overlap
    return float((x.mean(0) - y.mean(0)).square().sum() + spread.clamp(min=0))


def _samples(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    flat = []
    for name, sample in (("x", x), ("y", y)):
        check_floating(sample, name=name)
        if sample.ndim < 1 or len(sample) < 2 or sample.numel() == 0:
            raise ValueError(
                f"{name} must hold at least two points along its first axis; got "
                f"shape {tuple(sample.shape)}"
            )
        if not torch.isfinite(sample).all():
            raise ValueError(f"{name} must be finite; got NaN or infinity")
        flat.append(sample.detach().to(torch.float64).reshape(len(sample), -1))
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(
            "x and y must agree in all axes but the first; got shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    return flat[0], flat[1]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # Differences, not |a|² + |b|² − 2ab: near points keep their digits, and the
    # distance of a point to itself is exactly 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _block_sums(
    x: Tensor, y: Tensor, pair: Callable[[Tensor, Tensor], Tensor], labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ pair over x × x, x × y, y × y for every labelling, in one pass over the pairs.

    With a label vector p (1 for x) and the pairwise matrix K of the pooled sample
    these are pᵀKp, pᵀK(1 − p) and (1 − p)ᵀK(1 − p); K is made a few rows at a time.
    """
    pooled, p = torch.cat([x, y]), labels.T
    xx, x_all, everything = 0.0, 0.0, 0.0
    for start in range(0, len(pooled), _ROWS):
        rows = slice(start, start + _ROWS)
        block = pair(pooled[rows], pooled)
        xx = xx + (p[rows] * (block @ p)).sum(dim=0)
        row_sums = block.sum(dim=1)
        x_all = x_all + row_sums @ p[rows]
        everything = everything + row_sums.sum()
    xx, x_all = torch.as_tensor(xx), torch.as_tensor(x_all)
    return xx, x_all - xx, everything - 2 * x_all + xx


def _within_minus_between(
    sums: tuple[Tensor, Tensor, Tensor], n: int, m: int, diagonal: float = 0.0
) -> Tensor:
    """Means over i ≠ j within x and within y, minus twice the mean between them."""
    xx, xy, yy = sums
    within = (xx - n * diagonal) / (n * (n - 1)) + (yy - m * diagonal) / (m * (m - 1))
    return within - 2 * xy / (n * m)


def _median_distance(pooled: Tensor) -> float:
    if len(pooled) > _MEDIAN:
        for k in reversed(range(pooled.shape[1])):  # stable: the last sort weighs most
            pooled = pooled[pooled[:, k].argsort(stable=True)]
        pick = torch.linspace(0, len(pooled) - 1, _MEDIAN).round().long()
        pooled = pooled[pick]
    return float(torch.pdist(pooled).median())


def _quantile_steps(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ranks in x and in y on each interval where both quantile functions are constant,
    and the intervals' lengths. Breakpoints i/n and j/m are kept as integers over n m.
    """
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    share = (ends - starts).to(torch.float64) / (n * m)
    return starts // m, starts // n, share


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root of a covariance matrix."""
    values, vectors = torch.linalg.eigh(torch.atleast_2d(cov))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
