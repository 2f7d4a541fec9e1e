"""Likelihoods against exact mixtures, autograd, SciPy, and each other."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import generator, randn, tensor
from scipy import stats
from torch.func import jacrev, vmap

from genflow_lite import (
    GaussianMixture,
    cosine,
    flow_log_likelihood,
    from_betas,
    log_likelihood,
    rectified,
    sub_vp,
    ve,
    vp,
)
from genflow_lite.likelihood import (
    bits_per_dim,
    divergence,
    draw_probes,
    elbo,
    hutchinson,
    moment_prior,
    standard_normal,
    tangent_grid,
    transport,
)
from genflow_lite.ode import adams_bashforth, dormand_prince, euler, heun, rk4

F64 = torch.float64
multivariate_normal: Any = stats.multivariate_normal


def wrong(value: Any) -> Any:
    """A value that the signature forbids, hidden from the type checker."""
    return value


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=F64),
        torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.0, -1.0]], dtype=F64),
        torch.tensor([[0.6, 0.3], [0.5, 0.4], [0.7, 0.3]], dtype=F64),
    )


def grid(n: int, power: float = 1.5) -> torch.Tensor:
    """n steps from 0 to 1, shorter near the data."""
    return torch.linspace(0, 1, n + 1, dtype=F64) ** power


def swirl(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A velocity with shear, rotation and time, and a divergence that varies."""
    a, b = x.unbind(1)
    return torch.stack([(1 + t) * torch.sin(b) - 0.3 * a**2, a * b + t], 1)


# --- divergence ----------------------------------------------------------------------


def test_divergence_by_hand() -> None:
    """div (sin b (1 + t) − 0.3 a², a b + t) = −0.6 a + a."""
    x = randn(5, 2)
    assert torch.allclose(divergence(swirl, x, 0.3), 0.4 * x[:, 0], rtol=1e-13)


def test_divergence_is_the_trace_of_the_jacobian_of_images() -> None:
    weight = randn(8, 8, seed=1)

    def u(x, t):
        return (torch.tanh(x.flatten(1) @ weight) * t).reshape(x.shape)

    x = randn(3, 2, 2, 2)
    jacobian = vmap(jacrev(lambda row: u(row[None], 0.7)[0].flatten()))(x)
    trace = torch.diagonal(jacobian.reshape(3, 8, 8), 0, 1, 2).sum(1)
    assert torch.allclose(divergence(u, x, 0.7), trace, rtol=1e-12)


def test_time_of_each_row_reaches_the_velocity() -> None:
    t = tensor(0.2, 0.9)
    claimed = divergence(lambda x, t: t[:, None] * x, randn(2, 3), t)
    assert torch.allclose(claimed, 3 * t)


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_hutchinson_is_the_quadratic_form_of_each_probe(law) -> None:
    matrix, x = randn(4, 4, seed=2), randn(3, 4)
    v = draw_probes(x, 5, law=law, generator=generator())
    claimed = hutchinson(lambda x, t: x @ matrix.T, x, 0.5, v)
    assert torch.allclose(claimed, torch.einsum("pbi,ij,pbj->pb", v, matrix, v))


@pytest.mark.parametrize(
    ("law", "counts_diagonal"), [("rademacher", False), ("gaussian", True)]
)
def test_mean_and_variance_of_probes(law, counts_diagonal) -> None:
    matrix, n = randn(3, 3, seed=4), 40000
    v = draw_probes(torch.zeros(1, 3, dtype=F64), n, law=law, generator=generator())
    values = torch.einsum("pbi,ij,pbj->p", v, matrix, v)
    symmetric = (matrix + matrix.T) / 2
    squares = symmetric.square().sum()
    if not counts_diagonal:
        squares = squares - symmetric.diagonal().square().sum()
    assert abs(values.mean() - matrix.trace()) < 4 * values.std() / math.sqrt(n)
    assert values.var().item() == pytest.approx(2 * squares.item(), rel=0.05)


