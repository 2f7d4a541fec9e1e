"""Multistep samplers against the papers' formulas, the exact flow and exact cases."""

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import torch
from paths_under_test import PATHS, randn
from scipy.integrate import solve_ivp

from genflow_lite.multistep import (
    adams,
    dpm_solver_2,
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_3m,
    plms,
)
from genflow_lite.ode import last, velocity
from genflow_lite.oracles import GaussianMixture
from genflow_lite.paths import GaussianPath
from genflow_lite.samplers import ddim

F64 = torch.float64
SAMPLERS = {"plms": plms, "dpm_solver_2": dpm_solver_2, "dpmpp_2m": dpmpp_2m}
# Those with more tests of their own in test_third_order.py.
MORE = {"dpmpp_3m": dpmpp_3m, "adams": adams, "sde": partial(dpmpp_2m_sde, eta=0.0)}
TO_D = {k: f for k, f in (SAMPLERS | MORE).items() if f is not adams}
EACH = {
    "argvalues": [*SAMPLERS.values(), *MORE.values()],
    "ids": [*SAMPLERS, *MORE],
}
BY_DDIM = {"argvalues": list(TO_D.values()), "ids": list(TO_D)}
BY_NAME = {"argvalues": list(PATHS.values()), "ids": list(PATHS)}
PURE = ["cosine", "rectified"]  # α(1) = 0
TO_DATA = [name for name in PATHS if name != "ve"]  # σ(0) = 0


def grid(start: float, end: float, n: int) -> torch.Tensor:
    return torch.linspace(start, end, n + 1, dtype=F64)


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=F64),
        torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=F64),
        torch.tensor([0.3, 0.5], dtype=F64),
    )


