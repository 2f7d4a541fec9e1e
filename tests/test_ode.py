"""ODE solvers against SciPy, exact flows, hand-made weights and regressed orders."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from genflow_lite.ode import (
    adams_bashforth,
    dormand_prince,
    euler,
    heun,
    last,
    rk4,
    velocity,
)
from genflow_lite.oracles import GaussianMixture
from genflow_lite.paths import cosine, from_betas, rectified, sub_vp, ve, vp

F64 = torch.float64
SOLVERS = {
    "euler": euler,
    "heun": heun,
    "rk4": rk4,
    "dp5": dormand_prince,
    "ab1": partial(adams_bashforth, order=1),
    "ab2": partial(adams_bashforth, order=2),
    "ab3": adams_bashforth,
    "ab4": partial(adams_bashforth, order=4),
}
ORDERS = dict(zip(SOLVERS, [1, 2, 4, 5, 1, 2, 3, 4], strict=True))
PATHS = [
    vp(),
    ve(),
    sub_vp(),
    cosine(),
    rectified(),
    from_betas(torch.linspace(0.02, 0.3, 20, dtype=F64)),
]


def wrong(value: Any) -> Any:
    """A value of a type that the signature forbids, hidden from the type checker."""
    return value


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=F64),
        torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.0, -1.0]], dtype=F64),
        torch.tensor([0.6, 0.5, 0.7], dtype=F64),
    )


def points(n: int = 6, d: int = 2) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=F64)


# --- the velocity --------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.name)
def test_velocity_is_the_oracles_own(path) -> None:
    oracle, x = mixture(), points(2)  # B equals D: t of shape (B,) must follow B
    u, truth = velocity(oracle.denoiser(path), path), oracle.velocity(path)
    both = torch.tensor([0.2, 0.9], dtype=F64)
    for t in (0.013, 0.35, 0.99):
        assert torch.allclose(
            u(x, torch.tensor(t, dtype=F64)),
            truth(x, torch.tensor(t, dtype=F64)),
            rtol=1e-9,
        )
    each = torch.cat([u(x[i : i + 1], t) for i, t in enumerate(both)])
    assert torch.allclose(u(x, both), each, rtol=1e-12)


@pytest.mark.parametrize("path", [vp(), ve(), sub_vp()], ids=lambda p: p.name)
def test_velocity_is_drift_minus_half_g_squared_score(path) -> None:
    oracle, x, t = mixture(), points(), torch.tensor(0.4, dtype=F64)
    f, g = path.sde(t)
    score = oracle.score(x, t, path)
    u = velocity(oracle.denoiser(path), path)(x, t)
    assert torch.allclose(u, f * x - g**2 / 2 * score, rtol=1e-10)


def test_velocity_at_pure_noise_and_at_data() -> None:
    x = points()
    for path, expected in ((rectified(), 1.0), (cosine(), 0.0)):
        # At α = 0, D is the mean; u = ε − m on the line, −(π/2) m on the circle.
        slope = -1.0 if expected else -math.pi / 2
        u = velocity(mixture().denoiser(path), path)
        truth = expected * x + slope * mixture().mean
        assert torch.allclose(u(x, torch.tensor(1.0, dtype=F64)), truth, atol=1e-12)
    for path in PATHS:
        u = velocity(mixture().denoiser(path), path)
        zero = torch.tensor(0.0, dtype=F64)
        if path.sigma(zero) > 0:
            assert torch.isfinite(u(x, zero)).all()
        else:
            with pytest.raises(ValueError, match=r"sigma = 0.*t_min"):
                u(x, zero)
            with pytest.raises(ValueError, match=r"sigma = 0.*t_min"):
                u(x[:2], torch.tensor([0.5, 0.0], dtype=F64))


def test_velocity_keeps_its_digits_near_data_on_vp() -> None:
    # x0 = 1 without spread: u = α̇ + σ̇ ε along x = α + σ ε, whatever ε.
    path, eps = vp(), torch.tensor([[0.7]], dtype=F64)
    u = velocity(lambda x, t: torch.ones_like(x), path)
    for t in (1e-12, 1e-6, 1e-2):
        integral = t * (0.1 + 0.5 * 19.9 * t)
        beta = 0.1 + 19.9 * t
        alpha, sigma = math.exp(-integral / 2), math.sqrt(-math.expm1(-integral))
        x = alpha + sigma * eps
        noise_rate = beta * math.exp(-integral) / (2 * sigma)
        truth = -beta / 2 * alpha + noise_rate * 0.7
        got = u(x, torch.tensor(t, dtype=F64)).item()
        # x itself holds ε to about 1e-16/σ only.
        assert got == pytest.approx(truth, rel=1e-14 / sigma)


# --- orders, truths ------------------------------------------------------------------


def exact_end(u, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    shape = x.shape

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y).reshape(shape)
        return u(state, torch.tensor(t, dtype=F64)).flatten().numpy()

    sol = solve_ivp(
        rhs, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-13, atol=1e-14
    )
    return torch.from_numpy(sol.y[:, -1]).reshape(shape)


def even(n: int) -> torch.Tensor:
    return torch.linspace(0.95, 0.05, n + 1, dtype=F64)


def uneven(n: int) -> torch.Tensor:
    """Steps whose lengths vary over the grid by a factor of 3, and wobble."""
    s = torch.linspace(0, 1, n + 1, dtype=F64)
    warped = s + 0.25 / math.pi * (2 * math.pi * s).sin()
    return 0.95 - 0.9 * warped


@pytest.fixture(scope="module")
def flow():
    """The mixture's exact velocity on the cosine path, and its end from SciPy."""
    u, x = mixture().velocity(cosine()), points()
    return u, x, exact_end(u, x, 0.95, 0.05)


