"""Two-sample distances against brute force, closed forms and their own null."""

import itertools
import math
from typing import Any

import pytest
import torch

from genflow_lite import metrics
from genflow_lite.metrics import (
    TwoSample,
    energy_distance,
    frechet_distance,
    mmd,
    sliced_w2,
)

F64 = torch.float64


def wrong(value: Any) -> Any:
    """A value of a type that the signature forbids, hidden from the type checker."""
    return value


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=gen(seed), dtype=F64)


def brute(x, y, pair) -> float:
    """Mean of ``pair`` between x and y, and within each, over distinct points."""

    def mean(pairs) -> float:
        values = [float(pair(a, b)) for a, b in pairs]
        return sum(values) / len(values)

    between = mean(itertools.product(x, y))
    return (
        2 * between
        - mean(itertools.permutations(x, 2))
        - mean(itertools.permutations(y, 2))
    )


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).flatten().square().sum().sqrt()


X, Y = normal(7, 2, 2, seed=1), 0.5 + 2 * normal(5, 2, 2, seed=2)


def test_energy_distance_by_brute_force() -> None:
    got = energy_distance(X, Y)
    assert got.value == pytest.approx(brute(X, Y, distance), rel=1e-12)
    assert all(math.isnan(v) for v in got[1:])
    assert energy_distance(Y, X).value == pytest.approx(got.value, rel=1e-12)


def test_mmd_by_brute_force_and_by_the_median() -> None:
    def kernel(a, b, h):
        return (-(distance(a, b) ** 2) / (2 * h**2)).exp()

    got = mmd(X, Y, bandwidth=1.7).value
    assert got == pytest.approx(-brute(X, Y, lambda a, b: kernel(a, b, 1.7)), rel=1e-12)
    pooled = [*X, *Y]
    gaps = sorted(float(distance(a, b)) for a, b in itertools.combinations(pooled, 2))
    assert len(gaps) % 2 == 0
    median = gaps[len(gaps) // 2 - 1]
    assert mmd(X, Y).value == pytest.approx(
        mmd(X, Y, bandwidth=median).value, rel=1e-12
    )


def test_one_number_a_point_is_one_coordinate() -> None:
    x, y = normal(6, seed=3), normal(9, seed=4)
    assert energy_distance(x, y) == pytest.approx(
        energy_distance(x[:, None], y[:, None]), nan_ok=True
    )


def expected_gap(delta: float, var: float) -> float:
    """E|Z| of Z ~ N(delta, var)."""
    s = math.sqrt(var)
    return s * math.sqrt(2 / math.pi) * math.exp(
        -(delta**2) / (2 * var)
    ) + delta * math.erf(delta / (s * math.sqrt(2)))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.4, 2.0)])
def test_energy_and_mmd_are_unbiased_for_gaussians(shift: float, scale: float) -> None:
    h, reps = 0.8, 600
    x = normal(reps, 12, seed=5)
    y = shift + scale * normal(reps, 9, seed=6)
    truth_e = (
        2 * expected_gap(shift, 1 + scale**2)
        - expected_gap(0, 2)
        - expected_gap(0, 2 * scale**2)
    )

    def mean_kernel(delta: float, var: float) -> float:
        """E exp(−Z²/2h²) of Z ~ N(delta, var)."""
        return h / math.sqrt(h**2 + var) * math.exp(-(delta**2) / (2 * (h**2 + var)))

    truth_m = (
        mean_kernel(0, 2)
        + mean_kernel(0, 2 * scale**2)
        - 2 * mean_kernel(shift, 1 + scale**2)
    )
    for truth, fn in (
        (truth_e, energy_distance),
        (truth_m, lambda a, b: mmd(a, b, bandwidth=h)),
    ):
        values = torch.tensor([fn(a, b).value for a, b in zip(x, y, strict=True)])
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(reps)


