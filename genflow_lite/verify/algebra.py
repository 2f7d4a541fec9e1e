"""The symbolic kind of check: SymPy proves the identity, a number refutes a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genflow_lite.verify.calls import check_label, check_rejects, same_code
from genflow_lite.verify.card import Mistake, Result, show
from genflow_lite.verify.trace import Calls, shared, traced


def symbolic(
    label: str,
    claim: Any,
    truth: Any,
    *,
    rejects: Mapping[str, Any],
    what: str = "",
) -> None:
    """Check an identity by algebra: claim − truth is simplified to exactly 0.

    `claim`, `truth` and each of `rejects` are SymPy expressions or matrices, tuples
    of those, or functions of no argument that return them. A wrong claim is refused
    by a counterexample: values of the symbols, found within their assumptions, at
    which it differs from the truth; undefined functions are given a value too.

    Shows a card. Raises `CheckFailed` if the difference is not proved to vanish (with
    a counterexample, if there is one), if an expression is not finite, or if a
    mistake has no counterexample; `ValueError` or `TypeError` for bad arguments.
    """
    check_label(label)
    rejects = check_rejects(rejects)
    if same_code(claim, truth) and callable(claim):
        raise ValueError("truth is the claim itself; needed is an independent truth")
    left, seen = _entries(claim, "claim")
    right, also = _entries(truth, "truth")
    problems: list[str] = []
    bad = _not_finite(left, "the claim") or _not_finite(right, "the truth")
    if bad:
        problems.append(bad)
    elif len(left) != len(right):
        problems.append(f"the claim has {len(left)} entries, the truth {len(right)}")
    elif not all(_vanishes(a - b) for a, b in zip(left, right, strict=True)):
        found = _counterexample(left, right)
        problems.append(found or "claim − truth was not proved to be 0")
    mistakes = [_mistake(name, wrong, right, bad) for name, wrong in rejects.items()]
    problems += [m.fixed for m in mistakes if not m.refused]
    common, given = shared(seen, also)
    show(
        Result(
            label,
            "symbolic",
            what,
            "claim − truth",
            "",
            "≠ 0" if problems else "= 0",
            tuple(mistakes),
            "once: nothing in it is random",
            (),
            common,
            given,
            tuple(problems),
        )
    )


def _entries(side: Any, who: str) -> tuple[list[Any], Calls]:
    """The scalar expressions of one side, and the library functions that made it."""
    import sympy

    seen = Calls()
    if callable(side) and not isinstance(side, sympy.Basic | sympy.MatrixBase):
        side, seen = traced(side)
    if isinstance(side, sympy.MatrixBase):
        return [*map(sympy.Integer, side.shape), *side], seen  # the shape counts too
    if isinstance(side, tuple | list | sympy.Tuple):
        return [e for part in side for e in _entries(part, who)[0]], seen
    try:
        entry = sympy.sympify(side, strict=True)
    except sympy.SympifyError:
        entry = None
    if not isinstance(entry, sympy.Expr):
        raise TypeError(
            f"{who} is {type(side).__name__}; needed is a SymPy expression or "
            "matrix, a tuple of those, or a function that returns one"
        )
    return [entry], seen


def _not_finite(entries: list[Any], who: str) -> str:
    import sympy

    for entry in entries:
        if entry.has(sympy.nan, sympy.zoo):
            return f"{who} holds {sympy.nan if entry.has(sympy.nan) else sympy.zoo}"
        if entry.has(sympy.oo, -sympy.oo) and not entry.has(
            sympy.Integral, sympy.Sum, sympy.Limit, sympy.Product
        ):
            return f"{who} is infinite"
    return ""


def _vanishes(difference: Any) -> bool:
    """Whether some chain of exact rewritings ends in 0; each of them keeps equality."""
    import sympy

    difference = difference.doit()
    for rewrite in (
        sympy.expand,
        sympy.simplify,
        lambda e: sympy.simplify(sympy.expand(e)),
        lambda e: sympy.simplify(e.rewrite(sympy.exp)),
        lambda e: sympy.simplify(sympy.expand_log(e)),
        sympy.radsimp,
    ):
        if rewrite(difference) == 0:
            return True
    return False


def _mistake(name: str, wrong: Any, truth: list[Any], bad: str) -> Mistake:
    who = f"the mistake {name!r}"
    if bad:
        return Mistake(name, False, fixed=f"{who} was not tried")
    try:
        entries, _ = _entries(wrong, who)
    except TypeError:
        raise
    except Exception as error:
        return Mistake(
            name, False, fixed=f"{who} raised {type(error).__name__}: {error}"
        )
    trouble = _not_finite(entries, who)
    if trouble or len(entries) != len(truth):
        told = trouble or f"{who} has {len(entries)} entries, the truth {len(truth)}"
        return Mistake(name, False, fixed=f"{told}, so it shows nothing")
    found = _counterexample(entries, truth)
    if not found:
        return Mistake(name, False, fixed=f"{who} has no counterexample")
    return Mistake(name, True, fixed=found)


def _counterexample(left: list[Any], right: list[Any]) -> str:
    """Values of the symbols at which two sides differ, in words, or ''."""
    import sympy

    symbols = sorted(
        set().union(*(e.free_symbols for e in (*left, *right))), key=lambda s: s.name
    )
    for attempt in range(12):
        values = {s: _value(s, i, attempt) for i, s in enumerate(symbols)}
        for a, b in zip(left, right, strict=True):
            try:
                one, two = (_number(e, values) for e in (a, b))
            except (TypeError, ValueError, ZeroDivisionError):
                continue
            if one is None or two is None:
                continue
            if abs(one - two) > sympy.Float("1e-12") * (1 + abs(two)):
                at = ", ".join(f"{s} = {v}" for s, v in values.items())
                place = f"at {at}: " if at else ""
                return f"{place}{_shown(one)} instead of {_shown(two)}"
    return ""


def _value(symbol: Any, index: int, attempt: int) -> Any:
    """A rational (or integer) that the symbol's assumptions allow."""
    import sympy

    primes = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if symbol.is_integer:
        value = sympy.Integer(primes[index % 12] + attempt)
        if symbol.is_even:
            value = 2 * value
        elif symbol.is_odd:
            value = 2 * value + 1
    else:
        value = sympy.Rational(primes[index % 12], primes[(index + 2 + attempt) % 12])
    if symbol.is_negative or (attempt % 3 == 1 and symbol.is_nonnegative is None):
        value = -value
    if attempt % 3 == 2 and not symbol.is_integer:
        value = value / 10  # some claims live only near 0, as probabilities do
    return value


def _number(expression: Any, values: Mapping[Any, Any]) -> Any:
    import sympy
    from sympy.core.function import AppliedUndef

    def concrete(*arguments: Any) -> Any:
        """A function with no accidental symmetry in place of an undefined one."""
        return sum(
            sympy.exp(a / (i + 3)) + a**3 / (i + 5) for i, a in enumerate(arguments)
        )

    for number, function in enumerate(
        sorted({f.func for f in expression.atoms(AppliedUndef)}, key=str)
    ):
        expression = expression.replace(
            function, lambda *a, k=number: concrete(*a) + (k + 1) * sympy.sin(a[0])
        )
    value = sympy.N(expression.doit().subs(values).doit(), 30)
    if not value.is_number or not value.is_finite:
        return None
    return value


def _shown(value: Any) -> str:
    import sympy

    return str(sympy.N(value, 4))
