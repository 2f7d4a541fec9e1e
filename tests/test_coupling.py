"""Couplings against POT, SciPy, sorting, brute force and flows in closed form."""

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import generator, randn
from scipy.optimize import linear_sum_assignment

from genflow_lite import GaussianMixture, rectified, rk4
from genflow_lite import _assignment as module
from genflow_lite.coupling import (
    assignment,
    independent,
    minibatch_ot,
    reflow,
    straightness,
    transport_cost,
)

F64 = torch.float64


def wrong(value: Any) -> Any:
    """A value that the signature forbids, hidden from the type checker."""
    return value


def test_independent_pairs_are_as_they_came() -> None:
    x0, eps = randn(4, 3), randn(4, 3, seed=1)
    a, b = independent(x0, eps)
    assert a is x0
    assert b is eps


@given(n=st.integers(1, 40), d=st.integers(1, 4), seed=st.integers(0, 100))
def test_assignment_is_pots_plan_and_scipys_optimum(n: int, d: int, seed: int) -> None:
    x0, eps = randn(n, d, seed=seed), randn(n, d, seed=seed + 1000) + 0.5
    order = assignment(x0, eps)
    weights = np.full(n, 1 / n)
    cost: Any = ot.dist(x0.numpy(), eps.numpy())  # squared Euclidean
    plan = ot.emd(weights, weights, cost)
    ours = np.zeros((n, n))
    ours[np.arange(n), order.numpy()] = 1 / n
    assert np.allclose(plan, ours, atol=1e-12)
    rows, columns = linear_sum_assignment(cost)
    claimed = transport_cost(x0, eps[order]).mean().item()
    assert claimed == pytest.approx(cost[rows, columns].mean(), rel=1e-12)


def test_no_permutation_is_cheaper() -> None:
    x0, eps = randn(5, 2), randn(5, 2, seed=1)
    costs = [
        transport_cost(x0, eps[list(order)]).sum().item()
        for order in itertools.permutations(range(5))
    ]
    found = transport_cost(*minibatch_ot(x0, eps)).sum().item()
    assert found == pytest.approx(min(costs), rel=1e-14)
    assert found < costs[0]


def test_in_one_dimension_both_halves_are_in_one_order() -> None:
    x0, eps = randn(50, 1), randn(50, 1, seed=1)
    a, b = minibatch_ot(x0, eps)
    assert torch.equal(b[a[:, 0].argsort()], eps.sort(0).values)


def test_data_keep_their_place_and_every_noise_is_used_once() -> None:
    x0 = randn(20, 1, 4, 4).float()
    eps = randn(20, 1, 4, 4, seed=1).float().requires_grad_()
    a, b = minibatch_ot(x0, eps)
    assert a is x0
    assert b.dtype == torch.float32
    order = assignment(x0, eps)
    assert torch.equal(b, eps[order])
    assert sorted(order.tolist()) == list(range(20))
    (rate,) = torch.autograd.grad(b.sum(), eps)
    assert (rate == 1).all()


def test_short_distances_far_from_the_origin_keep_their_digits() -> None:
    """|a|² + |b|² − 2ab would round these costs to nothing."""
    steps = torch.arange(6, dtype=F64)[:, None] * 1e-4
    x0 = 1e5 + steps
    eps = (1e5 + steps + 3e-5)[[3, 0, 5, 1, 4, 2]]
    assert assignment(x0, eps).tolist() == [1, 3, 5, 0, 4, 2]


@pytest.mark.parametrize("small", [0, 30])
def test_both_solvers_find_one_plan(monkeypatch, small) -> None:
    x0, eps = randn(25, 3), randn(25, 3, seed=1)
    monkeypatch.setattr(module, "SMALL", small)
    cost = (x0[:, None] - eps).square().sum(2).numpy()
    columns = linear_sum_assignment(cost)[1]
    assert assignment(x0, eps).tolist() == columns.tolist()


@pytest.mark.parametrize(("n", "group"), [(12, 4), (14, 4), (3, 4), (5, 1), (0, 4)])
def test_groups_are_paired_by_themselves(n, group) -> None:
    x0, eps = randn(n, 2, 2), randn(n, 2, 2, seed=1)
    a, b = minibatch_ot(x0, eps, group=group)
    assert a is x0
    parts = zip(x0.split(group), eps.split(group), strict=True)
    alone = torch.cat([minibatch_ot(*both)[1] for both in parts])
    assert torch.equal(b, alone)


