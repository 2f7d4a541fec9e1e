"""Paths against 50-digit arithmetic, the moment equations and their own definitions."""

import dataclasses
import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, TABLE, generator, randn, tensor
from scipy.integrate import solve_ivp

import genflow_lite
from genflow_lite import GaussianPath, cosine, from_betas, rectified, sub_vp, ve, vp

EVERY = pytest.mark.parametrize("name", PATHS)
ONE = mpmath.mpf(1)


def _linear(t):
    return t / 10 + (20 - ONE / 10) * t**2 / 2


# α and σ typed from the papers, evaluated with 50 digits.
EXACT = {
    "vp": lambda t: (
        mpmath.exp(-_linear(t) / 2),
        mpmath.sqrt(1 - mpmath.exp(-_linear(t))),
    ),
    "ve": lambda t: (ONE, ONE / 100 * mpmath.mpf(5000) ** t),
    "sub_vp": lambda t: (
        mpmath.exp(-_linear(t) / 2),
        1 - mpmath.exp(-_linear(t)),
    ),
    "cosine": lambda t: (mpmath.cos(mpmath.pi * t / 2), mpmath.sin(mpmath.pi * t / 2)),
    "rectified": lambda t: (1 - t, t),
}
# f and g² in closed form (Song et al. 2021, appendix C; the rest by hand).
BETA = lambda t: 0.1 + 19.9 * t  # noqa: E731
ALPHA4 = lambda t: np.exp(-2 * (0.1 * t + 9.95 * t**2))  # noqa: E731
CLOSED = {
    "vp": lambda t: (-BETA(t) / 2, BETA(t)),
    "ve": lambda t: (0 * t, 2e-4 * 5000 ** (2 * t) * math.log(5000)),
    "sub_vp": lambda t: (-BETA(t) / 2, BETA(t) * (1 - ALPHA4(t))),
    "cosine": lambda t: (
        -math.pi / 2 * np.tan(math.pi * t / 2),
        math.pi * np.tan(math.pi * t / 2),
    ),
    "rectified": lambda t: (-1 / (1 - t), 2 * t / (1 - t)),
}


@pytest.mark.parametrize("name", EXACT)
def test_alpha_and_sigma_keep_float64_down_to_the_data(name):
    times = [1e-15, 1e-12, 1e-8, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99, 1 - 1e-9]
    path = PATHS[name]
    with mpmath.workdps(50):
        for t in times:
            alpha, sigma = EXACT[name](mpmath.mpf(t))
            # The rounding of t's own multiples may move α near t = 1 by a few ulps
            # of 1, and nothing else may.
            assert path.alpha(tensor(t)).item() == pytest.approx(
                float(alpha), rel=4e-15, abs=2e-16
            )
            assert path.sigma(tensor(t)).item() == pytest.approx(
                float(sigma), rel=4e-15
            )
            assert path.sigma_sq(tensor(t)).item() == pytest.approx(
                float(sigma**2), rel=4e-15
            )