def test_the_pairwise_matrix_may_be_cut_anywhere(monkeypatch) -> None:
    x, y = normal(40, 3, seed=7), normal(31, 3, seed=8)
    calls = [
        lambda: energy_distance(x, y, permutations=20, generator=gen(1)),
        lambda: mmd(x, y, permutations=20, generator=gen(1)),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(metrics, "_ROWS", 7)
    for call, expected in zip(calls, whole, strict=True):
        assert call() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "fn",
    [
        energy_distance,
        mmd,
        lambda x, y, **k: sliced_w2(x, y, projections=4, **k),
    ],
)
def test_null_is_the_distance_over_all_relabellings(fn) -> None:
    pooled = normal(7, 1, seed=9)
    values = []
    for chosen in itertools.combinations(range(7), 3):
        rest = [i for i in range(7) if i not in chosen]
        values.append(fn(pooled[list(chosen)], pooled[rest], generator=gen(2)).value)
    exact = torch.tensor(values, dtype=F64)
    got = fn(pooled[:3], pooled[3:], permutations=4000, generator=gen(2))
    spread = float(exact.std(correction=0))
    assert got.value == pytest.approx(values[0], rel=1e-12)
    assert got.null_mean == pytest.approx(
        float(exact.mean()), abs=4 * spread / 4000**0.5
    )
    kurtosis = float(((exact - exact.mean()) / spread).pow(4).mean())
    tol = 4 * math.sqrt(max(kurtosis - 1, 0) / 4000) / 2
    assert got.null_std == pytest.approx(spread, rel=tol)
    share = float((exact >= values[0] - 1e-12).to(F64).mean())
    assert got.p_value == pytest.approx(share, abs=4 * 0.5 / 4000**0.5)


def test_null_statistics_from_every_single_shuffle(monkeypatch) -> None:
    """Mean, deviation and p-value by hand from the labellings that were drawn."""
    x, y = normal(4, seed=25), normal(3, seed=33)
    drawn = []
    shuffles = metrics.shuffles

    def recorded(*args) -> torch.Tensor:
        drawn.append(shuffles(*args))
        return drawn[-1]

    monkeypatch.setattr(metrics, "shuffles", recorded)
    got = energy_distance(x, y, permutations=9, generator=gen(4))
    pooled = torch.cat([x, y])
    values = [brute(pooled[row == 1], pooled[row == 0], distance) for row in drawn[0]]
    assert len(values) == 10
    assert (drawn[0].sum(1) == 4).all()
    mean = sum(values[1:]) / 9
    spread = math.sqrt(sum((v - mean) ** 2 for v in values[1:]) / 9)
    extreme = sum(v >= values[0] - 1e-12 for v in values[1:])
    assert 0 < extreme < 9
    expected = (values[0], mean, spread, (1 + extreme) / 10)
    assert got == pytest.approx(expected, rel=1e-12)


def test_a_p_value_is_never_zero() -> None:
    far = energy_distance(X, Y + 99, permutations=9, generator=gen(5))
    assert far.p_value == pytest.approx(1 / 10, rel=1e-12)


def test_p_values_are_valid_under_the_null_and_small_far_from_it() -> None:
    g = gen(10)
    p = torch.tensor(
        [
            energy_distance(
                torch.randn(15, 2, generator=g, dtype=F64),
                torch.randn(10, 2, generator=g, dtype=F64),
                permutations=39,
                generator=g,
            ).p_value
            for _ in range(400)
        ]
    )
    for level in (0.1, 0.5):
        share, se = (
            float((p <= level).to(F64).mean()),
            math.sqrt(level * (1 - level) / 400),
        )
        assert abs(share - level) < 4 * se
    far = energy_distance(X, Y + 9, permutations=99, generator=gen(3))
    assert far.p_value == pytest.approx(1 / 100, abs=0.02)
    assert far.value > 10
    same = energy_distance(X, X, permutations=50, generator=gen(3))
    assert same.p_value > 0.5


def test_equal_shuffles_count_as_ties() -> None:
    x = torch.tensor([0.1, 0.1, 0.1], dtype=F64)  # every relabelling is the same
    for fn in (energy_distance, lambda a, b, **k: mmd(a, b, bandwidth=1.0, **k)):
        assert fn(x, x, permutations=30, generator=gen(0)).p_value == 1


