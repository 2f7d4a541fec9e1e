"""Numbers against numbers: what passes, what fails, and what the reader is told."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verify_checks import close, constant, fails, line

from genflow_lite import verify
from genflow_lite.verify import Estimate

NORMAL: dict[str, Any] = {
    "inputs": lambda g: (torch.randn(7, generator=g, dtype=torch.float64),)
}


def double_angle(x):
    return 2 * x.sin() * x.cos()


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