@pytest.mark.parametrize("name", CLOSED)
def test_sde_coefficients_in_closed_form(name):
    t = torch.linspace(0, 0.99, 34, dtype=torch.float64)
    f, g = PATHS[name].sde(t)
    f_exact, g_sq_exact = CLOSED[name](t.numpy())
    np.testing.assert_allclose(f.numpy(), f_exact, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(g.square().numpy(), g_sq_exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [*CLOSED, "custom", "table of 4"])
def test_sde_carries_mean_and_variance_along_the_path(name):
    """ṁ = f m and V̇ = 2 f V + g², integrated, give α_t m and α_t² V + σ_t²."""
    path = PATHS.get(name) or from_betas(tensor(0.1, 0.4, 0.2, 0.7))

    def moments(t, state):
        f, g = (value.item() for value in path.sde(t))
        return [f * state[0], 2 * f * state[1] + g**2]

    def exact(t, mean=1.3, variance=0.4):
        alpha, sigma = path.alpha(tensor(t)).item(), path.sigma(tensor(t)).item()
        return [alpha * mean, alpha**2 * variance + sigma**2]

    # The knots of the table are among the edges: f and g² jump there.
    state = exact(0.05)
    for start, end in itertools.pairwise([0.05, 0.25, 0.5, 0.75, 0.95]):
        inside = (start, end - 1e-13)
        run = solve_ivp(moments, inside, state, method="DOP853", rtol=1e-9, atol=1e-11)
        state = run.y[:, -1]
        np.testing.assert_allclose(state, exact(end), rtol=1e-7)


def test_ends_in_the_data():
    zero = tensor(0.0)
    for path, f_0, g_0 in [
        (vp(), -0.05, math.sqrt(0.1)),
        (vp(2.0, 3.0), -1.0, math.sqrt(2.0)),
        (sub_vp(), -0.05, 0.0),
        (ve(), 0.0, 0.01 * math.sqrt(2 * math.log(5000))),
        (cosine(), 0.0, 0.0),
        (rectified(), -1.0, 0.0),
        (
            from_betas(TABLE),
            500 * math.log1p(-1e-4),
            math.sqrt(-1e3 * math.log1p(-1e-4)),
        ),
    ]:
        f, g = path.sde(zero)
        assert f.item() == pytest.approx(f_0, rel=1e-14, abs=1e-15)
        assert g.item() == pytest.approx(g_0, rel=1e-14, abs=0)
        assert path.alpha(zero).item() == 1.0
        assert path.sigma(zero).item() == (0.01 if path.name.startswith("ve") else 0.0)
        assert path.sigma_sq_rate(zero).isfinite()
    for path in (vp(), from_betas(TABLE)):
        alpha_rate, sigma_rate = path.rates(tensor(0.0, 0.25))
        assert sigma_rate[0].item() == math.inf
        assert bool(alpha_rate.isfinite().all())
        assert sigma_rate[1].item() == pytest.approx(path.rates(0.25)[1].item())


def test_ends_in_the_noise():
    one = tensor(1.0)
    for path in (cosine(), rectified()):
        assert path.alpha(one).item() == 0.0
        assert path.sigma(one).item() == 1.0
        assert path.log_snr(one).item() == -math.inf
        with pytest.raises(ValueError, match=r"alpha = 0.*infinite.*t_max < 1"):
            path.sde(tensor(0.5, 1.0))
    assert ve(0.02, 35.0).sigma(one).item() == 35.0
    assert ve(0.02, 35.0).sigma(tensor(0.0)).item() == 0.02
    f, g = vp().sde(one)
    assert (f.item(), g.item()) == pytest.approx((-10.0, math.sqrt(20.0)), rel=1e-13)


@EVERY
def test_rates_are_the_derivatives_of_alpha_and_sigma(name):
    path = PATHS[name]
    t = tensor(0.0517, 0.2503, 0.5009, 0.9013)  # inside the table's intervals
    h = 1e-5
    alpha_rate, sigma_rate = path.rates(t)
    for function, rate in [
        (path.alpha, alpha_rate),
        (path.sigma, sigma_rate),
        (path.sigma_sq, path.sigma_sq_rate(t)),
    ]:
        central = (function(t + h) - function(t - h)) / (2 * h)
        torch.testing.assert_close(rate, central, rtol=1e-6, atol=1e-7)


@EVERY
def test_log_snr_and_its_inverse(name):
    path = PATHS[name]
    t = torch.cat(
        [
            10.0 ** torch.arange(-12.0, -1, dtype=torch.float64),
            tensor(0.1, 0.5, 0.9, 0.999),
        ]
    )
    lam = path.log_snr(t)
    torch.testing.assert_close(
        lam,
        (path.alpha(t).square() / path.sigma(t).square()).log(),
        rtol=1e-13,
        atol=1e-12,
    )
    assert bool((lam.diff() < 0).all())
    # |dt| = |dλ/λ̇|: on VE λ hardly moves near t = 0, on every other path λ̇ ≈ −c/t.
    rtol, atol = (0.0, 1e-14) if name == "ve" else (1e-13, 0.0)
    for candidate in (path, dataclasses.replace(path, inverse=None)):
        found = candidate.t_of_log_snr(lam)
        torch.testing.assert_close(found, t, rtol=rtol, atol=atol)


@EVERY
def test_log_snr_beyond_the_ends_gives_the_ends(name):
    path = PATHS[name]
    for candidate in (path, dataclasses.replace(path, inverse=None)):
        t = candidate.t_of_log_snr(tensor(math.inf, 800.0, -800.0, -math.inf))
        assert t[0] == 0
        assert t[1] < 1e-100
        assert t[3] == 1
        assert t[2] > 1 - 1e-15
    with pytest.raises(ValueError, match="lam must be a number"):
        path.t_of_log_snr(math.nan)


@EVERY
def test_any_shape_and_both_dtypes_of_time(name):
    path = PATHS[name]
    t = torch.rand(3, 4, dtype=torch.float64, generator=generator()) * 0.9 + 0.05
    for function in (path.alpha, path.sigma, path.sigma_sq, path.log_snr):
        assert function(t).shape == (3, 4)
        assert function(t).dtype == torch.float64
        assert function(t.float()).dtype == torch.float32
        torch.testing.assert_close(
            function(t.float()), function(t).float(), rtol=1e-3, atol=1e-4
        )
        assert function(t[1, 2]).shape == ()
        assert function(t[1, 2]).item() == pytest.approx(
            function(t)[1, 2].item(), rel=1e-15
        )
    assert path.sigma_sq(0.3).dtype == path.log_snr(0.3).dtype == torch.float64
    f, g = path.sde(t)
    assert f.shape == g.shape == (3, 4)


@EVERY
def test_paths_pass_through_torch_func(name):
    path = PATHS[name]
    t = tensor(0.2, 0.55, 0.8)
    for function in (path.alpha, path.sigma, path.log_snr, lambda s: path.sde(s)[1]):
        torch.testing.assert_close(
            torch.vmap(function)(t), function(t), rtol=1e-15, atol=0
        )
        rate = torch.vmap(torch.func.grad(function))(t)
        jacobian = torch.func.jacrev(function)(t)
        torch.testing.assert_close(rate, jacobian.diagonal(), rtol=1e-12, atol=1e-12)


@given(
    name=st.sampled_from(sorted(PATHS)),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    per_sample=st.booleans(),
    seed=st.integers(0, 99),
)
def test_mix_is_the_definition_sample_by_sample(name, shape, per_sample, seed):
    path, b = PATHS[name], shape[0]
    x0, eps = randn(*shape, seed=seed), randn(*shape, seed=seed + 100)
    t = torch.rand(
        b if per_sample else (), dtype=torch.float64, generator=generator(seed)
    )
    x = path.mix(x0, eps, t)
    for i in range(b):
        alpha, sigma = (c(t.expand(b)[i]).item() for c in (path.alpha, path.sigma))
        torch.testing.assert_close(
            x[i], alpha * x0[i] + sigma * eps[i], rtol=1e-13, atol=1e-14
        )


def test_mix_runs_time_over_the_batch_also_where_batch_equals_dimension():
    x0, eps, t = (
        torch.ones(3, 3).double(),
        torch.zeros(3, 3).double(),
        tensor(0.0, 0.5, 1.0),
    )
    expected = torch.tensor([[1.0] * 3, [0.5] * 3, [0.0] * 3]).double()
    assert torch.equal(rectified().mix(x0, eps, t), expected)


def test_mix_keeps_the_states_dtype_and_lets_gradients_pass():
    x0 = torch.ones(2, 3, requires_grad=True)
    x = vp().mix(x0, torch.zeros(2, 3), torch.tensor(0.3, dtype=torch.float64))
    assert x.dtype == torch.float32
    x.sum().backward()
    assert x0.grad is not None
    torch.testing.assert_close(
        x0.grad, torch.full((2, 3), vp().alpha(tensor(0.3)).item())
    )
    # A float32 time beside a float64 state is widened before α is evaluated.
    t = torch.tensor(0.3)
    wide = vp().mix(randn(2, 3), randn(2, 3, seed=1), t)
    assert torch.equal(wide, vp().mix(randn(2, 3), randn(2, 3, seed=1), t.double()))


def test_prior_is_pure_noise_of_the_paths_own_size():
    for path, std in [
        (ve(), 50.0),
        (rectified(), 1.0),
        (vp(), math.sqrt(-math.expm1(-10.05))),
    ]:
        start = path.prior((20000, 2), generator=generator())
        assert start.dtype == torch.float64
        assert start.shape == (20000, 2)
        assert start.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * 40000))
        assert abs(start.mean().item()) < 4 * std / math.sqrt(40000)
        noise = torch.randn(20000, 2, dtype=torch.float64, generator=generator())
        torch.testing.assert_close(start, std * noise, rtol=1e-14, atol=0)


