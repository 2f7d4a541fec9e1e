"""Guidance against Bayes' rule by autograd, and against flows solved by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, randn, tensor
from scipy import integrate
from torch.distributions import MultivariateNormal

from genflow_lite import (
    GaussianMixture,
    cfg,
    classifier_guided,
    convert,
    cosine,
    ddim,
    interval,
    last,
    rectified,
    rk4,
    ve,
    velocity,
    vp,
)

MIXTURE = GaussianMixture(
    tensor(0.2, 0.5, 0.3),
    tensor(-1.0, 0.5, 1.2, 0.3, 0.1, -0.9).reshape(3, 2),
    covs=torch.stack(
        [
            tensor(0.5, 0.2, 0.2, 0.3).reshape(2, 2),
            tensor(0.4, -0.1, -0.1, 0.2).reshape(2, 2),
            tensor(0.1, 0.0, 0.0, 0.6).reshape(2, 2),
        ]
    ),
)
TIMES = [0.05, 0.3, 0.6, 0.9]
LABEL = 1
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def log_joint(x, t, path):
    """log w_k N(x; α m_k, α² C_k + σ² I), (B, K), without the library's mixture."""
    t = torch.as_tensor(t, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    covs = alpha**2 * MIXTURE.covs + sigma**2 * torch.eye(2, dtype=torch.float64)
    noisy = MultivariateNormal(alpha * MIXTURE.means, covs)
    return MIXTURE.weights.log() + noisy.log_prob(x[:, None])


def log_p_y(path):
    def classifier(x, t):
        if t.ndim == 0:
            return log_joint(x, t, path).log_softmax(-1)[:, LABEL]
        rows = [classifier(row[None], time) for row, time in zip(x, t, strict=True)]
        return torch.cat(rows)

    return classifier


def denoisers(path):
    return MIXTURE.denoiser(path, label=LABEL), MIXTURE.denoiser(path)


def states(t, path, n=6):
    """States spread as widely as those of the path, (n, 2)."""
    t = tensor(t)
    return (path.alpha(t) ** 2 + path.sigma(t) ** 2).sqrt() * 1.5 * randn(n, 2)


# Bayes' rule at every noise level


@every_path
@pytest.mark.parametrize("t", TIMES)
def test_the_classifier_turns_the_score_into_the_conditional_one(path, t):
    x = states(t, path).requires_grad_()
    (of_y,) = torch.autograd.grad(log_p_y(path)(x, tensor(t)).sum(), x)
    (of_both,) = torch.autograd.grad(log_joint(x, t, path)[:, LABEL].sum(), x)
    (of_x,) = torch.autograd.grad(log_joint(x, t, path).logsumexp(-1).sum(), x)
    torch.testing.assert_close(of_x + of_y, of_both, rtol=1e-9, atol=1e-9)
    x = x.detach()
    cond, uncond = denoisers(path)
    guided = classifier_guided(uncond, log_p_y(path), path, 1)
    torch.testing.assert_close(guided(x, tensor(t)), cond(x, tensor(t)))
    score = convert(guided(x, tensor(t)), x, t, path, source="x0", target="score")
    torch.testing.assert_close(score, of_both, rtol=1e-7, atol=1e-7)


@every_path
@pytest.mark.parametrize("w", [-1, 0, 0.7, 4.0])
def test_both_forms_of_guidance_agree(path, w):
    cond, uncond = denoisers(path)
    by_difference = cfg(cond, uncond, w)
    by_classifier = classifier_guided(uncond, log_p_y(path), path, 1 + w)
    for t in map(tensor, TIMES):
        x = states(t.item(), path)
        torch.testing.assert_close(by_classifier(x, t), by_difference(x, t))
        if w >= 0:  # over the conditional denoiser the scale is w itself
            again = classifier_guided(cond, log_p_y(path), path, w)
            torch.testing.assert_close(again(x, t), by_difference(x, t))


def test_a_batch_of_times_is_guided_row_by_row():
    path, t = cosine(), tensor(0.0, 0.2, 0.5, 1.0)  # both ends, unguided
    x = randn(4, 2)
    cond, uncond = denoisers(path)
    guided = classifier_guided(uncond, log_p_y(path), path, interval(2.0, 0.1, 0.6))
    free = cfg(cond, uncond, interval(2.0, 0.1, 0.6))
    for k in range(4):
        row = x[k : k + 1]
        for d in (guided, free):
            torch.testing.assert_close(d(x, t)[k : k + 1], d(row, t[k]))
    torch.testing.assert_close(guided(x, t)[[0, 3]], uncond(x, t)[[0, 3]])
    torch.testing.assert_close(free(x, t)[[0, 3]], cond(x, t)[[0, 3]])
    assert (guided(x, t) - uncond(x, t))[1:3].abs().min() > 1e-3


# The two ends


def never(x, t):
    raise AssertionError("called")


@pytest.mark.parametrize("path", [vp(), cosine(), rectified()], ids=lambda p: p.name)
def test_data_is_not_moved_and_the_classifier_not_called(path):
    x = randn(3, 2)
    guided = classifier_guided(lambda x, t: x, never, path, 3.0)
    assert torch.equal(guided(x, tensor(0.0)), x)


def test_an_infinite_gradient_at_data_is_left_out_of_a_mixed_batch():
    path, x, t = vp(), randn(2, 1).square(), tensor(0.0, 0.5)

    def classifier(x, t):
        return x[:, 0] / path.sigma(t)

    guided = classifier_guided(lambda x, t: 0 * x, classifier, path, 2.0)
    expected = tensor(0.0, (2 * path.sigma(t) / path.alpha(t))[1].item())
    torch.testing.assert_close(guided(x, t)[:, 0], expected)


def test_at_the_end_of_ve_that_keeps_noise_the_classifier_counts():
    path = ve()
    guided = classifier_guided(lambda x, t: x, lambda x, t: x[:, 0], path, 3.0)
    moved = guided(randn(2, 2), tensor(0.0)) - randn(2, 2)
    expected = torch.tensor([[3e-4, 0.0]] * 2, dtype=torch.float64)
    torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("path", [cosine(), rectified()], ids=lambda p: p.name)
def test_pure_noise_is_refused_by_the_classifier_and_not_by_the_difference(path):
    cond, uncond = denoisers(path)
    x = randn(3, 2)
    guided = classifier_guided(uncond, log_p_y(path), path, 1.0)
    for t in (tensor(1.0), tensor(0.5, 1.0, 0.2)):
        with pytest.raises(ValueError, match="alpha = 0"):
            guided(x, t)
    # At α = 0 nothing is known of x0: D is the mean, and so is guidance of means.
    apart = MIXTURE.means[LABEL] - MIXTURE.mean
    expected = (MIXTURE.mean + 3.0 * apart).expand(3, 2)
    torch.testing.assert_close(cfg(cond, uncond, 2.0)(x, tensor(1.0)), expected)
    late = classifier_guided(uncond, never, path, interval(1.0, 0.1, 0.9))
    torch.testing.assert_close(late(x, tensor(1.0)), MIXTURE.mean.expand(3, 2))


# Classifier-free guidance


@given(w=st.floats(-1, 20), c=st.floats(-5, 5), u=st.floats(-5, 5))
def test_the_formula_in_numbers(w, c, u):
    ones = torch.ones(2, 3, dtype=torch.float64)
    d = cfg(lambda x, t: c * x, lambda x, t: u * x, w)(ones, tensor(0.5))
    torch.testing.assert_close(d, ((1 + w) * c - w * u) * ones, rtol=0, atol=1e-12)


@every_path
def test_no_weight_is_the_conditional_denoiser_without_the_other_one(path):
    cond, _ = denoisers(path)
    for w in (0, 0.0, lambda t: 0.0, lambda t: 0 * t):
        x = randn(4, 2)
        t = tensor(0.2, 0.4, 0.6, 0.8)
        assert torch.equal(cfg(cond, never, w)(x, t), cond(x, t))
    x = randn(4, 2)
    free = cfg(cond, never, interval(3.0, 0.2, 0.7))
    assert torch.equal(free(x, tensor(0.1)), cond(x, tensor(0.1)))
    with pytest.raises(AssertionError, match="called"):
        free(x, tensor(0.5))


def test_guidance_towards_where_one_is_already_changes_no_bit():
    cond, _ = denoisers(vp())
    x = randn(50, 2)
    assert torch.equal(cfg(cond, cond, 7.3)(x, tensor(0.4)), cond(x, tensor(0.4)))


@every_path
@pytest.mark.parametrize("kind", ["eps", "v", "velocity", "score"])
def test_the_same_weights_guide_every_prediction(path, kind):
    cond, uncond = denoisers(path)
    w = 2.5
    for t in map(tensor, TIMES):
        x = states(t.item(), path)

        def of(d, x=x, t=t):
            return convert(d(x, t), x, t, path, source="x0", target=kind)

        expected = (1 + w) * of(cond) - w * of(uncond)
        torch.testing.assert_close(of(cfg(cond, uncond, w)), expected)


@every_path
def test_omega_of_other_libraries_is_one_more(path):
    """ε = ε_u + ω (ε_c − ε_u): ω = 0 unconditional, ω = 1 conditional."""
    cond, uncond = denoisers(path)
    t = tensor(0.4)
    x = states(0.4, path)

    def eps(d):
        return convert(d(x, t), x, t, path, source="x0", target="eps")

    for omega in (0.0, 0.5, 1.0, 7.5):
        expected = eps(uncond) + omega * (eps(cond) - eps(uncond))
        torch.testing.assert_close(eps(cfg(cond, uncond, omega - 1)), expected)
        if omega > 0:  # and w is not ω
            wrong = eps(cfg(cond, uncond, omega))
            assert (wrong - expected).abs().max() > 1e-3 * expected.abs().max()


# What classifier-free guidance samples

MU = 0.8


def guided_map(path, c, w, t_min):
    """Slope and offset of the guided flow from N(0, 1) at t = 1: it is affine."""
    one = torch.ones(1, dtype=torch.float64)
    cond = GaussianMixture(one, MU * one[None], c * one).denoiser(path)
    uncond = GaussianMixture(one, 0 * one[None], one).denoiser(path)
    u = velocity(cfg(cond, uncond, w), path)
    # Steps shrink towards t = 0, where the variance moves by factors.
    ts = torch.linspace(1, t_min**0.5, 101, dtype=torch.float64).square()
    ends = last(rk4(u, tensor(-1.0, 0.0, 1.0)[:, None], ts))[:, 0]
    slope = (ends[2] - ends[0]) / 2
    torch.testing.assert_close(ends[1], (ends[0] + ends[2]) / 2)
    return slope.item(), ends[1].item()


@pytest.mark.parametrize("c", [0.3, 0.7])
@pytest.mark.parametrize("w", [-1.0, 0.0, 1.0, 2.5])
def test_the_guided_flow_ends_with_a_power_of_the_variance(c, w):
    """Marginal N(0, 1), conditional N(μ, c²), so V = α²c² + σ², and V̇ = 2f (V − 1).

    The marginal's velocity is 0, so u = (1 + w) f [x − (x − αμ)/V] with slope
    (1 + w) V̇/(2V): from V = 1 at t = 1 the variance grows to V^(1 + w). Between the
    ends dm/dV = (1 + w) [m − μ/√((1 − c²)(1 − V))]/(2V) moves the mean.
    """
    slope, offset = guided_map(cosine(), c, w, 1e-4)
    variance = slope**2
    assert variance == pytest.approx(c ** (2 + 2 * w), rel=1e-5)
    # The substitution V = 1 − y² takes the root out of the integral for the mean.
    pull, _ = integrate.quad(
        lambda y: 2 * (1 - y**2) ** (-(3 + w) / 2), 0, math.sqrt(1 - c**2)
    )
    mean = c ** (1 + w) * (1 + w) * MU / (2 * math.sqrt(1 - c**2)) * pull
    assert offset == pytest.approx(mean, rel=1e-5, abs=1e-9)
    # The law ∝ p(x) p(y|x)^(1+w) ∝ p(x|y)^(1+w) p(x)^(−w), by its own moments.
    if w > 0:

        def tilted(x, power):
            exponent = -(1 + w) * (x - MU) ** 2 / (2 * c**2) + w * x**2 / 2
            return x**power * math.exp(exponent)

        m0, m1, m2 = (
            integrate.quad(tilted, -12, 12, args=(k,), points=[MU])[0] for k in range(3)
        )
        spread = m2 / m0 - (m1 / m0) ** 2
        assert spread == pytest.approx(c**2 / (1 + w * (1 - c**2)), rel=1e-6)
        assert abs(variance / spread - 1) > 0.1
        assert variance < spread
    else:
        assert (variance, offset) == pytest.approx(((1, 0), (c**2, MU))[int(w + 1)])


def test_the_power_law_holds_at_every_time_and_on_vp_too():
    c, w = 0.5, 1.5
    for path in (cosine(), vp()):
        first = path.alpha(tensor(1.0)).square().item() * (c**2 - 1) + 1
        for t_min in (0.6, 0.3, 0.05):
            v = path.alpha(tensor(t_min)).square().item() * (c**2 - 1) + 1
            slope, _ = guided_map(path, c, w, t_min)
            assert slope**2 == pytest.approx((v / first) ** (1 + w), rel=1e-6)


def test_a_sampler_takes_a_guided_denoiser_and_spread_falls_with_w():
    path, ts = cosine(), torch.linspace(1, 0, 41, dtype=torch.float64)
    x = randn(400, 2)
    areas, certain = [], []
    for w in (0.0, 1.0, 4.0):
        ends = last(ddim(cfg(*denoisers(path), w), path, x, ts))
        areas.append(ends.T.cov().det().item())
        certain.append(log_joint(ends, 0.0, path).softmax(-1)[:, LABEL].mean().item())
    assert areas[0] > 2 * areas[1] > 4 * areas[2]
    assert certain[0] + 0.02 < certain[1] < certain[2]


# Transforms and precision


def test_gradients_pass_through_both_forms():
    path, t, x = vp(), tensor(0.4), randn(3, 2)
    cond, uncond = denoisers(path)
    free = cfg(cond, uncond, 2.0)
    by_classifier = classifier_guided(uncond, log_p_y(path), path, 3.0)
    for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(by_classifier(x, t), free(x, t))
    grads = []
    for d in (free, by_classifier):
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(d(leaf, t).square().sum(), leaf)
        jacobian = torch.func.vmap(
            torch.func.jacrev(lambda row, d=d: d(row[None], t)[0])
        )(x)
        expected = 2 * torch.einsum("bi,bij->bj", d(x, t), jacobian)
        torch.testing.assert_close(grad, expected)
        grads.append(grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_times_may_be_mapped_over():
    path, x, t = vp(), randn(3, 1, 2), tensor(0.1, 0.4, 0.8)
    free = cfg(*denoisers(path), interval(2.0, 0.3, 0.6))
    mapped = torch.func.vmap(free)(x, t)[:, 0]
    torch.testing.assert_close(mapped, free(x[:, 0], t))


def test_single_precision_stays_single():
    x, t = randn(4, 3, 2).float(), tensor(0.2, 0.4, 0.6, 0.8).float()
    free = cfg(lambda x, t: 2 * x, lambda x, t: x, lambda t: t)
    assert free(x, t).dtype == torch.float32
    torch.testing.assert_close(free(x, t), (2 + t)[:, None, None] * x)
    path = rectified()
    half = classifier_guided(
        lambda x, t: x, lambda x, t: x.square().sum((1, 2)) / 2, path, 2
    )
    assert half(x, t).dtype == torch.float32
    torch.testing.assert_close(
        half(x, t), (1 + 2 * t**2 / (1 - t))[:, None, None] * x, rtol=1e-5, atol=1e-6
    )


# Intervals


def test_an_interval_holds_its_ends_and_nothing_outside():
    scale = interval(0.1, 0.25, 0.5)
    t = tensor(0.0, 0.2499, 0.25, 0.3, 0.5, 0.5001, 1.0)
    assert scale(t).tolist() == [0, 0, 0.1, 0.1, 0.1, 0, 0]
    assert scale(t.reshape(7, 1)).shape == (7, 1)
    assert scale(tensor(0.3)).shape == ()
    assert interval(2.0, 0, 1)(tensor(0.0, 1.0)).tolist() == [2, 2]


# Paths and bad arguments


def test_the_path_is_passed_on():
    path = vp()
    cond, uncond = denoisers(path)

    def plain(x, t):
        return x

    for pair in ((cond, uncond), (cond, plain), (plain, uncond)):
        guided = cfg(*pair, 1.0)
        assert guided.path is path  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="cosine"):
            velocity(guided, cosine())
    assert not hasattr(cfg(plain, plain, 1.0), "path")
    assert classifier_guided(plain, never, path, 1.0).path is path
    same = MIXTURE.denoiser(vp())  # another object, the same coefficients
    assert cfg(cond, same, 1.0).path is path  # type: ignore[attr-defined]


def test_two_paths_are_refused():
    cond, other = MIXTURE.denoiser(vp(), label=LABEL), MIXTURE.denoiser(cosine())
    with pytest.raises(ValueError, match=r"path of cond is vp.*cosine"):
        cfg(cond, other, 1.0)
    with pytest.raises(ValueError, match=r"path is vp.*cosine"):
        classifier_guided(other, log_p_y(vp()), vp(), 1.0)


def identity(x, t):
    return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cfg(None, identity, 1.0), TypeError, "^cond must be a function"),  # type: ignore[arg-type]
        (lambda: cfg(identity, 3, 1.0), TypeError, "^uncond must be a function"),  # type: ignore[arg-type]
        (lambda: cfg(identity, identity, "2"), TypeError, "^w must be a number"),  # type: ignore[arg-type]
        (lambda: cfg(identity, identity, -1.01), ValueError, "^w must be .* -1; got"),
        (lambda: cfg(identity, identity, math.inf), ValueError, "^w must be finite"),
        (lambda: cfg(identity, identity, math.nan), ValueError, "^w must be finite"),
        (lambda: interval(-2.0, 0.0, 1.0), ValueError, "^w must be"),
        (lambda: interval(True, 0.0, 1.0), TypeError, "^w must be a number"),
        (lambda: interval(abs, 0.0, 1.0), TypeError, "^w must be a number"),  # type: ignore[arg-type]
        (lambda: interval(1.0, 0.5, 0.5), ValueError, "^low, high must"),
        (lambda: interval(1.0, -0.1, 0.5), ValueError, "^low, high must"),
        (lambda: interval(1.0, 0.1, 1.5), ValueError, "^low, high must"),
        (lambda: interval(1.0, 0.1, math.nan), ValueError, "^low, high must"),
        (lambda: interval(1.0, None, 0.5), TypeError, "^low must be a number"),  # type: ignore[arg-type]
        (lambda: interval(1.0, 0.1, 0.5)(tensor(1.2)), ValueError, "^t must lie"),
        (
            lambda: classifier_guided(identity, 1, vp(), 1.0),  # type: ignore[arg-type]
            TypeError,
            "^log_p_y must be a function",
        ),
        (
            lambda: classifier_guided(3, never, vp(), 1.0),  # type: ignore[arg-type]
            TypeError,
            "^denoise must be a function",
        ),
        (
            lambda: classifier_guided(identity, never, "vp", 1.0),  # type: ignore[arg-type]
            TypeError,
            "^path must be a GaussianPath",
        ),
        (
            lambda: classifier_guided(identity, never, vp(), -0.5),
            ValueError,
            "^scale must be finite and at least 0; got -0.5",
        ),
    ],
)
def test_bad_arguments_are_refused_at_the_call(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (lambda t: torch.ones(2), "^w must be .* t's shape"),
        (lambda t: -2.0, "^w must be"),
        (lambda t: t * math.nan, "^w must be"),
    ],
)
def test_a_bad_function_of_t_is_refused_when_it_is_asked(scale, message):
    guided = cfg(identity, identity, scale)
    with pytest.raises(ValueError, match=message):
        guided(randn(3, 2), tensor(0.1, 0.2, 0.3))


def test_results_that_do_not_fit_are_refused():
    x, t = randn(3, 2), tensor(0.5)
    with pytest.raises(ValueError, match=r"^uncond must return .* \(3, 2\)"):
        cfg(identity, lambda x, t: x[:, :1], 1.0)(x, t)
    with pytest.raises(ValueError, match=r"^cond must return"):
        cfg(lambda x, t: x[0], identity, 1.0)(x, t)
    for bad in (
        lambda x, t: x.sum(),
        lambda x, t: x[:, :1],
        lambda x, t: x.detach().sum(-1),
        lambda x, t: 1.0,
    ):
        guided = classifier_guided(identity, bad, vp(), 1.0)  # type: ignore[arg-type]
        with pytest.raises(
            ValueError, match=r"^log_p_y must have .* gradient in x; got"
        ):
            guided(x, t)
    with pytest.raises(ValueError, match=r"^x must have a batch axis"):
        cfg(identity, identity, 1.0)(t, t)
    with pytest.raises(ValueError, match=r"^t must have shape"):
        cfg(identity, identity, 1.0)(x, tensor(0.5, 0.6))