@pytest.mark.parametrize("grid", [even, uneven])
@pytest.mark.parametrize("name", SOLVERS)
def test_orders_inside_the_unit_interval(flow, name: str, grid) -> None:
    u, x, truth = flow
    # Adams–Bashforth reaches its slope late, RK4 meets the truth's own error early.
    many = [160, 240, 360]
    few = {"rk4": [16, 24, 36], "dp5": [40, 56, 80], "ab3": many, "ab4": many}
    ns = few.get(name, [64, 96, 144])
    errors = [float((last(SOLVERS[name](u, x, grid(n))) - truth).norm()) for n in ns]
    slope = -np.polyfit(np.log(ns), np.log(errors), 1)[0]
    # A method of order 5 comes to its slope from above, at errors near 1e-11.
    near = 0.2 if name == "dp5" else 0.1
    assert slope == pytest.approx(ORDERS[name], abs=near), (errors, slope)


def test_dormand_prince_is_scipys_step() -> None:
    u, x = mixture().velocity(cosine()), points()

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y).reshape(x.shape)
        return u(state, torch.tensor(t, dtype=F64)).flatten().numpy()

    wide: dict[str, Any] = {"rtol": 1e3, "atol": 1e3, "first_step": 0.5}
    there = solve_ivp(rhs, (0.75, 0.25), x.flatten().numpy(), method="RK45", **wide)
    assert len(there.t) == 2  # one step
    got = last(dormand_prince(u, x, torch.tensor([0.75, 0.25], dtype=F64)))
    truth = torch.from_numpy(there.y[:, -1]).reshape(x.shape)
    assert torch.allclose(got, truth, rtol=1e-13)