def wavy(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A denoiser of no model, not linear in anything."""
    return torch.sin(2 * x + 3 * t) + t**2


# --- the papers' formulas, step by step in Python numbers ----------------------------


class Papers:
    """α, σ, λ of DPM-Solver and ε, for one number x in place of a state."""

    def __init__(self, path: GaussianPath, ts: torch.Tensor) -> None:
        self.path, self.ts = path, ts.tolist()

    def alpha(self, t: float) -> float:
        return float(self.path.alpha(torch.tensor(t, dtype=F64)))

    def sigma(self, t: float) -> float:
        return float(self.path.sigma(torch.tensor(t, dtype=F64)))

    def lam(self, t: float) -> float:
        return math.log(self.alpha(t) / self.sigma(t))

    def data(self, x: float, t: float) -> float:
        return math.sin(2 * x + 3 * t) + t**2

    def noise(self, x: float, t: float) -> float:
        return (x - self.alpha(t) * self.data(x, t)) / self.sigma(t)

    def time(self, lam: float) -> float:
        """The time at which λ is reached, by halving [0, 1]."""
        low, high = 0.0, 1.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.lam(middle) > lam else (low, middle)
        return low

    def transfer(self, x: float, e: float, t: float, r: float) -> float:
        """PNDM's φ, equation 11, with the ᾱ of DDPM: α² here."""
        bar, new = self.alpha(t) ** 2, self.alpha(r) ** 2
        if abs(bar + self.sigma(t) ** 2 - 1) > 1e-9:  # not variance preserving
            y = x / self.alpha(t) - self.sigma(t) / self.alpha(t) * e
            return self.alpha(r) * y + self.sigma(r) * e
        lower = math.sqrt(bar) * (
            math.sqrt((1 - new) * bar) + math.sqrt((1 - bar) * new)
        )
        return math.sqrt(new / bar) * x - (new - bar) / lower * e

    def plms(self, x: float) -> list[float]:
        states, seen = [x], []
        for t, r in zip(self.ts[:-1], self.ts[1:], strict=True):
            e = self.noise(x, t)
            seen.append(e)
            if len(seen) == 1:
                guess = self.noise(self.transfer(x, e, t, r), r)
                e = (e + guess) / 2
            elif len(seen) == 2:
                e = (3 * seen[-1] - seen[-2]) / 2
            elif len(seen) == 3:
                e = (23 * seen[-1] - 16 * seen[-2] + 5 * seen[-3]) / 12
            else:
                e = 55 * seen[-1] - 59 * seen[-2] + 37 * seen[-3] - 9 * seen[-4]
                e = e / 24
            x = self.transfer(x, e, t, r)
            states.append(x)
        return states

    def dpm_solver_2(self, x: float) -> list[float]:
        states = [x]
        for t, r in zip(self.ts[:-1], self.ts[1:], strict=True):
            h = self.lam(r) - self.lam(t)
            s = self.time((self.lam(t) + self.lam(r)) / 2)
            u = self.alpha(s) / self.alpha(t) * x
            u = u - self.sigma(s) * (math.exp(h / 2) - 1) * self.noise(x, t)
            x = self.alpha(r) / self.alpha(t) * x
            x = x - self.sigma(r) * (math.exp(h) - 1) * self.noise(u, s)
            states.append(x)
        return states

    def dpmpp_2m(self, x: float) -> list[float]:
        states, seen = [x], []
        for i in range(1, len(self.ts)):
            t, r = self.ts[i - 1], self.ts[i]
            h = self.lam(r) - self.lam(t)
            seen.append(self.data(x, t))
            d = seen[-1]
            if i > 1:
                ratio = (self.lam(t) - self.lam(self.ts[i - 2])) / h
                d = (1 + 1 / (2 * ratio)) * seen[-1] - 1 / (2 * ratio) * seen[-2]
            x = self.sigma(r) / self.sigma(t) * x
            x = x - self.alpha(r) * (math.exp(-h) - 1) * d
            states.append(x)
        return states


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path", **BY_NAME)
def test_every_step_is_the_papers(path: GaussianPath, name: str) -> None:
    ts = torch.tensor([0.9, 0.8, 0.62, 0.5, 0.33, 0.2, 0.12], dtype=F64)
    states = torch.stack(list(SAMPLERS[name](wavy, path, torch.tensor([[0.7]]), ts)))
    start = float(states[0])
    truth = torch.tensor(getattr(Papers(path, ts), name)(start), dtype=F64)
    assert torch.allclose(states.reshape(-1), truth, rtol=1e-9, atol=1e-11)


# --- order ---------------------------------------------------------------------------

START = ((1.1, -0.4), (-0.6, 0.3), (0.2, 1.7), (-1.2, -0.9))
NS = (128, 256, 512)


@cache
def exact_flow(name: str) -> np.ndarray:
    """The mixture's probability flow from t = .95 to .05, to eight digits."""
    path = PATHS[name]
    u = velocity(mixture().denoiser(path), path)

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(y).reshape(4, 2)
        return u(x, torch.tensor(t, dtype=F64)).numpy().ravel()

    flow = solve_ivp(
        rate, (0.95, 0.05), np.ravel(START), method="DOP853", rtol=1e-9, atol=1e-10
    )
    return flow.y[:, -1].reshape(4, 2)


def even(path: GaussianPath, n: int) -> torch.Tensor:
    return grid(0.95, 0.05, n)


def even_log_snr(path: GaussianPath, n: int) -> torch.Tensor:
    lam = path.log_snr(torch.tensor([0.95, 0.05], dtype=F64))
    inner = path.t_of_log_snr(torch.linspace(float(lam[0]), float(lam[1]), n + 1)[1:-1])
    ends = grid(0.95, 0.05, 1)
    return torch.cat([ends[:1], inner.to(F64), ends[1:]])


def jumping(path: GaussianPath, n: int) -> torch.Tensor:
    """Steps of lengths 2, 1, 2, 1, ..."""
    steps = torch.ones(n, dtype=F64)
    steps[::2] = 2
    done = torch.cat([steps.new_zeros(1), steps.cumsum(0) / steps.sum()])
    return 0.95 - 0.9 * done


def order(name: str, path: str, spacing: Callable[..., torch.Tensor]) -> float:
    denoise, x = mixture().denoiser(PATHS[path]), torch.tensor(START, dtype=F64)
    misses = []
    for n in NS:
        ts = spacing(PATHS[path], n)
        end = last(SAMPLERS[name](denoise, PATHS[path], x, ts)).numpy()
        misses.append(np.linalg.norm(end - exact_flow(path)))
    return float(-np.polyfit(np.log(NS), np.log(misses), 1)[0])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path", ["vp", "cosine", "rectified"])
def test_order_is_two(path: str, name: str) -> None:
    assert order(name, path, even) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "spacing", "expected"),
    [
        ("plms", even_log_snr, 2),
        ("plms", jumping, 1),
        ("dpm_solver_2", jumping, 2),
        ("dpmpp_2m", jumping, 2),
    ],
)
def test_order_on_other_grids(name: str, spacing, expected: int) -> None:
    assert order(name, "rectified", spacing) == pytest.approx(expected, abs=0.1)


