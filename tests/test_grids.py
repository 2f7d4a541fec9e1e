"""Time grids against their definitions and against published numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from paths_under_test import PATHS, TABLE, tensor

import genflow_lite
from genflow_lite import from_betas, grids, rectified, time_grid, ve, vp
from genflow_lite.grids import Spacing

SPACINGS: list[Spacing] = ["uniform", "log_snr", "karras", "trailing", "adams"]
EVERY = pytest.mark.parametrize("name", PATHS)


def log_levels(path, ts):
    """log(σ/α) at the given times."""
    return path.sigma(ts).log() - path.alpha(ts).log()


@given(
    name=st.sampled_from(sorted(PATHS)),
    spacing=st.sampled_from(SPACINGS),
    n=st.integers(1, 60),
    # Within rounding of pure noise two times may coincide, which is refused.
    t_max=st.one_of(st.just(1.0), st.floats(0.3, 1 - 1e-9)),
    t_min=st.one_of(st.just(0.0), st.floats(1e-4, 0.2)),
    rho=st.floats(0.5, 12.0),
)
def test_a_grid_decreases_between_its_own_ends(name, spacing, n, t_max, t_min, rho):
    ts = time_grid(PATHS[name], n, spacing=spacing, t_max=t_max, t_min=t_min, rho=rho)
    assert ts.dtype == torch.float64
    assert ts.shape == (n + 1,)
    assert ts[0].item() == t_max
    assert ts[-1].item() == t_min
    assert bool((ts.diff() < 0).all())


@EVERY
def test_uniform(name):
    ts = time_grid(PATHS[name], 4, spacing="uniform")
    assert ts.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    ts = time_grid(PATHS[name], 3, spacing="uniform", t_max=0.9, t_min=0.3)
    torch.testing.assert_close(ts, tensor(0.9, 0.7, 0.5, 0.3), rtol=1e-15, atol=0)


@EVERY
@pytest.mark.parametrize("n", [2, 7, 40])
def test_log_snr_and_karras_are_uniform_in_their_own_variable(name, n):
    path = PATHS[name]
    for rho in (None, 7.0, 3.0):
        spacing = "log_snr" if rho is None else "karras"
        ts = time_grid(path, n, spacing=spacing, t_max=0.98, t_min=0.003, rho=rho or 7)
        logs = log_levels(path, ts)
        own = logs if rho is None else (logs / rho).exp()
        even = torch.linspace(own[0], own[-1], n + 1, dtype=torch.float64)
        torch.testing.assert_close(own, even, rtol=1e-11, atol=1e-11)


@EVERY
@pytest.mark.parametrize("shape", [(), (-1.5, 0.4, 0.2), grids.ADAMS_PLANE])
def test_adams_takes_steps_of_the_given_shape_in_tau(name, shape):
    path, n = PATHS[name], 12
    ends = {"t_max": 0.97, "t_min": 0.02}
    ts = time_grid(path, n, spacing="adams", shape=shape, **ends)
    tau = (path.sigma(ts) / (path.alpha(ts) + path.sigma(ts))).numpy()
    u = (np.arange(n) + 0.5) / n
    wanted = np.exp(np.polynomial.chebyshev.chebval(2 * u - 1, [0.0, *shape]))
    wanted = wanted / wanted.sum() * (tau[0] - tau[-1])
    np.testing.assert_allclose(-np.diff(tau), wanted, rtol=1e-9)


@pytest.mark.parametrize("name", ["rectified", "cosine"])
def test_adams_reaches_both_ends(name):
    for shape in (grids.ADAMS_PLANE, grids.ADAMS_DIGITS):
        ts = time_grid(PATHS[name], 10, spacing="adams", shape=shape)
        assert (ts[0].item(), ts[-1].item()) == (1.0, 0.0)


def test_karras_is_equation_five_on_ve():
    low, high, rho, n = 0.02, 80.0, 7.0, 17
    ts = time_grid(ve(low, high), n, spacing="karras")
    i = np.arange(n + 1)
    sigmas = (high ** (1 / rho) + i / n * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(ve(low, high).sigma(ts), sigmas, rtol=1e-12)


@pytest.mark.parametrize("name", ["rectified", "cosine", "vp", "from_betas", "sub_vp"])
@pytest.mark.parametrize("spacing", ["log_snr", "karras"])
def test_infinite_ends_are_replaced_by_the_stated_numbers(name, spacing):
    path, n = PATHS[name], 6
    ts = time_grid(path, n, spacing=spacing)
    levels = log_levels(path, ts).exp()
    assert (ts[0].item(), ts[-1].item()) == (1.0, 0.0)
    # The last step leaves from σ/α = 0.002.
    assert levels[-2].item() == pytest.approx(0.002, rel=1e-11)
    high = 80.0 if name in ("rectified", "cosine") else levels[0].item()
    if spacing == "karras":
        power = 1 / 7
        even = np.linspace(high**power, 0.002**power, n) ** 7
    else:
        even = np.geomspace(high, 0.002, n)
    np.testing.assert_allclose(levels[1:-1], even[1:], rtol=1e-10)


def test_rectified_log_snr_grid_by_hand():
    """t = 1/(1 + α/σ): σ/α = 80, 0.4, 0.002 and the ends give three steps."""
    ts = time_grid(rectified(), 3, spacing="log_snr")
    wanted = tensor(1.0, 0.4 / 1.4, 0.002 / 1.002, 0.0)
    torch.testing.assert_close(ts, wanted, rtol=1e-13, atol=0)


@pytest.mark.parametrize("spacing", SPACINGS)
@EVERY
def test_one_step_goes_from_end_to_end(name, spacing):
    assert time_grid(PATHS[name], 1, spacing=spacing).tolist() == [1.0, 0.0]


def test_trailing_falls_on_the_published_training_steps():
    """Lin et al. 2024: round(1000, 1000 − 1000/n, …) − 1, counted from 0."""
    path = from_betas(TABLE)
    for n, published in [
        (10, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
        (6, [999, 832, 666, 499, 332, 166]),
    ]:
        ts = time_grid(path, n, spacing="trailing")
        assert (ts[:-1] * 1000).tolist() == [float(step + 1) for step in published]
        assert ts[-1] == 0
    # Without a table there is nothing to round to.
    smooth = time_grid(vp(), 6, spacing="trailing")
    assert torch.equal(smooth, time_grid(vp(), 6, spacing="uniform"))


def test_trailing_uses_every_knot_when_there_are_as_many_steps():
    ts = time_grid(from_betas(TABLE), 1000, spacing="trailing")
    knots = torch.arange(1000, -1, -1, dtype=torch.float64) / 1000
    assert torch.equal(ts, knots)


@given(rho=st.floats(1.0, 20.0))
def test_a_larger_rho_moves_steps_towards_the_data(rho):
    assume(rho > 1.01)
    base = time_grid(ve(), 8, spacing="karras", rho=1.0)
    assert bool(
        (time_grid(ve(), 8, spacing="karras", rho=rho)[1:-1] < base[1:-1]).all()
    )


wrong: Any = genflow_lite  # unchecked, so that bad arguments can be passed


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"path": "vp"}, TypeError, "path must be a GaussianPath; got str 'vp'"),
        ({"n": 0}, ValueError, "n must be at least 1; got 0"),
        ({"n": 2.0}, TypeError, "n must be an int"),
        ({"n": True}, TypeError, "n must be an int"),
        (
            {"spacing": "leading"},
            ValueError,
            "spacing must be one of 'uniform', 'log_snr'",
        ),
        ({"t_max": 1.5}, ValueError, r"t_max must lie in \[0, 1\]; got 1.5"),
        ({"t_max": math.nan}, ValueError, "t_max must lie"),
        ({"t_max": "1"}, TypeError, "t_max must be a number"),
        ({"t_min": -0.1}, ValueError, r"t_min must lie in \[0, t_max\)"),
        ({"t_min": 1.0}, ValueError, r"t_min must lie in \[0, t_max\) = \[0, 1.0\)"),
        ({"t_min": math.nan}, ValueError, "t_min must lie"),
        ({"t_min": None}, TypeError, "t_min must be a number"),
        ({"rho": 0.0}, ValueError, "rho must be positive"),
        ({"spacing": "adams", "shape": (1.0, math.nan)}, ValueError, "shape must hold"),
        ({"spacing": "adams", "shape": ("1",)}, TypeError, "shape must be a number"),
        ({"rho": math.inf}, ValueError, "rho must be positive and finite"),
        (
            {"path": from_betas(TABLE[:5]), "n": 6, "spacing": "trailing"},
            ValueError,
            "n = 6 steps .* take fewer",
        ),
        (
            {"spacing": "karras", "t_max": 1e-6},
            ValueError,
            "t_min and t_max must have noise levels",
        ),
        (
            {"path": rectified(), "spacing": "log_snr", "t_min": 0.999},
            ValueError,
            "t_min and t_max must have noise levels",
        ),
    ],
)
def test_bad_arguments_are_named(changes, kind, message):
    arguments = {"path": vp(), "n": 5, "spacing": "uniform", **changes}
    with pytest.raises(kind, match=message):
        wrong.time_grid(**arguments)
