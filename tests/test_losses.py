"""The denoising loss and the bound, against hand values, quadrature and autograd."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, generator, randn, tensor
from scipy import integrate
from torch.distributions import Normal, kl_divergence

from genflow_lite import GaussianMixture, convert, from_betas, rectified, vp
from genflow_lite.losses import (
    ddpm_chain,
    denoising_loss,
    discretised_nll,
    gaussian_kl,
    interpolated_log_variance,
    variational_terms,
)

PREDICTIONS = ["x0", "eps", "v", "velocity", "score"]
BETAS = tensor(0.1, 0.2, 0.35, 0.3, 0.6)
TABLE = from_betas(BETAS)
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
every_prediction = pytest.mark.parametrize("predicts", PREDICTIONS)


# The denoising loss


def target(path, x0, eps, t, predicts):
    """What a network should have said, by central differences where a rate enters."""
    t = t.reshape(-1, *[1] * (x0.ndim - 1))
    if predicts == "velocity":
        h = 1e-6
        late = path.alpha(t + h) * x0 + path.sigma(t + h) * eps
        early = path.alpha(t - h) * x0 + path.sigma(t - h) * eps
        return (late - early) / (2 * h)
    return {
        "x0": x0,
        "eps": eps,
        "v": path.alpha(t) * eps - path.sigma(t) * x0,
        "score": -eps / path.sigma(t),
    }[predicts]


@every_path
@every_prediction
def test_the_loss_is_the_mean_square_of_the_miss(path, predicts):
    x0, eps = randn(4, 4, 2), randn(4, 4, 2, seed=1)  # B equals an extent of S
    t = tensor(0.1204, 0.3106, 0.5308, 0.8703)  # between the knots of a table
    seen = []

    def net(x, time):
        seen.append((x, time))
        return torch.sin(x)

    loss = denoising_loss(net, path, x0, eps, t, predicts=predicts)
    x_t = path.alpha(t)[:, None, None] * x0 + path.sigma(t)[:, None, None] * eps
    miss = torch.sin(x_t) - target(path, x0, eps, t, predicts)
    expected = torch.stack([row.square().mean() for row in miss])
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    ((x, time),) = seen
    torch.testing.assert_close(x, x_t)
    assert time.tolist() == t.tolist()


def test_a_scalar_time_reaches_the_network_as_one_for_each_thing():
    shapes = []

    def net(x, t):
        shapes.append((t.shape, t.dtype))
        return x

    x0 = randn(3, 2).float()
    loss = denoising_loss(net, vp(), x0, x0, 0.5, predicts="eps")
    assert shapes == [((3,), torch.float32)]
    assert loss.shape == (3,)
    assert loss.dtype == torch.float32
    flat = denoising_loss(net, vp(), x0[:, 0], x0[:, 0], tensor(0.5), predicts="v")
    assert flat.shape == (3,)


@every_path
@every_prediction
@pytest.mark.parametrize("weight", ["eps", "x0", "v"])
def test_a_named_weight_measures_the_error_in_that_prediction(path, predicts, weight):
    x0, eps, t = randn(3, 2), randn(3, 2, seed=1), tensor(0.2, 0.5, 0.8)
    x_t = path.mix(x0, eps, t)
    guess = x0 + 0.3 * torch.cos(x_t)  # a wrong opinion about x0, told in any language
    said = convert(guess, x_t, t, path, source="x0", target=predicts)
    meant = convert(guess, x_t, t, path, source="x0", target=weight)
    loss = denoising_loss(
        lambda *_: said, path, x0, eps, t, predicts=predicts, weight=weight
    )
    expected = (meant - target(path, x0, eps, t, weight)).square().mean(1)
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=1e-12)


@every_path
@every_prediction
def test_the_likelihood_weight_is_half_the_speed_of_the_log_snr(path, predicts):
    x0, eps, t = randn(3, 2), randn(3, 2, seed=1), tensor(0.2004, 0.5506, 0.8103)
    h = 1e-6
    speed = (path.log_snr(t - h) - path.log_snr(t + h)) / (2 * h)
    x_t = path.mix(x0, eps, t)
    said = convert(eps + 0.1 * x_t, x_t, t, path, source="eps", target=predicts)
    loss = denoising_loss(
        lambda *_: said, path, x0, eps, t, predicts=predicts, weight="likelihood"
    )
    expected = 0.5 * speed * (0.1 * x_t).square().mean(1)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_the_likelihood_weight_is_the_limit_of_the_bounds_terms():
    # Σ L_n with β̃ between two times, against the integral over t of the weighted error.
    path, x0, steps = vp(), randn(1, 1), 4000
    knots = torch.linspace(0.2, 0.7, steps + 1, dtype=torch.float64)
    snr = path.log_snr(knots).exp()
    miss = 0.1  # a denoiser that is off by 0.1 everywhere
    discrete = 0.5 * (snr[0] - snr[-1]) * miss**2
    t = 0.5 * (knots[1:] + knots[:-1])
    x0, eps = x0.expand(steps, 1), randn(steps, 1)
    loss = denoising_loss(
        lambda *_: x0 + miss, path, x0, eps, t, predicts="x0", weight="likelihood"
    )
    assert loss.mean().item() * 0.5 == pytest.approx(discrete.item(), rel=1e-6)


def test_a_weight_may_be_a_function_and_multiplies_each_thing():
    x0, eps, t = randn(3, 3), randn(3, 3, seed=1), tensor(0.2, 0.5, 0.8)
    args = (lambda x, _: 0 * x, vp(), x0, eps, t)
    plain = denoising_loss(*args, predicts="eps")
    twice = denoising_loss(*args, predicts="eps", weight=lambda _, t: 2 + t)
    torch.testing.assert_close(twice, (2 + t) * plain)


def test_the_gradient_reaches_the_network():
    slope = tensor(0.3).requires_grad_()
    x0, eps = randn(5, 2), randn(5, 2, seed=1)
    loss = denoising_loss(
        lambda x, _: slope * x, vp(), x0, eps, 0.5, predicts="eps", weight="x0"
    )
    (grad,) = torch.autograd.grad(loss.sum(), slope)
    x_t = vp().mix(x0, eps, tensor(0.5))
    ratio = (vp().sigma(tensor(0.5)) / vp().alpha(tensor(0.5))) ** 2
    expected = ratio * 2 * ((0.3 * x_t - eps) * x_t).mean(1).sum()
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"predicts": "noise"}, ValueError, "predicts must be one of"),
        ({"weight": "snr"}, ValueError, "weight must be None, a function or one of"),
        ({"weight": 2.0}, TypeError, "weight must be a name or a function"),
        ({"weight": lambda _, t: 1.0}, TypeError, "weight must return a tensor"),
        ({"weight": lambda _, t: 1 / (0 * t)}, ValueError, "weight is infinite"),
        ({"t": 0.0, "predicts": "score"}, ValueError, "'score' is infinite"),
        ({"t": 0.0, "predicts": "velocity"}, ValueError, "'velocity' is infinite"),
        ({"t": tensor(0.1, 0.2)}, ValueError, "t must have shape"),
        ({"t": 1.2}, ValueError, "t must lie in"),
        ({"eps": randn(3, 1)}, ValueError, "x0 and eps must have the same shape"),
        ({"net": lambda x, t: x[:2]}, ValueError, "net must return a tensor"),
        ({"path": "vp"}, TypeError, "path must be a GaussianPath"),
    ],
)
def test_a_bad_argument_of_the_loss_is_named(change, error, words):
    arguments = {
        "net": lambda x, t: x,
        "path": vp(),
        "x0": randn(3, 2),
        "eps": randn(3, 2),
        "t": 0.5,
        "predicts": "eps",
    } | change
    with pytest.raises(error, match=words):
        denoising_loss(**arguments)


def test_a_weight_that_the_path_cannot_give_is_refused():
    with pytest.raises(ValueError, match="'eps' is singular"):
        denoising_loss(
            lambda x, t: x,
            rectified(),
            randn(2, 1),
            randn(2, 1),
            1.0,
            predicts="eps",
            weight="x0",
        )


# The divergence of two Gaussians


@given(
    st.tuples(*[st.floats(-3, 3)] * 2),
    st.tuples(*[st.floats(0.05, 20)] * 2),
)
def test_kl_agrees_with_torch_and_is_never_negative(means, variances):
    m1, m2 = (tensor(m) for m in means)
    v1, v2 = (tensor(v) for v in variances)
    ours = gaussian_kl(m1, v1, m2, v2)
    theirs = kl_divergence(Normal(m1, v1.sqrt()), Normal(m2, v2.sqrt()))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9, abs=1e-12)
    assert ours >= -1e-15


def test_kl_by_hand_and_broadcast():
    # ½ [log 4 + ¼ − 1 + 4/4]
    kl = gaussian_kl(tensor(1.0), tensor(1.0), tensor(3.0), tensor(4.0))
    assert kl.item() == pytest.approx(0.5 * (math.log(4) + 0.25))
    assert gaussian_kl(randn(3, 1), tensor(1.0), randn(2), tensor(2.0)).shape == (3, 2)


def test_kl_refuses_what_is_no_variance():
    one = tensor(1.0)
    with pytest.raises(ValueError, match="var1 must be positive"):
        gaussian_kl(one, 0 * one, one, one)
    with pytest.raises(ValueError, match="var2 must be positive"):
        gaussian_kl(one, one, one, -one)
    with pytest.raises(TypeError, match="mean2 must be a floating-point tensor"):
        gaussian_kl(one, one, 1.0, one)  # pyright: ignore[reportArgumentType]


# The masses of 256 levels


LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)


@given(st.floats(-3, 3), st.floats(-7, 1))
def test_the_masses_of_all_levels_sum_to_one(mean, log_scale):
    nll = discretised_nll(LEVELS, tensor(mean), tensor(log_scale))
    assert (-nll).exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert (nll >= 0).all()


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.01), (-1.0, 0.1), (0.99, 3.0)])
@pytest.mark.parametrize("level", [0, 1, 100, 166, 254, 255])
def test_a_mass_is_the_integral_over_the_bin_in_many_digits(mean, scale, level):
    with mpmath.workdps(1200):  # 1 − Φ(70) begins after a thousand zeros
        place = mpmath.mpf(level) * 2 / 255 - 1

        def cdf(x):
            return mpmath.ncdf((x - mpmath.mpf(mean)) / mpmath.mpf(scale))

        low = cdf(place - mpmath.mpf(1) / 255) if level > 0 else mpmath.mpf(0)
        high = cdf(place + mpmath.mpf(1) / 255) if level < 255 else mpmath.mpf(1)
        expected = float(-mpmath.log(high - low))
    nll = discretised_nll(LEVELS[level], tensor(mean), tensor(scale).log())
    assert nll.item() == pytest.approx(expected, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_its_gradient_is_finite_and_right_at_the_ends_too(level):
    x = LEVELS[level : level + 1]

    def nll(mean, log_scale):
        return discretised_nll(x, mean, log_scale)

    for mean, log_scale in ((0.2, -1.0), (-0.9, -2.5), (3.0, -2.0)):
        inputs = tensor(mean).requires_grad_(), tensor(log_scale).requires_grad_()
        assert torch.autograd.gradcheck(nll, inputs, rtol=1e-4)


def test_levels_can_be_few_and_the_mirror_image_costs_the_same():
    three = tensor(-1.0, 0.0, 1.0)
    nll = discretised_nll(three, tensor(0.2), tensor(-0.7), levels=3)
    normal = Normal(tensor(0.2), tensor(-0.7).exp())
    low, high = normal.cdf(tensor(-0.5)), normal.cdf(tensor(0.5))
    masses = torch.stack([low, high - low, 1 - high])
    torch.testing.assert_close(nll.neg().exp(), masses)
    mirror = discretised_nll(-three, tensor(-0.2), tensor(-0.7), levels=3)
    torch.testing.assert_close(nll, mirror)


def test_float32_pixels_are_levels_and_other_numbers_are_not():
    pixels = torch.arange(256, dtype=torch.float32) / 127.5 - 1
    nll = discretised_nll(pixels, torch.zeros(()), torch.zeros(()))
    assert nll.dtype == torch.float32
    assert nll.isfinite().all()
    for bad in (0.5, 1.1, -1.0 - 2 / 255, math.nan):
        with pytest.raises(ValueError, match="x0 must hold values of the 256 levels"):
            discretised_nll(tensor(bad), tensor(0.0), tensor(0.0))
    with pytest.raises(ValueError, match="levels must be at least 2"):
        discretised_nll(tensor(1.0), tensor(0.0), tensor(0.0), levels=1)
    with pytest.raises(TypeError, match="log_scale must be a floating-point"):
        discretised_nll(tensor(1.0), tensor(0.0), 0.0)  # pyright: ignore[reportArgumentType]


# The chain


def test_two_steps_by_hand():
    chain = ddpm_chain(from_betas(tensor(0.1, 0.2)))
    expected = {
        "beta": [0.1, 0.2],
        "beta_tilde": [0.0, 0.2 * 0.1 / 0.28],
        "on_x0": [1.0, math.sqrt(0.9) * 0.2 / 0.28],
        "on_xn": [0.0, math.sqrt(0.8) * 0.1 / 0.28],
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(chain, name), tensor(*values))


@given(st.lists(st.floats(1e-4, 0.95), min_size=2, max_size=9))
def test_a_step_back_is_the_conditional_law_of_the_joint_gaussian(betas):
    beta = np.array(betas)
    rows = np.zeros((len(beta) + 1, len(beta) + 1))  # x_n in x0 and the z_n
    rows[0, 0] = 1
    for n in range(1, len(beta) + 1):
        rows[n] = np.sqrt(1 - beta[n - 1]) * rows[n - 1]
        rows[n, n] = np.sqrt(beta[n - 1])
    noise = rows[:, 1:] @ rows[:, 1:].T
    chain = ddpm_chain(from_betas(tensor(*betas)))
    for n in range(1, len(beta) + 1):
        gain = noise[n - 1, n] / noise[n, n]
        left = noise[n - 1, n - 1] - gain * noise[n - 1, n]
        assert chain.beta[n - 1].item() == pytest.approx(beta[n - 1], rel=1e-9)
        assert chain.on_xn[n - 1].item() == pytest.approx(gain, rel=1e-8, abs=1e-12)
        on_x0 = rows[n - 1, 0] - gain * rows[n, 0]
        assert chain.on_x0[n - 1].item() == pytest.approx(on_x0, rel=1e-8, abs=1e-11)
        assert chain.beta_tilde[n - 1].item() == pytest.approx(
            left, rel=1e-7, abs=1e-11
        )


def test_a_path_without_a_table_has_no_steps():
    with pytest.raises(ValueError, match="path must come from from_betas"):
        ddpm_chain(vp())


def test_learned_variance_runs_from_beta_tilde_to_beta_and_beyond():
    chain = ddpm_chain(TABLE)
    v = tensor(0.0, 1.0, 0.5, 2.0)[:, None].expand(4, 3)
    log_variance = interpolated_log_variance(v, 3, TABLE)
    low, high = chain.beta_tilde[2], chain.beta[2]
    expected = torch.stack([low, high, (low * high).sqrt(), high**2 / low])
    torch.testing.assert_close(log_variance.exp(), expected[:, None].expand(4, 3))


def test_learned_variance_of_a_batch_of_steps():
    v = randn(5, 5).sigmoid()  # B equals the extent of S
    steps = torch.arange(1, 6)
    together = interpolated_log_variance(v, steps, TABLE)
    alone = [interpolated_log_variance(v[i : i + 1], i + 1, TABLE) for i in range(5)]
    torch.testing.assert_close(together, torch.cat(alone))
    chain = ddpm_chain(TABLE)  # at n = 1, β̃₂ in the place of β̃₁ = 0
    first = v[0] * chain.beta[0].log() + (1 - v[0]) * chain.beta_tilde[1].log()
    torch.testing.assert_close(together[0], first)


@pytest.mark.parametrize(
    ("n", "path", "error", "words"),
    [
        (0, TABLE, ValueError, "n must lie between 1 and 5"),
        (6, TABLE, ValueError, "n must lie between 1 and 5"),
        (1.0, TABLE, TypeError, "n must be an int"),
        (torch.tensor([1, 2]), TABLE, ValueError, "a coefficient must have shape"),
        (1, from_betas(tensor(0.5)[None]), ValueError, "at least two steps"),
        (1, vp(), ValueError, "path must come from from_betas"),
    ],
)
def test_a_bad_step_is_named(n, path, error, words):
    with pytest.raises(error, match=words):
        interpolated_log_variance(randn(3, 2), n, path)


# The terms of the bound


WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-1.0, 0.9]), np.array([0.4, 0.3])
MIXTURE = GaussianMixture(
    torch.tensor(WEIGHTS), torch.tensor(MEANS)[:, None], torch.tensor(STDS)
)


def denoised(x, alpha, var):
    """E[x0 | x_t = x] of the mixture, in NumPy and by Bayes' rule on a grid."""
    grid = np.linspace(-5, 5, 2001)
    prior = WEIGHTS / STDS * np.exp(-((grid[:, None] - MEANS) ** 2) / (2 * STDS**2))
    weight = prior.sum(1) * np.exp(-((x - alpha * grid) ** 2) / (2 * var))
    return (weight @ grid) / weight.sum()


