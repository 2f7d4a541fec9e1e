"""Exercises that check themselves: a reader's function against a truth."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from genflow_lite.verify.calls import check_number, fresh, generator
from genflow_lite.verify.card import emit
from genflow_lite.verify.compare import Part, Unusable, aligned, difference, parts_of

NAME = re.compile(r"ex-[a-z0-9]+(-[a-z0-9]+)*")
# The cases are drawn from seeds that no chapter uses, so nobody has seen them.
SEEDS = (90_001, 90_002, 90_003, 90_004, 90_005)


@dataclass(frozen=True)
class Case:
    """One question, its answer, and each known mistake's answer to it."""

    arguments: tuple[Any, ...]
    expected: tuple[Part, ...]
    mistakes: dict[str, tuple[Part, ...]]


@dataclass(frozen=True)
class Cases:
    """What a reader's function is tried on; made by `cases`."""

    cases: tuple[Case, ...]
    names: tuple[str, ...]
    rtol: float


def cases(
    inputs: Callable[..., tuple[Any, ...]],
    truth: Callable[..., Any],
    *,
    rtol: float = 1e-9,
    hints: Mapping[str, Callable[..., Any]] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> Cases:
    """Questions for an exercise: `inputs(generator)` makes the arguments, once for
    each seed, and `truth(*arguments)` the answer.

    `hints` maps a hint to the wrong function that deserves it: the hint is given to a
    reader whose function agrees with the wrong one on every case. An answer agrees if
    max|answer − truth| ≤ rtol · max|truth| (≤ rtol where the truth is 0).

    Raises `ValueError` if the truth is not finite or if a hint's function is right.
    """
    rtol = check_number("rtol", rtol, 0.0, 0.1)
    hints = dict(hints or {})
    made = []
    for seed in seeds:
        arguments = inputs(generator(seed))
        if not isinstance(arguments, tuple):
            raise TypeError(
                f"inputs returned {type(arguments).__name__}; needed is a tuple"
            )
        try:
            expected = parts_of(truth(*fresh(arguments)), "the truth")
        except Unusable as reason:
            raise ValueError(f"truth: {reason}") from None
        mistakes = {}
        for hint, wrong in hints.items():
            try:
                mistakes[hint] = parts_of(wrong(*fresh(arguments)), f"hints[{hint!r}]")
            except Unusable as reason:
                raise ValueError(f"hints: {reason}") from None
        made.append(Case(arguments, expected, mistakes))
    if not made:
        raise ValueError("seeds is empty; needed is at least one")
    for hint in hints:
        if all(_wrong(c.mistakes[hint], c.expected, rtol) == "" for c in made):
            raise ValueError(f"hints[{hint!r}] is no mistake: it agrees with the truth")
    return Cases(tuple(made), _names(truth, len(made[0].arguments)), rtol)


def exercise(name: str, answer: Callable[..., Any], cases: Cases) -> None:
    """Try a reader's function and say "✓" or "not yet", with a reason.

    Never raises on a fault of the reader's function: an exception, None, a wrong
    shape, a value that is not finite or a wrong value is told in one line.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}; needed is the exercise's label, 'ex-…'")
    if not isinstance(cases, Cases):
        raise TypeError(
            f"cases is {type(cases).__name__}; needed is what verify.cases returns"
        )
    fault = _first_fault(answer, cases)
    if fault:
        text, state = f"{name}: not yet — {fault}", "todo"
    else:
        count = len(cases.cases)
        text, state = f"{name}: ✓ right on {count} cases it had not seen", "pass"
    html = f'<p class="vf-exercise vf-{state}">{escape(text)}</p>'
    emit(text, html)


def _first_fault(answer: Any, cases: Cases) -> str:
    if not callable(answer):
        return f"a function is needed, this is {type(answer).__name__}"
    answers: list[tuple[Part, ...]] = []
    for number, case in enumerate(cases.cases, 1):
        asked = _asked(cases.names, case.arguments)
        try:
            result = answer(*fresh(case.arguments))
        except Exception as error:
            told = " ".join(str(error).split())[:160]
            colon = ": " if told else ""
            return f"your function raised {type(error).__name__}{colon}{told}"
        if result is None or result is ...:
            return f"your function returned {result}"
        try:
            parts = _answer_parts(result, case.expected)
            fault = _wrong(parts, case.expected, cases.rtol)
        except (TypeError, Unusable) as reason:
            return f"case {number}, {asked}: {reason}"
        answers.append(parts)
        if fault:
            return _hint(answers, answer, cases) or f"case {number}, {asked}: {fault}"
    return ""


def _answer_parts(result: Any, expected: tuple[Part, ...]) -> tuple[Part, ...]:
    """A list of numbers counts as an array where the truth is one array."""
    one = len(expected) == 1 and expected[0].value.ndim > 0
    if isinstance(result, list | tuple) and one and len(result) != 1:
        with contextlib.suppress(TypeError, ValueError):
            result = np.asarray(result, dtype=np.float64)
    return parts_of(result, "your answer")


def _wrong(parts: Sequence[Part], expected: Sequence[Part], rtol: float) -> str:
    """What is wrong with an answer, in words, or ''."""
    for part, (mine, right) in enumerate(aligned(parts, expected, "your answer")):
        scale = float(np.abs(right.value.astype(np.complex128)).max()) or 1.0
        error = difference(mine.value, right.value)
        if error.max() <= rtol * scale:
            continue
        at = int(error.argmax())
        place = f", part {part}," if len(expected) > 1 else ""
        if right.value.size > 1:
            index = np.unravel_index(at, right.value.shape)
            place += f" at {[int(i) for i in index]}"
        pair = mine.value.reshape(-1)[at], right.value.reshape(-1)[at]
        got, want = (_number(value) for value in pair)
        if got == want:  # three digits do not tell them apart
            got, want = (_number(value, 12) for value in pair)
        return f"your answer{place} is {got}, the truth is {want}"
    return ""


def _hint(answers: list[tuple[Part, ...]], answer: Any, cases: Cases) -> str:
    """The hint of the known mistake that agrees with the answer on every case."""
    for case in cases.cases[len(answers) :]:
        try:
            answers.append(_answer_parts(answer(*fresh(case.arguments)), case.expected))
        except Exception:
            return ""
    for hint in cases.cases[0].mistakes:
        try:
            same = all(
                _wrong(mine, case.mistakes[hint], max(cases.rtol, 1e-12)) == ""
                for mine, case in zip(answers, cases.cases, strict=True)
            )
        except Unusable:
            same = False
        if same:
            return f"hint: {hint}"
    return ""


def _names(truth: Callable[..., Any], count: int) -> tuple[str, ...]:
    try:
        names = list(inspect.signature(truth).parameters)
    except (TypeError, ValueError):
        names = []
    return tuple(names[:count]) if len(names) >= count else ("",) * count


def _asked(names: tuple[str, ...], arguments: tuple[Any, ...]) -> str:
    told = []
    for name, value in zip(names, arguments, strict=True):
        shape = getattr(value, "shape", None)
        if shape is not None and len(shape) > 0:
            told.append(f"{name} of shape {tuple(shape)}".strip())
        elif isinstance(value, int | float) or shape is not None:
            told.append(f"{name} = {_number(value)}" if name else _number(value))
    return ", ".join(told) or "given"


def _number(value: Any, digits: int = 3) -> str:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, complex):
        return f"{value.real:.{digits}g}{value.imag:+.{digits}g}i"
    if not isinstance(value, float):
        return str(value)
    whole = value.is_integer() and abs(value) < 1e15  # a count: all its digits
    return f"{value:.0f}" if whole else f"{value:.{digits}g}"
