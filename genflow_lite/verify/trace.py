"""Which library functions a call runs, so that a truth cannot quietly be the claim.

A claim and its truth may share the statement of the problem (α, σ and the noising
they define, the construction of a path or a mixture, argument checks) and the drawing
of samples. Any other library function that both call is listed on the card.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

LIBRARIES = ("genflow_lite", "cuda_labs")
NOT_COUNTED = ("genflow_lite.verify", "genflow_lite._shapes")
CONSTRUCTORS = {"__init__", "__post_init__", "__new__"}
# The statement of the problem and the drawing of samples, with all that runs beneath.
ALLOWED = {
    "paths": {"*"},  # what α and σ are on each named path
    "_gaussian_path": {
        *("_checked", "GaussianPath.sigma_sq", "GaussianPath.mix"),
        "GaussianPath.prior",
    },
    "oracles": {"GaussianMixture.sample"},
    "brownian": {"wiener", "bridge"},
}
PLUMBING = {("ode", "last")}  # not counted itself; what runs beneath is


def _allowed(module: str, name: str) -> bool:
    last = name.rpartition(".")[2]
    if last in CONSTRUCTORS or last.lstrip("_").startswith("check_"):
        return True
    return not {"*", name}.isdisjoint(ALLOWED.get(module, ()))


class Calls:
    """The functions seen by one traced call: names of the library's functions and of
    those that the chapter itself defines."""

    def __init__(self) -> None:
        self.library: set[str] = set()
        self.chapter: set[str] = set()
        self._beneath = 0  # depth below an allowed function, 0 outside of one

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """The profile hook: a generator's resume and yield count as call and return,
        so the depth stays balanced."""
        if event == "call":
            if self._beneath:
                self._beneath += 1
            else:
                self._enter(frame)
        elif event == "return" and self._beneath:
            self._beneath -= 1

    def _enter(self, frame: FrameType) -> None:
        module = frame.f_globals.get("__name__", "")
        name = frame.f_code.co_qualname.split(".<locals>")[0]
        if module == "__main__":
            if "<" not in name:
                self.chapter.add(name)
            return
        if not module.startswith(LIBRARIES) or module.startswith(NOT_COUNTED):
            return
        package, _, short = module.partition(".")
        if frame.f_code.co_name in CONSTRUCTORS or _allowed(short, name):
            self._beneath = 1
        elif (short, name) not in PLUMBING and not name.startswith("<"):
            # ("<module>" is a module's own body, run by an import.)
            self.library.add(".".join(filter(None, (short or package, name))))


def traced(function: Callable[[], T]) -> tuple[T, Calls]:
    """Run `function` and record the library functions that it enters."""
    calls = Calls()
    before = sys.getprofile()
    sys.setprofile(calls)
    try:
        result = function()
    finally:
        sys.setprofile(before)
    return result, calls


def shared(left: Calls, right: Calls) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the library's and of the chapter's functions that both entered."""
    return (
        tuple(sorted(left.library & right.library)),
        tuple(sorted(left.chapter & right.chapter)),
    )
