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

from cuda_labs import check
from cuda_labs.errors import CompileError
from cuda_labs.kernel import Kernel
from cuda_labs.operations import Launch
from cuda_labs.sim import display
from cuda_labs.sim.profile import Profile

NAME = re.compile(r"ex-[a-z0-9]+(-[a-z0-9]+)*")
SECONDS = 5.0
# No chapter draws from this seed, so nobody has seen the cases.
SEED = 90_001


@dataclass(frozen=True)
class Case:
    """One launch, the position of its output, and what that must hold."""

    shape: tuple[int, ...]
    launch: Launch
    output: int
    expected: np.ndarray[Any, Any]

    def __str__(self) -> str:
        grid, block = _extent(self.launch.grid), _extent(self.launch.block)
        sizes = " × ".join(map(str, self.shape))
        return f"size {sizes}, grid {grid}, block {block}"


@dataclass(frozen=True)
class KernelCases:
    """What a reader's kernel is tried on; made by `kernel_cases`."""

    kernel: str
    cases: tuple[Case, ...]
    needs: Callable[[Profile], str] | None
    k: int
    hints: dict[str, tuple[Outcome, ...]]


@dataclass(frozen=True)
class Outcome:
    """How one launch ended: "" when it is right.

    kind: a finding's kind, "compile", "launch", "values" or "needs"; told: the
    reason in words; values: the output's bytes where the launch ended well.
    """

    kind: str
    told: str = ""
    values: bytes = b""
    profile: Profile | None = None

    def same(self, other: Outcome) -> bool:
        """Whether both ended in the same way, wherever in the source."""
        return (self.kind, self.values) == (other.kind, other.values)


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
        expected = np.asarray(truth(*_copied(one.args)))
        position = range(len(one.args))[output]
        if not isinstance(one.args[position], np.ndarray):
            raise ValueError(f"output: the position of an array, got {output}")
        made.append(Case(tuple(shape), one, position, expected))
    cases = KernelCases(kernel, tuple(made), needs, k, {})
    for hint, source in (hints or {}).items():
        outcomes = _outcomes(source, cases)
        if all(outcome.kind == "" for outcome in outcomes):
            raise ValueError(f"hints[{hint!r}] is no mistake: its kernel is right")
        cases.hints[hint] = outcomes
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
    outcomes = _outcomes(source, cases)
    wrong = next((o for o in outcomes if o.kind), None)
    if wrong is None:
        count = len(cases.cases)
        _emit(f"{name}: ✓ right on {count} launches it had not seen", "pass")
        return
    hint = next((h for h, known in cases.hints.items() if _agree(outcomes, known)), "")
    told = f"hint: {hint} — {wrong.told}" if hint else wrong.told
    _emit(f"{name}: not yet — {told}", "todo", _marked(wrong))


def _outcomes(source: str, cases: KernelCases) -> tuple[Outcome, ...]:
    kernel = Kernel(source, cases.kernel)
    found = []
    for case in cases.cases:
        found.append(_outcome(kernel, case, cases))
        if found[-1].kind in ("compile", "launch", "deadline"):
            break  # the other cases would say the same, and take as long
    return tuple(found)


def _outcome(kernel: Kernel, case: Case, cases: KernelCases) -> Outcome:
    args = _copied(case.launch.args)
    grid, block, shared = case.launch.grid, case.launch.block, case.launch.shared_mem
    try:
        profile = kernel.profile(grid, block, args, shared, timeout=SECONDS)
    except CompileError as error:
        return Outcome("compile", f"your kernel does not compile: {error}")
    except (TypeError, ValueError) as error:
        return Outcome("launch", f"{case}: the arguments do not fit, {error}")
    if profile.errors:
        first = profile.errors[0]
        return Outcome(first.kind, f"{case}: {first}", profile=profile)
    got = np.asarray(args[case.output])
    values = got.tobytes()
    for position, (before, after) in enumerate(
        zip(case.launch.args, args, strict=True)
    ):
        if position != case.output and not np.array_equal(before, after):
            told = f"{case}: argument {position + 1} is an input, and has changed"
            return Outcome("values", told, values, profile)
    fault = _fault(case, got, cases.k)
    if fault:
        return Outcome("values", f"{case}: {fault}", values, profile)
    reason = cases.needs(profile) if cases.needs else ""
    if reason:
        return Outcome("needs", f"{case}: {reason}", values, profile)
    return Outcome("", values=values, profile=profile)


def _fault(case: Case, got: np.ndarray[Any, Any], k: int) -> str:
    """What is wrong with an output, in words, or ''."""
    before = np.asarray(case.launch.args[case.output])
    same = _elements(got) == _elements(before)
    if same.all() and not np.array_equal(before, case.expected):
        return f"argument {case.output + 1} is as it was before"
    left = same & (_elements(got) == _elements(check.poisoned((1,), got.dtype)))
    if left.any():
        where = np.unravel_index(int(np.argmax(left)), got.shape)
        first = [int(i) for i in where]
        return (
            f"{int(left.sum())} of {left.size} elements are never written, "
            f"the first at {first}"
        )
    try:
        check.agree(got, case.expected, k=k)
    except check.Mismatch as error:
        return str(error)
    return ""


def _marked(wrong: Outcome) -> str:
    """The source with the line at fault, where the fault has a line."""
    profile = wrong.profile
    if profile is None or (wrong.kind == "values" and not profile.errors):
        return ""
    return display.page(profile)


def _agree(mine: tuple[Outcome, ...], known: tuple[Outcome, ...]) -> bool:
    return len(mine) == len(known) and all(map(Outcome.same, mine, known))


def _elements(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bytes of each element, comparable: NaN equals itself."""
    return np.ascontiguousarray(array).reshape(-1).view(f"V{array.itemsize}")


def _copied(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)


def _extent(extent: int | Sequence[int]) -> str:
    values = (extent,) if isinstance(extent, int) else tuple(extent)
    return " × ".join(map(str, values))


def _emit(line: str, state: str = "todo", page: str = "") -> None:
    """One display with text/plain and text/html, or a printed line elsewhere."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(line)
        return
    from IPython.display import display as show

    shown = f'<p class="vf-exercise vf-{state}">{escape(line)}</p>{page}'
    show({"text/plain": line, "text/html": shown}, raw=True)