def test_median_of_many_points_depends_on_neither_order_nor_labels() -> None:
    x, y = normal(1500, 2, seed=11), normal(900, 2, seed=12) + 1
    value = mmd(x, y).value
    shuffle = torch.randperm(1500, generator=gen(13))
    assert mmd(x[shuffle], y).value == pytest.approx(value, rel=1e-9)
    assert mmd(y, x).value == pytest.approx(value, rel=1e-9)
    pooled = torch.cat([x, y])
    exact = float(torch.pdist(pooled).median())
    assert metrics._median_distance(pooled) == pytest.approx(exact, rel=0.02)


def test_median_of_many_points_takes_an_even_share_in_lexicographic_order() -> None:
    # First coordinates that tie: the second decides, and only among those.
    n = 4001
    first = torch.arange(n, dtype=F64).div(40, rounding_mode="floor")
    points = torch.stack([first, normal(n, seed=27)], 1)
    ordered = torch.tensor(sorted(points.tolist()), dtype=F64)
    pick = [round(i * (n - 1) / 1999) for i in range(2000)]
    gaps = torch.pdist(ordered[pick]).sort().values
    got = metrics._median_distance(points)
    assert got == pytest.approx(float(gaps[(len(gaps) - 1) // 2]), rel=1e-12)


def test_mmd_of_a_bandwidth_that_separates_every_point() -> None:
    # h² underflows here; every kernel value between two points is 0.
    assert mmd(X, Y, bandwidth=1e-200).value == 0


# --- sliced Wasserstein --------------------------------------------------------------


def test_sliced_w2_in_one_dimension_is_the_sorted_formula() -> None:
    x, y = normal(50, seed=14), 1 + 2 * normal(50, seed=15)
    w2 = (x.sort()[0] - y.sort()[0]).square().mean().sqrt()
    got = sliced_w2(x, y, projections=3, generator=gen())
    assert got.value == pytest.approx(float(w2), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 3), (2, 7), (6, 3)])
def test_sliced_w2_of_unequal_sizes_by_repeating_points(n: int, m: int) -> None:
    x, y = normal(n, seed=16), normal(m, seed=17)
    a, b = (z.sort()[0].repeat_interleave(k) for z, k in ((x, m), (y, n)))
    got = sliced_w2(x, y, projections=1, generator=gen())
    assert got.value == pytest.approx(float((a - b).square().mean().sqrt()), rel=1e-12)


def test_sliced_w2_of_a_shift_averages_its_projections() -> None:
    x, shift = normal(30, 5, seed=18), torch.tensor([3.0, -1, 0, 2, 0.5], dtype=F64)
    projections = 4000
    value = sliced_w2(x, x + shift, projections=projections, generator=gen(19)).value
    size = float(shift @ shift)
    # (θ·v)²/|v|² is Beta(½, (D−1)/2): mean 1/D, variance 2(D−1)/(D²(D+2)).
    se = size * math.sqrt(2 * 4 / (25 * 7) / projections)
    assert value**2 == pytest.approx(size / 5, abs=4 * se)


def test_sliced_w2_sees_what_it_should_and_repeats_itself() -> None:
    x, y = normal(200, 3, seed=20), normal(150, 3, seed=21)
    near = sliced_w2(x, y, projections=20, permutations=50, generator=gen(1))
    again = sliced_w2(x, y, projections=20, permutations=50, generator=gen(1))
    far = sliced_w2(x, 2 * y, projections=20, permutations=50, generator=gen(1))
    assert near == again
    assert isinstance(near, TwoSample)
    assert near.null_mean > 0.05  # never without bias
    assert far.p_value < 0.03 < near.p_value


# --- Fréchet -------------------------------------------------------------------------


def with_moments(mean: torch.Tensor, cov: torch.Tensor, seed: int) -> torch.Tensor:
    """A sample whose mean and sample covariance are exactly these."""
    d = len(mean)
    z = normal(4 * d + 3, d, seed=seed)
    z = z - z.mean(0)
    white = z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T
    values, vectors = torch.linalg.eigh(cov)
    return mean + white @ (vectors * values.clamp(min=0).sqrt()).T


def test_frechet_against_closed_forms() -> None:
    mx, my = torch.tensor([1.0, 2, 0], dtype=F64), torch.tensor([0.0, 2, 5], dtype=F64)
    sx, sy = torch.tensor([1.0, 2, 3], dtype=F64), torch.tensor([2.0, 2, 0], dtype=F64)
    x = with_moments(mx, sx.square().diag(), 22)
    y = with_moments(my, sy.square().diag(), 23)
    commuting = float((mx - my).square().sum() + (sx - sy).square().sum())
    assert frechet_distance(x, y) == pytest.approx(commuting, rel=1e-7)
    assert frechet_distance(x[:, :1], y[:, :1]) == pytest.approx(1 + 1, rel=1e-9)
    # 2 × 2: tr √M = √(tr M + 2 √det M) needs no matrix root at all.
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=F64)
    b = torch.tensor([[1.0, -0.9], [-0.9, 3.0]], dtype=F64)
    root = math.sqrt(float((a @ b).trace()) + 2 * math.sqrt(float((a @ b).det())))
    x, y = with_moments(mx[:2], a, 24), with_moments(my[:2], b, 25)
    truth = 1 + float(a.trace() + b.trace()) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(truth, rel=1e-10)
    assert frechet_distance(y, x) == pytest.approx(truth, rel=1e-10)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_frechet_of_fewer_points_than_coordinates() -> None:
    x, y = normal(5, 20, seed=26), normal(6, 20, seed=27)
    scipy_linalg = pytest.importorskip("scipy.linalg")
    cx, cy = torch.cov(x.T).numpy(), torch.cov(y.T).numpy()
    # A singular product has no well-behaved root: lift it by a hair, as others do.
    lift = 1e-10 * torch.eye(20, dtype=F64).numpy()
    root = scipy_linalg.sqrtm((cx + lift) @ (cy + lift))
    truth = (
        float((x.mean(0) - y.mean(0)).square().sum())
        + (cx + cy - 2 * root.real).trace()
    )
    assert frechet_distance(x, y) == pytest.approx(truth, rel=1e-4)


