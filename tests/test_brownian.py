"""Brownian motion against covariances, exact identities and regressed orders."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genflow_lite.brownian import (
    bridge,
    ito_sum,
    quadratic_variation,
    refine,
    sde_euler,
    sde_milstein,
    stratonovich_sum,
    total_variation,
    wiener,
)

F64 = torch.float64
UNEVEN = torch.tensor([0.0, 0.1, 0.15, 0.7, 1.0, 2.5], dtype=F64)


def wrong(value: Any) -> Any:
    """A value of a type that the signature forbids, hidden from the type checker."""
    return value


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def worst_z(samples: torch.Tensor, cov: torch.Tensor) -> float:
    """Largest miss of the sample covariance, in its standard errors (Wishart)."""
    n = len(samples)
    centred = samples - samples.mean(dim=0)
    got = centred.T @ centred / (n - 1)
    se = ((cov.diag()[:, None] * cov.diag() + cov.square()) / n).sqrt()
    assert torch.equal(got[se == 0], torch.zeros_like(got[se == 0]))
    return float(((got - cov)[se > 0] / se[se > 0]).abs().max())


# --- paths ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0.0, 0.4])
def test_wiener_is_the_cholesky_factor_of_min_s_t(first: float) -> None:
    ts = torch.tensor([0.5, 0.6, 0.65, 1.2, 3.0], dtype=F64) - 0.5 + first
    w = wiener(ts, 7, generator=gen(3))
    z = torch.randn(7, 5, generator=gen(3), dtype=F64)
    cov = torch.minimum(ts[:, None], ts)
    # A zero variance at t = 0 has no Cholesky factor: factor the rest, W_0 = 0.
    live = ts > 0
    root = torch.linalg.cholesky(cov[live][:, live])
    assert torch.allclose(w[:, live], z[:, live] @ root.T, rtol=0, atol=1e-13)
    assert (w[:, ~live] == 0).all()


def test_wiener_covariance_and_mean_sampled() -> None:
    n = 40_000
    ts = UNEVEN + 0.25
    w = wiener(ts, n, generator=gen(1))
    assert worst_z(w, torch.minimum(ts[:, None], ts)) < 4
    assert ((w.mean(0) / (ts / n).sqrt()).abs() < 4).all()


def test_wiener_components_are_independent_and_shaped() -> None:
    w = wiener(UNEVEN, 30_000, shape=(2, 2), generator=gen(2))
    assert w.shape == (30_000, 6, 2, 2)
    assert w.dtype == F64
    assert (w[:, 0] == 0).all()
    cov = torch.eye(4, dtype=F64) * UNEVEN[-1]
    assert worst_z(w[:, -1].reshape(-1, 4), cov) < 4


def test_same_seed_same_path_and_other_seed_another() -> None:
    a, b, c = (wiener(UNEVEN, 3, generator=gen(k)) for k in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a[:, 1:], c[:, 1:])


def test_bridge_has_the_law_of_w_conditioned_on_its_ends() -> None:
    ts = UNEVEN + 0.3
    b = bridge(ts, 1.0, -2.0, 40_000, generator=gen(4))
    assert (b[:, 0] == 1).all()
    assert (b[:, -1] == -2).all()
    # Condition the Gaussian vector W on (W_first, W_last) by the Schur complement.
    joint = torch.minimum(ts[:, None], ts)
    ends, inner = [0, len(ts) - 1], list(range(1, len(ts) - 1))
    gain = joint[inner][:, ends] @ torch.linalg.inv(joint[ends][:, ends])
    cov = joint[inner][:, inner] - gain @ joint[ends][:, inner]
    mean = gain @ torch.tensor([1.0, -2.0], dtype=F64)
    assert worst_z(b[:, inner], cov) < 4
    assert (
        ((b[:, inner].mean(0) - mean) / (cov.diag() / 40_000).sqrt()).abs() < 4
    ).all()


def test_bridge_ends_broadcast_over_paths_and_components() -> None:
    a = torch.arange(4, dtype=F64)[:, None]  # one start for each path
    b = torch.tensor([1.0, 2.0, 3.0], dtype=F64)  # one end for each component
    out = bridge(UNEVEN, a, b, 4, shape=(3,), generator=gen())
    assert out.shape == (4, 6, 3)
    assert torch.equal(out[:, 0], a.expand(4, 3))
    assert torch.equal(out[:, -1], b.expand(4, 3))
    assert torch.equal(
        bridge(UNEVEN[:2], 1.0, 2.0, 1, generator=gen()), torch.tensor([[1.0, 2.0]])
    )


def test_refine_keeps_the_path_and_is_again_a_wiener_path() -> None:
    coarse = torch.tensor([0.2, 0.3, 1.0], dtype=F64)
    w = wiener(coarse, 40_000, generator=gen(7))
    ts, fine = refine(coarse, w, generator=gen(8))
    assert torch.allclose(ts, torch.tensor([0.2, 0.25, 0.3, 0.65, 1.0], dtype=F64))
    assert torch.equal(fine[:, ::2], w)
    assert worst_z(fine, torch.minimum(ts[:, None], ts)) < 4
    ts4, w4 = refine(ts, fine[..., None].expand(-1, -1, 2), generator=gen(9))
    assert len(ts4) == 9
    assert w4.shape == (40_000, 9, 2)


# --- sums ----------------------------------------------------------------------------


@given(
    steps=st.lists(st.floats(1e-3, 2.0), min_size=1, max_size=30),
    seed=st.integers(0, 2**31),
)
def test_ito_and_stratonovich_of_w_on_any_grid(steps: list[float], seed: int) -> None:
    ts = torch.tensor([0.0, *itertools.accumulate(steps)], dtype=F64)
    w = wiener(ts, 3, shape=(2,), generator=gen(seed))
    exact = (w.square() - w[:, :1].square()) / 2
    tol = 1e-12 * float(ts[-1] + 1) * len(ts)
    ito = exact - quadratic_variation(w) / 2  # Σ W ΔW = (W² − Σ ΔW²)/2, an identity
    assert torch.allclose(ito_sum(w, w), ito, rtol=0, atol=tol)
    assert torch.allclose(stratonovich_sum(w, w), exact, rtol=0, atol=tol)


def test_sums_by_hand() -> None:
    w = torch.tensor([[0.0, 2.0, -1.0]], dtype=F64)
    f = torch.tensor([5.0, 7.0, 100.0], dtype=F64)
    assert ito_sum(f, w).tolist() == [[0, 10, -11]]
    assert stratonovich_sum(f, w).tolist() == [[0, 12, 12 - 160.5]]
    assert quadratic_variation(w).tolist() == [[0, 4, 13]]
    assert total_variation(w).tolist() == [[0, 2, 5]]


def test_integrands_broadcast_over_missing_trailing_axes() -> None:
    w = wiener(UNEVEN, 4, shape=(2, 3), generator=gen())
    f = torch.randn(4, 6, generator=gen(1), dtype=F64)
    full = f[:, :, None, None].expand_as(w)
    for rule in (ito_sum, stratonovich_sum):
        assert torch.equal(rule(f, w), rule(full, w))
        assert torch.equal(rule(f[0], w)[2], rule(full[:1].expand_as(w), w)[2])
    blind = f.clone()
    blind[:, -1] = math.nan  # Itô's sum must never look at the last entry
    assert torch.equal(ito_sum(blind, w), ito_sum(f, w))


def test_ito_isometry_and_martingale_sampled() -> None:
    ts = torch.linspace(0, 1, 33, dtype=F64)
    w = wiener(ts, 40_000, generator=gen(11))
    end = ito_sum(w, w)[:, -1]
    truth = float(sum(ts[:-1] * ts.diff()))  # Σ E[W_k²] h
    assert abs(end.mean()) < 4 * math.sqrt(truth / 40_000)
    second = end.square()
    assert abs(second.mean() - truth) < 4 * second.std() / math.sqrt(40_000)


def test_variations_of_a_wiener_path() -> None:
    n, paths, t = 64, 20_000, 2.0
    w = wiener(torch.linspace(0, t, n + 1, dtype=F64), paths, generator=gen(12))
    qv, tv = quadratic_variation(w)[:, -1], total_variation(w)[:, -1]
    var = 2 * t**2 / n
    assert abs(qv.mean() - t) < 4 * math.sqrt(var / paths)
    fourth = (qv - qv.mean()).pow(4).mean()
    assert abs(qv.var() - var) < 4 * torch.sqrt((fourth - var**2) / paths)
    tv_var = t * (1 - 2 / math.pi)
    assert abs(tv.mean() - math.sqrt(2 * n * t / math.pi)) < 4 * math.sqrt(
        tv_var / paths
    )


def test_quadratic_variation_of_a_smooth_path_vanishes() -> None:
    ns = np.array([50, 100, 200])
    qv = [
        float(
            quadratic_variation(torch.linspace(0, 3, n + 1, dtype=F64).sin()[None])[
                0, -1
            ]
        )
        for n in ns
    ]
    assert np.polyfit(np.log(ns), np.log(qv), 1)[0] == pytest.approx(-1, abs=0.02)


# --- schemes -------------------------------------------------------------------------

MU, VOL = 0.4, 0.9


def gbm_drift(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return MU * x


def gbm_noise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return VOL * x


def test_gbm_steps_against_their_closed_products() -> None:
    w = wiener(UNEVEN, 5, shape=(2,), generator=gen(20))
    dw, h = w.diff(dim=1), UNEVEN.diff()[:, None]
    euler = 1 + MU * h + VOL * dw
    milstein = euler + VOL**2 * (dw.square() - h) / 2
    for scheme, factor in ((sde_euler, euler), (sde_milstein, milstein)):
        states = torch.stack(list(scheme(gbm_drift, gbm_noise, 1.5, UNEVEN, w)), dim=1)
        assert states.shape == w.shape
        assert (states[:, 0] == 1.5).all()
        assert torch.allclose(states[:, 1:], 1.5 * factor.cumprod(dim=1), rtol=1e-13)


def test_milstein_uses_b_db_dx_at_the_left_end_of_the_step() -> None:
    ts = torch.tensor([0.5, 0.8], dtype=F64)
    w = wiener(ts, 6, generator=gen(21))
    x = torch.linspace(-1, 1, 6, dtype=F64)
    states = list(
        sde_milstein(lambda x, t: t * x.cos(), lambda x, t: (t * x).sin(), x, ts, w)
    )
    dw, h = w[:, 1] - w[:, 0], 0.3
    b, slope = torch.sin(0.5 * x), 0.5 * torch.cos(0.5 * x)
    hand = x + 0.5 * x.cos() * h + b * dw + 0.5 * b * slope * (dw**2 - h)
    assert torch.allclose(states[1], hand, rtol=1e-13)


def gbm_strong_slope(scheme) -> float:
    ts = torch.linspace(0, 1, 9, dtype=F64)
    w, hs, errors = wiener(ts, 4000, generator=gen(22)), [], []
    for level in range(6):
        *_, end = scheme(gbm_drift, gbm_noise, 1.0, ts, w)
        exact = torch.exp((MU - VOL**2 / 2) + VOL * w[:, -1])
        hs.append(float(ts[1]))
        errors.append(float((end - exact).abs().mean()))
        ts, w = refine(ts, w, generator=gen(30 + level))
    return np.polyfit(np.log(hs[1:]), np.log(errors[1:]), 1)[0]


def test_strong_order_half_and_one() -> None:
    assert gbm_strong_slope(sde_euler) == pytest.approx(0.5, abs=0.1)
    assert gbm_strong_slope(sde_milstein) == pytest.approx(1.0, abs=0.1)


def test_euler_is_of_strong_order_one_when_the_noise_is_additive() -> None:
    ts = torch.linspace(0, 1, 17, dtype=F64)
    w, ends, hs = wiener(ts, 2000, generator=gen(23)), [], []
    for level in range(7):
        *_, end = sde_euler(lambda x, t: -2 * x, lambda x, t: 0.7, 1.0, ts, w)
        ends.append(end)
        hs.append(float(ts[1]))
        ts, w = refine(ts, w, generator=gen(40 + level))
    # Each level halves h, so |X^h − X^{h/2}| falls with the order of the scheme too.
    gaps = [float((a - b).abs().mean()) for a, b in itertools.pairwise(ends)]
    slope = np.polyfit(np.log(hs[:-1]), np.log(gaps), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1)


def all_increments(n: int, nodes: list[float], weights: list[float]):
    """Every path with n increments from a quadrature rule, and its probability."""
    z = torch.tensor(list(itertools.product(nodes, repeat=n)), dtype=F64)
    p = torch.tensor(list(itertools.product(weights, repeat=n)), dtype=F64).prod(dim=1)
    return torch.cat([torch.zeros(len(z), 1, dtype=F64), z.cumsum(dim=1)], 1), p


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize(
    ("scheme", "ns", "nodes", "weights"),
    [
        # One step is a polynomial of degree 1 (Euler) or 2 (Milstein) in its ΔW, so
        # two- and three-point Gauss–Hermite rules give E X and E X² without error.
        (sde_euler, (6, 8, 10, 12), [-1.0, 1.0], [0.5, 0.5]),
        (sde_milstein, (4, 5, 6, 8), [-(3**0.5), 0.0, 3**0.5], [1 / 6, 2 / 3, 1 / 6]),
    ],
)
def test_weak_order_one_from_exact_moments(scheme, ns, nodes, weights, moment) -> None:
    mu, vol, errors = 0.2, 0.3, []
    for n in ns:
        w, p = all_increments(n, nodes, weights)
        ts = torch.linspace(0, 1, n + 1, dtype=F64)
        *_, end = scheme(
            lambda x, t: mu * x, lambda x, t: vol * x, 1.0, ts, w / math.sqrt(n)
        )
        got = float(p @ end.pow(moment))
        if scheme is sde_euler:
            h = 1 / n
            factor = 1 + mu * h if moment == 1 else (1 + mu * h) ** 2 + vol**2 * h
            assert got == pytest.approx(factor**n, rel=1e-12)
        errors.append(abs(got - math.exp(mu if moment == 1 else 2 * mu + vol**2)))
    slope = -np.polyfit(np.log(ns), np.log(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1)


def test_euler_on_ornstein_uhlenbeck_converges_to_its_exact_moments() -> None:
    ts = torch.linspace(0, 1.5, 301, dtype=F64)
    w = wiener(ts, 20_000, generator=gen(24))
    *_, end = sde_euler(lambda x, t: -2 * (x - 1), lambda x, t: 0.5, 3.0, ts, w)
    mean = 1 + 2 * math.exp(-3.0)
    var = 0.25 / 4 * (1 - math.exp(-6.0))
    assert abs(end.mean() - mean) < 4 * math.sqrt(var / 20_000) + 2e-3
    assert end.var() == pytest.approx(var, rel=4 * math.sqrt(2 / 20_000) + 0.01)


@pytest.mark.parametrize("scheme", [sde_euler, sde_milstein])
def test_states_are_fresh(scheme) -> None:
    w = wiener(UNEVEN, 3, generator=gen(25))
    clean = list(scheme(gbm_drift, gbm_noise, 1.0, UNEVEN, w))
    for k, state in enumerate(scheme(gbm_drift, gbm_noise, 1.0, UNEVEN, w)):
        assert torch.equal(state, clean[k])
        state.fill_(math.nan)
    start = torch.ones(3, dtype=F64)
    next(scheme(gbm_drift, gbm_noise, start, UNEVEN, w)).zero_()
    assert (start == 1).all()


def test_paths_are_float64_whatever_they_came_as() -> None:
    coarse = wiener(UNEVEN, 3, generator=gen(1)).to(torch.float32)
    ts2, fine = refine(UNEVEN, coarse, generator=gen(2))
    exact = refine(UNEVEN, coarse.double(), generator=gen(2))[1]
    assert ts2.dtype == fine.dtype == F64
    assert torch.equal(fine, exact)
    f = torch.arange(6, dtype=F64)
    for running in (
        ito_sum(f, coarse),
        stratonovich_sum(f, coarse),
        quadratic_variation(coarse),
        total_variation(coarse),
    ):
        assert running.dtype == F64
    assert torch.equal(ito_sum(f, coarse), ito_sum(f, coarse.double()))
    states = sde_euler(gbm_drift, gbm_noise, 1.0, UNEVEN, coarse)
    same = sde_euler(gbm_drift, gbm_noise, 1.0, UNEVEN, coarse.double())
    assert all(map(torch.equal, states, same))


# --- refusals ------------------------------------------------------------------------

W = torch.zeros(2, 6, dtype=F64)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: wiener([0.0, 1.0, 1.0], 2, generator=gen()), "ts .*increasing"),
        (lambda: wiener([1.0, 0.0], 2, generator=gen()), "ts .*increasing"),
        (lambda: wiener([-0.1, 1.0], 2, generator=gen()), "ts .*0"),
        (lambda: wiener([0.0, math.nan], 2, generator=gen()), "ts .*finite"),
        (lambda: wiener(wrong([[0.0, 1.0]]), 2, generator=gen()), "ts .*1-D"),
        (lambda: wiener(UNEVEN, 0, generator=gen()), "n must"),
        (lambda: bridge([1.0], 0.0, 0.0, 2, generator=gen()), "ts .*2"),
        (lambda: bridge(UNEVEN, torch.zeros(3), 0.0, 2, generator=gen()), "a must"),
        (lambda: bridge(UNEVEN, 0.0, torch.zeros(3), 2, generator=gen()), "b must"),
        (lambda: bridge(UNEVEN, math.nan, 0.0, 2, generator=gen()), "a must .*finite"),
        (lambda: bridge(UNEVEN, 0.0, math.inf, 2, generator=gen()), "b must .*finite"),
        (lambda: wiener(UNEVEN, 2, shape=(3, -1), generator=gen()), "shape must"),
        (lambda: refine(UNEVEN[:-1], W, generator=gen()), "w must"),
        (lambda: ito_sum(W[:, :-1], W), "f must"),
        (lambda: stratonovich_sum(torch.zeros(3, 6), W), "f must"),
        (lambda: quadratic_variation(torch.zeros(3)), "w must"),
        (lambda: total_variation(torch.zeros(3)), "w must"),
        (lambda: sde_euler(gbm_drift, gbm_noise, torch.zeros(3), UNEVEN, W), "x must"),
        (lambda: sde_euler(gbm_drift, gbm_noise, math.inf, UNEVEN, W), "x must"),
        (lambda: sde_milstein(gbm_drift, gbm_noise, 1.0, UNEVEN[1:], W), "w must"),
        (
            lambda: sde_milstein(gbm_drift, lambda x, t: x.flip(0), 1.0, UNEVEN, W),
            "diffusion must .*Lévy",
        ),
        (
            lambda: list(sde_euler(lambda x, t: W, gbm_noise, 1.0, UNEVEN, W)),
            "drift must return",
        ),
        (
            lambda: list(sde_euler(gbm_drift, lambda x, t: W, 1.0, UNEVEN, W)),
            "diffusion must return",
        ),
    ],
)
def test_bad_values_are_named(call, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: wiener(UNEVEN, wrong(2.0), generator=gen()), "n must be an int"),
        (lambda: wiener(UNEVEN, 2, generator=wrong(3)), "generator must"),
        (lambda: ito_sum(wrong(1.0), W), "f must be a tensor"),
        (lambda: ito_sum(W, wrong([1.0])), "w must be a floating-point tensor"),
        (lambda: refine(UNEVEN, W.long(), generator=gen()), "w must be a floating"),
        (lambda: quadratic_variation(W * 1j), "w must be a floating"),
        (lambda: ito_sum(W * 1j, W), "f must be"),
        (lambda: wiener(wrong("abc"), 2, generator=gen()), "ts must"),
        (lambda: wiener(UNEVEN, 2, shape=wrong(3), generator=gen()), "shape must"),
        (lambda: bridge(UNEVEN, wrong("a"), 0.0, 2, generator=gen()), "a must"),
        (lambda: sde_euler(wrong(None), gbm_noise, 1.0, UNEVEN, W), "drift must"),
        (lambda: sde_milstein(gbm_drift, wrong(2), 1.0, UNEVEN, W), "diffusion must"),
        (lambda: sde_euler(gbm_drift, gbm_noise, wrong("1"), UNEVEN, W), "x must"),
        (
            lambda: list(sde_euler(wrong(lambda x, t: "a"), gbm_noise, 1.0, UNEVEN, W)),
            "what drift returns must be",
        ),
    ],
)
def test_bad_types_are_named(call, names: str) -> None:
    with pytest.raises(TypeError, match=names):
        call()
