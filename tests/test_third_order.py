"""The third-order samplers, noise along the way, and the jump, each against a truth
of its own: quadrature, the exact flow, exact laws, and the same method on paper."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from paths_under_test import PATHS, generator, randn
from scipy.integrate import quad, solve_ivp

from genflow_lite import (
    GaussianMixture,
    GaussianPath,
    adams,
    ddim,
    dpmpp_2m_sde,
    dpmpp_3m,
    gaussian_jump,
    last,
    rectified,
    time_grid,
    velocity,
)
from genflow_lite._adams import adams_weights
from genflow_lite._steps import integrals

F64 = torch.float64
BY_NAME = {"argvalues": list(PATHS.values()), "ids": list(PATHS)}
UNEVEN = torch.tensor([0.9, 0.8, 0.62, 0.5, 0.33, 0.2, 0.12], dtype=F64)
wrong: Any = gaussian_jump  # unchecked, so that bad arguments can be passed


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=F64),
        torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=F64),
        torch.tensor([0.3, 0.5], dtype=F64),
    )


def ells(path: GaussianPath, ts: torch.Tensor) -> list[float]:
    return (path.alpha(ts).log() - path.sigma(ts).log()).tolist()


# --- the integrals of an exponential step --------------------------------------------


@pytest.mark.parametrize("h", [1e-8, 1e-3, 0.1, 0.499, 0.501, 1.0, 3.0, 12.0, 40.0])
def test_integrals_are_those_of_quadrature(h: float) -> None:
    ours = integrals(torch.tensor(h, dtype=F64))
    for q, value in enumerate(ours):
        truth, _ = quad(
            lambda u, q=q: math.exp(-h * (1 - u)) * u**q, 0, 1, epsrel=1e-13
        )
        assert float(value) == pytest.approx(h ** (q + 1) * truth, rel=1e-12)


# --- DPM-Solver++ with a parabola ----------------------------------------------------


def by_quadrature(
    path: GaussianPath, ts: torch.Tensor, x: float, d: Callable[[float], float]
) -> list[float]:
    """The flow for a D that is a function of ℓ alone: x/σ grows by ∫ e^ℓ D dℓ."""
    ell, sigma, states = ells(path, ts), path.sigma(ts).tolist(), [x]
    for k in range(len(ell) - 1):
        grown, _ = quad(lambda s: math.exp(s) * d(s), ell[k], ell[k + 1], epsrel=1e-13)
        states.append(sigma[k + 1] * (states[-1] / sigma[k] + grown))
    return states


@pytest.mark.parametrize("path", **BY_NAME)
def test_3m_is_exact_for_a_line_and_then_for_a_parabola(path: GaussianPath) -> None:
    def run(d: Callable[[float], float], x: torch.Tensor, ts: torch.Tensor):
        def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, d(ells(path, t[None])[0]))

        return [float(s) for s in dpmpp_3m(denoise, path, x, ts)]

    line = lambda s: 0.4 - 0.9 * s  # noqa: E731
    states = run(line, torch.tensor([[0.7]], dtype=F64), UNEVEN)
    assert states == pytest.approx(by_quadrature(path, UNEVEN, 0.7, line), rel=1e-10)
    # Of a parabola the first two steps know too little; the others make no new error.
    parabola = lambda s: 0.4 - 0.9 * s + 0.6 * s * s  # noqa: E731
    states = run(parabola, torch.tensor([[0.7]], dtype=F64), UNEVEN)
    truth = by_quadrature(path, UNEVEN[2:], states[2], parabola)
    assert states[2:] == pytest.approx(truth, rel=1e-10)
    missed = by_quadrature(path, UNEVEN[:3], 0.7, parabola)[2]
    assert abs(states[2] - missed) > 1e-6 * abs(missed)


def wavy(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A denoiser of no model, not linear in anything."""
    return torch.sin(2 * x + 3 * t) + t**2


