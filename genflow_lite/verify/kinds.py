"""The numerical kinds of check: `close`, `sampled` and `order`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genflow_lite.verify.calls import (
    Bench,
    Raised,
    Run,
    check_label,
    check_number,
    check_rejects,
    check_seeds,
)
from genflow_lite.verify.card import Mistake, Result, show
from genflow_lite.verify.compare import (
    Gap,
    Part,
    Unusable,
    parts_of,
    relative_gap,
    z_gap,
)

MARGIN = 10.0  # a wrong claim must miss by this many times close's tolerance
POWER = 2.0  # and by this many times sampled's z, or order's tol

Compare = Callable[[Sequence[Part], Sequence[Part], str], Gap]


def close(
    label: str,
    claim: Callable[..., Any],
    truth: Callable[..., Any],
    *,
    rtol: float,
    atol: float = 0.0,
    inputs: Callable[..., tuple[Any, ...]] | None = None,
    rejects: Mapping[str, Callable[..., Any]],
    what: str = "",
    seeds: Sequence[int] = (0, 1),
) -> None:
    """Check a claim against an independent truth, number by number.

    Passes if max|claim − truth| ≤ rtol · max|truth| in every part of the result, or
    max|claim − truth| ≤ atol; each of `rejects` must miss by at least ten times that.
    `rtol=0` without `atol` asks for equality.

    `claim`, `truth` and the wrong claims are functions of the same arguments:
    `inputs(generator)` makes the tuple, once for each seed, and each function gets
    its own copy. Without `inputs` a function of one argument is given a fresh
    generator, equal for all of them, and one of no argument is just called. They
    return a number, a tensor, an array, or a tuple of those; shapes must agree.

    Shows a card. Raises `CheckFailed` if the claim fails, if a value is not finite,
    or if a wrong claim is accepted; `ValueError` or `TypeError` for bad arguments.
    """
    rtol = check_number("rtol", rtol, 0.0, 0.5)
    atol = check_number("atol", atol, 0.0, np.inf)
    bound = f"≤ {rtol:g}" + (f" (or {atol:g} absolute)" if atol and rtol else "")
    if atol and not rtol:
        bound = f"≤ {atol:g} (absolute)"

    def compare(left: Sequence[Part], right: Sequence[Part], who: str) -> Gap:
        return relative_gap(left, right, rtol, atol, who)

    _numerical(
        "close",
        label,
        claim,
        truth,
        compare,
        inputs,
        rejects,
        what,
        seeds,
        words="error",
        bound=bound,
        margin=MARGIN,
        estimates=False,
    )


def sampled(
    label: str,
    claim: Callable[..., Any],
    truth: Callable[..., Any],
    *,
    inputs: Callable[..., tuple[Any, ...]] | None = None,
    z: float = 4.0,
    rejects: Mapping[str, Callable[..., Any]],
    what: str = "",
    seeds: Sequence[int] = (0, 1),
) -> None:
    """Check a claim against a Monte Carlo estimate, or the reverse.

    At least one side returns an `Estimate` (or a tuple with one): see `mean` and
    `variance`. Passes if every component of claim and truth agrees within `z`
    standard errors, both sides' errors combined. Each of `rejects` must miss by at
    least 2z in some component on every seed; otherwise the samples are too few to
    tell right from wrong, and the check fails.

    Functions, inputs, seeds, card and errors are those of `close`.
    """
    z = check_number("z", z, 1.0, 10.0)

    def compare(left: Sequence[Part], right: Sequence[Part], who: str) -> Gap:
        return z_gap(left, right, z, who)

    _numerical(
        "sampled",
        label,
        claim,
        truth,
        compare,
        inputs,
        rejects,
        what,
        seeds,
        words="z =",
        bound=f"≤ {z:g}",
        margin=POWER,
        estimates=True,
    )


def _numerical(
    kind: str,
    label: str,
    claim: Any,
    truth: Any,
    compare: Compare,
    inputs: Any,
    rejects: Any,
    what: str,
    seeds: Any,
    *,
    words: str,
    bound: str,
    margin: float,
    estimates: bool,
) -> None:
    check_label(label)
    rejects = check_rejects(rejects)
    bench = Bench(claim, truth, rejects, inputs, check_seeds(seeds))
    runs = bench.runs()
    problems: list[str] = []
    worst = Gap(0.0, 0.0)
    for run in runs:
        try:
            left = parts_of(run.claim, "the claim")
            right = parts_of(run.truth, "the truth")
            _check_estimates(kind, left, right, estimates)
            gap = compare(left, right, "the claim")
        except Unusable as reason:
            problems.append(f"{reason}{_on(run)}")
            worst = Gap(np.nan, np.inf)
            break
        worst = max(worst, gap, key=lambda g: g.times)
    if not problems and not worst.times <= 1:
        problems.append("the claim disagrees with the truth")
    if not np.isnan(worst.shown):
        mistakes = [
            _mistake(name, runs, compare, words, margin, estimates) for name in rejects
        ]
    else:  # without a usable truth there is nothing to refuse a mistake with
        mistakes = [Mistake(name, False) for name in rejects]
    problems += [m.fixed for m in mistakes if not m.refused and m.fixed]
    show(
        Result(
            label,
            kind,
            what,
            words,
            f"{worst.shown:.2g}",
            bound,
            tuple(mistakes),
            bench.describe(),
            bench.seeds,
            bench.shared,
            bench.given,
            tuple(problems),
        )
    )


def _check_estimates(
    kind: str, left: Sequence[Part], right: Sequence[Part], estimates: bool
) -> None:
    found = any(part.stderr is not None for part in (*left, *right))
    if estimates and not found:
        raise TypeError(
            "neither claim nor truth returned an Estimate; verify.sampled needs one, "
            "and verify.close compares exact numbers"
        )
    if found and not estimates:
        raise TypeError(
            f"verify.{kind} compares exact numbers; an Estimate was returned"
        )


def _mistake(
    name: str,
    runs: list[Run],
    compare: Compare,
    words: str,
    margin: float,
    estimates: bool,
) -> Mistake:
    """A wrong claim is refused only if it misses clearly on every seed."""
    least = Gap(np.inf, np.inf)
    who = f"the mistake {name!r}"
    for run in runs:
        wrong = run.wrongs[name]
        if isinstance(wrong, Raised):
            told = f"{type(wrong.error).__name__}: {wrong.error}"
            return Mistake(name, False, fixed=f"{who} raised {told}{_on(run)}")
        try:
            parts = parts_of(wrong, who)
            gap = compare(parts, parts_of(run.truth, "the truth"), who)
        except Unusable as reason:
            text = f"{reason}{_on(run)}, so it shows nothing"
            return Mistake(name, False, fixed=text)
        least = min(least, gap, key=lambda g: g.times)
    shown = f"{least.shown:.2g}"
    if least.times >= margin:
        return Mistake(name, True, words, shown)
    if least.times <= 1:
        told = f"accepts the mistake {name!r}"
    elif estimates:
        told = f"too few samples to tell the mistake {name!r} from the truth"
    else:
        told = f"the mistake {name!r} misses by less than {margin:g} tolerances"
    return Mistake(name, False, words, shown, told)


def _on(run: Run) -> str:
    return "" if run.seed is None else f" (seed {run.seed})"


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

    Shows a card. Raises as `close` does; an error that is zero or not finite fails.
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
                f"{name} is {type(function).__name__}; needed is a function"
            )
    problems: list[str] = []
    try:
        slope = _slope(truth, sizes, "the error")
    except Unusable as reason:
        slope = np.nan
        problems.append(str(reason))
    if not problems and not abs(slope - claim) <= tol:
        problems.append("the measured order is another")
    mistakes = []
    for name, wrong in rejects.items():
        try:
            other = _slope(wrong, sizes, f"the error of the mistake {name!r}")
        except Unusable as reason:
            mistakes.append(Mistake(name, False, fixed=str(reason)))
            continue
        except Exception as error:
            told = f"the mistake {name!r} raised {type(error).__name__}: {error}"
            mistakes.append(Mistake(name, False, fixed=told))
            continue
        refused = abs(other - claim) >= POWER * tol
        told = "" if refused else f"accepts the mistake {name!r}"
        mistakes.append(Mistake(name, refused, "slope", f"{other:.2f}", told))
    problems += [m.fixed for m in mistakes if not m.refused]
    runs = f"step sizes {', '.join(f'{h:.3g}' for h in sizes)}"
    show(
        Result(
            label,
            "order",
            what,
            "slope",
            f"{slope:.2f}",
            f"= {claim:g} ± {tol:g}",
            tuple(mistakes),
            runs,
            problems=tuple(problems),
        )
    )


def _slope(function: Any, sizes: list[float], who: str) -> float:
    errors = []
    for h in sizes:
        (part,) = parts_of(function(h), f"{who} at h = {h:.3g}")
        if part.value.size != 1 or part.stderr is not None:
            raise TypeError(f"{who} at h = {h:.3g} is not one number")
        value = float(part.value.reshape(-1)[0])
        if value <= 0:
            raise Unusable(f"{who} at h = {h:.3g} is {value:g}, which has no logarithm")
        errors.append(value)
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
