"""Checks within a standard error, and of an order of convergence."""

from __future__ import annotations

import math
import re

import pytest
import torch
from verify_checks import constant, fails, line

from genflow_lite import verify
from genflow_lite.verify import Estimate

# sampled


def normal_mean(n, centre=0.0):
    def estimate(g):
        return verify.mean(centre + torch.randn(n, generator=g, dtype=torch.float64))

    return estimate


def test_sampled_passes_and_shows_z(capsys):
    verify.sampled(
        "eq-a", constant(0.0), normal_mean(10_000), rejects={"half": constant(0.5)}
    )
    assert re.fullmatch(
        r"✓ eq-a \| sampled \| z = [\d.]+ ≤ 4 \| rejects: half", line(capsys)
    )


def test_sampled_refuses_a_wrong_claim():
    fails(
        "disagrees",
        verify.sampled,
        "eq-a",
        constant(0.1),
        normal_mean(10_000),
        rejects={"w": constant(1.0)},
    )


def test_too_few_samples_to_tell_right_from_wrong_fails():
    """z = 4 asks for a mistake 8 standard errors away: 0.5 is 6 at n = 150."""
    arguments = ("eq-a", constant(0.0), normal_mean(150))
    fails(
        "too few samples to tell the mistake 'half' from the truth",
        verify.sampled,
        *arguments,
        rejects={"half": constant(0.5)},
    )
    verify.sampled(*arguments, rejects={"one": constant(1.0)})


def test_a_vague_mistake_is_not_refused():
    fails(
        "accepts the mistake 'vague'",
        verify.sampled,
        "eq-a",
        constant(0.0),
        normal_mean(10_000),
        rejects={"vague": constant(Estimate(5.0, 10.0))},
    )


def test_both_sides_errors_are_combined():
    """|1 − 0| is 5 of either side's errors but 5/√2 < 4 of both together."""
    sides = (constant(Estimate(1.0, 0.2)), constant(Estimate(0.0, 0.2)))
    verify.sampled("eq-a", *sides, rejects={"w": constant(9.0)})
    exact = (constant(1.0), constant(Estimate(0.0, 0.2)))
    fails("disagrees", verify.sampled, "eq-a", *exact, rejects={"w": constant(9.0)})


def test_a_mistake_may_miss_in_one_component_alone():
    truth = constant(
        (Estimate(torch.tensor([0.0, 1.0]), torch.tensor([0.1, 0.1])), 3.0)
    )
    claim = constant((torch.tensor([0.1, 0.9]), 3.0))
    wrong = constant((torch.tensor([0.1, 2.9]), 3.0))
    verify.sampled("eq-a", claim, truth, rejects={"w": wrong})


def test_a_constant_component_survives_rounding_and_nothing_more():
    truth = constant(Estimate(0.3, 0.0))
    verify.sampled("eq-a", constant(0.1 + 0.2), truth, rejects={"w": constant(0.31)})
    fails(
        "disagrees",
        verify.sampled,
        "eq-a",
        constant(0.3 + 1e-9),
        truth,
        rejects={"w": constant(1.0)},
    )


def test_a_standard_error_that_is_not_finite_fails():
    fails(
        "the standard error of the truth is nan",
        verify.sampled,
        "eq-a",
        constant(0.0),
        constant(Estimate(0.0, math.nan)),
        rejects={"w": constant(1.0)},
    )


def test_sampled_needs_an_estimate():
    with pytest.raises(TypeError, match="neither claim nor truth returned an Estimate"):
        verify.sampled("eq-a", constant(0.0), constant(0), rejects={"w": constant(1.0)})


# order


STEPS = (0.2, 0.1, 0.05)


def test_order_measures_the_slope(capsys):
    verify.order(
        "eq-a", 2, lambda h: 3 * h**2, steps=STEPS, rejects={"first": lambda h: h}
    )
    assert line(capsys) == "✓ eq-a | order | slope 2.00 = 2 ± 0.1 | rejects: first"


@pytest.mark.parametrize("power", [1.85, 2.15, 1.0, 3.0])
def test_a_wrong_order_fails(power):
    fails(
        "the measured order is another",
        verify.order,
        "eq-a",
        2,
        lambda h: h**power,
        steps=STEPS,
        rejects={"zero": lambda h: 1.0},
    )


def test_an_order_must_be_told_from_the_mistake_by_two_tolerances():
    check = {"steps": STEPS, "tol": 0.1}
    verify.order("eq-a", 2, lambda h: h**2, rejects={"w": lambda h: h**1.79}, **check)
    fails(
        "accepts the mistake 'w'",
        verify.order,
        "eq-a",
        2,
        lambda h: h**2,
        rejects={"w": lambda h: h**1.81},
        **check,
    )


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "is 0, which"), (math.nan, "is nan")]
)
def test_an_error_without_logarithm_fails(value, told):
    good = {"zero": lambda h: 1.0}
    fails(told, verify.order, "eq-a", 2, lambda h: value, steps=STEPS, rejects=good)
    fails(
        "the mistake 'w'",
        verify.order,
        "eq-a",
        2,
        lambda h: h**2,
        steps=STEPS,
        rejects={"w": lambda h: value},
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": (0.1, 0.05)}, "at least three"),
        ({"steps": (0.1, 0.1, 0.05)}, "at least three"),
        ({"steps": (0.1, 0.05, -0.02)}, "steps is -0.02"),
        ({"tol": 0.9}, "tol is 0.9"),
        ({"claim": math.nan}, "claim is nan"),
    ],
)
def test_bad_arguments_of_order(change, match):
    arguments = {"claim": 2.0, "steps": STEPS, "rejects": {"w": lambda h: h}} | change
    claim = arguments.pop("claim")
    with pytest.raises(ValueError, match=match):
        verify.order("eq-a", claim, lambda h: h**2, **arguments)