def test_table_at_the_knots_and_between():
    betas = tensor(0.1, 0.4, 0.2, 0.7)
    path = from_betas(betas)
    bar = np.cumprod([1.0, 0.9, 0.6, 0.8, 0.3])
    knots = torch.arange(5, dtype=torch.float64) / 4
    np.testing.assert_allclose(path.alpha(knots), np.sqrt(bar), rtol=1e-14)
    np.testing.assert_allclose(path.sigma(knots), np.sqrt(1 - bar), rtol=1e-14, atol=0)
    assert path.steps == 4
    # Halfway in −log ᾱ is the geometric mean of the neighbours.
    np.testing.assert_allclose(
        path.alpha(knots[:-1] + 0.125).square(), np.sqrt(bar[1:] * bar[:-1]), rtol=1e-14
    )
    # Right of a knot, left of the end: 4 log(1 − β) for the interval.
    f, g = path.sde(torch.cat([knots, knots[:-1] + 0.1]))
    n = [0, 1, 2, 3, 3, 0, 1, 2, 3]
    expected = 2 * np.log([0.9, 0.6, 0.8, 0.3])[n]
    np.testing.assert_allclose(f, expected, rtol=1e-13)
    np.testing.assert_allclose(g.square(), -2 * expected, rtol=1e-13)


