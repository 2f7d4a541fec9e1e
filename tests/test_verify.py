"""The four kinds of check: what passes, what fails, and what the reader is told."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from genflow_lite import verify
from genflow_lite.verify import Estimate

NORMAL: dict[str, Any] = {
    "inputs": lambda g: (torch.randn(7, generator=g, dtype=torch.float64),)
}


def double_angle(x):
    return 2 * x.sin() * x.cos()


def line(capsys):
    (text,) = capsys.readouterr().out.splitlines()
    return text


def fails(match, check, *args, **kwargs):
    with pytest.raises(verify.CheckFailed, match=match) as caught:
        check(*args, **kwargs)
    return caught.value.result


def close(claim, truth, rejects, rtol=1e-9, **kwargs):
    verify.close("eq-a", claim, truth, rtol=rtol, rejects=rejects, **kwargs)


class constant:
    """A function of no argument, each one a function of its own."""

    def __init__(self, value):
        self.value = value

    def __call__(self):
        return self.value


# close


def test_close_prints_one_deterministic_line(capsys):
    close(
        lambda x: (2 * x).sin(),
        double_angle,
        {"2 dropped": lambda x: x.sin() * x.cos(), "sine for cosine": torch.sin},
        **NORMAL,
    )
    text = line(capsys)
    assert re.fullmatch(
        r"✓ eq-a \| close \| error [\d.e-]+ ≤ 1e-09 "
        r"\| rejects: 2 dropped, sine for cosine",
        text,
    )


def test_a_wrong_claim_fails():
    result = fails(
        "the claim disagrees with the truth",
        close,
        constant(1.0),
        constant(1.1),
        {"w": constant(5.0)},
    )
    assert not result.passed
    assert result.line().startswith("✗ eq-a | close | error 0.091 ≤ 1e-09 | rejects: w")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails_and_is_named(bad):
    values = torch.tensor([1.0, 2.0, bad])
    good = torch.tensor([1.0, 2.0, 3.0])
    wrong = {"w": constant(good + 1)}
    fails(
        rf"the claim is {bad} at \[2\]", close, constant(values), constant(good), wrong
    )
    fails(
        rf"the truth is {bad} at \[2\]", close, constant(good), constant(values), wrong
    )
    fails("the claim is", close, constant(values), constant(values), wrong)


def test_a_mistake_that_is_not_finite_is_no_demonstration():
    fails(
        "the mistake 'w' is nan, so it shows nothing",
        close,
        constant(1.0),
        constant(1.0),
        {"w": constant(math.nan)},
    )


def test_an_accepted_mistake_fails():
    result = fails(
        "accepts the mistake 'same'",
        close,
        constant(1.0),
        constant(1.0),
        {"other": constant(2.0), "same": constant(1.0)},
    )
    assert "rejects: other |" in result.line()
    assert json.loads(json.dumps(result.record()))["verdict"] == "fail"


def test_a_mistake_must_miss_by_ten_tolerances():
    close(constant(1.0), constant(1.0), {"w": constant(1.0101)}, rtol=1e-3)
    fails(
        "'w' misses by less than 10 tolerances",
        close,
        constant(1.0),
        constant(1.0),
        {"w": constant(1.0099)},
        rtol=1e-3,
    )


def test_a_mistake_must_miss_on_every_seed():
    def lucky(g):
        return 1.0 if g.initial_seed() == 1 else 2.0

    fails(
        "accepts the mistake 'lucky'",
        close,
        constant(1.0),
        lambda g: 1.0,
        {"lucky": lucky},
    )


def test_the_claim_must_hold_on_every_seed():
    fails(
        "disagrees",
        close,
        lambda g: 1.0 if g.initial_seed() == 0 else 2.0,
        lambda g: 1.0,
        {"w": constant(9.0)},
    )


def test_a_mistake_that_raises_fails_by_name():
    fails(
        "the mistake 'w' raised ZeroDivisionError",
        close,
        constant(1.0),
        constant(1.0),
        {"w": lambda: 1 / 0},
    )


def test_a_claim_that_raises_is_an_error_and_says_where():
    with pytest.raises(ZeroDivisionError) as caught:
        close(lambda: 1 / 0, constant(1.0), {"w": constant(2.0)})
    assert "raised by the claim" in caught.value.__notes__[0]


def test_opposite_errors_do_not_cancel():
    fails(
        "disagrees",
        close,
        constant(np.array([1.0, -1.0])),
        constant(np.array([2.0, -2.0])),
        {"w": constant(np.array([9.0, 9.0]))},
    )


def test_one_wrong_entry_among_many_is_enough():
    right = torch.ones(1000, dtype=torch.float64)
    almost = right.clone()
    almost[7] += 3e-9
    fails(
        "disagrees", close, constant(almost), constant(right), {"w": constant(-right)}
    )


def test_each_part_of_a_tuple_has_its_own_scale():
    wrong = {"w": constant((1.0, 1.0))}
    fails(
        "disagrees",
        close,
        constant((1e6, 1e-3)),
        constant((1e6, 1.1e-3)),
        wrong,
        rtol=1e-6,
    )
    fails(
        "disagrees",
        close,
        constant((1.1e-3, 1e6)),
        constant((1e-3, 1e6)),
        wrong,
        rtol=1e-6,
    )
    close(constant((1e6, 1e-3)), constant((1e6, 1e-3)), wrong, rtol=1e-6)


def test_nothing_is_broadcast():
    wrong = {"w": constant(torch.zeros(3))}
    fails(
        r"the claim has shape \(\), the truth \(3,\)",
        close,
        constant(1.0),
        constant(torch.ones(3)),
        wrong,
    )
    fails(
        "the claim has 2 parts, the truth 1",
        close,
        constant((1.0, 1.0)),
        constant(torch.ones(2)),
        {"w": constant(torch.zeros(2))},
    )
    fails(
        r"the mistake 'w' has shape \(2,\), the truth \(3,\), so it shows nothing",
        close,
        constant(torch.ones(3)),
        constant(torch.ones(3)),
        {"w": constant(torch.zeros(2))},
    )


def test_one_number_is_one_number():
    close(constant(1.0), constant(torch.ones(1)), {"w": constant(np.float32(2.0))})


def test_an_empty_comparison_fails():
    empty = torch.zeros(0)
    fails(
        "the claim is empty",
        close,
        constant(empty),
        constant(empty),
        {"w": constant(1.0)},
    )


def test_complex_numbers_compare_by_modulus():
    z = np.exp(1j)
    close(
        constant(z),
        constant(complex(math.cos(1), math.sin(1))),
        {"w": constant(z.conj())},
    )
    fails("disagrees", close, constant(z), constant(z.real), {"w": constant(-z)})


def test_integers_compare_exactly():
    big = 2**60
    same = constant(torch.tensor([big]))
    close(same, constant(np.array([big])), {"off by one": constant(big + 1)}, rtol=0)
    fails("disagrees", close, constant(big + 1), same, {"w": constant(0)}, rtol=0)


def test_absolute_tolerance(capsys):
    wrong = {"w": constant(0.1)}
    close(constant(1e-15), constant(0.0), wrong, rtol=0, atol=1e-12)
    assert "error 1e-15 ≤ 1e-12 (absolute)" in line(capsys)
    close(constant(1e-15), constant(0.0), wrong, rtol=1e-9, atol=1e-12)
    assert "≤ 1e-09 (or 1e-12 absolute)" in line(capsys)
    fails("disagrees", close, constant(1e-15), constant(0.0), wrong)


@given(st.floats(1e-12, 1e-2), st.floats(-5, 5), st.floats(0.1, 1e6))
def test_close_is_its_definition(rtol, exponent, truth):
    """Passes exactly where |claim − truth| ≤ rtol·|truth|, away from the border."""
    relative = rtol * 10**exponent
    if abs(exponent) < 0.05 or relative < 1e-14:
        return
    claim = truth * (1 + relative)
    wrong = {"w": constant(truth * 2)}
    if exponent < 0:
        close(constant(claim), constant(truth), wrong, rtol=rtol)
    else:
        fails("disagrees", close, constant(claim), constant(truth), wrong, rtol=rtol)


# arguments


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"rejects": {}}, ValueError, "rejects is empty"),
        ({"rejects": [1]}, TypeError, "rejects is list"),
        ({"rejects": {"": constant(1)}}, ValueError, "rejects has the key ''"),
        ({"rejects": {"a|b": constant(1)}}, ValueError, "may not hold"),
        ({"rejects": {"w": 3.0}}, TypeError, r"rejects\['w'\] is float"),
        ({"label": "eq_a"}, ValueError, "label is 'eq_a'"),
        ({"label": "def-a"}, ValueError, "label is 'def-a'"),
        ({"label": "eq-A"}, ValueError, "label is 'eq-A'"),
        ({"label": 3}, TypeError, "label is int"),
        ({"claim": 1.0}, TypeError, "claim is float"),
        ({"truth": 1.0}, TypeError, "truth is float"),
        ({"claim": lambda a, b: a}, TypeError, "claim needs 2 arguments"),
        ({"claim": lambda: None}, TypeError, "the claim returned NoneType"),
        ({"claim": lambda: {"a": 1}}, TypeError, "the claim returned dict"),
        ({"rtol": -1.0}, ValueError, "rtol is -1.0"),
        ({"rtol": 0.7}, ValueError, "rtol is 0.7"),
        ({"rtol": math.nan}, ValueError, "rtol is nan"),
        ({"rtol": "1"}, TypeError, "rtol is str"),
        ({"atol": math.inf}, ValueError, "atol is inf"),
        ({"seeds": (0,)}, ValueError, "at least two different seeds"),
        ({"seeds": (0, 0)}, ValueError, "at least two different seeds"),
        ({"inputs": lambda g: torch.ones(2)}, TypeError, "inputs returned Tensor"),
        ({"inputs": 3}, TypeError, "inputs is int"),
        (
            {"truth": lambda: Estimate(1.0, 0.1)},
            TypeError,
            "verify.close compares exact",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(change, error, match):
    arguments = {
        "label": "eq-a",
        "claim": constant(1.0),
        "truth": lambda: 2.0 - 1.0,
        "rtol": 1e-9,
        "rejects": {"w": constant(2.0)},
    } | change
    label, claim, truth = (arguments.pop(k) for k in ("label", "claim", "truth"))
    with pytest.raises(error, match=match):
        verify.close(label, claim, truth, **arguments)


def test_the_truth_may_not_be_the_claim():
    def claim():
        return 1.0

    with pytest.raises(ValueError, match="truth is the claim itself"):
        close(claim, claim, {"w": constant(2.0)})
    with pytest.raises(ValueError, match="truth is the claim itself"):
        close(
            lambda x: x.sin() ** 2, lambda x: x.sin() ** 2, {"w": torch.cos}, **NORMAL
        )
    value = 3.0
    same = [lambda: value * 2 for _ in range(2)]
    with pytest.raises(ValueError, match="truth is the claim itself"):
        close(same[0], same[1], {"w": constant(2.0)})


# inputs


def test_every_function_gets_its_own_copy_of_the_inputs():
    def spoils(x):
        x.zero_()
        return x + 1

    result = fails(
        "disagrees", close, spoils, lambda x: x + 1, {"w": lambda x: -x}, **NORMAL
    )
    assert result.seeds == (0, 1)
    close(lambda x: x.mul_(2), lambda x: x + x, {"w": lambda x: x.square_()}, **NORMAL)


def test_a_generator_among_the_inputs_is_copied_too():
    def draw(g):
        return torch.randn(3, generator=g)

    def also(g):
        return torch.empty(3).normal_(generator=g)

    close(draw, also, {"w": lambda g: -draw(g)}, inputs=lambda g: (g,))


def test_without_inputs_all_get_equal_fresh_generators():
    close(
        lambda g: torch.randn(3, generator=g),
        lambda g: torch.empty(3).normal_(generator=g),
        {"two draws": lambda g: torch.randn(6, generator=g)[3:]},
    )


def test_inputs_are_made_once_for_each_seed():
    seen = []

    def inputs(g):
        seen.append(g.initial_seed())
        return (torch.rand((), generator=g),)

    close(
        torch.exp,
        lambda x: 1 / (-x).exp(),
        {"w": torch.sin},
        rtol=1e-5,
        inputs=inputs,
        seeds=(3, 4, 5),
    )
    assert seen == [3, 4, 5]


def test_nothing_random_runs_once():
    count = []
    result = fails(
        "disagrees",
        close,
        lambda: count.append(0) or 1.0,
        constant(2.0),
        {"w": constant(9)},
    )
    assert len(count) == 1
    assert result.seeds == ()


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


# symbolic

x, y = sp.symbols("x y", real=True)
sigma = sp.Symbol("sigma", positive=True)


def test_symbolic_proves_and_shows_a_counterexample(capsys):
    verify.symbolic(
        "eq-a",
        sp.sin(2 * x),
        2 * sp.sin(x) * sp.cos(x),
        rejects={"2 dropped": sp.sin(x) * sp.cos(x)},
    )
    assert line(capsys) == "✓ eq-a | symbolic | claim − truth = 0 | rejects: 2 dropped"


def test_a_non_identity_fails_with_a_counterexample():
    result = fails(
        r"at x = 2/5: .* instead of ",
        verify.symbolic,
        "eq-a",
        sp.sin(x),
        x,
        rejects={"w": sp.cos(x)},
    )
    assert "claim − truth ≠ 0" in result.line()
    told = re.search(r"at x = 2/5: ([\d.]+) instead of ([\d.]+)", result.problems[0])
    assert told is not None
    assert float(told[1]) == pytest.approx(math.sin(0.4), rel=1e-3)
    assert float(told[2]) == pytest.approx(0.4)


def test_an_accepted_symbolic_mistake_fails():
    fails(
        "the mistake 'w' has no counterexample",
        verify.symbolic,
        "eq-a",
        x**2 - 1,
        (x - 1) * (x + 1),
        rejects={"w": (1 - x) * (-1 - x)},
    )


def test_counterexamples_respect_the_assumptions():
    """√σ² = σ for the positive σ; |x| ≠ x needs a negative x."""
    verify.symbolic(
        "eq-a", sp.sqrt(sigma**2), sigma, rejects={"σ²": sigma**2, "1/σ": 1 / sigma}
    )
    result = fails(
        "at x = -", verify.symbolic, "eq-a", sp.Abs(x), x, rejects={"w": x + 1}
    )
    assert not result.passed


def test_undefined_functions_get_a_value():
    f = sp.Function("f")
    verify.symbolic(
        "eq-a",
        sp.diff(f(x) ** 2, x),
        2 * f(x) * sp.Derivative(f(x), x),
        rejects={"inner derivative dropped": 2 * f(x)},
    )
    g = sp.Function("g")
    verify.symbolic("eq-a", f(x) + g(x), g(x) + f(x), rejects={"swapped": f(x) - g(x)})


def test_matrices_and_tuples_are_compared_entry_by_entry():
    rotation = sp.Matrix([[sp.cos(x), -sp.sin(x)], [sp.sin(x), sp.cos(x)]])
    verify.symbolic(
        "eq-a", rotation * rotation.T, sp.eye(2), rejects={"no transpose": rotation**2}
    )
    verify.symbolic("eq-a", (x, y), (x + 0, y), rejects={"swapped": (y, x)})
    fails(
        "the claim has 2 entries, the truth 1",
        verify.symbolic,
        "eq-a",
        (x, y),
        x,
        rejects={"w": y},
    )
    fails(
        "instead of|entries",
        verify.symbolic,
        "eq-a",
        sp.Matrix([[x, y]]),
        sp.Matrix([x, y]),
        rejects={"w": sp.Matrix([y, y])},
    )


@pytest.mark.parametrize("bad", [sp.nan, sp.zoo, sp.oo])
def test_a_symbolic_value_that_is_not_finite_fails(bad):
    fails("the claim", verify.symbolic, "eq-a", bad, bad, rejects={"w": x})
    fails("the mistake 'w'", verify.symbolic, "eq-a", x, x + 0, rejects={"w": bad})


def test_symbolic_takes_functions_and_refuses_other_things():
    verify.symbolic("eq-a", lambda: x + x, lambda: 2 * x, rejects={"w": lambda: x})
    with pytest.raises(TypeError, match="claim is str"):
        verify.symbolic("eq-a", "x", x, rejects={"w": y})  # type: ignore[arg-type]
    fails(
        "the mistake 'w' raised ZeroDivisionError",
        verify.symbolic,
        "eq-a",
        x,
        x + 0,
        rejects={"w": lambda: 1 / 0},
    )


# the card


def test_the_card_tells_everything_and_escapes_it():
    result = fails(
        "accepts",
        close,
        constant(1.0),
        constant(1.0),
        {"a < b & c": constant(2.0), "same": constant(1.0)},
        what='"left" < right',
    )
    html = result.html()
    record = json.loads(unescape(html.split('data-vf="')[1].split('"')[0]))
    assert record["label"] == "eq-a"
    assert record["what"] == '"left" < right'
    assert record["rejects"] == ["a < b & c"]
    assert "a &lt; b &amp; c" in html
    assert "a < b" not in html
    assert "✗" in html
    assert "accepts the mistake &#x27;same&#x27;" in html


def test_measured_numbers_stand_only_where_the_notebook_test_ignores_them():
    """Two runs that differ in rounding alone give the same text once sanitised."""
    texts = []
    for error in (1.234e-12, 5.678e-13):
        result = fails(
            "same",
            close,
            constant(1.0 + error),
            constant(1.0),
            {"w": constant(2 + error), "same": constant(1.0)},
        )
        html = re.sub(r'<span class="vf-num">[^<]*</span>', "#", result.html())
        plain = re.sub(r"error \S+ ≤", "error # ≤", result.line())
        texts.append((html, plain))
    assert texts[0] == texts[1]