# --- refusals ------------------------------------------------------------------------

NAN = X.clone()
NAN[0, 0, 0] = math.nan


@pytest.mark.parametrize(
    "fn",
    [
        energy_distance,
        mmd,
        frechet_distance,
        lambda x, y: sliced_w2(x, y, generator=gen()),
    ],
)
def test_bad_samples_are_named(fn) -> None:
    with pytest.raises(ValueError, match="x must hold at least two"):
        fn(X[:1], Y)
    with pytest.raises(ValueError, match="y must hold at least two"):
        fn(X, Y[:0])
    with pytest.raises(ValueError, match="x must be finite"):
        fn(NAN, Y)
    with pytest.raises(ValueError, match="x and y must agree"):
        fn(X, Y[:, :1])
    with pytest.raises(ValueError, match="x and y must agree"):
        fn(X, Y.flatten(1))
    with pytest.raises(TypeError, match="y must be a"):
        fn(X, [1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: energy_distance(X, Y, permutations=-1), ValueError, "permutations"),
        (
            lambda: energy_distance(X, Y, permutations=wrong(1.0)),
            TypeError,
            "permutations",
        ),
        (lambda: energy_distance(X, Y, permutations=3), TypeError, "generator"),
        (lambda: mmd(X, Y, bandwidth=0.0), ValueError, "bandwidth"),
        (lambda: mmd(X, Y, bandwidth=math.nan), ValueError, "bandwidth"),
        (lambda: mmd(X, Y, bandwidth=wrong("0.5")), TypeError, "bandwidth"),
        (lambda: mmd(X, Y, bandwidth=True), TypeError, "bandwidth"),
        (lambda: mmd(X[:2] * 0, Y[:2] * 0), ValueError, "bandwidth.*median"),
        (lambda: sliced_w2(X, Y, projections=0, generator=gen()), ValueError, "projec"),
        (lambda: sliced_w2(X, Y, generator=wrong(None)), TypeError, "generator"),
    ],
)
def test_bad_options_are_named(call, error, names: str) -> None:
    with pytest.raises(error, match=names):
        call()