def test_signs_are_exact_where_the_jacobian_is_diagonal() -> None:
    x = randn(4, 3)
    v = draw_probes(x, 2, law="rademacher", generator=generator())
    assert set(v.unique().tolist()) == {-1.0, 1.0}
    claimed = hutchinson(lambda x, t: x**3, x, 0.5, v)
    assert torch.allclose(claimed, (3 * x**2).sum(1).expand(2, -1))


# --- transport -----------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
def test_log_determinant_is_that_of_the_map(backwards) -> None:
    ts = torch.linspace(0.1, 0.9, 33, dtype=F64)
    ts = ts.flip(0) if backwards else ts
    x = 0.5 * randn(4, 2)
    end = transport(swirl, x, ts)
    rows = [
        torch.autograd.functional.jacobian(
            lambda y: transport(swirl, y[None], ts, differentiable=True).x[0], row
        )
        for row in x
    ]
    truth = torch.linalg.slogdet(torch.stack(rows))[1]
    assert truth.abs().max() > 0.1
    assert (end.log_det - truth).abs().max() < 1e-7
    assert not end.x.requires_grad
    assert (end.stderr == 0).all()


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2), (rk4, 4)])
def test_order_of_the_log_likelihood(solver, order) -> None:
    data, path = mixture(), rectified()
    x = data.sample(20, generator=generator())
    u, truth = data.velocity(path), data.log_prob(x, 0.0, path)
    steps = [12, 24] if order == 4 else [24, 48]
    errors = [
        (flow_log_likelihood(u, x, grid(n), solver=solver) - truth).abs().mean()
        for n in steps
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


def test_gradients_pass_when_asked_for() -> None:
    scale = torch.tensor(0.7, dtype=F64, requires_grad=True)
    end = transport(
        lambda x, t: scale * x,
        randn(3, 2),
        torch.linspace(0, 1, 9, dtype=F64),
        differentiable=True,
    )
    (rate,) = torch.autograd.grad(end.log_det.sum(), scale)
    assert rate.item() == pytest.approx(6, rel=1e-12)  # 3 rows of 2 · scale · 1


# --- log-likelihood ------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        vp(),
        ve(),
        sub_vp(),
        cosine(),
        rectified(),
        from_betas(torch.full((20,), 0.25, dtype=F64)),
    ],
    ids=lambda p: p.name,
)
def test_mixture_on_every_path(path) -> None:
    data = mixture()
    high, low = path.log_snr(tensor(1e-3, 1.0)).clamp(-9.5, 12).tolist()
    ts = path.t_of_log_snr(torch.linspace(high, low, 41, dtype=F64))
    ts[-1] = 1.0
    x = data.sample(40, generator=generator())
    prior = moment_prior(path, data.mean, data.cov)
    claimed = log_likelihood(data.denoiser(path), path, x, ts, prior=prior)
    truth = data.log_prob(x, ts[0], path)
    assert (claimed - truth).abs().mean() < 5e-4
    turned = log_likelihood(data.denoiser(path), path, x, ts.flip(0), prior=prior)
    assert torch.equal(claimed, turned)


def test_tangent_grid_by_hand() -> None:
    """bend = 1, two steps: tan(π/8) = √2 − 1 stands in the middle."""
    middle = math.sqrt(2) - 1
    assert tangent_grid(2, bend=1.0).tolist() == pytest.approx([0, middle, 1])
    ts = tangent_grid(9, t_min=1e-3)
    assert ts[0] == 1e-3
    assert ts[-1] == 1
    steps = ts.diff()
    # The steps grow like 1 + bend² t².
    expected = 1 + 4 * (ts[1:] * ts[:-1])
    assert torch.allclose(steps / steps[0], expected / expected[0], rtol=1e-9)