def exact_terms(x0, variances):
    """L_n and L_0 at one point, each by its definition and adaptive quadrature."""
    beta = BETAS.numpy()
    keep = np.cumprod(1 - beta)
    terms = []
    for n in range(1, 6):
        alpha, var = np.sqrt(keep[n - 1]), 1 - keep[n - 1]
        before = keep[n - 2] if n > 1 else 1.0
        v = variances[n - 1]

        def cost(z, n=n, alpha=alpha, var=var, before=before, v=v):
            x = alpha * x0 + math.sqrt(var) * z
            guess = denoised(x, alpha, var)
            if n == 1:
                told = Normal(tensor(guess), tensor(v).sqrt())
                value = -told.log_prob(tensor(x0)).item()
            else:
                b = beta[n - 1]
                pull = math.sqrt(1 - b) * (1 - before) * x
                real, model = (
                    (math.sqrt(before) * b * y + pull) / var for y in (x0, guess)
                )
                sd = math.sqrt(b * (1 - before) / var)
                p = Normal(tensor(real), tensor(sd))
                value = kl_divergence(p, Normal(tensor(model), tensor(v).sqrt())).item()
            return value * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

        terms.append(integrate.quad(cost, -8, 8, epsabs=1e-6, epsrel=1e-6)[0])
    return terms[0], np.array(terms[1:])


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_the_terms_of_a_mixture_are_right_on_average(variance):
    x0, n = 0.2, 20_000
    chain = ddpm_chain(TABLE)
    table = chain.beta.clone()
    if variance == "beta_tilde":
        table[1:] = chain.beta_tilde[1:]
    found = variational_terms(
        MIXTURE.denoiser(TABLE),
        TABLE,
        torch.full((n, 1), x0, dtype=torch.float64),
        generator=generator(),
        variance=variance,
    )
    assert {name: tuple(term.shape) for name, term in found.items()} == {
        "L_T": (n,),
        "L_n": (n, 4),
        "L_0": (n,),
    }
    decoder, steps = exact_terms(x0, table.numpy())
    for samples, expected in ((found["L_0"], decoder), (found["L_n"], steps)):
        error = samples.std(0) / math.sqrt(n)
        off = (samples.mean(0) - torch.as_tensor(expected)).abs() / error
        assert off.max() < 4
        # Small enough that a term left out or doubled could not hide.
        assert (error < 0.05 * torch.as_tensor(expected).abs()).all()
    keep = np.cumprod(1 - BETAS.numpy())[-1]
    prior = 0.5 * (keep * x0**2 - keep - math.log(1 - keep))
    assert found["L_T"].tolist() == pytest.approx([prior] * n)