# --- exact cases ---------------------------------------------------------------------


@pytest.mark.parametrize("sampler", **EACH)
@pytest.mark.parametrize("path", **BY_NAME)
def test_a_constant_denoiser_is_solved_exactly(path: GaussianPath, sampler) -> None:
    point, x = randn(1, 3, seed=1), randn(4, 3)
    ts = torch.tensor([0.97, 0.6, 0.55, 0.2, 0.1, 0.01], dtype=F64)
    alpha, sigma = path.alpha(ts), path.sigma(ts)
    eps = (x - alpha[0] * point) / sigma[0]
    for k, state in enumerate(sampler(lambda x, t: point.expand_as(x), path, x, ts)):
        truth = alpha[k] * point + sigma[k] * eps
        assert torch.allclose(state, truth, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("path", **BY_NAME)
def test_dpmpp_2m_integrates_a_line_in_log_snr_to_second_order(path) -> None:
    """D = c + mℓ is read halfway through the step, which costs m O(h³) and no less.

    Over a step the flow needs ∫ e^(s − h)(c + ms) ds = c (1 − e^−h) + m (h − 1 + e^−h);
    the value halfway gives m (1 − e^−h) h/2. Their difference is known exactly.
    """
    ts, x = grid(0.6, 0.4, 2), randn(3, 1)

    def line(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, 0.4 + 0.9 * float(path.log_snr(t)) / 2)

    _, start, end = dpmpp_2m(line, path, x, ts)
    ell = (path.log_snr(ts) / 2).tolist()
    h = ell[2] - ell[1]
    flow = (0.4 + 0.9 * ell[1]) * (1 - math.exp(-h)) + 0.9 * (h - 1 + math.exp(-h))
    short = 0.9 * (h - 1 + math.exp(-h) - (1 - math.exp(-h)) * h / 2)
    decay, (alpha, sigma) = path.sigma(ts), (path.alpha(ts)[2], path.sigma(ts)[2])
    assert torch.allclose(sigma, decay[1] * alpha / path.alpha(ts)[1] * math.exp(-h))
    truth = sigma / decay[1] * start + alpha * flow
    assert torch.allclose(truth - end, alpha * short, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("path", **BY_NAME)
def test_the_first_step_of_dpmpp_2m_is_ddims(path: GaussianPath) -> None:
    ts, x = grid(0.8, 0.3, 2), randn(5, 2)
    _, ours, second = dpmpp_2m(wavy, path, x, ts)
    _, theirs, other = ddim(wavy, path, x, ts)
    assert torch.allclose(ours, theirs, rtol=1e-13)
    assert (second - other).abs().max() > 1e-3


# --- both ends of the path -----------------------------------------------------------


@pytest.mark.parametrize("sampler", **BY_DDIM)
@pytest.mark.parametrize("name", TO_DATA)
@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_grid_that_reaches_the_data_ends_with_the_denoiser(
    name: str, sampler, n: int
) -> None:
    path, ts = PATHS[name], grid(0.9, 0.0, n)
    *_, before, end = sampler(wavy, path, randn(4, 2), ts)
    truth = path.alpha(ts[-1]) * wavy(before, ts[-2])
    assert torch.allclose(end, truth, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sampler", **BY_DDIM)
@pytest.mark.parametrize("name", PURE)
def test_the_first_step_from_pure_noise_is_ddims(name: str, sampler) -> None:
    path, ts, x = PATHS[name], grid(1.0, 0.2, 4), randn(4, 2)
    ours, theirs = list(sampler(wavy, path, x, ts)), list(ddim(wavy, path, x, ts))
    assert torch.allclose(ours[1], theirs[1], rtol=1e-13)
    assert all(state.isfinite().all() for state in ours)
    if sampler is dpmpp_2m:  # the step before was infinite: no slope yet
        again = last(ddim(wavy, path, ours[1], ts[1:3]))
        assert torch.allclose(ours[2], again, rtol=1e-13)
    assert (ours[3] - last(ddim(wavy, path, ours[2], ts[2:4]))).abs().max() > 1e-4


@pytest.mark.parametrize("sampler", **BY_DDIM)
@pytest.mark.parametrize("name", PURE)
@pytest.mark.parametrize("n", [1, 2])
def test_the_shortest_grids_from_end_to_end(name: str, sampler, n: int) -> None:
    path, ts, x = PATHS[name], grid(1.0, 0.0, n), randn(4, 2)
    assert torch.allclose(
        torch.stack(list(sampler(wavy, path, x, ts))),
        torch.stack(list(ddim(wavy, path, x, ts))),
        rtol=1e-13,
    )


@pytest.mark.parametrize("sampler", **EACH)
def test_a_start_a_hair_from_pure_noise_loses_no_digits(sampler) -> None:
    """α_t = 1e-9: a formula that divides by it keeps seven digits of sixteen."""
    path, x, point = PATHS["rectified"], randn(4, 2), randn(1, 2, seed=1)
    ts = torch.tensor([1 - 1e-9, 0.5, 0.2], dtype=F64)
    eps = (x - path.alpha(ts[0]) * point) / path.sigma(ts[0])
    end = last(sampler(lambda x, t: point.expand_as(x), path, x, ts))
    assert torch.allclose(end, 0.8 * point + 0.2 * eps, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sampler", **BY_DDIM)
@pytest.mark.parametrize("path", **BY_NAME)
def test_two_times_one_rounding_apart_do_no_harm(path: GaussianPath, sampler) -> None:
    ts = torch.tensor([math.nextafter(0.03, 1), 0.03, 0.02], dtype=F64)
    end = last(sampler(lambda x, t: torch.ones_like(x), path, randn(3, 1), ts))
    truth = last(ddim(lambda x, t: torch.ones_like(x), path, randn(3, 1), ts))
    assert torch.allclose(end, truth, rtol=1e-12)


# --- the contract of every sampler ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start", "end", "calls"),
    [
        ("plms", 0.9, 0.1, 6),
        ("plms", 0.9, 0.0, 6),
        ("plms", 1.0, 0.0, 5),
        ("dpm_solver_2", 0.9, 0.1, 10),
        ("dpm_solver_2", 0.9, 0.0, 9),
        ("dpm_solver_2", 1.0, 0.0, 8),
        ("dpmpp_2m", 0.9, 0.1, 5),
        ("dpmpp_2m", 1.0, 0.0, 5),
    ],
)
def test_evaluations_are_counted_and_lazy(
    name: str, start: float, end: float, calls: int
) -> None:
    seen = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(t)
        return wavy(x, t)

    states = SAMPLERS[name](
        denoise, PATHS["rectified"], randn(2, 2), grid(start, end, 5)
    )
    assert seen == []
    assert len(list(states)) == 6
    assert len(seen) == calls
    assert all(t.shape == () and t.dtype == F64 and 0 < t <= start for t in seen)


@pytest.mark.parametrize("sampler", **EACH)
def test_states_are_fresh_repeatable_and_float64(sampler) -> None:
    ts, x = grid(1.0, 0.0, 6), randn(3, 2, 2).float()
    start, path = x.clone(), PATHS["vp"]
    denoise = lambda x, t: wavy(x, t).float()  # noqa: E731  (as a network would)
    clean = list(sampler(denoise, path, x, ts))
    assert len(clean) == 7
    assert all(s.dtype == F64 and s.shape == x.shape for s in clean)
    times, given = ts.clone(), x.clone()
    states = sampler(denoise, path, given, times)
    given.fill_(math.nan)
    for k, state in enumerate(states):
        assert torch.equal(state, clean[k])
        state.fill_(math.nan)
        times.fill_(math.nan)
    assert torch.equal(x, start)


@pytest.mark.parametrize("sampler", **EACH)
def test_the_denoiser_may_hand_back_its_argument_or_one_buffer(sampler) -> None:
    ts, x, path = grid(0.9, 0.0, 5), randn(2, 2), PATHS["cosine"]
    clean = list(sampler(lambda x, t: x.clone(), path, x, ts))
    for k, state in enumerate(sampler(lambda x, t: x, path, x, ts)):
        assert torch.equal(state, clean[k])
        state.zero_()
    buffer = torch.empty(2, 2, dtype=F64)
    clean = list(sampler(wavy, path, x, ts))
    reused = sampler(lambda x, t: buffer.copy_(wavy(x, t)), path, x, ts)
    for k, state in enumerate(reused):
        assert torch.equal(state, clean[k])
        state.zero_()


@pytest.mark.parametrize("sampler", **EACH)
def test_gradients_flow_through_the_steps(sampler) -> None:
    scale = torch.tensor(0.3, dtype=F64, requires_grad=True)
    ts, x, path = grid(0.9, 0.0, 4), randn(2, 2), PATHS["vp"]

    def end(c: torch.Tensor) -> torch.Tensor:
        return last(sampler(lambda x, t: c * wavy(x, t), path, x, ts)).sum()

    assert torch.autograd.gradcheck(end, scale)


@pytest.mark.parametrize("sampler", **EACH)
def test_bad_arguments_are_named_at_the_call(sampler) -> None:
    d, p, x, ts = (lambda x, t: x), PATHS["vp"], torch.ones(2, 2), grid(1.0, 0.0, 4)
    other = mixture().denoiser(PATHS["cosine"])
    for bad, error, names in [
        ((3, p, x, ts), TypeError, "denoise must be a function"),
        ((d, "vp", x, ts), TypeError, "path must be"),
        ((other, p, x, ts), ValueError, "path is vp.*cosine"),
        ((d, p, [1.0], ts), TypeError, "x must be"),
        ((d, p, torch.tensor(1.0), ts), ValueError, "x must have a batch axis"),
        ((d, p, x * math.nan, ts), ValueError, "x must be finite"),
        ((d, p, x * math.inf, ts), ValueError, "x must be finite"),
        ((d, p, x, ts.tolist()), TypeError, "ts must be"),
        ((d, p, x, ts.float()), TypeError, "ts must be"),
        ((d, p, x, ts[[0, 2, 1]]), ValueError, "ts must be strictly"),
        ((d, p, x, ts.flip(0)), ValueError, "ts must be strictly decreasing"),
        ((d, p, x, ts[:1]), ValueError, "ts must have shape"),
        ((d, p, x, ts + 1), ValueError, "ts must lie in"),
        ((d, p, x, ts * math.nan), ValueError, "ts must lie in"),
    ]:
        with pytest.raises(error, match=names):
            sampler(*bad)
    with pytest.raises(ValueError, match="denoise must return"):
        list(sampler(lambda x, t: x[:, 0], p, x, ts))