def test_error_at_68_calls() -> None:
    data, path = mixture(), rectified()
    exact, calls = data.velocity(path), 0

    def u(x, t):
        nonlocal calls
        calls += 1
        return exact(x, t)

    x = data.sample(200, generator=generator())
    truth = data.log_prob(x, 0.0, path)
    for solver, steps, most in ((rk4, 17, 2e-5), (dormand_prince, 11, 5e-6)):
        calls = 0
        claimed = flow_log_likelihood(u, x, tangent_grid(steps), solver=solver)
        assert calls <= 68
        assert (claimed - truth).abs().mean() < most


def test_matched_moments_remove_the_floor() -> None:
    """On VE the data still show at t = 1; N(0, σ²) leaves an error for ever."""
    data, path = mixture(), ve(sigma_max=15.0)
    x = data.sample(60, generator=generator())
    ts = path.t_of_log_snr(torch.linspace(8, -5.5, 61, dtype=F64))
    ts[-1] = 1.0
    truth = data.log_prob(x, ts[0], path)
    score = partial(log_likelihood, data.denoiser(path), path, x, ts)
    matched = score(prior=moment_prior(path, data.mean, data.cov))
    assert (score() - truth).abs().mean() > 5e-4
    assert (matched - truth).abs().mean() < 1e-4


def test_prior_is_asked_at_the_noise_end_of_the_grid() -> None:
    """With the exact marginal as its prior, a flow may stop anywhere."""
    data, path = mixture(), cosine()
    x = data.sample(30, generator=generator())
    ts = torch.linspace(0.3, 0.6, 13, dtype=F64)
    claimed = flow_log_likelihood(
        data.velocity(path), x, ts, prior=lambda x, t: data.log_prob(x, t, path)
    )
    assert (claimed - data.log_prob(x, 0.3, path)).abs().max() < 1e-5


def test_other_solvers_with_options() -> None:
    data, path = mixture(), rectified()
    x = data.sample(10, generator=generator())
    claimed = flow_log_likelihood(
        data.velocity(path), x, grid(60), solver=partial(adams_bashforth, order=4)
    )
    assert (claimed - data.log_prob(x, 0.0, path)).abs().mean() < 1e-4


@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_probes_are_unbiased_and_know_their_error(probes) -> None:
    data, path, rows = mixture(), rectified(), 400
    x = data.sample(1, generator=generator()).expand(rows, 2)
    options: Any = {"solver": heun, "prior": standard_normal}
    exact = flow_log_likelihood(data.velocity(path), x[:1], grid(6), **options)
    values, stderr = flow_log_likelihood(
        data.velocity(path),
        x,
        grid(6),
        divergence="hutchinson",
        probes=probes,
        n_probes=8,
        generator=generator(1),
        return_stderr=True,
        **options,
    )
    spread = values.std().item()
    assert abs(values.mean() - exact).item() < 4 * spread / math.sqrt(rows)
    # The error that each row claims is the spread that all rows have.
    assert stderr.square().mean().sqrt().item() == pytest.approx(spread, rel=0.15)


def test_return_stderr_of_the_exact_trace_is_zero() -> None:
    data, path = mixture(), vp()
    x = data.sample(3, generator=generator())
    ts = torch.linspace(0.05, 1, 5, dtype=F64)
    value, stderr = log_likelihood(data.denoiser(path), path, x, ts, return_stderr=True)
    assert torch.equal(stderr, torch.zeros(3, dtype=F64))
    assert torch.equal(value, log_likelihood(data.denoiser(path), path, x, ts))


# --- priors --------------------------------------------------------------------------


@given(seed=st.integers(0, 100), t=st.floats(0.01, 1))
def test_moment_prior_is_scipys_normal_density(seed: int, t: float) -> None:
    path, factor = sub_vp(), randn(3, 3, seed=seed)
    mean, cov = randn(3, seed=seed + 1), factor @ factor.T
    x = randn(4, 3, seed=seed + 2)
    alpha, var = path.alpha(tensor(t)), path.sigma_sq(tensor(t))
    truth = multivariate_normal(
        (alpha * mean).numpy(), (alpha**2 * cov + var * torch.eye(3, dtype=F64)).numpy()
    ).logpdf(x.numpy())
    claimed = moment_prior(path, mean, cov)(x, t)
    assert torch.allclose(claimed, torch.as_tensor(truth), rtol=1e-9)