def test_the_bound_is_exact_for_standard_normal_data():
    # There the model with v = β is the data's own chain: −ELBO(x0) = −log p(x0).
    data = GaussianMixture(tensor(1.0)[None], randn(1, 2) * 0, tensor(1.0)[None])
    for point in ([0.0, 0.0], [1.5, -0.4]):
        x0 = torch.tensor(point, dtype=torch.float64).expand(20_000, 2)
        terms = variational_terms(
            data.denoiser(TABLE), TABLE, x0, generator=generator()
        )
        bound = terms["L_T"] + terms["L_n"].sum(1) + terms["L_0"]
        expected = math.log(2 * math.pi) + sum(c**2 for c in point) / 2
        error = bound.std().item() / math.sqrt(20_000)
        assert abs(bound.mean().item() - expected) < 4 * error
        assert error < 0.02


def test_data_at_one_point_cost_nothing_with_beta_tilde():
    x0 = tensor(0.7).expand(3, 2)
    terms = variational_terms(
        lambda x, t: 0 * x + 0.7,
        TABLE,
        x0,
        generator=generator(),
        variance="beta_tilde",
    )
    assert terms["L_n"].abs().max() < 1e-14
    decoder = 2 * 0.5 * math.log(2 * math.pi * 0.1)  # β₁ in the decoder, two entries
    assert terms["L_0"].tolist() == pytest.approx([decoder] * 3)


