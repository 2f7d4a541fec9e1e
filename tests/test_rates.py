"""A function of time with its derivative: the same from every side."""

import math

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap

from genflow_lite._rates import with_rate

T = torch.linspace(0.1, 0.9, 7, dtype=torch.float64)


def curve(t):
    return torch.exp(-2 * t) * torch.sin(3 * t)


def rate(t):
    """By hand: (3 cos 3t − 2 sin 3t) e^(−2t)."""
    return torch.exp(-2 * t) * (3 * torch.cos(3 * t) - 2 * torch.sin(3 * t))


def second(t):
    """By hand: (−5 sin 3t − 12 cos 3t) e^(−2t)."""
    return torch.exp(-2 * t) * (-5 * torch.sin(3 * t) - 12 * torch.cos(3 * t))


def test_value_and_rate_of_a_formula():
    value, slope = with_rate(curve, T)
    torch.testing.assert_close(value, curve(T), rtol=1e-14, atol=0)
    torch.testing.assert_close(slope, rate(T), rtol=1e-13, atol=1e-15)


def test_result_carries_no_graph_where_nobody_asked():
    assert not any(part.requires_grad for part in with_rate(curve, T))


def test_rate_of_a_constant_is_zero():
    value, slope = with_rate(torch.ones_like, T)
    assert torch.equal(value, torch.ones_like(T))
    assert torch.equal(slope, torch.zeros_like(T))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_rate_without_a_tape(context):
    with context():
        slope = with_rate(curve, T.clone())[1]
    torch.testing.assert_close(slope.clone(), rate(T), rtol=1e-13, atol=1e-15)


def test_rate_of_a_time_made_in_inference_mode():
    with torch.inference_mode():
        t = T.clone()
    slope = with_rate(curve, t)[1]
    torch.testing.assert_close(slope, rate(T), rtol=1e-13, atol=1e-15)


def test_rate_can_be_differentiated_in_time():
    t = T.clone().requires_grad_()
    (bend,) = torch.autograd.grad(with_rate(curve, t)[1].sum(), t)
    torch.testing.assert_close(bend, second(T), rtol=1e-12, atol=1e-14)


def test_rate_can_be_differentiated_in_a_parameter():
    power = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    slope = with_rate(lambda t: t**power, T)[1]
    (found,) = torch.autograd.grad(slope.sum(), power)
    # d/dp of p t^(p−1) is t^(p−1) (1 + p log t).
    expected = (T**1.5 * (1 + 2.5 * T.log())).sum()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_rate_inside_the_transforms():
    one_by_one = vmap(lambda t: with_rate(curve, t)[1])(T)
    torch.testing.assert_close(one_by_one, rate(T), rtol=1e-13, atol=1e-15)
    bend = jvp(lambda t: with_rate(curve, t)[1], (T,), (torch.ones_like(T),))[1]
    torch.testing.assert_close(bend, second(T), rtol=1e-12, atol=1e-14)
    bend = grad(lambda t: with_rate(curve, t)[1].sum())(T)
    torch.testing.assert_close(bend, second(T), rtol=1e-12, atol=1e-14)
    # A transform over something else, with the time as a constant.
    held = grad(lambda x: (x * with_rate(curve, T)[1]).sum())(torch.ones_like(T))
    torch.testing.assert_close(held, rate(T), rtol=1e-13, atol=1e-15)


def test_rate_of_a_dual_time():
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(T, torch.ones_like(T))
        bend = forward_ad.unpack_dual(with_rate(curve, dual)[1]).tangent
    torch.testing.assert_close(bend, second(T), rtol=1e-12, atol=1e-14)


def test_infinite_rate_where_reverse_mode_meets_zero_times_infinity():
    """√(1 − e^(−t)) at 0: +∞, where 0·∞ would be NaN."""
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    slope = with_rate(lambda t: (-torch.expm1(-t)).sqrt(), t)[1]
    assert slope[0] == math.inf
    expected = math.exp(-1) / (2 * math.sqrt(1 - math.exp(-1)))
    assert slope[1].item() == pytest.approx(expected, rel=1e-14)