def test_moment_prior_of_images_and_without_moments() -> None:
    x = randn(2, 1, 2, 2)
    path = ve()
    plain = moment_prior(path)(x, 1.0)
    wide = multivariate_normal(torch.zeros(4).numpy(), 2500.0)
    truth = torch.as_tensor(wide.logpdf(x.flatten(1).numpy()))
    assert torch.allclose(plain, truth)
    centred = moment_prior(path, torch.ones(1, 2, 2, dtype=F64))(x + 1, 1.0)
    assert torch.allclose(centred, plain)
    assert torch.allclose(standard_normal(x), moment_prior(rectified())(x, 1.0))


# --- the bound and the unit ----------------------------------------------------------


def test_elbo_of_normal_data_is_tight_in_the_mean() -> None:
    """Where the reverse chain is exact, the bound's mean is log p for every x0.

    Data N(0, 1) stay N(0, 1), x_{n−1} given x_n is N(√(1 − β) x_n, β), and so
    D = α x with the variances β is the exact chain.
    """
    path = from_betas(tensor(0.1, 0.2, 0.3, 0.4))

    def denoise(x, t):
        return path.alpha(t) * x

    rows = 4000
    for value in (0.3, 1.7):
        x0 = torch.full((rows, 1), value, dtype=F64)
        bound = elbo(denoise, path, x0, generator=generator())
        truth = -0.5 * (value**2 + math.log(2 * math.pi))
        error = bound.std().item() / math.sqrt(rows)
        assert abs(bound.mean().item() - truth) < 4 * error
        assert error < 0.05
        looser = elbo(denoise, path, x0, generator=generator(), variance="beta_tilde")
        assert looser.mean().item() < truth - 4 * error


def test_elbo_is_below_the_log_likelihood_and_draws_average() -> None:
    data = mixture()
    path = from_betas(torch.linspace(0.05, 0.6, 8, dtype=F64))
    x0 = data.sample(300, generator=generator())
    log_p = data.log_prob(x0, 0.0, path)
    bound = elbo(data.denoiser(path), path, x0, generator=generator(1), draws=3)
    gap = log_p - bound
    assert gap.mean() > 4 * gap.std() / math.sqrt(300)
    g = generator(1)
    three = [elbo(data.denoiser(path), path, x0, generator=g) for _ in range(3)]
    assert torch.allclose(bound, torch.stack(three).mean(0))


def test_bits_by_hand() -> None:
    """An even law on 256 levels from −1 to 1 needs 8 bits an entry."""
    width = 2 / 255
    log_p = tensor(-12 * math.log(256 * width))
    assert bits_per_dim(log_p, 12, bin_width=width).item() == pytest.approx(8)
    assert bits_per_dim(tensor(-12 * math.log(256)), 12).item() == pytest.approx(8)
    assert bits_per_dim(tensor(-math.inf), 2).item() == math.inf


# --- refusals ------------------------------------------------------------------------