def test_entries_are_summed_and_images_keep_their_shape():
    x0 = randn(2, 3, 2, 2)
    denoise = lambda x, t: 0.5 * x  # noqa: E731
    image = variational_terms(denoise, TABLE, x0, generator=generator(4))
    flat = variational_terms(denoise, TABLE, x0.reshape(2, 12), generator=generator(4))
    for name in image:
        torch.testing.assert_close(image[name], flat[name])


def test_a_variance_may_be_named_tabled_or_a_function():
    chain, x0 = ddpm_chain(TABLE), randn(4, 2)

    def terms(variance):
        found = variational_terms(
            MIXTURE_2D, TABLE, x0, generator=generator(2), variance=variance
        )
        return torch.cat([found["L_0"][:, None], found["L_n"]], 1)

    named = terms("beta")
    torch.testing.assert_close(named, terms(chain.beta))
    torch.testing.assert_close(named, terms(lambda _, n: chain.beta[n - 1].item()))
    torch.testing.assert_close(
        named,
        terms(lambda x, n: interpolated_log_variance(x**0, n, TABLE).exp()),
    )
    assert not torch.allclose(named, terms(2 * chain.beta))


MIXTURE_2D = GaussianMixture(
    tensor(1.0)[None], randn(1, 2), tensor(0.5)[None]
).denoiser(TABLE)


