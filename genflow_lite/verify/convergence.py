"""The kind of check that measures an order of convergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genflow_lite.verify.calls import check_label, check_number, check_rejects
from genflow_lite.verify.card import Mistake, Result, show
from genflow_lite.verify.compare import Unusable, parts_of

APART = 2.0  # a mistake's slope must be this many times tol away from the claim


def order(
    label: str,
    claim: float,
    truth: Callable[[float], Any],
    *,
    steps: Sequence[float],
    tol: float = 0.1,
    rejects: Mapping[str, Callable[[float], Any]],
    what: str = "",
) -> None:
    """Check a convergence order: the slope of log error against log step size.

    `truth(h)` returns the measured error at step size h, a positive number. Passes if
    the least-squares slope over `steps` (at least three) is within `tol` of `claim`.
    Each of `rejects` is such a function too, of another scheme or another reading of
    the error; its slope must be at least 2·tol away from `claim`.

    Shows a card. Raises `CheckFailed` if a slope is not where it should be or if an
    error is zero or not finite; `ValueError` or `TypeError` for bad arguments.
    """
    check_label(label)
    rejects = check_rejects(rejects)
    claim = check_number("claim", claim, 0.0, 20.0)
    tol = check_number("tol", tol, 1e-3, 0.5)
    sizes = [check_number("steps", h, 1e-300, np.inf) for h in steps]
    if len(set(sizes)) < 3:
        raise ValueError(f"steps is {sizes}; needed are at least three step sizes")
    for name, function in {"truth": truth, **rejects}.items():
        if not callable(function):
            raise TypeError(
                f"{name} is {type(function).__name__}; needed is a function of h"
            )
    problems: list[str] = []
    slope = np.nan
    try:
        slope = _slope(truth, sizes, "the error")
        if not abs(slope - claim) <= tol:
            problems.append("the measured order is another")
    except Unusable as reason:
        problems.append(str(reason))
    mistakes = [_mistake(name, f, sizes, claim, tol) for name, f in rejects.items()]
    problems += [m.fixed for m in mistakes if not m.refused]
    show(
        Result(
            label=label,
            kind="order",
            what=what,
            words="slope",
            measured=f"{slope:.2f}",
            bound=f"= {claim:g} ± {tol:g}",
            mistakes=tuple(mistakes),
            runs=f"step sizes {', '.join(f'{h:.3g}' for h in sizes)}",
            problems=tuple(problems),
        )
    )


def _mistake(
    name: str, function: Any, sizes: list[float], claim: float, tol: float
) -> Mistake:
    who = f"the mistake {name!r}"
    try:
        slope = _slope(function, sizes, f"the error of {who}")
    except Unusable as reason:
        return Mistake(name, False, fixed=f"{reason}, so it shows nothing")
    except Exception as error:
        told = f"{who} raised {type(error).__name__}: {error}"
        return Mistake(name, False, fixed=told)
    refused = abs(slope - claim) >= APART * tol
    told = "" if refused else f"accepts the mistake {name!r}"
    return Mistake(name, refused, "slope", f"{slope:.2f}", told)


def _slope(function: Any, sizes: list[float], who: str) -> float:
    """The least-squares slope of log error on log h."""
    errors = []
    for h in sizes:
        at = f"{who} at h = {h:.3g}"
        parts = parts_of(function(h), at)
        if len(parts) != 1 or parts[0].value.size != 1 or parts[0].stderr is not None:
            raise TypeError(f"{at} is not one number")
        value = float(parts[0].value.reshape(-1)[0])
        if value <= 0:
            raise Unusable(f"{at} is {value:g}, which has no logarithm")
        errors.append(value)
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
