"""Exercises whose answer is CUDA C: a reader's kernel against a truth.

    cases = kernel_cases("saxpy", launch, truth, shapes=[(1,), (31,), (256,)])
    kernel_exercise("ex-saxpy", source, cases)

`launch(shape, rng)` makes one launch, `truth` what its output must hold. Each launch
runs on the simulator with all its detectors, so that a race, an overrun or a
deadlock is told with its line, and the source is shown with that line marked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from cuda_labs._outcomes import Case, Outcome, copied, outcomes
from cuda_labs.plans import Launch
from cuda_labs.sim import display
from cuda_labs.sim.profile import Profile

NAME = re.compile(r"ex-[a-z0-9]+(-[a-z0-9]+)*")
# No chapter draws from this seed, so nobody has seen the cases.
SEED = 90_001


@dataclass(frozen=True)
class KernelCases:
    """What a reader's kernel is tried on; made by `kernel_cases`."""

    kernel: str
    cases: tuple[Case, ...]
    needs: Callable[[Profile], str] | None
    k: int
    hints: dict[str, tuple[Outcome, ...]]


def kernel_cases(
    kernel: str,
    launch: Callable[[tuple[int, ...], np.random.Generator], Launch],
    truth: Callable[..., Any],
    *,
    shapes: Sequence[tuple[int, ...]],
    output: int = -1,
    needs: Callable[[Profile], str] | None = None,
    hints: Mapping[str, str] | None = None,
    k: int = 1,
) -> KernelCases:
    """Launches for an exercise.

    Args:
        kernel: the name that the reader's kernel must have.
        launch: `launch(shape, rng)` gives grid, block and arguments, once for each
            shape; the output should be `check.poisoned`.
        truth: `truth(*arguments)`, what the output must hold after the launch.
        shapes: sizes; among them 1, a prime, and one that is no multiple of a block.
        output: the position of the output among the arguments.
        needs: `needs(profile)` gives a reason why a right result does not do, such
            as too many sectors, or "".
        hints: maps a hint to the source of the wrong kernel that deserves it. The
            hint is given to a reader whose kernel ends like that one on every case.
        k: length of the sum behind an element, for the tolerance of `check.agree`.

    Raises ValueError for no shapes, for an output that is no array, and for a hint
    whose kernel is right.
    """
    if not shapes:
        raise ValueError("shapes: at least one is needed, got none")
    made = []
    for number, shape in enumerate(shapes):
        rng = np.random.default_rng(SEED + number)
        one = launch(tuple(shape), rng)
        expected = np.asarray(truth(*copied(one.args)))
        position = range(len(one.args))[output]
        if not isinstance(one.args[position], np.ndarray):
            raise ValueError(f"output: the position of an array, got {output}")
        made.append(Case(tuple(shape), one, position, expected))
    cases = KernelCases(kernel, tuple(made), needs, k, {})
    for hint, source in (hints or {}).items():
        ends = _tried(source, cases)
        if all(end.kind == "" for end in ends):
            raise ValueError(f"hints[{hint!r}] is no mistake: its kernel is right")
        cases.hints[hint] = ends
    return cases


def kernel_exercise(name: str, source: Any, cases: KernelCases) -> None:
    """Try a reader's kernel and say "✓" or "not yet", with a reason.

    Never raises on a fault of the kernel. A finding of the simulator comes with its
    line, and in a notebook with the source in which that line is marked.

    Raises ValueError for a name that is no exercise's label, TypeError for cases
    that `kernel_cases` did not make.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"name: the exercise's label, 'ex-…', got {name!r}")
    if not isinstance(cases, KernelCases):
        raise TypeError(f"cases: what kernel_cases returns, got {type(cases).__name__}")
    if not isinstance(source, str) or not source.strip():
        got = "nothing" if isinstance(source, str) else type(source).__name__
        _emit(f"{name}: not yet — the CUDA C as a string is needed, this is {got}")
        return
    ends = _tried(source, cases)
    wrong = next((end for end in ends if end.kind), None)
    if wrong is None:
        count = len(cases.cases)
        _emit(f"{name}: ✓ right on {count} launches it had not seen", "pass")
        return
    hint = next((h for h, known in cases.hints.items() if _agree(ends, known)), "")
    told = f"hint: {hint} — {wrong.told}" if hint else wrong.told
    _emit(f"{name}: not yet — {told}", "todo", _marked(wrong))


def _tried(source: str, cases: KernelCases) -> tuple[Outcome, ...]:
    return outcomes(source, cases.kernel, cases.cases, cases.needs, cases.k)


def _marked(wrong: Outcome) -> str:
    """The source with the line at fault, where the fault has a line."""
    profile = wrong.profile
    if profile is None or (wrong.kind == "values" and not profile.errors):
        return ""
    return display.page(profile)


def _agree(mine: tuple[Outcome, ...], known: tuple[Outcome, ...]) -> bool:
    return len(mine) == len(known) and all(map(Outcome.same, mine, known))


def _emit(line: str, state: str = "todo", page: str = "") -> None:
    """One display with text/plain and text/html, or a printed line elsewhere."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(line)
        return
    from IPython.display import display as show

    shown = f'<p class="vf-exercise vf-{state}">{escape(line)}</p>{page}'
    show({"text/plain": line, "text/html": shown}, raw=True)
