"""Flow matching losses, laws of time and the reversed clock, against autodiff."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, generator, randn, tensor
from scipy.integrate import quad
from scipy.stats import kstest, norm
from torch.func import jvp

from genflow_lite import (
    GaussianMixture,
    cosine,
    flow_matching_loss,
    heun,
    interpolant_loss,
    last,
    rectified,
    time_grid,
    velocity,
    vp,
)
from genflow_lite.losses import conditional_velocity, denoising_loss, interpolate
from genflow_lite.nets import MLP
from genflow_lite.timesteps import (
    TimeLaw,
    data_heavy,
    logit_normal,
    shift_times,
    shifted,
    uniform,
)

F64 = torch.float64


def wrong(value: Any) -> Any:
    """A value that the signature forbids, hidden from the type checker."""
    return value


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.6, 0.4], dtype=F64),
        torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=F64),
        torch.tensor([0.5, 0.3], dtype=F64),
    )


def line(x0, eps, t):
    return (1 - t) * x0 + t * eps


# --- the conditional velocity and its loss -------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_conditional_velocity_is_the_derivative_of_the_state(name) -> None:
    path, x0, eps = PATHS[name], randn(2, 2), randn(2, 2, seed=1)
    t = tensor(0.2517, 0.8013)  # B equals D: each time must follow its row
    h = 1e-6
    truth = (path.mix(x0, eps, t + h) - path.mix(x0, eps, t - h)) / (2 * h)
    claimed = conditional_velocity(path, x0, eps, t)
    assert torch.allclose(claimed, truth, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", PATHS)
def test_loss_is_that_of_denoising_with_a_velocity(name) -> None:
    path, x0, eps = PATHS[name], randn(4, 1, 2, 3), randn(4, 1, 2, 3, seed=1)
    t = tensor(0.1, 0.4, 0.7, 1.0)

    def net(x, t):
        return x * t.reshape(-1, 1, 1, 1)

    claimed = flow_matching_loss(net, path, x0, eps, t)
    truth = denoising_loss(net, path, x0, eps, t, predicts="velocity")
    assert torch.allclose(claimed, truth, rtol=1e-12)
    weighted = flow_matching_loss(net, path, x0, eps, t, weight=lambda t: 1 + t)
    assert torch.allclose(weighted, (1 + t) * truth, rtol=1e-12)


def test_loss_by_hand() -> None:
    """Rectified: x0 = (1, 2), ε = (3, −1), and a network that gives 0: (4 + 9)/2."""
    x0, eps = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    seen = []

    def net(x, t):
        seen.append((x, t))
        return 0 * x

    loss = flow_matching_loss(net, rectified(), x0, eps, 0.25)
    assert loss.tolist() == [6.5]
    x, t = seen[0]
    assert x.tolist() == [[1.5, 1.25]]
    assert t.tolist() == [0.25]
    assert x.dtype == t.dtype == torch.float32


@pytest.mark.parametrize("path", [rectified(), cosine(), vp()], ids=lambda p: p.name)
def test_marginal_velocity_minimises_the_loss(path) -> None:
    """The residual of the exact field is orthogonal to every function of x_t."""
    data, n, t = mixture(), 40000, 0.6
    g = generator()
    x0 = data.sample(n, generator=g)
    eps = torch.randn(n, 2, generator=g, dtype=F64)
    x_t = path.mix(x0, eps, t)
    exact: Any = data.velocity(path)
    residual = conditional_velocity(path, x0, eps, t) - exact(x_t, t)
    for probe in (torch.ones_like(x_t), x_t, x_t.flip(1).square(), torch.sin(3 * x_t)):
        product = residual * probe
        error = product.std(0) / math.sqrt(n)
        assert (product.mean(0).abs() < 4.5 * error).all()
    # A field with the wrong sign, or the denoiser's own output, would not be.
    off = conditional_velocity(path, x0, eps, t) + exact(x_t, t)
    assert ((off * x_t).mean(0).abs() > 20 * (off * x_t).std(0) / math.sqrt(n)).any()


def test_gradients_of_the_two_losses_agree() -> None:
    """∇ of the regression on pairs and on the marginal velocity, in the mean."""
    data, path, n = mixture(), rectified(), 20000
    g = generator()
    x0 = data.sample(n, generator=g)
    eps = torch.randn(n, 2, generator=g, dtype=F64)
    t = torch.rand(n, generator=g, dtype=F64)
    net: Any = MLP(2, width=8, depth=1).double()
    with torch.no_grad():
        net.last.weight.normal_(0, 0.5, generator=g)
    field, x_t = data.velocity(path)(path.mix(x0, eps, t), t), path.mix(x0, eps, t)
    marginal = (net(x_t, t) - field).square().mean(1)
    conditional = flow_matching_loss(net, path, x0, eps, t)
    weight = net.last.weight
    # Batches of 100 give the standard error of the difference of the gradients.
    gaps = [
        torch.autograd.grad(part.mean(), weight, retain_graph=True)[0]
        for part in (conditional - marginal).chunk(200)
    ]
    gap = torch.stack(gaps)
    error = gap.std(0) / math.sqrt(200)
    assert (gap.mean(0).abs() < 4.5 * error).all()
    assert conditional.mean() > marginal.mean() + 0.1  # the losses are not equal


# --- interpolants --------------------------------------------------------------------


def test_interpolants_of_two_gaussian_paths() -> None:
    x0, eps, t = randn(3, 2), randn(3, 2, seed=1), tensor(0.1, 0.5, 0.9)
    net = MLP(2, width=8).double()

    def turn(x0, eps, t):
        return torch.cos(math.pi * t / 2) * x0 + torch.sin(math.pi * t / 2) * eps

    for interpolant, path in ((line, rectified()), (turn, cosine())):
        claimed = interpolant_loss(net, interpolant, x0, eps, t)
        truth = flow_matching_loss(net, path, x0, eps, t)
        assert torch.allclose(claimed, truth, rtol=1e-12)
        weighted = interpolant_loss(net, interpolant, x0, eps, t, weight=lambda t: t)
        assert torch.allclose(weighted, t * truth, rtol=1e-12)


def test_interpolant_with_noise_of_its_own_on_images() -> None:
    x0, eps, z = (randn(2, 1, 2, 2, seed=k) for k in range(3))
    t = tensor(0.3, 0.6)

    def noisy(x0, eps, t):
        return line(x0, eps, t) + (2 * t * (1 - t)).sqrt() * z

    x_t, rate = interpolate(noisy, x0, eps, t)
    laid = t.reshape(2, 1, 1, 1)
    gamma = (2 * laid * (1 - laid)).sqrt()
    assert torch.allclose(x_t, line(x0, eps, laid) + gamma * z)
    assert torch.allclose(rate, eps - x0 + (1 - 2 * laid) / gamma * z, rtol=1e-12)


def test_one_time_for_all_rows() -> None:
    x0, eps = randn(3, 2), randn(3, 2, seed=1)
    one = interpolate(line, x0, eps, 0.25)
    each = interpolate(line, x0, eps, torch.full((3,), 0.25, dtype=F64))
    for a, b in zip(one, each, strict=True):
        assert torch.equal(a, b)


# --- laws of time --------------------------------------------------------------------

LAWS = [
    uniform(),
    logit_normal(),
    logit_normal(-0.5, 0.7),
    shifted(3.0),
    shifted(0.4, logit_normal(0.2, 1.3)),
    shifted(2.0, data_heavy(1.5)),
    data_heavy(),
    data_heavy(3.5),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_density_integrates_to_one_and_is_that_of_the_quantiles(law: TimeLaw) -> None:
    def density(t: float) -> float:
        return law.density(tensor(t)).item()

    mass = quad(density, 0, 0.01)[0] + quad(density, 0.01, 0.99)[0]
    mass += quad(density, 0.99, 1)[0]
    assert mass == pytest.approx(1, abs=1e-6)
    u = tensor(0.03, 0.2, 0.5, 0.9, 0.99)
    t, rate = jvp(law.quantile, (u,), (torch.ones_like(u),))[:2]
    assert torch.allclose(law.density(t) * rate, torch.ones_like(u), rtol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_samples_are_of_the_law(law: TimeLaw) -> None:
    t = law.sample(2000, generator=generator(2))
    assert t.dtype == F64
    assert t.shape == (2000,)
    assert ((t > 0) & (t < 1)).all()

    u = torch.linspace(0, 1, 4001, dtype=F64)[1:-1]
    knots = law.quantile(u)

    def below(values):
        found = torch.searchsorted(knots, torch.as_tensor(values))
        return (found / 4000).numpy()

    assert kstest(t.numpy(), below).pvalue > 1e-3


def test_logit_normal_is_scipys() -> None:
    t = logit_normal(0.4, 0.8).sample(3000, generator=generator())
    assert kstest(t.logit().numpy(), norm(0.4, 0.8).cdf).pvalue > 1e-3


def test_strata_hold_one_time_each_in_random_order() -> None:
    law = data_heavy(2.0)
    t = law.sample(50, generator=generator(), stratified=True)
    assert (t.sqrt() * 50).floor().sort().values.tolist() == list(range(50))
    assert not (t.diff() > 0).all()
    assert law.sample(0, generator=generator(), stratified=True).shape == (0,)


@given(t=st.floats(0.01, 0.99), shift=st.floats(0.1, 10))
def test_shift_scales_the_noise_level(t: float, shift: float) -> None:
    """σ/α = t/(1 − t) on the straight path."""
    moved = shift_times(t, shift).item()
    assert moved / (1 - moved) == pytest.approx(shift * t / (1 - t), rel=1e-9)
    assert shift_times(moved, 1 / shift).item() == pytest.approx(t, rel=1e-12)


def test_shift_keeps_the_ends_of_a_grid() -> None:
    ts = time_grid(rectified(), 8, spacing="uniform")
    moved = shift_times(ts, 3.0)
    assert moved[0] == 1
    assert moved[-1] == 0
    assert (moved.diff() < 0).all()
    assert torch.allclose(shifted(3.0).quantile(ts), moved)


def test_density_is_the_weight_that_a_sampler_induces() -> None:
    """Mean of h(t) under the law = mean of π(t) h(t) under the uniform one."""
    law, n = logit_normal(0.5, 1.0), 100000
    h = torch.cos
    drawn = h(3 * law.sample(n, generator=generator()))
    t = uniform().sample(n, generator=generator(1))
    weighted = law.density(t) * h(3 * t)
    error = (drawn.var() + weighted.var()).div(n).sqrt()
    assert abs(drawn.mean() - weighted.mean()) < 4 * error


# --- the reversed clock --------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_reversed_clock_turns_the_path(name) -> None:
    path, tau = PATHS[name], tensor(0.1517, 0.6013)
    view = path.reversed_clock()
    x, z = randn(2, 3), randn(2, 3, seed=1)
    assert torch.equal(view.mix(z, x, tau), path.mix(x, z, 1 - tau))
    for function, rate in zip((view.alpha, view.sigma), view.rates(tau), strict=True):
        truth = jvp(function, (tau,), (torch.ones_like(tau),))[1]
        assert torch.allclose(rate, truth, rtol=1e-12)
    assert view.alpha(tensor(0.9)) >= view.alpha(tensor(0.1))
    assert view.reversed_clock() is path
    assert path.name in view.name
    assert path.name in repr(view)


def test_rectified_on_the_reversed_clock_is_the_papers() -> None:
    view, tau = rectified().reversed_clock(), tensor(0.0, 0.25, 1.0)
    assert torch.equal(view.alpha(tau), tau)
    assert torch.equal(view.sigma(tau), 1 - tau)
    assert torch.equal(
        torch.stack(view.rates(tau)), tensor(1.0, -1.0)[:, None] * torch.ones(3)
    )
    assert torch.equal(view.time(tau), 1 - tau)


def test_velocity_on_the_reversed_clock() -> None:
    """The same trajectory, walked from noise to data with growing τ."""
    data, path = mixture(), rectified()
    u = data.velocity(path)
    v = path.reversed_clock().velocity(u)
    x = randn(3, 2)
    ts = torch.linspace(1, 0, 9, dtype=F64)
    assert torch.allclose(last(heun(u, x, ts)), last(heun(v, x, 1 - ts)))
    turned = path.reversed_clock().velocity(v)
    assert torch.allclose(turned(x, tensor(0.3)), u(x, tensor(0.3)), rtol=1e-12)
    assert torch.allclose(v(x, tensor(0.2)), -u(x, tensor(0.8)), rtol=1e-12)


# --- refusals ------------------------------------------------------------------------

X, EPS = randn(3, 2), randn(3, 2, seed=1)


def keep(x, t):
    return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: flow_matching_loss(lambda x, t: x[:, :1], rectified(), X, EPS, 0.5),
            ValueError,
            "net must return a tensor of x's shape",
        ),
        (
            lambda: interpolant_loss(lambda x, t: x.mean(1), line, X, EPS, 0.5),
            ValueError,
            "net must return a tensor of x's shape",
        ),
        (
            lambda: flow_matching_loss(keep, vp(), X, EPS, tensor(0.5, 0.0, 0.5)),
            ValueError,
            r"vp.* has finite rates",
        ),
        (
            lambda: interpolant_loss(
                keep, lambda a, b, t: a + t.sqrt() * b, X, EPS, tensor(0.5, 0.0, 0.5)
            ),
            ValueError,
            "the derivative of interpolant must be finite",
        ),
        (
            lambda: interpolate(lambda a, b, t: a / t, X, EPS, 0.0),
            ValueError,
            "interpolant must be finite",
        ),
        (
            lambda: interpolate(lambda a, b, t: t, X, EPS, 0.5),
            ValueError,
            "interpolant must be a tensor of x0's shape",
        ),
        (lambda: interpolate(wrong(None), X, EPS, 0.5), TypeError, "interpolant"),
        (
            lambda: flow_matching_loss(keep, rectified(), X, EPS[:2], 0.5),
            ValueError,
            "x0 and eps must have the same shape",
        ),
        (
            lambda: flow_matching_loss(keep, rectified(), X, EPS, tensor(0.1, 0.2)),
            ValueError,
            "t must have shape",
        ),
        (
            lambda: flow_matching_loss(keep, rectified(), X, EPS, 1.5),
            ValueError,
            "t must lie in",
        ),
        (
            lambda: flow_matching_loss(keep, wrong(velocity), X, EPS, 0.5),
            TypeError,
            "path must be a GaussianPath",
        ),
        (
            lambda: flow_matching_loss(
                keep, rectified(), X, EPS, 0.0, weight=lambda t: 1 / t
            ),
            ValueError,
            "weight must be finite",
        ),
        (
            lambda: flow_matching_loss(
                keep, rectified(), X, EPS, 0.5, weight=wrong(lambda t: 1.0)
            ),
            TypeError,
            "weight must return",
        ),
        (lambda: logit_normal(std=0.0), ValueError, "std must be positive"),
        (lambda: logit_normal(math.inf), ValueError, "mean must be finite"),
        (lambda: shifted(-1.0), ValueError, "shift must be positive"),
        (lambda: shift_times(1.5, 2.0), ValueError, "t must lie in"),
        (lambda: data_heavy(0.5), ValueError, "power must be at least 1"),
        (lambda: uniform().sample(3, generator=wrong(None)), TypeError, "generator"),
        (lambda: uniform().sample(-1, generator=generator()), ValueError, "n must"),
        (lambda: vp().reversed_clock().alpha(1.5), ValueError, "tau must lie in"),
    ],
)
def test_bad_arguments_are_refused(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()