def test_a_decoder_of_levels_gives_masses():
    x0 = LEVELS[[0, 17, 255]][:, None]
    terms = variational_terms(
        lambda x, t: 0 * x + 0.1, TABLE, x0, generator=generator(), levels=256
    )
    expected = discretised_nll(x0, tensor(0.1), 0.5 * tensor(0.1).log())[:, 0]
    torch.testing.assert_close(terms["L_0"], expected)
    assert (terms["L_0"] > 0).all()


def test_one_step_has_no_middle_terms():
    path = from_betas(tensor(0.5)[None])
    terms = variational_terms(lambda x, t: x, path, randn(3, 2), generator=generator())
    assert terms["L_n"].shape == (3, 0)


def test_the_denoiser_is_asked_once_for_every_step():
    times = []

    def denoise(x, t):
        times.append(round(t.item() * 5))
        return x

    variational_terms(denoise, TABLE, randn(2, 1), generator=generator())
    assert sorted(times) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"path": vp()}, ValueError, "path must come from from_betas"),
        ({"variance": "best"}, ValueError, "variance must be 'beta', 'beta_tilde'"),
        ({"variance": tensor(0.1, 0.2)}, ValueError, "variance must hold N = 5"),
        ({"variance": 0 * BETAS}, ValueError, "variance must hold N = 5 positive"),
        ({"variance": lambda x, n: -1.0}, ValueError, "var2 must be positive"),
        ({"denoise": MIXTURE.denoiser(vp())}, ValueError, "denoiser was made for vp"),
        ({"denoise": lambda x, t: x[:1]}, ValueError, "denoise.x, t. and x0 must have"),
        ({"generator": 0}, TypeError, "generator must be a torch.Generator"),
        ({"x0": [1.0]}, TypeError, "x0 must be a floating-point tensor"),
        ({"levels": 256}, ValueError, "x0 must hold values of the 256 levels"),
    ],
)
def test_a_bad_argument_of_the_bound_is_named(change, error, words):
    arguments = {
        "denoise": lambda x, t: x,
        "path": TABLE,
        "x0": randn(3, 1),
        "generator": generator(),
    } | change
    with pytest.raises(error, match=words):
        variational_terms(**arguments)
