"""The kinds of check that compare numbers: `close` and `sampled`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from genflow_lite.verify.card import Mistake, Result, short, show
from genflow_lite.verify.compare import (
    Gap,
    Part,
    Unusable,
    parts_of,
    relative_gap,
    z_gap,
)

Parts = Sequence[Part]


@dataclass(frozen=True)
class Rule:
    """How one kind of check compares, and what it calls its numbers."""

    kind: str
    gap: Callable[[Parts, Parts, str], Gap]
    words: str
    bound: str
    margin: float  # a mistake must miss by this many tolerances
    estimates: bool  # whether one side must be an Estimate, or none may be


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
    max|claim − truth| ≤ atol; each of `rejects` must miss by at least ten times that
    in some part, on every seed. `rtol=0` without `atol` asks for equality.

    `claim`, `truth` and the wrong claims are functions of the same arguments:
    `inputs(generator)` makes the tuple, once for each seed, and each function gets
    its own copy. Without `inputs` a function of one argument is given a fresh
    generator, equal for all of them, and one of no argument is just called. They
    return a number, a tensor, an array, or a tuple of those. Shapes must agree:
    nothing is broadcast, but () and (1,) are both one number.

    Shows a card. Raises `CheckFailed` if the claim fails, if a value is not finite,
    or if a wrong claim is accepted; `ValueError` or `TypeError` for bad arguments.
    """
    rtol = check_number("rtol", rtol, 0.0, 0.5)
    atol = check_number("atol", atol, 0.0, np.inf)
    if atol and rtol:
        bound = f"≤ {rtol:g} (or {atol:g} absolute)"
    else:
        bound = f"≤ {atol:g} (absolute)" if atol else f"≤ {rtol:g}"

    def gap(left: Parts, right: Parts, who: str) -> Gap:
        return relative_gap(left, right, rtol, atol, who)

    rule = Rule("close", gap, "error", bound, 10.0, False)
    _check(rule, label, claim, truth, inputs, rejects, what, seeds)


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
    least 2z in some component, on every seed; otherwise the samples are too few to
    tell right from wrong, and the check fails.

    Functions, inputs, seeds, card and errors are those of `close`.
    """
    z = check_number("z", z, 1.0, 10.0)

    def gap(left: Parts, right: Parts, who: str) -> Gap:
        return z_gap(left, right, z, who)

    rule = Rule("sampled", gap, "z =", f"≤ {z:g}", 2.0, True)
    _check(rule, label, claim, truth, inputs, rejects, what, seeds)


def _check(
    rule: Rule,
    label: str,
    claim: Any,
    truth: Any,
    inputs: Any,
    rejects: Any,
    what: str,
    seeds: Any,
) -> None:
    check_label(label)
    rejects = check_rejects(rejects)
    bench = Bench(claim, truth, rejects, inputs, check_seeds(seeds))
    runs = bench.runs()
    worst, problem = _worst(rule, runs)
    if problem:  # without a usable truth no mistake can be refused
        problems, mistakes = [problem], [Mistake(name, False) for name in rejects]
    else:
        problems = [] if worst.times <= 1 else ["the claim disagrees with the truth"]
        mistakes = [_mistake(rule, name, runs) for name in rejects]
        problems += [m.fixed for m in mistakes if not m.refused]
    show(
        Result(
            label=label,
            kind=rule.kind,
            what=what,
            words=rule.words,
            measured=short(worst.shown),
            bound=rule.bound,
            mistakes=tuple(mistakes),
            runs=bench.describe(),
            seeds=bench.seeds,
            shared=bench.shared,
            given=bench.given,
            problems=tuple(problems),
        )
    )


def _worst(rule: Rule, runs: list[Run]) -> tuple[Gap, str]:
    """The largest gap between claim and truth, or why there is none."""
    gaps = []
    for run in runs:
        try:
            left = parts_of(run.claim, "the claim")
            right = parts_of(run.truth, "the truth")
            _check_estimates(rule, (*left, *right))
            gaps.append(rule.gap(left, right, "the claim"))
        except Unusable as reason:
            return Gap(np.nan, np.inf), f"{reason}{_on(run)}"
    return max(gaps, key=lambda gap: gap.times), ""


def _check_estimates(rule: Rule, parts: Parts) -> None:
    found = any(part.stderr is not None for part in parts)
    if rule.estimates and not found:
        raise TypeError(
            "neither claim nor truth returned an Estimate; verify.sampled needs one, "
            "and verify.close compares exact numbers"
        )
    if found and not rule.estimates:
        raise TypeError(
            "claim or truth returned an Estimate; verify.close compares exact "
            "numbers, and verify.sampled estimates"
        )


def _mistake(rule: Rule, name: str, runs: list[Run]) -> Mistake:
    """A wrong claim is refused only if it misses clearly on every seed."""
    gaps = []
    who = f"the mistake {name!r}"
    for run in runs:
        wrong = run.wrongs[name]
        if isinstance(wrong, Raised):
            told = f"{type(wrong.error).__name__}: {wrong.error}"
            return Mistake(name, False, fixed=f"{who} raised {told}{_on(run)}")
        try:
            parts = parts_of(wrong, who)
            gaps.append(rule.gap(parts, parts_of(run.truth, "the truth"), who))
        except Unusable as reason:
            text = f"{reason}{_on(run)}, so it shows nothing"
            return Mistake(name, False, fixed=text)
    least = min(gaps, key=lambda gap: gap.times)
    shown = short(least.shown)
    if least.times >= rule.margin:
        return Mistake(name, True, rule.words, shown)
    if least.times <= 1:
        told = f"accepts the mistake {name!r}"
    elif rule.estimates:
        told = f"too few samples to tell the mistake {name!r} from the truth"
    else:
        told = f"{who} misses by less than {rule.margin:g} tolerances"
    return Mistake(name, False, rule.words, shown, told)


def _on(run: Run) -> str:
    return "" if run.seed is None else f" (seed {run.seed})"
