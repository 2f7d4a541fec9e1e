"""Mixtures against scipy, quadrature, autograd and the equations of transport."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from paths_under_test import PATHS, generator, randn, tensor
from scipy import stats

import genflow_lite
from genflow_lite import EmpiricalDenoiser, GaussianMixture, cosine, rectified, vp

EVERY = pytest.mark.parametrize("name", PATHS)
WEIGHTS = tensor(0.2, 0.3, 0.5)
MEANS = tensor(1.2, -0.7, 0.4, 0.9, -1.1, 0.3, -0.2, 0.5, 1.4).reshape(3, 3)
ROOTS = 0.3 * torch.eye(3, dtype=torch.float64) + 0.3 * randn(3, 3, 3, seed=7)
MIXTURES = {
    "isotropic": GaussianMixture(WEIGHTS, MEANS, tensor(0.5, 0.3, 0.8)),
    "diagonal": GaussianMixture(WEIGHTS, MEANS, 0.2 + randn(3, 3, seed=5).abs()),
    "full": GaussianMixture(WEIGHTS, MEANS, covs=ROOTS @ ROOTS.mT),
}
EACH = pytest.mark.parametrize("kind", MIXTURES)
TIMES = tensor(0.011, 0.1523, 0.3511, 0.5507, 0.7509, 0.989)


def marginal(mixture, t, path):
    """The frozen scipy distributions of x_t, one for each component."""
    alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
    noise = sigma**2 * np.eye(mixture.means.shape[1])
    return [
        stats.multivariate_normal(alpha * m.numpy(), alpha**2 * c.numpy() + noise)
        for m, c in zip(mixture.means, mixture.covs, strict=True)
    ]


def points(mixture, t, path, n=6, seed=3):
    """States that the path visits at t, some of them in the tails."""
    x0 = mixture.sample(n, generator=generator(seed))
    return path.mix(x0, 1.5 * randn(*x0.shape, seed=seed), t)


@EACH
@EVERY
def test_log_prob_and_weights_are_scipys(kind, name):
    mixture, path = MIXTURES[kind], PATHS[name]
    for t in TIMES:
        x = points(mixture, t, path)
        parts = marginal(mixture, t, path)
        log_joint = np.stack(
            [
                np.log(w) + p.logpdf(x.numpy())
                for w, p in zip(WEIGHTS.tolist(), parts, strict=True)
            ],
            axis=1,
        )
        log_p = np.logaddexp.reduce(log_joint, axis=1)
        np.testing.assert_allclose(mixture.log_prob(x, t, path), log_p, rtol=1e-10)
        np.testing.assert_allclose(
            mixture.posterior(x, t, path).weights,
            np.exp(log_joint - log_p[:, None]),
            rtol=1e-8,
            atol=1e-12,
        )


@EACH
@EVERY
def test_score_is_the_gradient_of_log_prob(kind, name):
    mixture, path = MIXTURES[kind], PATHS[name]
    x = torch.cat([points(mixture, t, path, n=1) for t in TIMES])

    def log_p(x, t):
        return mixture.log_prob(x[None], t, path)[0]

    gradient = torch.vmap(torch.func.grad(log_p))(x, TIMES)
    score = mixture.score(x, TIMES, path)
    torch.testing.assert_close(score, gradient, rtol=1e-11, atol=1e-11)


@EACH
@EVERY
def test_score_denoiser_and_posterior_obey_tweedie(kind, name):
    """First order: E = (x + σ² s)/α. Second: Cov = (σ²/α²)(I + σ² Hessian log p)."""
    mixture, path = MIXTURES[kind], PATHS[name]
    x = torch.cat([points(mixture, t, path, n=1) for t in TIMES])
    alpha, sigma_sq = path.alpha(TIMES)[:, None], path.sigma_sq(TIMES)[:, None]
    wanted = (x + sigma_sq * mixture.score(x, TIMES, path)) / alpha
    scale = wanted.abs().max().item() + (sigma_sq / alpha).max().item()
    posterior = mixture.posterior(x, TIMES, path)
    for mean in (mixture.denoiser(path)(x, TIMES), posterior.mean):
        torch.testing.assert_close(mean, wanted, rtol=1e-10, atol=1e-12 * scale)

    def log_p(x, t):
        return mixture.log_prob(x[None], t, path)[0]

    curvature = torch.vmap(torch.func.hessian(log_p))(x, TIMES)
    sigma_sq, alpha = sigma_sq[..., None], alpha[..., None]
    wanted = sigma_sq / alpha**2 * (torch.eye(3) + sigma_sq * curvature)
    size = (sigma_sq / alpha**2).flatten()
    for i in range(len(x)):
        torch.testing.assert_close(
            posterior.cov[i], wanted[i], rtol=1e-9, atol=1e-11 * (1 + size[i].item())
        )


@EACH
def test_posterior_is_bayes_rule_pointwise(kind):
    """p(x0 | x_t) p_t(x_t) = p_0(x0) N(x_t; α x0, σ² I), for any x0 whatever."""
    mixture, path, t = MIXTURES[kind], vp(), tensor(0.37)
    x, x0 = points(mixture, t, path), randn(6, 3, seed=11)
    law = mixture.posterior(x, t, path)
    log_posterior = torch.stack(
        [
            torch.distributions.MultivariateNormal(
                law.means[:, k], law.covs[:, k]
            ).log_prob(x0)
            + law.weights[:, k].log()
            for k in range(3)
        ]
    ).logsumexp(0)
    log_prior = torch.tensor(
        [
            np.logaddexp.reduce(
                [
                    math.log(w) + stats.multivariate_normal(m, c).logpdf(z)
                    for w, m, c in zip(
                        WEIGHTS, MEANS.numpy(), mixture.covs.numpy(), strict=True
                    )
                ]
            )
            for z in x0.numpy()
        ],
        dtype=torch.float64,
    )
    noise = torch.distributions.Normal(path.alpha(t) * x0, path.sigma(t))
    joint = log_prior + noise.log_prob(x).sum(-1)
    torch.testing.assert_close(
        log_posterior + mixture.log_prob(x, t, path), joint, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", ["vp", "ve", "rectified", "cosine"])
@pytest.mark.parametrize("t", [0.05, 0.4, 0.8, 1.0])
def test_denoiser_and_variance_by_quadrature_of_bayes_rule(name, t):
    path = PATHS[name]
    means, stds, weights = [-1.5, 0.4], [0.3, 0.7], [0.35, 0.65]
    mixture = GaussianMixture(tensor(*weights), tensor(*means)[:, None], tensor(*stds))
    alpha, sigma = path.alpha(tensor(t)).item(), path.sigma(tensor(t)).item()
    # The trapezium rule on the whole line errs by less than any power of the step.
    z = np.linspace(-12, 12, 200001)
    prior = sum(
        w * stats.norm.pdf(z, m, s)
        for w, m, s in zip(weights, means, stds, strict=True)
    )
    for x in (-1.7, 0.1, 2.2):
        joint = prior * np.exp(-0.5 * ((x - alpha * z) / sigma) ** 2)
        mass, first, second = (np.sum(z**power * joint) for power in range(3))
        state = tensor(x).reshape(1, 1)
        law = mixture.posterior(state, t, path)
        assert mixture.denoiser(path)(state, tensor(t)).item() == pytest.approx(
            first / mass, rel=1e-9, abs=1e-10
        )
        assert law.mean.item() == pytest.approx(first / mass, rel=1e-9, abs=1e-10)
        assert law.cov.item() == pytest.approx(
            second / mass - (first / mass) ** 2, rel=1e-7
        )


@EACH
@EVERY
def test_velocity_carries_the_density(kind, name):
    """The continuity equation ∂_t log p + ∇·u + u·∇log p = 0, by autograd."""
    mixture, path = MIXTURES[kind], PATHS[name]
    u = mixture.velocity(path)

    def residual(x, t):
        rate = torch.func.grad(lambda s: mixture.log_prob(x[None], s, path)[0])(t)
        jacobian = torch.func.jacrev(lambda z: u(z[None], t)[0])(x)
        score = torch.func.grad(lambda z: mixture.log_prob(z[None], t, path)[0])(x)
        terms = torch.stack([rate, jacobian.trace(), u(x[None], t)[0] @ score])
        return terms.sum(), terms.abs().max()

    x = torch.cat([points(mixture, t, path, n=3) for t in TIMES])
    left, size = torch.vmap(residual)(x, TIMES.repeat_interleave(3))
    assert bool((left.abs() <= 1e-11 * size.clamp(min=1)).all())


@EACH
@EVERY
def test_sde_carries_the_density(kind, name):
    """Fokker–Planck, divided by p: ∂_t log p = −f(D + x·s) + ½g²(Δ log p + |s|²)."""
    mixture, path = MIXTURES[kind], PATHS[name]

    def residual(x, t):
        def log_p(z, s):
            return mixture.log_prob(z[None], s, path)[0]

        f, g = path.sde(t)
        rate = torch.func.grad(log_p, argnums=1)(x, t)
        score = torch.func.grad(log_p)(x, t)
        laplacian = torch.func.hessian(log_p)(x, t).trace()
        terms = [rate, 3 * f, f * (x @ score)]
        terms += [-0.5 * g**2 * laplacian, -0.5 * g**2 * (score @ score)]
        return torch.stack(terms).sum(), torch.stack(terms).abs().max()

    x = torch.cat([points(mixture, t, path, n=3) for t in TIMES])
    left, size = torch.vmap(residual)(x, TIMES.repeat_interleave(3))
    assert bool((left.abs() <= 1e-11 * size.clamp(min=1)).all())


@EACH
@EVERY
def test_velocity_is_probability_flow(kind, name):
    mixture, path = MIXTURES[kind], PATHS[name]
    x = torch.cat([points(mixture, t, path, n=1) for t in TIMES])
    f, g = (c[:, None] for c in path.sde(TIMES))
    flow = f * x - 0.5 * g**2 * mixture.score(x, TIMES, path)
    u = mixture.velocity(path)(x, TIMES)
    size = ((f * x).abs() + (0.5 * g**2 * mixture.score(x, TIMES, path)).abs()).max(1)[
        0
    ]
    assert bool(((u - flow).abs().max(1)[0] <= 1e-11 * (1 + size)).all())


@EACH
def test_ends_of_time_are_exact(kind):
    mixture, x = MIXTURES[kind], randn(5, 3, seed=4)
    for path in (rectified(), cosine(), vp()):  # t = 0: the data, σ = 0
        data = marginal(mixture, tensor(0.0), path)
        log_p = np.logaddexp.reduce(
            [
                math.log(w) + p.logpdf(x.numpy())
                for w, p in zip(WEIGHTS.tolist(), data, strict=True)
            ]
        )
        np.testing.assert_allclose(mixture.log_prob(x, 0.0, path), log_p, rtol=1e-10)
        torch.testing.assert_close(
            mixture.denoiser(path)(x, tensor(0.0)), x, rtol=1e-13, atol=1e-13
        )
        assert mixture.posterior(x, 0.0, path).cov.abs().max() < 1e-25
        f, g = path.sde(0.0)
        flow = f * x - 0.5 * g**2 * mixture.score(x, 0.0, path)
        found = mixture.velocity(path)(x, tensor(0.0))
        torch.testing.assert_close(found, flow, rtol=1e-11, atol=1e-11)
    for path in (rectified(), cosine()):  # t = 1: noise alone, α = 0
        torch.testing.assert_close(mixture.score(x, 1.0, path), -x, rtol=1e-14, atol=0)
        mean = mixture.mean.expand(5, 3)
        torch.testing.assert_close(
            mixture.denoiser(path)(x, tensor(1.0)), mean, rtol=1e-13, atol=1e-14
        )
        law = mixture.posterior(x, 1.0, path)
        torch.testing.assert_close(
            law.cov, mixture.cov.expand(5, 3, 3), rtol=1e-12, atol=1e-13
        )
        wanted = WEIGHTS.expand(5, 3)
        torch.testing.assert_close(law.weights, wanted, rtol=1e-13, atol=0)
        alpha_rate, sigma_rate = path.rates(1.0)
        wanted = alpha_rate * mean + sigma_rate * x
        torch.testing.assert_close(
            mixture.velocity(path)(x, tensor(1.0)), wanted, rtol=1e-13, atol=1e-13
        )


def test_three_ways_to_write_one_covariance():
    stds = tensor(0.5, 0.3, 0.8)
    one = GaussianMixture(WEIGHTS, MEANS, stds)
    two = GaussianMixture(WEIGHTS, MEANS, stds[:, None].expand(3, 3))
    three = GaussianMixture(
        WEIGHTS, MEANS, covs=stds[:, None, None] ** 2 * torch.eye(3)
    )
    x, path = randn(5, 3), vp()
    for other in (two, three):
        torch.testing.assert_close(other.covs, one.covs, rtol=1e-14, atol=1e-15)
        for name in ("log_prob", "score"):
            wanted = getattr(one, name)(x, 0.3, path)
            torch.testing.assert_close(
                getattr(other, name)(x, 0.3, path), wanted, rtol=1e-12, atol=1e-13
            )
        for mine, theirs in zip(
            other.posterior(x, 0.3, path), one.posterior(x, 0.3, path), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            other.velocity(path)(x, tensor(0.3)),
            one.velocity(path)(x, tensor(0.3)),
            rtol=1e-12,
            atol=1e-13,
        )


def test_mean_and_covariance_by_hand():
    # ½ at −1 with std 1, ½ at 3 with std 2: mean 1, variance ½(1 + 4) + 2² = 6.5.
    mixture = GaussianMixture(
        tensor(2.0, 2.0), tensor(-1.0, 3.0)[:, None], tensor(1.0, 2.0)
    )
    assert mixture.mean.item() == 1.0
    assert mixture.cov.item() == 6.5
    assert mixture.weights.tolist() == [0.5, 0.5]
    # The covariance between coordinates comes from the means alone here.
    pair = GaussianMixture(
        tensor(0.25, 0.75), tensor(0.0, 0.0, 4.0, 8.0).reshape(2, 2), tensor(1.0, 1.0)
    )
    assert pair.mean.tolist() == [3.0, 6.0]
    assert pair.cov.tolist() == [[4.0, 6.0], [6.0, 13.0]]


@EACH
def test_samples_have_the_law_of_the_mixture(kind):
    mixture, n = MIXTURES[kind], 40000
    x0, labels = mixture.sample(n, generator=generator(), return_labels=True)
    assert x0.dtype == torch.float64
    assert torch.equal(x0, mixture.sample(n, generator=generator()))
    share = labels.bincount(minlength=3) / n
    assert bool(
        ((share - WEIGHTS).abs() < 4 * (WEIGHTS * (1 - WEIGHTS) / n).sqrt()).all()
    )
    for k in range(3):
        part, cov = x0[labels == k], mixture.covs[k]
        m = len(part)
        assert bool(
            ((part.mean(0) - MEANS[k]).abs() < 4.5 * (cov.diagonal() / m).sqrt()).all()
        )
        # Var of a sample covariance entry is (C_ii C_jj + C_ij²)/m.
        spread = ((torch.outer(cov.diagonal(), cov.diagonal()) + cov**2) / m).sqrt()
        assert bool(((part.T.cov() - cov).abs() < 4.5 * spread).all())


def test_labels_of_any_kind_of_int():
    one = torch.tensor([1])
    for label in (1, np.int64(1), one[0], [1], (1,), np.array([1]), one):
        assert torch.equal(GOOD.given(label).means, GOOD.means[1:])


def test_weights_of_any_size_are_only_ratios():
    law = GaussianMixture(tensor(1e308, 1e308), randn(2, 1), tensor(1.0, 1.0))
    assert torch.equal(law.weights, tensor(0.5, 0.5))
    assert law.log_prob(randn(3, 1), 0.5, vp()).isfinite().all()


def test_labels_follow_the_weights_even_where_they_do_not_sum_to_one_exactly():
    mixture = GaussianMixture(torch.full((10,), 0.1), randn(10, 1), torch.ones(10))
    _, labels = mixture.sample(20000, generator=generator(), return_labels=True)
    assert labels.min() == 0
    assert labels.max() == 9
    assert stats.chisquare(labels.bincount()).pvalue > 1e-3
    assert mixture.sample(0, generator=generator()).shape == (0, 1)


@EACH
def test_labels_split_the_mixture(kind):
    mixture, path, t = MIXTURES[kind], vp(), tensor(0.3)
    x = points(mixture, t, path)
    law = mixture.posterior(x, t, path)
    split = sum(
        law.weights[:, k : k + 1] * mixture.denoiser(path, label=k)(x, t)
        for k in range(3)
    )
    torch.testing.assert_close(
        mixture.denoiser(path)(x, t), split, rtol=1e-12, atol=1e-13
    )
    pair = mixture.given([0, 2])
    torch.testing.assert_close(pair.weights, tensor(2 / 7, 5 / 7), rtol=1e-14, atol=0)
    parts = [mixture.given(k).log_prob(x, t, path).exp() for k in range(3)]
    torch.testing.assert_close(
        pair.log_prob(x, t, path).exp(),
        (2 * parts[0] + 5 * parts[2]) / 7,
        rtol=1e-11,
        atol=0,
    )
    assert torch.equal(mixture.denoiser(path, [0, 2])(x, t), pair.denoiser(path)(x, t))
    assert mixture.denoiser(path).path is path
    assert repr(pair) == "GaussianMixture(2 components in 3 dimensions)"


def test_far_and_close_states_stay_finite_and_right():
    mixture = GaussianMixture(
        tensor(0.5, 0.5), tensor(-1.0, 1.0)[:, None], tensor(1e-6, 1e-6)
    )
    path = rectified()
    far = tensor(1e4, -1e4)[:, None]
    t = tensor(1e-7)  # the two components are 1e6 standard deviations apart
    score = mixture.score(far, t, path)
    var = (1 - 1e-7) ** 2 * 1e-12 + 1e-14
    np.testing.assert_allclose(
        score[:, 0], [-(1e4 - (1 - 1e-7)) / var, (1e4 - (1 - 1e-7)) / var], rtol=1e-9
    )
    assert mixture.log_prob(far, t, path).isfinite().all()
    assert mixture.posterior(far, t, path).weights.tolist() == [[0.0, 1.0], [1.0, 0.0]]


@EACH
@EVERY
def test_time_runs_over_the_batch_also_where_every_extent_is_three(kind, name):
    """B = K = D = 3: nothing but the batch may meet t."""
    mixture, path, t = MIXTURES[kind], PATHS[name], tensor(0.1, 0.5, 0.9)
    x = randn(3, 3)
    for f in (
        lambda x, t: mixture.log_prob(x, t, path),
        lambda x, t: mixture.score(x, t, path),
        lambda x, t: mixture.posterior(x, t, path).cov,
        mixture.denoiser(path),
        mixture.velocity(path),
        EmpiricalDenoiser(MEANS, path),
    ):
        whole = f(x, t)
        for i in range(3):
            torch.testing.assert_close(
                whole[i : i + 1], f(x[i : i + 1], t[i]), rtol=1e-11, atol=1e-13
            )
            torch.testing.assert_close(
                whole[i : i + 1], f(x[i : i + 1], t[i : i + 1]), rtol=1e-11, atol=1e-13
            )


def test_float32_states_are_widened():
    x = randn(4, 3).float()
    mixture, path = MIXTURES["full"], vp()
    for f in (
        mixture.denoiser(path),
        mixture.velocity(path),
        EmpiricalDenoiser(MEANS, path),
    ):
        found = f(x, torch.tensor(0.3))
        assert found.dtype == torch.float64
        assert torch.equal(found, f(x.double(), torch.tensor(0.3).double()))


def test_a_point_mass_is_the_limit_of_narrow_components():
    spike = GaussianMixture(tensor(0.5, 0.5), randn(2, 2), torch.zeros(2))
    x, path = randn(4, 2, seed=1), vp()
    data = EmpiricalDenoiser(spike.means, path)
    t = tensor(0.3)
    torch.testing.assert_close(
        spike.denoiser(path)(x, t), data(x, t), rtol=1e-12, atol=1e-14
    )
    line = GaussianMixture(
        tensor(1.0).reshape(1), torch.zeros(1, 2), tensor(1.0, 0.0)[None]
    )
    for singular in (spike, line):
        with pytest.raises(ValueError, match=r"sigma = 0.* singular covariance"):
            singular.score(x, 0.0, path)
    rank_one = GaussianMixture(
        torch.ones(1), torch.zeros(1, 2), covs=torch.ones(1, 2, 2)
    )
    assert rank_one.log_prob(x, 0.5, path).isfinite().all()


def test_an_empty_batch_goes_through():
    law = GaussianMixture(torch.ones(2), randn(2, 3), torch.ones(2))
    empty = torch.zeros(0, 3)
    for found in (
        law.log_prob(empty, 0.4, vp())[:, None].expand(0, 3),
        law.score(empty, 0.4, vp()),
        law.denoiser(vp())(empty, tensor(0.4)),
        law.velocity(vp())(empty, tensor(0.4)),
        law.posterior(empty, 0.4, vp()).mean,
    ):
        assert found.shape == (0, 3)


wrong: Any = genflow_lite  # unchecked, so that bad arguments can be passed
W, M, S = tensor(0.5, 0.5), randn(2, 3), tensor(1.0, 2.0)
GOOD: Any = GaussianMixture(W, M, S)
EYE = torch.eye(3).expand(2, 3, 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: wrong.GaussianMixture([0.5, 0.5], M, S),
            TypeError,
            "weights must be a float",
        ),
        (
            lambda: wrong.GaussianMixture(torch.tensor([1, 1]), M, S),
            TypeError,
            "weights must be a float",
        ),
        (
            lambda: wrong.GaussianMixture(tensor(1.0, 0.0), M, S),
            ValueError,
            "weights must be positive",
        ),
        (
            lambda: wrong.GaussianMixture(tensor(1.0, math.nan), M, S),
            ValueError,
            "weights must be finite",
        ),
        (
            lambda: wrong.GaussianMixture(torch.ones(3), M, S),
            ValueError,
            r"weights must have shape \(K,\) = \(2,\)",
        ),
        (
            lambda: wrong.GaussianMixture(W, M[0], S),
            ValueError,
            r"means must have shape \(K, D\)",
        ),
        (
            lambda: wrong.GaussianMixture(W, M.long(), S),
            TypeError,
            "means must be a float",
        ),
        (
            lambda: wrong.GaussianMixture(W, M * math.inf, S),
            ValueError,
            "means must be finite",
        ),
        (
            lambda: wrong.GaussianMixture(W, torch.zeros(0, 3), S),
            ValueError,
            "means must have shape",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, torch.ones(3)),
            ValueError,
            r"stds must have shape \(K,\) = \(2,\) or \(K, D\) = \(2, 3\)",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, -S),
            ValueError,
            "stds must not be negative; got -2",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, S * math.nan),
            ValueError,
            "stds must be finite",
        ),
        (lambda: wrong.GaussianMixture(W, M, 1.0), TypeError, "stds must be a float"),
        (lambda: wrong.GaussianMixture(W, M), ValueError, "stds or covs must be given"),
        (
            lambda: wrong.GaussianMixture(W, M, S, covs=EYE),
            ValueError,
            "stds or covs must be given, and not both",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, covs=torch.eye(3)),
            ValueError,
            r"covs must have shape \(K, D, D\) = \(2, 3, 3\)",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, covs=EYE + torch.ones(3, 3).triu(1)),
            ValueError,
            "covs must be symmetric",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, covs=-EYE),
            ValueError,
            "covs must have no negative eigenvalue; got -1",
        ),
        (
            lambda: wrong.GaussianMixture(W, M, covs=EYE * math.nan),
            ValueError,
            "covs must be finite",
        ),
        (
            lambda: GOOD.sample(2.0, generator=generator()),
            TypeError,
            "n must be an int",
        ),
        (
            lambda: GOOD.sample(-1, generator=generator()),
            ValueError,
            "n must be at least 0",
        ),
        (
            lambda: GOOD.sample(2, generator=0),
            TypeError,
            "generator must be a torch.Generator",
        ),
        (lambda: GOOD.given(2), ValueError, "label must name components from 0 to 1"),
        (lambda: GOOD.given(-1), ValueError, "label must name"),
        (lambda: GOOD.given([]), ValueError, "label must name"),
        (lambda: GOOD.given([0, 0]), ValueError, "label must name"),
        (lambda: GOOD.denoiser(vp(), label=5), ValueError, "label must name"),
        (lambda: GOOD.given(True), TypeError, "label must be an int"),
        (lambda: GOOD.given([True, False]), TypeError, "label must be an int"),
        (lambda: GOOD.given(1.5), TypeError, "label must be an int"),
        (lambda: GOOD.given(None), TypeError, "label must be an int"),
        (lambda: GOOD.given("1"), TypeError, "label must be an int"),
        (lambda: GOOD.denoiser("vp"), TypeError, "path must be a GaussianPath"),
        (lambda: GOOD.velocity(None), TypeError, "path must be a GaussianPath"),
        (lambda: GOOD.log_prob(M, 0.5, None), TypeError, "path must be a GaussianPath"),
        (
            lambda: GOOD.log_prob(M[0], 0.5, vp()),
            ValueError,
            r"x must have shape \(B, D\) = \(B, 3\)",
        ),
        (
            lambda: GOOD.score(M[:, :2], 0.5, vp()),
            ValueError,
            r"x must have shape \(B, D\)",
        ),
        (lambda: GOOD.score(M.long(), 0.5, vp()), TypeError, "x must be a floating"),
        (lambda: GOOD.score(M, 2.0, vp()), ValueError, r"t must lie in \[0, 1\]"),
        (lambda: GOOD.score(M, math.nan, vp()), ValueError, "t must lie"),
        (
            lambda: GOOD.posterior(M, torch.rand(3), vp()),
            ValueError,
            r"t must have shape \(\) or \(B,\) = \(2,\)",
        ),
        (
            lambda: GOOD.denoiser(vp())(M, torch.tensor(1)),
            TypeError,
            "t must be a float",
        ),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
