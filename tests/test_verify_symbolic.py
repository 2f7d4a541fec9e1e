"""Identities that are proved, and counterexamples to what is none."""

from __future__ import annotations

import math
import re

import pytest
import sympy as sp
from verify_checks import fails, line

from genflow_lite import verify

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
