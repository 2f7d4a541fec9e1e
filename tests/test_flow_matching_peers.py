"""Targets, couplings and likelihoods equal to those of torchcfm and flow_matching.

Their clock runs the other way, τ = 1 − t, so that their velocity is −u. Both packages
are optional: `pip install -r requirements-peers.txt`, with --no-deps.
"""

import importlib
import math
import os
from typing import Any

import pytest
import torch
from paths_under_test import randn, tensor

from genflow_lite import (
    GaussianMixture,
    GaussianPath,
    cosine,
    flow_log_likelihood,
    rectified,
    vp,
)
from genflow_lite.coupling import assignment, minibatch_ot
from genflow_lite.losses import conditional_velocity

F64 = torch.float64
NOISE, DATA = randn(5, 2), randn(5, 2, seed=1)
TAU = tensor(0.05, 0.3, 0.5, 0.81, 0.95)


def peer(name: str) -> Any:
    """A module of a peer, or a skip that says what is missing."""
    if os.environ.get("PEERS_REQUIRED"):
        return importlib.import_module(name)
    return pytest.importorskip(
        name, reason=f"{name.split('.')[0]} is not installed (requirements-peers.txt)"
    )


def ours(path: GaussianPath) -> tuple[torch.Tensor, torch.Tensor]:
    """State and dx/dτ of our path at the peers' clock."""
    t = path.reversed_clock().time(TAU)
    return path.mix(DATA, NOISE, t), -conditional_velocity(path, DATA, NOISE, t)


# --- torchcfm ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matcher", "path"),
    [
        ("ConditionalFlowMatcher", rectified()),
        ("VariancePreservingConditionalFlowMatcher", cosine()),
    ],
)
def test_torchcfm_states_and_targets(matcher, path) -> None:
    module = peer("torchcfm.conditional_flow_matching")
    theirs = getattr(module, matcher)(sigma=0.0)
    _, x, v = theirs.sample_location_and_conditional_flow(NOISE, DATA, t=TAU)
    state, target = ours(path)
    assert torch.allclose(state, x, rtol=1e-12, atol=1e-14)
    assert torch.allclose(target, v, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_torchcfm_target_of_lipman(floor) -> None:
    """Their σ_τ = 1 − (1 − floor) τ; given x_τ the target is a formula in x_τ."""
    module = peer("torchcfm.conditional_flow_matching")
    theirs = module.TargetConditionalFlowMatcher(sigma=floor)
    path = GaussianPath(lambda t: 1 - t, lambda t: floor + (1 - floor) * t)
    state, target = ours(path)
    sigma = theirs.compute_sigma_t(TAU)[:, None]
    x = theirs.compute_mu_t(NOISE, DATA, TAU) + sigma * NOISE
    assert torch.allclose(state, x, rtol=1e-12)
    v = theirs.compute_conditional_flow(NOISE, DATA, TAU, x)
    assert torch.allclose(target, v, rtol=1e-11)


def test_torchcfm_plan_is_our_coupling() -> None:
    module = peer("torchcfm.optimal_transport")
    x0, eps = randn(40, 3, seed=2), randn(40, 3, seed=3)
    plan = module.OTPlanSampler(method="exact").get_map(x0, eps)
    assert (plan.argmax(1) == assignment(x0, eps).numpy()).all()
    assert plan.max() == pytest.approx(1 / 40)
    # Drawing from their plan gives pairs of ours, some of them more than once.
    a, b = module.OTPlanSampler(method="exact").sample_plan(x0, eps)
    pairs = {tuple(p) for p in torch.cat(minibatch_ot(x0, eps), 1).tolist()}
    drawn = {tuple(p) for p in torch.cat([a, b], 1).tolist()}
    assert drawn <= pairs
    assert len(drawn) > 15


# --- flow_matching -------------------------------------------------------------------

POLYNOMIAL = GaussianPath(lambda t: (1 - t) ** 3, lambda t: 1 - (1 - t) ** 3)
LINEAR_VP = GaussianPath(lambda t: 1 - t, lambda t: (t * (2 - t)).sqrt())


@pytest.mark.parametrize(
    ("scheduler", "options", "path"),
    [
        ("CondOTScheduler", {}, rectified()),
        ("CosineScheduler", {}, cosine()),
        ("VPScheduler", {}, vp()),
        ("VPScheduler", {"beta_min": 0.3, "beta_max": 5.0}, vp(0.3, 5.0)),
        ("PolynomialConvexScheduler", {"n": 3}, POLYNOMIAL),
        ("LinearVPScheduler", {}, LINEAR_VP),
    ],
)
def test_flow_matching_states_and_targets(scheduler, options, path) -> None:
    paths = peer("flow_matching.path")
    schedulers = peer("flow_matching.path.scheduler")
    made = getattr(schedulers, scheduler)(**options)
    theirs = paths.AffineProbPath(scheduler=made).sample(t=TAU, x_0=NOISE, x_1=DATA)
    state, target = ours(path)
    assert torch.allclose(state, theirs.x_t, rtol=1e-10)
    assert torch.allclose(target, theirs.dx_t, rtol=1e-9)
    view = path.reversed_clock()
    coefficients = made(TAU)
    assert torch.allclose(view.alpha(TAU), coefficients.alpha_t, rtol=1e-10)
    assert torch.allclose(view.sigma(TAU), coefficients.sigma_t, rtol=1e-10)
    for rate, name in zip(view.rates(TAU), ("d_alpha_t", "d_sigma_t"), strict=True):
        assert torch.allclose(rate, getattr(coefficients, name), rtol=1e-9)


def test_flow_matching_likelihood() -> None:
    solver = peer("flow_matching.solver").ODESolver
    weights, stds = tensor(0.6, 0.4), tensor(0.5, 0.4)
    means = torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=F64)

    def v(x, t):
        """dx/dτ in closed form, also outside [0, 1], where dopri5's last step looks."""
        var = (t * stds) ** 2 + (1 - t) ** 2
        delta = x[:, None] - t * means
        log_joint = weights.log() - delta.square().sum(2) / (2 * var) - var.log()
        growth = (t * stds**2 - (1 - t)) / var
        return torch.einsum(
            "bk,bkd->bd", log_joint.softmax(1), means + growth[:, None] * delta
        )

    def normal(x):
        return -0.5 * x.square().sum(1) - math.log(2 * math.pi)

    _, theirs = solver(velocity_model=v).compute_likelihood(
        x_1=DATA,
        log_p0=normal,
        step_size=None,
        method="dopri5",
        atol=1e-9,
        rtol=1e-9,
        time_grid=tensor(1.0, 0.0),
        exact_divergence=True,
    )
    data, path = GaussianMixture(weights, means, stds), rectified()
    ts = torch.linspace(0, 1, 61, dtype=F64) ** 1.5
    mine = flow_log_likelihood(data.velocity(path), DATA, ts)
    assert torch.allclose(mine, theirs, atol=2e-6)
    assert torch.allclose(mine, data.log_prob(DATA, 0.0, path), atol=2e-6)