@given(n=st.integers(1, 300))
def test_every_knot_belongs_to_the_interval_on_its_right(n):
    betas = torch.linspace(0.001, 0.5, n, dtype=torch.float64)
    f, _ = from_betas(betas).sde(torch.arange(n, dtype=torch.float64) / n)
    torch.testing.assert_close(f, 0.5 * n * torch.log1p(-betas), rtol=1e-11, atol=0)


def test_a_finer_table_tends_to_vp_at_first_order():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    errors = []
    for n in (100, 200, 400, 800):
        knots = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        table = from_betas((0.1 + 19.9 * knots) / n)
        errors.append((table.alpha(t) - vp().alpha(t)).abs().max().item())
    slopes = np.diff(np.log(errors)) / np.log(0.5)
    np.testing.assert_allclose(slopes, 1.0, atol=0.1)


def test_a_path_is_only_alpha_and_sigma():
    own = GaussianPath(alpha=lambda t: 1 - t, sigma=lambda t: t)
    t = torch.linspace(0, 0.99, 12, dtype=torch.float64)
    for ours, theirs in zip(own.sde(t), rectified().sde(t), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-15)
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.alpha = torch.sin  # type: ignore[misc]


def test_two_paths_of_the_same_numbers_are_the_same_to_a_sampler():
    from genflow_lite._shapes import check_path

    mixture = genflow_lite.GaussianMixture(
        tensor(1.0).reshape(1), randn(1, 2), tensor(1.0).reshape(1)
    )
    check_path(mixture.denoiser(vp()), vp(0.1, 20.0))
    check_path(lambda x, t: x, vp())
    with pytest.raises(
        ValueError, match=r"path is cosine, but .* made for vp\(0.1, 20\)"
    ):
        check_path(mixture.denoiser(vp()), cosine())


def _wiggle(t):
    return t + 0.01 * torch.sin(64 * math.pi * t)