X = randn(3, 2)
TS = torch.linspace(0.1, 1, 4, dtype=F64)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_data_that_are_not_finite_have_no_likelihood(bad) -> None:
    x = X.clone()
    x[1, 0] = bad
    data, path = mixture(), vp()
    with pytest.raises(ValueError, match="x must be finite"):
        log_likelihood(data.denoiser(path), path, x, TS)
    with pytest.raises(ValueError, match="x must be finite"):
        flow_log_likelihood(swirl, x, TS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: flow_log_likelihood(lambda x, t: x[:, :1], X, TS),
            ValueError,
            "u must return a tensor of x's shape",
        ),
        (
            lambda: flow_log_likelihood(lambda x, t: x.detach(), X, TS),
            ValueError,
            "autograd finds no way",
        ),
        (
            lambda: flow_log_likelihood(torch.no_grad()(swirl), X, TS),
            ValueError,
            "autograd finds no way",
        ),
        (lambda: flow_log_likelihood(swirl, X, TS.float()), TypeError, "ts must be"),
        (
            lambda: flow_log_likelihood(swirl, X, TS[[0, 2, 1]]),
            ValueError,
            "ts must be strictly monotone",
        ),
        (lambda: flow_log_likelihood(wrong(3), X, TS), TypeError, "u must be"),
        (
            lambda: flow_log_likelihood(swirl, X, TS, divergence="hutchinson"),
            TypeError,
            "generator must be",
        ),
        (
            lambda: flow_log_likelihood(swirl, X, TS, divergence=wrong("fast")),
            ValueError,
            "divergence must be",
        ),
        (
            lambda: flow_log_likelihood(
                swirl,
                X,
                TS,
                divergence="hutchinson",
                generator=generator(),
                return_stderr=True,
            ),
            ValueError,
            "n_probes must be at least 2",
        ),
        (
            lambda: transport(
                swirl,
                X,
                TS,
                divergence="hutchinson",
                generator=generator(),
                probes=wrong("normal"),
            ),
            ValueError,
            "probes must be",
        ),
        (
            lambda: flow_log_likelihood(swirl, X, TS, prior=lambda x, t: x),
            ValueError,
            r"prior must return shape \(B,\) = \(3,\)",
        ),
        (
            lambda: flow_log_likelihood(swirl, X, TS, prior=wrong(3)),
            TypeError,
            "prior must be a function",
        ),
        (
            lambda: log_likelihood(mixture().denoiser(vp()), ve(), X, TS),
            ValueError,
            "path is ve",
        ),
        (
            lambda: log_likelihood(mixture().denoiser(vp()), vp(), X, TS - 0.1),
            ValueError,
            "t reaches sigma = 0",
        ),
        (
            lambda: hutchinson(swirl, X, 0.5, torch.zeros(3, 2)),
            ValueError,
            "probes must have shape",
        ),
        (
            lambda: moment_prior(vp(), torch.zeros(2), torch.eye(3)),
            ValueError,
            "mean and cov must agree",
        ),
        (
            lambda: moment_prior(vp(), cov=torch.tensor([[1.0, 2.0], [0.0, 1.0]])),
            ValueError,
            "cov must be symmetric",
        ),
        (
            lambda: moment_prior(vp(), cov=-torch.eye(2)),
            ValueError,
            "no negative eigenvalue",
        ),
        (
            lambda: moment_prior(vp(), torch.zeros(3))(X, 1.0),
            ValueError,
            "x must have D = 3",
        ),
        (
            lambda: moment_prior(rectified(), torch.zeros(2))(X, 0.0),
            ValueError,
            "t reaches sigma = 0",
        ),
        (
            lambda: elbo(mixture().denoiser(vp()), vp(), X, generator=generator()),
            ValueError,
            "path must come from from_betas",
        ),
        (lambda: tangent_grid(4, bend=0.0), ValueError, "bend must be positive"),
        (lambda: tangent_grid(4, t_min=1.0), ValueError, "t_min must lie in"),
        (lambda: tangent_grid(0), ValueError, "n must be at least 1"),
        (lambda: bits_per_dim(tensor(math.nan), 2), ValueError, "log_p"),
        (lambda: bits_per_dim(tensor(1.0), 0), ValueError, "dim"),
        (lambda: bits_per_dim(tensor(1.0), 2, bin_width=0), ValueError, "bin_width"),
    ],
)
def test_bad_arguments_are_refused(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_constant_velocity_written_with_x() -> None:
    ts = torch.linspace(0, 1, 3, dtype=F64)
    end = transport(lambda x, t: 0 * x + 2, X, ts)
    assert torch.allclose(end.x, X + 2)
    assert torch.equal(end.log_det, torch.zeros(3, dtype=F64))