def test_the_first_step_of_3m_is_ddims_and_a_line_through_both_ends() -> None:
    path, ts, x = PATHS["vp"], UNEVEN, randn(4, 2)
    _, first, second = list(dpmpp_3m(wavy, path, x, ts))[:3]
    guess = last(ddim(wavy, path, x, ts[:2]))
    start, end = wavy(x, ts[0]), wavy(guess, ts[1])
    ell = ells(path, ts)
    h, before = ell[1] - ell[0], ell[2] - ell[1]
    share, _ = quad(lambda s: math.exp(s - h) * s / h, 0, h)
    truth = guess + path.alpha(ts[1]) * share * (end - start)
    torch.testing.assert_close(first, truth, rtol=1e-12, atol=1e-12)
    # The second step is that of the line through the same two values.
    slope, _ = quad(lambda s: math.exp(s - before) * s / h, 0, before)
    moved = path.sigma(ts[2]) / path.sigma(ts[1]) * first
    moved = moved - path.alpha(ts[2]) * math.expm1(-before) * end
    truth = moved + path.alpha(ts[2]) * slope * (end - start)
    torch.testing.assert_close(second, truth, rtol=1e-12, atol=1e-12)


# --- Adams on the straightened path --------------------------------------------------


def lagrange(nodes: list[float], j: int, x: float) -> float:
    others = [node for i, node in enumerate(nodes) if i != j]
    return math.prod((x - node) / (nodes[j] - node) for node in others)