wrong: Any = genflow_lite  # unchecked, so that bad arguments can be passed


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: wrong.vp(beta_min=0.0), ValueError, "beta_min must be positive"),
        (lambda: wrong.vp(beta_min=math.nan), ValueError, "beta_min must be positive"),
        (lambda: wrong.vp(beta_min="0.1"), TypeError, "beta_min must be a number"),
        (lambda: wrong.vp(beta_max=math.inf), ValueError, "beta_max must be positive"),
        (lambda: wrong.vp(2.0, 1.0), ValueError, "beta_max must be at least beta_min"),
        (
            lambda: wrong.sub_vp(2.0, 1.0),
            ValueError,
            "beta_max must be at least beta_min",
        ),
        (lambda: wrong.ve(sigma_min=-1.0), ValueError, "sigma_min must be positive"),
        (
            lambda: wrong.ve(sigma_max=math.nan),
            ValueError,
            "sigma_max must be positive",
        ),
        (lambda: wrong.ve(1.0, 1.0), ValueError, "sigma_max must exceed sigma_min"),
        (lambda: wrong.from_betas([0.1]), TypeError, "betas must be a floating"),
        (
            lambda: wrong.from_betas(torch.tensor([1, 2])),
            TypeError,
            "betas must be a float",
        ),
        (lambda: wrong.from_betas(torch.rand(2, 2)), ValueError, r"betas .* \(N,\)"),
        (lambda: wrong.from_betas(torch.rand(0)), ValueError, r"betas .* \(N,\)"),
        (
            lambda: wrong.from_betas(tensor(0.1, 1.0)),
            ValueError,
            "betas must lie strictly",
        ),
        (
            lambda: wrong.from_betas(tensor(0.0, 0.1)),
            ValueError,
            "betas must lie strictly",
        ),
        (
            lambda: wrong.from_betas(tensor(0.1, math.nan)),
            ValueError,
            "betas must be finite",
        ),
        (
            lambda: wrong.GaussianPath(1.0, torch.sin),
            TypeError,
            "alpha must be a function",
        ),
        (
            lambda: wrong.GaussianPath(torch.cos, None),
            TypeError,
            "sigma must be a function",
        ),
        (
            lambda: wrong.GaussianPath(lambda t: 1.0, torch.sin),
            TypeError,
            "alpha must return",
        ),
        (
            lambda: wrong.GaussianPath(lambda t: t.sum(), torch.sin),
            TypeError,
            "alpha must return",
        ),
        (
            lambda: wrong.GaussianPath(lambda t: t, lambda t: 1 - t),
            ValueError,
            "turned round",
        ),
        (
            lambda: wrong.GaussianPath(torch.ones_like, lambda t: -t),
            ValueError,
            "sigma must be finite",
        ),
        (
            lambda: wrong.GaussianPath(lambda t: 1 / t, torch.sin),
            ValueError,
            "alpha must be finite",
        ),
        (
            lambda: wrong.GaussianPath(torch.ones_like, _wiggle).sde(
                torch.linspace(0, 1, 99)
            ),
            ValueError,
            "must increase with t",
        ),
        (
            lambda: wrong.vp().alpha(tensor(1.0001)),
            ValueError,
            r"t must lie in \[0, 1\]",
        ),
        (
            lambda: wrong.vp().sigma(tensor(-1e-9)),
            ValueError,
            r"t must lie in \[0, 1\]",
        ),
        (
            lambda: wrong.vp().sigma_sq(tensor(0.1, 2.0)),
            ValueError,
            "values from 0.1 to 2",
        ),
        (lambda: wrong.vp().sde(math.nan), ValueError, "t must lie"),
        (lambda: wrong.vp().rates(1.5), ValueError, "t must lie"),
        (lambda: wrong.vp().sigma_sq_rate(1.5), ValueError, "t must lie"),
        (
            lambda: wrong.vp().log_snr(torch.tensor(1)),
            TypeError,
            "t must be a floating-point",
        ),
        (lambda: wrong.vp().log_snr(True), TypeError, "t must be a floating-point"),
        (
            lambda: wrong.vp().t_of_log_snr("0"),
            TypeError,
            "lam must be a floating-point",
        ),
        (
            lambda: wrong.vp().prior((2, 2), generator=None),
            TypeError,
            "generator must be",
        ),
        (
            lambda: wrong.vp().prior(5, generator=generator()),
            TypeError,
            "shape must be",
        ),
        (
            lambda: wrong.vp().prior((2.0,), generator=generator()),
            TypeError,
            "shape must be",
        ),
        (
            lambda: wrong.vp().prior((2, True), generator=generator()),
            TypeError,
            "shape must be",
        ),
        (
            lambda: wrong.vp().prior((2, -1), generator=generator()),
            ValueError,
            "shape must not hold a negative",
        ),
        (
            lambda: wrong.vp().mix(randn(2, 3), randn(3, 2), 0.5),
            ValueError,
            "x0 and eps must",
        ),
        (
            lambda: wrong.vp().mix(tensor(1.0), tensor(1.0), 0.5),
            ValueError,
            "x0 must have a batch",
        ),
        (
            lambda: wrong.vp().mix(torch.ones(2, dtype=torch.int64), randn(2), 0.5),
            TypeError,
            "x0 must be a float",
        ),
        (
            lambda: wrong.vp().mix(randn(2), torch.ones(2, dtype=torch.int64), 0.5),
            TypeError,
            "eps must be a float",
        ),
        (
            lambda: wrong.vp().mix(randn(2, 3), randn(2, 3), randn(3).abs() / 9),
            ValueError,
            r"t must have shape \(\) or \(B,\) = \(2,\)",
        ),
        (
            lambda: wrong.vp().mix(randn(2, 3), randn(2, 3), tensor(0.1, 0.2)[:, None]),
            ValueError,
            "t must have shape",
        ),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_repr_is_the_name_and_the_same_in_every_run() -> None:
    assert repr(vp()) == "GaussianPath(vp(0.1, 20))"
    assert repr(rectified()) == "GaussianPath(rectified)"
