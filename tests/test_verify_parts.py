"""What the checks are made of: estimates, and the tracing of shared code."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch

import genflow_lite
from genflow_lite import GaussianMixture, euler, last, verify, vp
from genflow_lite.brownian import wiener
from genflow_lite.verify.trace import Calls, shared, traced

DOUBLE = torch.float64


# estimates


def test_mean_by_hand():
    estimate = verify.mean([1.0, 2.0, 6.0])
    assert float(estimate.value) == 3.0
    assert float(estimate.stderr) == pytest.approx(math.sqrt(7 / 3))


def test_mean_keeps_the_shape_of_a_row():
    estimate = verify.mean(np.arange(24.0).reshape(4, 3, 2))
    assert estimate.value.shape == estimate.stderr.shape == (3, 2)
    assert estimate.value.dtype == DOUBLE


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, g: torch.randn(n, generator=g, dtype=DOUBLE),
        lambda n, g: torch.rand(n, generator=g, dtype=DOUBLE),
        lambda n, g: torch.empty(n, dtype=DOUBLE).exponential_(generator=g),
    ],
    ids=["normal", "uniform", "exponential"],
)
@pytest.mark.parametrize("estimate", [verify.mean, verify.variance])
def test_standard_errors_are_the_spread_of_repeated_estimates(draw, estimate):
    """Over 2,000 repetitions the estimate's spread is known to 1.6 %; the mean of the
    claimed standard errors must be that spread, whatever the law."""
    g = torch.Generator().manual_seed(5)
    samples = draw((400, 2000), g)
    result = estimate(samples)
    spread = float(result.value.std())
    claimed = float(result.stderr.square().mean().sqrt())
    assert claimed == pytest.approx(spread, rel=0.08)


def test_variance_by_hand_is_unbiased():
    estimate = verify.variance([1.0, 2.0, 3.0, 6.0])
    assert float(estimate.value) == pytest.approx(14 / 3)
    # Over all 4⁴ draws from {1, 2, 3, 6} with replacement: the mean of s² is σ².
    values = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=DOUBLE)
    draws = torch.cartesian_prod(values, values, values, values).T
    assert float(verify.variance(draws).value.mean()) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: verify.mean([1.0]), ValueError, "at least 2"),
        (lambda: verify.mean(1.0), ValueError, "at least 2"),
        (lambda: verify.variance([1.0, 2.0]), ValueError, "at least 4"),
        (lambda: verify.mean([1j, 2j]), TypeError, "complex"),
        (lambda: verify.Estimate(1.0, -1.0), ValueError, "negative"),
        (lambda: verify.Estimate([1.0, 2.0], 1.0), ValueError, "stderr has shape"),
    ],
)
def test_bad_samples_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


# shared code

HALVES = torch.tensor([0.5, 0.5], dtype=DOUBLE)
ONE = torch.ones(1, dtype=DOUBLE)
MIXTURE = GaussianMixture(HALVES, torch.tensor([[-1.0], [1.0]]), HALVES)
PATH = vp()
X = torch.linspace(-1, 1, 5, dtype=DOUBLE)[:, None]
T = torch.tensor(0.4, dtype=DOUBLE)


def both(left, right):
    return shared(traced(left)[1], traced(right)[1])


def test_a_shared_library_function_is_listed():
    library, _ = both(
        lambda: MIXTURE.score(X, T, PATH), lambda: 2 * MIXTURE.score(X, T, PATH) / 2
    )
    assert "oracles.GaussianMixture.score" in library


def test_a_shared_private_helper_is_listed():
    library, _ = both(
        lambda: MIXTURE.score(X, T, PATH), lambda: MIXTURE.posterior(X, T, PATH)
    )
    assert any("._" in name for name in library)


def test_alpha_sigma_and_sampling_are_not_counted():
    ts = torch.linspace(0, 1, 4, dtype=DOUBLE)

    def problem():
        g = torch.Generator().manual_seed(0)
        x0 = MIXTURE.sample(5, generator=g)
        noise = PATH.prior((5, 1), generator=g)
        wiener(ts, 2, generator=g)
        GaussianMixture(ONE, ONE[:, None], ONE)
        return PATH.mix(x0, noise, T) + PATH.alpha(T) + PATH.sigma(T) + vp().alpha(T)

    assert both(problem, problem)[0] == ()


def test_the_derived_coefficients_are_counted():
    library, _ = both(lambda: PATH.sde(T), lambda: PATH.sde(T)[0])
    assert any(name.endswith("GaussianPath.sde") for name in library)


def test_code_called_by_generators_and_autograd_is_seen():
    def u(x, t):
        return MIXTURE.score(x, t, PATH)

    ts = torch.tensor([0.5, 0.4, 0.3], dtype=DOUBLE)

    def through_jvp():
        def score(x):
            return MIXTURE.score(x, T, PATH)

        return torch.func.jvp(score, (X,), (torch.ones_like(X),))[1]

    value, _ = traced(through_jvp)
    assert torch.equal(value, through_jvp())
    library, _ = both(lambda: last(euler(u, X, ts)), through_jvp)
    assert "oracles.GaussianMixture.score" in library
    assert not any(name.startswith("ode.") for name in library)


def test_depth_is_kept_beneath_an_allowed_function():
    """An allowed function's internals are not counted, what follows it is."""
    _, calls = traced(lambda: (PATH.alpha(T), MIXTURE.score(X, T, PATH)))
    assert "oracles.GaussianMixture.score" in calls.library
    _, calls = traced(lambda: (PATH.alpha(T), PATH.sigma(T)))
    assert calls.library == set()


def test_an_exception_restores_the_profiler():
    before = sys.getprofile()
    with pytest.raises(ZeroDivisionError):
        traced(lambda: 1 / 0)
    assert sys.getprofile() is before
    seen = []
    sys.setprofile(lambda *event: seen.append(event))
    try:
        traced(lambda: None)
        inner = sys.getprofile()
    finally:
        sys.setprofile(before)
    assert inner is not None
    assert seen


def test_shared_code_stands_on_the_card():
    with pytest.raises(verify.CheckFailed) as caught:
        verify.close(
            "eq-a",
            lambda: MIXTURE.score(X, T, PATH),
            lambda: 2 * MIXTURE.score(X, T, PATH),
            rtol=1e-9,
            rejects={"w": lambda: X},
        )
    result = caught.value.result
    assert "oracles.GaussianMixture.score" in result.shared
    assert "<code>oracles.GaussianMixture.score</code>" in result.html()


def test_functions_of_the_chapter_are_told_apart():
    calls = Calls()
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def given(): return 1\nclaim = lambda: given()\n", space)
    _, calls = traced(space["claim"])
    assert calls.chapter == {"given"}
    assert calls.library == set()


def test_verify_itself_is_not_imported_with_the_package():
    assert "verify" not in genflow_lite.__all__