@pytest.mark.parametrize("ahead", [False, True])
def test_adams_weights_are_integrals_of_lagranges_polynomials(ahead: bool) -> None:
    tau = torch.tensor([1.0, 0.7, 0.62, 0.3, 0.25, 0.0], dtype=F64)
    ours, times = adams_weights(tau, ahead=ahead), tau.tolist()
    assert ours.shape == (5, 3)
    for k in range(5):
        newest = k + int(ahead)
        nodes = [times[i] for i in range(newest, max(newest - 3, -1), -1)]
        truth = [
            quad(lambda x, j=j, nodes=nodes: lagrange(nodes, j, x), *times[k : k + 2])[
                0
            ]
            for j in range(len(nodes))
        ]
        truth += [0.0] * (3 - len(nodes))
        assert ours[k].tolist() == pytest.approx(truth, rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("path", **BY_NAME)
def test_adams_does_not_know_which_path_it_is_on(path: GaussianPath) -> None:
    """The same model on the rectified path gives the same states, scaled by α + σ."""
    ts, x = UNEVEN, randn(5, 2)
    size = path.alpha(ts) + path.sigma(ts)
    tau = path.sigma(ts) / size
    straight = adams(mixture().denoiser(rectified()), rectified(), x / size[0], tau)
    ours = adams(mixture().denoiser(path), path, x, ts)
    for k, (a, b) in enumerate(zip(ours, straight, strict=True)):
        torch.testing.assert_close(a, size[k] * b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("correct", [True, False])
def test_adams_integrates_a_parabola_of_a_velocity_to_the_data(correct: bool) -> None:
    """D = y − τ v(τ) has the velocity v whatever y. The start needs three values."""
    rate = np.polynomial.Polynomial([0.3, -1.1, 2.0])
    path, ts = rectified(), torch.tensor([1.0, 0.8, 0.7, 0.45, 0.3, 0.0], dtype=F64)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x - t * float(rate(float(t)))

    states = list(adams(denoise, path, randn(3, 1), ts, correct=correct))
    area = rate.integ()
    exact_from = 1 if correct else 2
    for k in range(exact_from, 5):
        truth = states[k] + area(float(ts[k + 1])) - area(float(ts[k]))
        torch.testing.assert_close(states[k + 1], truth, rtol=1e-12, atol=1e-13)
    early = states[0] + area(float(ts[1])) - area(float(ts[0]))
    assert (states[1] - early).abs().max() > 1e-4


def test_adams_predicts_evaluates_corrects_by_hand() -> None:
    """Two steps of one number on the rectified path, 1 → ½ → 0, D(y, τ) = y²."""
    ts, y0 = torch.tensor([1.0, 0.5, 0.0], dtype=F64), 0.6
    v0 = (y0 - y0**2) / 1.0  # 0.24
    guess = y0 - 0.5 * v0  # 0.48
    v1 = (guess - guess**2) / 0.5  # 0.4992
    y1 = y0 - 0.5 * (v0 + v1) / 2
    y2 = y1 - 0.5 * (1.5 * v1 - 0.5 * v0)
    x = torch.tensor([[y0]], dtype=F64)
    found = [float(s) for s in adams(lambda y, t: y**2, rectified(), x, ts)]
    assert found == pytest.approx([y0, y1, y2], rel=1e-14)
    plain = adams(lambda y, t: y**2, rectified(), x, ts, correct=False)
    bashforth = [y0, guess, guess - 0.5 * (1.5 * v1 - 0.5 * v0)]
    assert [float(s) for s in plain] == pytest.approx(bashforth, rel=1e-14)


# --- order ---------------------------------------------------------------------------

START = 1.2 * randn(24, 2, seed=2)
NS = {"dpmpp_3m": (256, 512, 1024), "adams": (400, 800, 1600)}


@cache
def exact_flow(name: str) -> torch.Tensor:
    """The mixture's probability flow from t = .95 to .05, to ten digits."""
    path = PATHS[name]
    u = velocity(mixture().denoiser(path), path)

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(y).reshape(START.shape)
        return u(x, torch.tensor(t, dtype=F64)).numpy().ravel()

    flow = solve_ivp(
        rate,
        (0.95, 0.05),
        START.numpy().ravel(),
        method="DOP853",
        rtol=1e-10,
        atol=1e-12,
    )
    return torch.from_numpy(flow.y[:, -1]).reshape(START.shape)


def spread(path: GaussianPath, done: torch.Tensor, clock: str) -> torch.Tensor:
    """Times from .95 to .05 at the given shares of the way in ℓ or in τ."""
    ends = torch.tensor([0.95, 0.05], dtype=F64)
    start, end = path.log_snr(ends) / 2
    if clock == "tau":
        start, end = (-start).sigmoid(), (-end).sigmoid()
    inner = start + (end - start) * done[1:-1]
    lam = 2 * inner if clock == "ell" else -2 * inner.logit()
    return torch.cat([ends[:1], path.t_of_log_snr(lam), ends[1:]])


def order(sampler: Callable[..., Any], name: str, *, jumping: bool = False) -> float:
    """The slope of log error against log n, on steps even in the sampler's clock."""
    path, denoise = PATHS[name], mixture().denoiser(PATHS[name])
    clock, misses = ("ell" if sampler is dpmpp_3m else "tau"), []
    ns = NS["dpmpp_3m" if sampler is dpmpp_3m else "adams"]
    for n in ns:
        steps = torch.ones(n, dtype=F64)
        if jumping:  # lengths 2, 1, 2, 1, ...
            steps[::2] = 2
        done = torch.cat([steps.new_zeros(1), steps.cumsum(0) / steps.sum()])
        end = last(sampler(denoise, path, START, spread(path, done, clock)))
        misses.append(float((end - exact_flow(name)).norm()))
    return float(-np.polyfit(np.log(ns), np.log(misses), 1)[0])


@pytest.mark.parametrize("sampler", [dpmpp_3m, adams])
@pytest.mark.parametrize("name", ["vp", "cosine", "rectified"])
def test_order_is_three(name: str, sampler: Callable[..., Any]) -> None:
    assert order(sampler, name) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("sampler", [dpmpp_3m, adams])
def test_order_is_three_on_steps_of_jumping_length(sampler) -> None:
    assert order(sampler, "rectified", jumping=True) == pytest.approx(3, abs=0.1)


def test_without_correction_the_first_euler_step_costs_an_order() -> None:
    def bashforth(*arguments: Any) -> Any:
        return adams(*arguments, correct=False)

    assert order(bashforth, "rectified") == pytest.approx(2, abs=0.1)


# --- noise along the way -------------------------------------------------------------


@pytest.mark.parametrize("path", **BY_NAME)
def test_the_first_step_of_2m_sde_is_ddpms_ancestral_step(path: GaussianPath) -> None:
    for ts in (UNEVEN[:2], time_grid(path, 1, spacing="uniform", t_min=0.3)):
        x = randn(5, 2)
        ours = last(dpmpp_2m_sde(wavy, path, x, ts, generator=generator(3)))
        truth = last(ddim(wavy, path, x, ts, eta=1.0, generator=generator(3)))
        torch.testing.assert_close(ours, truth, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("path", **BY_NAME)
def test_for_one_point_of_data_every_law_is_exact(
    path: GaussianPath, eta: float
) -> None:
    """x_r = a x + b + c z must carry N(α d, σ²) to N(α_r d, σ_r²), step by step."""
    d = 0.8
    x = torch.tensor([[0.0], [1.0], [-2.0]], dtype=F64)
    constant = lambda x, t: torch.full_like(x, d)  # noqa: E731
    noisy = dpmpp_2m_sde(constant, path, x, UNEVEN, eta=eta, generator=generator(5))
    states, drawn = list(noisy), generator(5)
    mean, var = float(path.alpha(UNEVEN[0])) * d, float(path.sigma(UNEVEN[0])) ** 2
    for k in range(len(UNEVEN) - 1):
        z = torch.randn(3, 1, generator=drawn, dtype=F64)
        system = torch.cat([states[k], torch.ones_like(z), z], dim=1)
        a, b, c = torch.linalg.solve(system, states[k + 1])[:, 0].tolist()
        mean, var = a * mean + b, a**2 * var + c**2
        alpha, sigma = (
            float(path.alpha(UNEVEN[k + 1])),
            float(path.sigma(UNEVEN[k + 1])),
        )
        assert mean == pytest.approx(alpha * d, rel=1e-9)
        assert var == pytest.approx(sigma**2, rel=1e-9)
        assert c > 0


def test_2m_sde_extrapolates_half_a_step() -> None:
    """The second step by hand, D = 1 and then 3: D′ = D₁ + h/(2h′) (D₁ − D₀)."""
    path, ts, eta = rectified(), torch.tensor([0.8, 0.5, 0.3], dtype=F64), 0.7
    values = iter([1.0, 3.0])
    denoise = lambda x, t: torch.full_like(x, next(values))  # noqa: E731
    x, drawn = randn(1, 1), generator(9)
    _, first, second = dpmpp_2m_sde(
        denoise, path, x, ts, eta=eta, generator=generator(9)
    )
    torch.randn(1, 1, generator=drawn, dtype=F64)
    z = torch.randn(1, 1, generator=drawn, dtype=F64)
    before = math.log(0.5 / 0.5) - math.log(0.2 / 0.8)
    h = math.log(0.7 / 0.3)
    d = 3 + h / (2 * before) * (3 - 1)
    truth = 0.3 / 0.5 * math.exp(-eta * h) * first
    truth = truth + 0.7 * (1 - math.exp(-(1 + eta) * h)) * d
    truth = truth + 0.3 * math.sqrt(1 - math.exp(-2 * eta * h)) * z
    torch.testing.assert_close(second, truth, rtol=1e-12, atol=1e-13)


def test_2m_sde_from_pure_noise_to_data() -> None:
    path, ts, x = PATHS["cosine"], torch.linspace(1, 0, 5, dtype=F64), randn(4, 2)
    states = list(dpmpp_2m_sde(wavy, path, x, ts, generator=generator(1)))
    z = torch.randn(4, 2, generator=generator(1), dtype=F64)
    first = path.alpha(ts[1]) * wavy(x, ts[0]) + path.sigma(ts[1]) * z
    torch.testing.assert_close(states[1], first, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(states[4], wavy(states[3], ts[3]), rtol=0, atol=1e-14)


def test_2m_sde_names_bad_noise() -> None:
    arguments = (wavy, PATHS["vp"], randn(2, 2), UNEVEN)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        dpmpp_2m_sde(*arguments)
    with pytest.raises(ValueError, match="eta must be finite and at least 0; got -1"):
        dpmpp_2m_sde(*arguments, eta=-1.0, generator=generator())
    with pytest.raises(TypeError, match="correct must be True or False"):
        adams(*arguments, correct=wrong)
    twins = torch.tensor([math.nextafter(0.95, 1), 0.95, 0.2], dtype=F64)
    with pytest.raises(ValueError, match=r"ts holds two times that the path ve"):
        adams(wavy, PATHS["ve"], randn(2, 2), twins)


# --- evaluations ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "start", "end", "n", "calls"),
    [
        (dpmpp_3m, 0.9, 0.1, 5, 5),
        (dpmpp_3m, 1.0, 0.0, 5, 5),
        (dpmpp_3m, 0.9, 0.1, 1, 2),
        (dpmpp_3m, 0.9, 0.0, 1, 1),
        (adams, 0.9, 0.1, 5, 5),
        (adams, 1.0, 0.0, 5, 5),
        (adams, 1.0, 0.0, 1, 1),
    ],
)
def test_evaluations_are_counted_and_lazy(sampler, start, end, n, calls) -> None:
    seen = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(t)
        return wavy(x, t)

    ts = torch.linspace(start, end, n + 1, dtype=F64)
    states = sampler(denoise, PATHS["rectified"], randn(2, 2), ts)
    assert seen == []
    assert len(list(states)) == n + 1
    assert len(seen) == calls
    assert all(t.shape == () and t.dtype == F64 and 0 < t <= start for t in seen)


# --- the jump ------------------------------------------------------------------------


def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
    root = torch.tensor([[0.9, 0.0, 0.0], [0.4, 0.2, 0.0], [-0.3, 0.5, 1.1]], dtype=F64)
    return torch.tensor([0.5, -1.0, 0.2], dtype=F64), root @ root.T


# A table's drift has a kink at each of its thousand knots, over which no method of
# high order can step.
@pytest.mark.parametrize("name", [name for name in PATHS if name != "from_betas"])
def test_the_jump_is_the_flow_of_gaussian_data(name: str) -> None:
    """The score of N(α m, V) by a linear solve, the flow by Runge and Kutta."""
    path, start, stop = PATHS[name], 0.9, 0.3
    mean, cov = (value.numpy() for value in gaussian())
    x = randn(4, 3)

    def rate(t: float, flat: np.ndarray) -> np.ndarray:
        time = torch.tensor(t, dtype=F64)
        f, g = (float(c) for c in path.sde(time))
        alpha, sigma = float(path.alpha(time)), float(path.sigma(time))
        y = flat.reshape(4, 3)
        var = alpha**2 * cov + sigma**2 * np.eye(3)
        score = -np.linalg.solve(var, (y - alpha * mean).T).T
        return (f * y - 0.5 * g**2 * score).ravel()

    tight = {"method": "DOP853", "rtol": 1e-7, "atol": 1e-8}
    flow = solve_ivp(rate, (start, stop), x.numpy().ravel(), **tight).y[:, -1]
    ours = gaussian_jump(x, path, *gaussian(), start=start, stop=stop)
    np.testing.assert_allclose(ours.numpy().ravel(), flow, rtol=1e-5, atol=1e-6)


def test_the_jump_reaches_the_mixtures_moments() -> None:
    """Noise N(0, I) at t = 1 becomes the mixture's own mean and covariance at t."""
    oracle, path, stop = mixture(), rectified(), 0.4
    origin = torch.zeros(1, 2, dtype=F64)
    jump = lambda x: gaussian_jump(x, path, oracle.mean, oracle.cov, stop=stop)  # noqa: E731
    centre = jump(origin)
    linear = jump(torch.eye(2, dtype=F64)) - centre
    n = 200_000
    x0 = oracle.sample(n, generator=generator(1))
    noisy = path.mix(x0, randn(n, 2, seed=2), torch.tensor(stop, dtype=F64))
    error = noisy.std(0) / math.sqrt(n)
    assert ((centre[0] - noisy.mean(0)).abs() < 5 * error).all()
    assert (linear.T @ linear - torch.cov(noisy.T)).abs().max() < 0.02
    assert torch.allclose(linear, linear.T)  # no rotation: the flow is a gradient map


def test_the_jump_of_a_mixture_is_better_the_more_noise_is_left() -> None:
    oracle, path, x = mixture(), rectified(), randn(200, 2)
    fine = list(
        adams(oracle.denoiser(path), path, x, torch.linspace(1, 0, 401).to(F64))
    )
    errors = []
    for k in (200, 120, 60, 30):
        stop = 1 - k / 400
        ours = gaussian_jump(x, path, oracle.mean, oracle.cov, stop=stop)
        errors.append(float((ours - fine[k]).square().mean().sqrt()))
    assert errors[0] > 5e-3
    # The third moment is the first that the Gaussian does not share: (α/σ)³.
    levels = [(k / 400) / (1 - k / 400) for k in (60, 30)]
    slope = math.log(errors[2] / errors[3]) / math.log(levels[0] / levels[1])
    assert slope == pytest.approx(3, abs=0.4)


def test_the_jump_there_and_back_and_of_images() -> None:
    path, (mean, cov) = PATHS["vp"], gaussian()
    x = randn(4, 3)
    there = gaussian_jump(x, path, mean, cov, start=0.9, stop=0.0)
    back = gaussian_jump(there, path, mean, cov, start=0.0, stop=0.9)
    torch.testing.assert_close(back, x, rtol=1e-12, atol=1e-12)
    image, middle = x.reshape(4, 1, 3, 1), mean.reshape(1, 3, 1)
    for centre in (mean, middle):
        moved = gaussian_jump(image.float(), path, centre, cov, start=0.9, stop=0.0)
        assert moved.dtype == F64
        torch.testing.assert_close(
            moved, there.reshape(4, 1, 3, 1), rtol=1e-5, atol=1e-5
        )
    same = gaussian_jump(x, path, mean, cov, start=0.5, stop=0.5)
    torch.testing.assert_close(same, x, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"path": "vp"}, TypeError, "path must be a GaussianPath"),
        ({"x": [1.0]}, TypeError, "x must be a floating-point tensor"),
        ({"mean": torch.zeros(2)}, ValueError, r"mean must have the shape .*\(3,\)"),
        ({"mean": torch.full((3,), math.nan)}, ValueError, "mean must be finite"),
        ({"cov": torch.eye(2)}, ValueError, r"cov must have shape \(D, D\) = \(3, 3\)"),
        ({"cov": torch.eye(3).tril(0) + torch.eye(3).roll(1, 0)}, ValueError, "symm"),
        ({"cov": -torch.eye(3)}, ValueError, "no negative eigenvalue"),
        ({"stop": 1.5}, ValueError, r"stop must lie in \[0, 1\]; got 1.5"),
        ({"start": math.nan}, ValueError, "start must lie"),
        ({"stop": "0"}, TypeError, "stop must be a number"),
        (
            {"cov": torch.zeros(3, 3), "start": 0.0},
            ValueError,
            "start must leave every",
        ),
    ],
)
def test_a_bad_jump_is_named(changes, kind, message) -> None:
    mean, cov = gaussian()
    arguments = {"x": randn(4, 3), "path": PATHS["vp"], "mean": mean, "cov": cov}
    with pytest.raises(kind, match=message):
        wrong(**{**arguments, "stop": 0.5, **changes})
