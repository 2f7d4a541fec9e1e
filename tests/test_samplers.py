"""Samplers against Bayes, exact affine maps, exact moments and the data themselves.

For Gaussian data the denoiser is affine in x, and so is every step,
x_r = a x + b + c z. The three numbers of a step are read off a run on three entries
whose noise is known (the same seed draws it again), and they give the law of the
output without sampling error.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from genflow_lite.metrics import energy_distance
from genflow_lite.ode import euler, last, velocity
from genflow_lite.oracles import GaussianMixture
from genflow_lite.paths import (
    GaussianPath,
    cosine,
    from_betas,
    rectified,
    sub_vp,
    ve,
    vp,
)
from genflow_lite.samplers import ddim, euler_maruyama, langevin

F64 = torch.float64
PATHS = [vp(), ve(), sub_vp(), cosine(), rectified()]
BY_NAME = {"argvalues": PATHS, "ids": [p.name for p in PATHS]}
MEAN, STD = 0.8, 0.6
SEED = 11


def wrong(value: Any) -> Any:
    """A value of a type that the signature forbids, hidden from the type checker."""
    return value


def gen(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian() -> GaussianMixture:
    one = torch.ones(1, dtype=F64)
    return GaussianMixture(one, MEAN * one[:, None], STD * one)


def bimodal() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=F64),
        torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=F64),
        torch.tensor([0.3, 0.5], dtype=F64),
    )


def grid(start: float, end: float, n: int) -> torch.Tensor:
    return torch.linspace(start, end, n + 1, dtype=F64)


def known_noise(shape: tuple[int, ...], n: int) -> list[torch.Tensor]:
    g = gen()
    return [torch.randn(shape, generator=g, dtype=F64) for _ in range(n)]


def affine_steps(run: Callable[..., Iterator[torch.Tensor]], n: int) -> torch.Tensor:
    """(n, 3): a, b, c of every step of a sampler on Gaussian data."""
    states = list(run(torch.tensor([[0.0], [1.0], [-2.0]], dtype=F64), generator=gen()))
    rows = []
    for k, z in enumerate(known_noise((3, 1), n)):
        system = torch.cat([states[k], torch.ones_like(z), z], dim=1)
        rows.append(torch.linalg.solve(system, states[k + 1])[:, 0])
    return torch.stack(rows)


def carry(steps: torch.Tensor, mean: float, var: float) -> tuple[float, float]:
    for a, b, c in steps.tolist():
        mean, var = a * mean + b, a**2 * var + c**2
    return mean, var


def marginal(path: GaussianPath, t: torch.Tensor) -> tuple[float, float]:
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    return alpha * MEAN, alpha**2 * STD**2 + sigma**2


# --- Euler–Maruyama ------------------------------------------------------------------


def closed_form_sde(name: str, t: float) -> tuple[float, float]:
    """f and g², from calculus on paper."""
    if name == "rectified":
        return -1 / (1 - t), 2 * t / (1 - t)
    if name == "cosine":
        tangent = math.pi * math.tan(math.pi * t / 2)
        return -tangent / 2, tangent
    if name.startswith("ve"):
        sigma = 0.01 * 5000**t
        return 0.0, 2 * math.log(5000) * sigma**2
    beta = 0.1 + 19.9 * t
    if name.startswith("vp"):
        return -beta / 2, beta
    integral = 0.1 * t + 0.5 * 19.9 * t**2
    return -beta / 2, beta * (1 - math.exp(-2 * integral))


@pytest.mark.parametrize("kappa", [0.0, 0.6, 1.0, 2])
@pytest.mark.parametrize("path", **BY_NAME)
def test_euler_maruyama_step_by_the_score(path: GaussianPath, kappa: float) -> None:
    oracle, x, ts = bimodal(), known_noise((5, 2), 3)[2], grid(0.7, 0.4, 2)
    states = list(
        euler_maruyama(oracle.denoiser(path), path, x, ts, kappa=kappa, generator=gen())
    )
    assert len(states) == 3
    for k, z in enumerate(known_noise((5, 2), 2)):
        (f, g_sq), h = closed_form_sde(path.name, float(ts[k])), 0.15
        score = oracle.score(x, ts[k], path)
        drift = f * x - (1 + kappa**2) / 2 * g_sq * score
        x = x - h * drift + kappa * math.sqrt(g_sq * h) * z
        assert torch.allclose(states[k + 1], x, rtol=1e-10)


@pytest.mark.parametrize("path", **BY_NAME)
def test_without_noise_it_is_euler_on_the_probability_flow(path: GaussianPath) -> None:
    denoise, ts = bimodal().denoiser(path), grid(0.9, 0.2, 7)
    (x,) = known_noise((4, 2), 1)
    sde = list(euler_maruyama(denoise, path, x, ts, kappa=0, generator=None))
    ode = list(euler(velocity(denoise, path), x, ts))
    assert torch.allclose(torch.stack(sde), torch.stack(ode), rtol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 2.0])
def test_weak_order_one_and_the_same_marginals_for_every_kappa(kappa: float) -> None:
    path, start, end = cosine(), 0.9, 0.3
    ns, misses = [64, 128, 256], []
    for n in ns:
        ts = grid(start, end, n)
        denoise = gaussian().denoiser(path)
        run = partial(euler_maruyama, denoise, path, ts=ts, kappa=kappa)
        steps = affine_steps(lambda x, generator, r=run: r(x=x, generator=generator), n)
        got = carry(steps, *marginal(path, ts[0]))
        truth = marginal(path, ts[-1])
        misses.append([abs(g - t) for g, t in zip(got, truth, strict=True)])
    slopes = -np.polyfit(np.log(ns), np.log(np.array(misses)), 1)[0]
    assert slopes == pytest.approx([1, 1], abs=0.1), misses


def test_reverse_sde_from_noise_gives_the_mixture() -> None:
    path, oracle, n = vp(), bimodal(), 2000
    data = oracle.sample(n, generator=gen(1))
    x, ts = path.prior((n, 2), generator=gen(2)), grid(1.0, 0.0, 300)
    right = last(euler_maruyama(oracle.denoiser(path), path, x, ts, generator=gen(3)))
    apart = energy_distance(right, data, permutations=200, generator=gen(4))
    assert apart.p_value > 0.05
    assert apart.value < apart.null_mean + 3 * apart.null_std
    # The comparison can tell: noise of the SDE with the drift of the ODE is refused.
    half = last(
        euler_maruyama(
            lambda x, t: x - 0.5 * (x - oracle.denoiser(path)(x, t)),
            path,
            x,
            ts,
            generator=gen(3),
        )
    )
    wrong = energy_distance(half, data, permutations=200, generator=gen(4))
    assert wrong.value > wrong.null_mean + 10 * wrong.null_std


# --- DDIM ----------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("path", **BY_NAME)
def test_ddim_draws_from_bayes_between_two_times(
    path: GaussianPath, eta: float
) -> None:
    """Given x0, x_r has mean α_r x0 + √(σ_r² − s²) ε̂ and the variance s² = η² Var.

    Var = Var[x_r | x_t, x0] by conditioning the joint Gaussian of the Markov chain,
    x_t = (α_t/α_r) x_r + noise.
    """
    ts, x0 = grid(0.9, 0.3, 1), torch.tensor([[0.4]], dtype=F64)
    steps = affine_steps(
        lambda x, generator: ddim(
            lambda x, t: x0.expand_as(x), path, x, ts, eta=eta, generator=generator
        ),
        1,
    )
    a, _, c = steps[0].tolist()
    (at, ar), (st, sr) = path.alpha(ts).tolist(), path.sigma(ts).tolist()
    cov = at / ar * sr**2  # Cov(x_r, x_t | x0)
    var = sr**2 - cov**2 / st**2
    assert abs(c) == pytest.approx(eta * math.sqrt(var), rel=1e-10, abs=1e-14)
    if eta == 1:
        assert a == pytest.approx(cov / st**2, rel=1e-10)
    # Whatever η, x_t ~ N(α_t x0, σ_t²) must become x_r ~ N(α_r x0, σ_r²).
    mean, spread = carry(steps, at * 0.4, st**2)
    assert mean == pytest.approx(ar * 0.4, rel=1e-10)
    assert spread == pytest.approx(sr**2, rel=1e-10)


def test_eta_one_is_ancestral_sampling_with_beta_tilde() -> None:
    betas = torch.linspace(0.01, 0.4, 12, dtype=F64)
    bar = (1 - betas).cumprod(0)
    path, x0 = from_betas(betas), 0.7
    ts = torch.arange(12, -1, -1, dtype=F64) / 12
    steps = affine_steps(
        lambda x, generator: ddim(
            lambda x, t: torch.full_like(x, x0),
            path,
            x,
            ts,
            eta=1.0,
            generator=generator,
        ),
        11,
    )
    for k, (a, b, c) in enumerate(steps.tolist()):
        n = 11 - k  # betas[n] is β_{n+1} of a table that counts from 1
        tilde = (1 - bar[n - 1]) / (1 - bar[n]) * betas[n]
        assert c == pytest.approx(math.sqrt(tilde), rel=1e-9)
        share = math.sqrt(1 - betas[n]) * (1 - bar[n - 1]) / (1 - bar[n])
        assert a == pytest.approx(float(share), rel=1e-9)
        mean = math.sqrt(bar[n - 1]) * betas[n] / (1 - bar[n]) * x0
        assert b == pytest.approx(float(mean), rel=1e-9)


@pytest.mark.parametrize("path", **BY_NAME)
def test_eta_zero_is_euler_in_signal_to_noise_coordinates(path: GaussianPath) -> None:
    denoise, x = bimodal().denoiser(path), known_noise((5, 2), 1)[0]
    ts = grid(0.9, 0.1, 9)
    states = list(ddim(denoise, path, x, ts))
    # y = x/α moves on the clock q = σ/α with dy/dq = (y − D)/q: no α, no σ beside it.
    y, q = x / path.alpha(ts[0]), path.sigma(ts) / path.alpha(ts)
    for k in range(9):
        d = denoise(path.alpha(ts[k]) * y, ts[k])
        y = y + (q[k + 1] - q[k]) * (y - d) / q[k]
        assert torch.allclose(states[k + 1], path.alpha(ts[k + 1]) * y, rtol=1e-10)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("path", [vp(), cosine()], ids=lambda p: p.name)
def test_eta_zero_tends_to_the_affine_flow_both_ways(path, direction: int) -> None:
    ns, misses, x = [64, 128, 256], [], torch.tensor([[1.5], [-1.0]], dtype=F64)
    for n in ns:
        ts = grid(0.9, 0.1, n)[::direction] if direction == 1 else grid(0.1, 0.9, n)
        end = last(ddim(gaussian().denoiser(path), path, x, ts))
        (m0, v0), (m1, v1) = marginal(path, ts[0]), marginal(path, ts[-1])
        misses.append(float((end - (m1 + math.sqrt(v1 / v0) * (x - m0))).norm()))
    slope = -np.polyfit(np.log(ns), np.log(misses), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)


def test_data_at_one_point_is_reached_in_one_step_and_inverted_exactly() -> None:
    point = torch.tensor([[2.0, -1.0]], dtype=F64)
    for path in PATHS:
        denoise = lambda x, t: point.expand_as(x)  # noqa: E731
        x = known_noise((4, 2), 1)[0]
        eps = (x - path.alpha(torch.tensor(0.8, dtype=F64)) * point) / path.sigma(
            torch.tensor(0.8, dtype=F64)
        )
        for end in (0.2, 0.95, 1.0):
            got = last(ddim(denoise, path, x, torch.tensor([0.8, end], dtype=F64)))
            t = torch.tensor(end, dtype=F64)
            truth = path.alpha(t) * point + path.sigma(t) * eps
            assert torch.allclose(got, truth, rtol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_from_noise_gives_the_mixture(eta: float) -> None:
    path, oracle, n = rectified(), bimodal(), 2000
    data = oracle.sample(n, generator=gen(1))
    x, ts = path.prior((n, 2), generator=gen(2)), grid(1.0, 0.0, 200)
    got = last(ddim(oracle.denoiser(path), path, x, ts, eta=eta, generator=gen(3)))
    apart = energy_distance(got, data, permutations=200, generator=gen(4))
    assert apart.p_value > 0.02
    assert apart.value < apart.null_mean + 3 * apart.null_std


# --- Langevin ------------------------------------------------------------------------


@pytest.mark.parametrize("path", **BY_NAME)
def test_langevin_updates_by_the_score(path: GaussianPath) -> None:
    oracle, x, ts = bimodal(), known_noise((5, 2), 9)[8], grid(0.8, 0.4, 2)
    states = list(
        langevin(
            oracle.denoiser(path), path, x, ts, steps=2, step_size=0.3, generator=gen()
        )
    )
    assert torch.equal(states[0], x)
    noise = iter(known_noise((5, 2), 4))
    for k in (1, 2):
        delta = 0.3 * float(path.sigma(ts[k])) ** 2
        for _ in range(2):
            score = oracle.score(x, ts[k], path)
            x = x + delta / 2 * score + math.sqrt(delta) * next(noise)
        assert torch.allclose(states[k], x, rtol=1e-9)


def test_langevin_settles_on_the_variance_that_its_docstring_states() -> None:
    path, size = ve(), 0.8
    ts = torch.tensor([0.6, 0.5], dtype=F64)
    sigma = float(path.sigma(ts[1]))
    end = last(
        langevin(
            lambda x, t: torch.full_like(x, 2.0),
            path,
            torch.zeros(40_000, 1),
            ts,
            steps=60,
            step_size=size,
            generator=gen(),
        )
    )
    truth = sigma**2 / (1 - size / 4)
    assert float(end.var()) == pytest.approx(truth, rel=4 * math.sqrt(2 / 40_000))
    assert abs(float(end.mean()) - 2) < 4 * math.sqrt(truth / 40_000)


def test_annealed_langevin_from_noise_gives_the_mixture() -> None:
    path, oracle, n = ve(0.01, 10.0), bimodal(), 1500
    data = oracle.sample(n, generator=gen(1))
    x = path.prior((n, 2), generator=gen(2))
    ts = path.t_of_log_snr(torch.linspace(-4.6, 6.0, 25, dtype=F64))
    end = last(langevin(oracle.denoiser(path), path, x, ts, steps=60, generator=gen(3)))
    clean = oracle.denoiser(path)(end, ts[-1])
    apart = energy_distance(clean, data, permutations=200, generator=gen(4))
    assert apart.value < apart.null_mean + 3 * apart.null_std


# --- the contract of every sampler ---------------------------------------------------

SAMPLERS = {
    "euler_maruyama": lambda d, p, x, ts: euler_maruyama(d, p, x, ts, generator=gen()),
    "ddim": lambda d, p, x, ts: ddim(d, p, x, ts),
    "ancestral": lambda d, p, x, ts: ddim(d, p, x, ts, eta=1.0, generator=gen()),
    "langevin": lambda d, p, x, ts: langevin(d, p, x, ts, steps=2, generator=gen()),
}
EACH = {"argvalues": list(SAMPLERS.values()), "ids": list(SAMPLERS)}
NOT_VE = [p for p in PATHS if p.name[:2] != "ve"]


@pytest.mark.parametrize("sampler", **EACH)
@pytest.mark.parametrize("path", NOT_VE, ids=lambda p: p.name)
def test_a_grid_that_reaches_the_data_ends_with_the_denoiser(path, sampler) -> None:
    denoise, ts = bimodal().denoiser(path), grid(0.9, 0.0, 6)
    *_, before, end = sampler(denoise, path, torch.randn(4, 2, generator=gen()), ts)
    assert torch.allclose(end, denoise(before, ts[-2]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("sampler", **EACH)
def test_states_are_fresh_repeatable_and_float64(sampler) -> None:
    path, ts, x = vp(), grid(1.0, 0.0, 5), torch.randn(3, 2, 2, generator=gen())
    start = x.clone()
    denoise = lambda x, t: (x / 2 + t).float()  # noqa: E731  (as a network would)
    clean = list(sampler(denoise, path, x, ts))
    assert len(clean) == 6
    assert all(s.dtype == F64 and s.shape == x.shape for s in clean)
    times = ts.clone()
    for k, state in enumerate(sampler(denoise, path, x, times)):
        assert torch.equal(state, clean[k])
        state.fill_(math.nan)
        times.fill_(math.nan)
    assert torch.equal(x, start)


@pytest.mark.parametrize("sampler", **EACH)
def test_the_denoiser_may_hand_back_its_argument(sampler) -> None:
    ts, x = grid(0.9, 0.0, 3), torch.ones(2, 1)
    clean = list(sampler(lambda x, t: x, vp(), x, ts))
    for k, state in enumerate(sampler(lambda x, t: x, vp(), x, ts)):
        assert torch.equal(state, clean[k])
        state.zero_()


@pytest.mark.parametrize("sampler", **EACH)
def test_the_denoisers_own_tensor_is_not_handed_out(sampler) -> None:
    point = torch.ones(2, 1, dtype=F64)
    end = last(sampler(lambda x, t: point, vp(), torch.zeros(2, 1), grid(0.9, 0.0, 3)))
    end.zero_()
    assert (point == 1).all()


@pytest.mark.parametrize(
    ("name", "calls"),
    [("euler_maruyama", 5), ("ddim", 5), ("ancestral", 5), ("langevin", 9)],
)
def test_evaluations_are_counted_and_lazy(name: str, calls: int) -> None:
    seen = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(t)
        return x

    ts = grid(0.9, 0.0, 5)
    states = SAMPLERS[name](denoise, vp(), torch.ones(2, 2), ts)
    assert seen == []
    assert len(list(states)) == 6
    assert len(seen) == calls
    assert all(t.shape == () and t.dtype == F64 for t in seen)


def test_no_noise_is_drawn_where_none_is_used() -> None:
    path, ts, x = vp(), grid(0.9, 0.1, 3), torch.ones(2, 2)
    idle = gen()
    before = idle.get_state()
    last(euler_maruyama(lambda x, t: x, path, x, ts, kappa=0.0, generator=idle))
    last(ddim(lambda x, t: x, path, x, ts, generator=idle))
    assert torch.equal(before, idle.get_state())


@pytest.mark.parametrize("sampler", **EACH)
def test_bad_arguments_are_named_at_the_call(sampler) -> None:
    d, p, x, ts = (lambda x, t: x), vp(), torch.ones(2, 2), grid(1.0, 0.0, 4)
    for bad, error, names in [
        ((3, p, x, ts), TypeError, "denoise must be a function"),
        ((d, "vp", x, ts), TypeError, "path must be"),
        ((bimodal().denoiser(cosine()), p, x, ts), ValueError, "path is vp.*cosine"),
        ((d, p, [1.0], ts), TypeError, "x must be"),
        ((d, p, torch.tensor(1.0), ts), ValueError, "x must have a batch axis"),
        ((d, p, x * math.nan, ts), ValueError, "x must be finite"),
        ((d, p, x, ts.float()), TypeError, "ts must be"),
        ((d, p, x, ts[[0, 2, 1]]), ValueError, "ts must be strictly"),
        ((d, p, x, ts[:1]), ValueError, "ts must have shape"),
        ((d, p, x, ts + 1), ValueError, "ts must lie in"),
    ]:
        with pytest.raises(error, match=names):
            sampler(*bad)
    with pytest.raises(ValueError, match="denoise must return"):
        list(sampler(lambda x, t: x[:, 0], p, x, ts))


@pytest.mark.parametrize("name", ["euler_maruyama", "ancestral", "langevin"])
def test_only_the_deterministic_sampler_runs_towards_noise(name: str) -> None:
    d, x, up = (lambda x, t: x), torch.ones(2, 2), grid(0.1, 0.9, 4)
    with pytest.raises(ValueError, match="ts must be strictly decreasing"):
        SAMPLERS[name](d, vp(), x, up)
    assert len(list(SAMPLERS["ddim"](d, vp(), x, up))) == 5


D, X, DOWN = (lambda x, t: x), torch.ones(2, 2), grid(1.0, 0.0, 4)


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (
            lambda: euler_maruyama(D, rectified(), X, DOWN, generator=gen()),
            ValueError,
            "t_max",
        ),
        (
            lambda: euler_maruyama(D, cosine(), X, DOWN, kappa=0, generator=None),
            ValueError,
            "t_max",
        ),
        (
            lambda: euler_maruyama(D, vp(), X, DOWN, kappa=-1.0, generator=gen()),
            ValueError,
            "kappa",
        ),
        (
            lambda: euler_maruyama(D, vp(), X, DOWN, kappa=math.inf, generator=gen()),
            ValueError,
            "kappa",
        ),
        (
            lambda: euler_maruyama(D, vp(), X, DOWN, kappa=wrong("1"), generator=gen()),
            TypeError,
            "kappa",
        ),
        (
            lambda: euler_maruyama(D, vp(), X, DOWN, generator=None),
            TypeError,
            "generator",
        ),
        (lambda: ddim(D, vp(), X, DOWN, eta=1.1, generator=gen()), ValueError, "eta"),
        (lambda: ddim(D, vp(), X, DOWN, eta=-0.1, generator=gen()), ValueError, "eta"),
        (lambda: ddim(D, vp(), X, DOWN, eta=0.5), TypeError, "generator"),
        (lambda: ddim(D, vp(), X, DOWN.flip(0)), ValueError, "ts starts.*t_min"),
        (
            lambda: langevin(D, vp(), X, DOWN, steps=0, generator=gen()),
            ValueError,
            "steps",
        ),
        (
            lambda: langevin(D, vp(), X, DOWN, steps=wrong(2.0), generator=gen()),
            TypeError,
            "steps",
        ),
        (
            lambda: langevin(D, vp(), X, DOWN, steps=2, step_size=4.0, generator=gen()),
            ValueError,
            "step_size",
        ),
        (
            lambda: langevin(D, vp(), X, DOWN, steps=2, step_size=0.0, generator=gen()),
            ValueError,
            "step_size",
        ),
        (
            lambda: langevin(D, vp(), X, DOWN, steps=2, generator=wrong(1)),
            TypeError,
            "gener",
        ),
    ],
)
def test_bad_options_are_named_at_the_call(call, error, names: str) -> None:
    with pytest.raises(error, match=names):
        call()
