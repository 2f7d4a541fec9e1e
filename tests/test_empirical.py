"""The exact denoiser of a finite data set, one number at a time and at its limits."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, generator, randn, tensor

import genflow_lite
from genflow_lite import EmpiricalDenoiser, GaussianMixture, cosine, rectified, ve, vp

EVERY = pytest.mark.parametrize("name", PATHS)
TIMES = tensor(0.011, 0.1523, 0.3511, 0.5507, 0.7509, 0.989)


def by_hand(x, data, alpha, sigma):
    """Σ w_i x_i with w_i ∝ exp(−|x − α x_i|²/2σ²), one number at a time."""
    exponents = []
    for point in data:
        gaps = [(a - alpha * b) ** 2 for a, b in zip(x, point, strict=True)]
        exponents.append(-sum(gaps) / (2 * sigma**2))
    top = max(exponents)
    weights = [math.exp(e - top) for e in exponents]
    return [
        sum(w * point[d] for w, point in zip(weights, data, strict=True)) / sum(weights)
        for d in range(len(x))
    ]


@EVERY
def test_empirical_denoiser_by_hand(name):
    path, data = PATHS[name], randn(7, 2, seed=2)
    denoise = EmpiricalDenoiser(data, path)
    for t in TIMES:
        x = path.mix(data[:4], randn(4, 2, seed=6), t)
        alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
        wanted = [by_hand(row, data.tolist(), alpha, sigma) for row in x.tolist()]
        np.testing.assert_allclose(denoise(x, t), wanted, rtol=1e-11, atol=1e-13)


@given(
    n=st.integers(1, 12),
    b=st.integers(1, 4),
    shape=st.lists(st.integers(1, 3), max_size=3),
    block=st.integers(1, 40),
    name=st.sampled_from(sorted(PATHS)),
    per_sample=st.booleans(),
)
def test_blocks_do_not_change_the_result(n, b, shape, block, name, per_sample):
    path, data = PATHS[name], randn(n, *shape, seed=1)
    x = randn(b, *shape, seed=2)
    t = torch.rand(b if per_sample else (), dtype=torch.float64, generator=generator(3))
    whole = EmpiricalDenoiser(data, path)(x, t)
    assert whole.shape == x.shape
    torch.testing.assert_close(
        EmpiricalDenoiser(data, path, block=block)(x, t), whole, rtol=1e-11, atol=1e-13
    )
    flat = EmpiricalDenoiser(data.reshape(n, -1), path)(x.reshape(b, -1), t)
    torch.testing.assert_close(whole.reshape(b, -1), flat, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("block", [1, 2**20])
def test_empirical_denoiser_at_both_ends(block):
    data = tensor(0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 5.0, 5.0).reshape(4, 2)
    for path in (rectified(), cosine(), vp()):
        denoise = EmpiricalDenoiser(data, path, block=block)
        x = torch.cat([data, tensor(1.0, 0.0, 1.0, 1.0, 9.0, 8.0).reshape(3, 2)])
        wanted = torch.cat(
            [data, tensor(1.0, 0.0, 2 / 3, 2 / 3, 5.0, 5.0).reshape(3, 2)]
        )
        torch.testing.assert_close(denoise(x, tensor(0.0)), wanted, rtol=1e-14, atol=0)
        assert denoise.path is path
    x = randn(3, 2)
    for path in (rectified(), cosine()):
        mean = data.mean(0).expand(3, 2)
        torch.testing.assert_close(
            EmpiricalDenoiser(data, path, block=block)(x, tensor(1.0)),
            mean,
            rtol=1e-14,
            atol=0,
        )


def test_neighbours_far_from_the_origin_are_told_apart():
    """|x − αx_i|² from differences: expanding the square would leave no digit."""
    data = tensor(1e6, 1e6 + 1e-4)[:, None]
    path = ve(1e-4, 1.0)
    x = (data[0] + 3e-5)[None]
    gap = (x - data)[:, 0]
    ratio = math.exp(-(gap[1] ** 2 - gap[0] ** 2) / (2 * 1e-8))
    wanted = ratio / (1 + ratio) * (data[1] - data[0]).item()
    found = (EmpiricalDenoiser(data, path)(x, tensor(0.0)) - data[0]).item()
    assert found == pytest.approx(wanted, abs=2e-10)  # one ulp of 1e6


def test_jacobian_of_the_denoiser_is_the_posterior_covariance():
    """∂D/∂x = (α/σ²) Cov[x0 | x_t], also where data points tie."""
    data, path, t = randn(9, 2), vp(), tensor(0.4)
    mixture = GaussianMixture(torch.ones(9), data, torch.zeros(9))
    ratio = path.alpha(t) / path.sigma_sq(t)
    for points_, spikes in [
        (data, mixture),
        (tensor(-1.0, 0.0, 1.0, 0.0).reshape(2, 2), None),
    ]:
        denoise = EmpiricalDenoiser(points_, path, block=4)
        spikes = spikes or GaussianMixture(torch.ones(2), points_, torch.zeros(2))
        for x in (randn(2, seed=5), tensor(0.0, 0.7)):
            jacobian = torch.func.jacrev(lambda z, d=denoise: d(z[None], t)[0])(x)
            cov = spikes.posterior(x[None], t, path).cov[0]
            torch.testing.assert_close(jacobian, ratio * cov, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 2)])
def test_an_empty_batch_goes_through(shape):
    x, data = torch.zeros(0, *shape), randn(5, *shape)
    for t in (tensor(0.4), torch.zeros(0)):
        assert EmpiricalDenoiser(data, vp())(x, t).shape == (0, *shape)


wrong: Any = genflow_lite  # unchecked, so that bad arguments can be passed
M = randn(2, 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: wrong.EmpiricalDenoiser(M.long(), vp()),
            TypeError,
            "data must be a float",
        ),
        (
            lambda: wrong.EmpiricalDenoiser(M[:0], vp()),
            ValueError,
            r"data must have shape \(N, \*S\)",
        ),
        (
            lambda: wrong.EmpiricalDenoiser(M * math.nan, vp()),
            ValueError,
            "data must be finite",
        ),
        (lambda: wrong.EmpiricalDenoiser(M, "vp"), TypeError, "path must be"),
        (
            lambda: wrong.EmpiricalDenoiser(M, vp(), block=0),
            ValueError,
            "block must be at least 1",
        ),
        (
            lambda: wrong.EmpiricalDenoiser(M, vp())(M[:, :2], 0.5),
            ValueError,
            r"x must have shape \(B, \*S\) with S = \(3,\)",
        ),
        (lambda: wrong.EmpiricalDenoiser(M, vp())(M, 1.5), ValueError, "t must lie"),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
