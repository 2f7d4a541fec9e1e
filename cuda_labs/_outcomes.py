"""How each launch of an exercise ends for a reader's kernel, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuda_labs import check
from cuda_labs.errors import CompileError
from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch
from cuda_labs.sim.profile import Profile

SECONDS = 5.0
Needs = Callable[[Profile], str]


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
class Outcome:
    """How one launch ended: "" when it is right.

    kind: a finding's kind, "compile", "launch", "values" or "needs"; told: the
    reason in words; values: the output's bytes where the launch ended well; need: what
    `needs` said, without its numbers, which depend on the kernel.
    """

    kind: str
    told: str = ""
    values: bytes = b""
    profile: Profile | None = None
    need: str = ""

    def same(self, other: Outcome) -> bool:
        """Whether both ended in the same way, wherever in the source."""
        mine = self.kind, self.values, self.need
        return mine == (other.kind, other.values, other.need)


def outcomes(
    source: str, name: str, cases: Sequence[Case], needs: Needs | None, k: int
) -> tuple[Outcome, ...]:
    """How the kernel `name` of a source ends, case by case.

    needs: why a right result does not do, or ""; k: as in `check.agree`. After a case
    that the others would only repeat, they are left out.
    """
    kernel = Kernel(source, name)
    found = []
    for case in cases:
        found.append(_outcome(kernel, case, needs, k))
        if found[-1].kind in ("compile", "launch", "deadline"):
            break  # the others would say the same, and take as long
    return tuple(found)


def _outcome(kernel: Kernel, case: Case, needs: Needs | None, k: int) -> Outcome:
    args = copied(case.launch.args)
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
    fault = _fault(case, got, k)
    if fault:
        return Outcome("values", f"{case}: {fault}", values, profile)
    reason = needs(profile) if needs else ""
    if reason:
        need = re.sub(r"\d+", "", reason)
        return Outcome("needs", f"{case}: {reason}", values, profile, need)
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


def _elements(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bytes of each element, comparable: NaN equals itself."""
    return np.ascontiguousarray(array).reshape(-1).view(f"V{array.itemsize}")


def copied(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A launch's arguments, with arrays of their own."""
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)


def _extent(extent: int | Sequence[int]) -> str:
    values = (extent,) if isinstance(extent, int) else tuple(extent)
    return " × ".join(map(str, values))