def test_pairs_of_batches_keep_their_laws_but_cost_less() -> None:
    g = generator()
    data = GaussianMixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-2.0], [2.0]]), torch.tensor([0.3] * 2)
    )
    x0, eps = data.sample(256, generator=g), torch.randn(256, 1, generator=g, dtype=F64)
    a, b = minibatch_ot(x0, eps)
    assert torch.equal(b.sort(0).values, eps.sort(0).values)
    assert transport_cost(x0, eps).mean() > 4
    assert transport_cost(a, b).mean() < 2


def test_empty_batches() -> None:
    a, b = minibatch_ot(torch.zeros(0, 2), torch.zeros(0, 2))
    assert a.shape == b.shape == (0, 2)


def test_reflow_follows_the_flow() -> None:
    """dx/dt = x t has x_0 = x_1 e^{−1/2}."""
    eps = randn(5, 2).float().requires_grad_()
    ts = torch.linspace(1, 0, 41, dtype=F64)
    x0, kept = reflow(lambda x, t: x * t, eps, ts, solver=rk4)
    assert torch.allclose(x0, eps.double() * np.exp(-0.5), rtol=1e-7)
    assert torch.equal(kept, eps.detach().double())
    assert not x0.requires_grad
    assert not kept.requires_grad


def test_reflow_of_the_exact_velocity_costs_no_more() -> None:
    g, path = generator(), rectified()
    data = GaussianMixture(
        torch.tensor([0.5, 0.5]),
        torch.tensor([[-1.5, 0.0], [1.5, 0.5]]),
        torch.tensor([0.3, 0.4]),
    )
    x0, eps = (
        data.sample(2000, generator=g),
        torch.randn(2000, 2, generator=g, dtype=F64),
    )
    ts = torch.linspace(1, 0, 41, dtype=F64)
    before = transport_cost(*independent(x0, eps))
    after = transport_cost(*reflow(data.velocity(path), eps, ts))
    error = (before.var() + after.var()).div(2000).sqrt()
    assert before.mean() - after.mean() > 4 * error


def test_straightness_by_hand() -> None:
    """u = 2tc has the chord c, and the mean of (2t − 1)² is 1/3."""
    c = torch.tensor([[1.0, 2.0]], dtype=F64)
    ts = torch.linspace(1, 0, 1001, dtype=F64)
    bent = straightness(lambda x, t: 2 * t * c + 0 * x, randn(3, 2), ts)
    assert bent.tolist() == pytest.approx([5 / 3] * 3, rel=1e-5)
    turned = straightness(lambda x, t: 2 * t * c + 0 * x, randn(3, 2), ts.flip(0))
    assert torch.allclose(bent, turned)
    straight = straightness(lambda x, t: 0 * x + c, randn(3, 2), ts[:5])
    assert straight.abs().max() < 1e-20


def test_pot_is_imported_when_it_is_needed() -> None:
    code = "import sys, genflow_lite.coupling; print('ot' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.strip() == "False"


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [independent, assignment, minibatch_ot, transport_cost]
)
def test_batches_of_different_sizes_are_refused(call) -> None:
    for shape in ((3, 2), (4, 3), (4,)):
        with pytest.raises(ValueError, match="x0 and eps must have the same shape"):
            call(torch.zeros(4, 2), torch.zeros(shape))
    with pytest.raises(TypeError, match="eps must be a floating-point tensor"):
        call(torch.zeros(4, 2), torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="x0 must have a batch axis"):
        call(torch.zeros(()), torch.zeros(()))


@pytest.mark.parametrize("place", [0, 1])
def test_batches_that_are_not_finite_are_refused(place) -> None:
    batches = [torch.zeros(3, 2), torch.zeros(3, 2)]
    batches[place][1, 1] = torch.nan
    with pytest.raises(ValueError, match="must be finite"):
        minibatch_ot(*batches)


@pytest.mark.parametrize("group", [0, -1])
def test_a_group_holds_something(group) -> None:
    with pytest.raises(ValueError, match="group must be at least 1"):
        minibatch_ot(randn(4, 2), randn(4, 2), group=group)


@pytest.mark.filterwarnings("ignore:numItermax")
def test_a_plan_that_is_not_optimal_is_not_used(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_PIVOTS", 1)
    n = module.SMALL + 1
    with pytest.raises(RuntimeError, match="network simplex"):
        assignment(randn(n, 2), randn(n, 2, seed=1))


def test_reflow_needs_a_way_from_noise_to_data() -> None:
    ts = torch.linspace(0, 1, 5, dtype=F64)
    with pytest.raises(ValueError, match="ts must be strictly decreasing"):
        reflow(lambda x, t: x, randn(3, 2), ts)
    with pytest.raises(ValueError, match="u must return"):
        reflow(lambda x, t: x[:1], randn(3, 2), ts.flip(0))
    with pytest.raises(TypeError, match="u must be a function"):
        reflow(wrong(None), randn(3, 2), ts.flip(0))