@pytest.mark.parametrize("path", [vp(), rectified()], ids=lambda p: p.name)
def test_rk4_against_scipy_on_other_paths(path) -> None:
    u, x = velocity(mixture().denoiser(path), path), points()
    got = last(rk4(u, x, even(100)))
    assert torch.allclose(got, exact_end(u, x, 0.95, 0.05), rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", [vp(), ve(), cosine()], ids=lambda p: p.name)
def test_flow_of_a_gaussian_is_its_affine_map(path) -> None:
    mean, std = torch.tensor([[0.5, -1.0]], dtype=F64), 0.7
    oracle = GaussianMixture(
        torch.ones(1, dtype=F64), mean, torch.tensor([std]).double()
    )
    t, r = torch.tensor([0.9, 0.1], dtype=F64)
    x = 2 * points()
    ts = path.t_of_log_snr(
        torch.linspace(path.log_snr(t).item(), path.log_snr(r).item(), 81, dtype=F64)
    )
    ts[0], ts[-1] = t, r
    got = last(rk4(velocity(oracle.denoiser(path), path), x, ts))
    spread = [
        float((path.alpha(s) ** 2 * std**2 + path.sigma(s) ** 2).sqrt()) for s in (t, r)
    ]
    truth = path.alpha(r) * mean + spread[1] / spread[0] * (x - path.alpha(t) * mean)
    assert torch.allclose(got, truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["heun", "rk4", "ab3", "ab4"])
def test_there_and_back(flow, name: str) -> None:
    u, x, _ = flow
    miss = []
    for n in (30, 60):
        down = last(SOLVERS[name](u, x, even(n)))
        back = last(SOLVERS[name](u, down, even(n).flip(0)))
        miss.append(float((back - x).abs().max()))
    assert (down - x).abs().max() > 0.1
    # The miss falls at least with the solver's order: 2^order for half the step.
    assert miss[0] < 0.05
    assert miss[1] < miss[0] * 2 ** (0.3 - ORDERS[name])


# --- Adams–Bashforth -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "weights"),
    [
        (2, [3 / 2, -1 / 2]),
        (3, [23 / 12, -16 / 12, 5 / 12]),
        (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24]),
    ],
)
def test_equal_steps_give_the_textbook_weights(
    order: int, weights: list[float]
) -> None:
    ts = torch.linspace(0.8, 0.3, order + 1, dtype=F64)
    table = torch.rand(order + 1, generator=torch.Generator().manual_seed(1), dtype=F64)

    def u(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        # On the grid the table, off it (stages of the start) nothing of interest.
        k = (ts - t).abs().argmin()
        return table[k].expand_as(x)

    *_, before, end = adams_bashforth(u, torch.zeros(1, dtype=F64), ts, order=order)
    h = float(ts[1] - ts[0])
    hand = sum(w * float(table[order - 1 - j]) for j, w in enumerate(weights)) * h
    assert float(end - before) == pytest.approx(hand, rel=1e-12)


@given(
    order=st.integers(1, 4),
    steps=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=9),
    down=st.booleans(),
)
def test_polynomials_of_lower_degree_are_integrated_exactly(order, steps, down) -> None:
    ts = torch.tensor([0.0, *np.cumsum(steps) / np.sum(steps)], dtype=F64).clamp(0, 1)
    ts = ts.flip(0) if down else ts
    q = order - 1
    u = lambda x, t: ((q + 1) * t**q).expand_as(x)  # noqa: E731
    states = torch.cat(
        list(adams_bashforth(u, torch.ones(1, dtype=F64), ts, order=order))
    )
    truth = 1 + ts ** (q + 1) - ts[0] ** (q + 1)
    assert torch.allclose(states, truth, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("euler", 9),
        ("heun", 18),
        ("rk4", 36),
        ("dp5", 54),
        ("ab1", 9),
        ("ab2", 12),
        ("ab3", 15),
    ],
)
def test_evaluations_are_as_promised_and_lazy(name: str, calls: int) -> None:
    seen = []

    def u(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(t)
        return -x

    states = SOLVERS[name](u, torch.ones(2, 3), torch.linspace(1, 0, 10, dtype=F64))
    assert seen == []
    assert len(list(states)) == 10
    assert len(seen) == calls
    assert all(t.shape == () and t.dtype == F64 for t in seen)


# --- the contract of every solver ----------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_states_are_fresh_and_the_start_is_kept(name: str) -> None:
    u = lambda x, t: x  # noqa: E731  (hands back its own argument, the worst case)
    ts, start = torch.linspace(0, 1, 8, dtype=F64), torch.ones(3, 1)
    clean = list(SOLVERS[name](u, start, ts))
    assert all(s.dtype == F64 and s.shape == (3, 1) for s in clean)
    grid = ts.clone()
    for k, state in enumerate(SOLVERS[name](u, start, grid)):
        assert torch.equal(state, clean[k])
        state.fill_(math.nan)
        grid.fill_(math.nan)  # nor does the caller's grid reach a run under way
    assert (start == 1).all()
    assert torch.equal(last(iter(clean)), clean[-1])


@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_flow_and_divergence_is_passed_on(name: str) -> None:
    rate = torch.tensor(1.0, dtype=F64, requires_grad=True)
    ts = torch.linspace(0, 1, 201, dtype=F64)
    end = last(SOLVERS[name](lambda x, t: rate * x, torch.ones(1), ts))
    (slope,) = torch.autograd.grad(end.sum(), rate)
    assert slope.item() == pytest.approx(math.e, rel=2e-2)
    blown = last(SOLVERS[name](lambda x, t: x**9 * 1e30, torch.full((1,), 10.0), ts))
    assert not torch.isfinite(blown).any()


GRID = torch.linspace(1, 0, 5, dtype=F64)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=list(SOLVERS))
def test_bad_arguments_are_named_at_the_call(solver) -> None:
    u, x = lambda x, t: x, torch.ones(2, 2)
    for bad, error, names in [
        ((3, x, GRID), TypeError, "u must be a function"),
        ((u, [1.0], GRID), TypeError, "x must be"),
        ((u, torch.ones(2, dtype=torch.int64), GRID), TypeError, "x must be"),
        ((u, torch.tensor(1.0), GRID), ValueError, "x must have a batch axis"),
        ((u, x / 0, GRID), ValueError, "x must be finite"),
        ((u, x, GRID.tolist()), TypeError, "ts must be"),
        ((u, x, GRID.float()), TypeError, "ts must be"),
        ((u, x, GRID[:1]), ValueError, "ts must have shape"),
        ((u, x, GRID[[0, 2, 1]]), ValueError, "ts must be strictly monotone"),
        ((u, x, 2 * GRID), ValueError, "ts must lie in"),
    ]:
        with pytest.raises(error, match=names):
            solver(*bad)


def test_bad_values_elsewhere() -> None:
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match="u must return"):
        list(euler(lambda x, t: x[:1], x, GRID))
    with pytest.raises(ValueError, match="u must return"):
        list(rk4(wrong(lambda x, t: 1.0), x, GRID))
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4"):
        adams_bashforth(lambda x, t: x, x, GRID, order=5)
    with pytest.raises(ValueError, match="order must be at least 1"):
        adams_bashforth(lambda x, t: x, x, GRID, order=0)
    with pytest.raises(TypeError, match="order must be an int"):
        adams_bashforth(lambda x, t: x, x, GRID, order=wrong(2.0))
    with pytest.raises(ValueError, match="states must hold"):
        last(iter([]))
    oracle, t = mixture(), torch.tensor(0.5, dtype=F64)
    with pytest.raises(ValueError, match=r"path is cosine.*made for vp"):
        velocity(oracle.denoiser(vp()), cosine())
    with pytest.raises(TypeError, match="path must be"):
        velocity(lambda x, t: x, wrong("vp"))
    with pytest.raises(TypeError, match="denoise must be"):
        velocity(wrong(None), vp())
    with pytest.raises(ValueError, match="denoise must return"):
        velocity(lambda x, t: x[:, :1], vp())(x, t)
    with pytest.raises(ValueError, match="t must"):
        velocity(lambda x, t: x, vp())(x, torch.rand(3, dtype=F64))
