"""Calling a check's functions: fresh, equal arguments for each, on several seeds."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from genflow_lite.verify.trace import shared, traced

LABEL = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")


def check_label(label: str) -> str:
    """The label of a claim, or `TypeError` / `ValueError`."""
    if not isinstance(label, str):
        raise TypeError(f"label is {type(label).__name__}; needed is a string 'eq-…'")
    if not LABEL.fullmatch(label):
        raise ValueError(
            f"label is {label!r}; needed is the label of a claim: 'eq-' and then words "
            "of a–z and 0–9 joined by '-'"
        )
    return label


def check_rejects(rejects: Any) -> dict[str, Any]:
    """A non-empty dict of named mistakes, or `TypeError` / `ValueError`."""
    if not isinstance(rejects, Mapping):
        raise TypeError(
            f"rejects is {type(rejects).__name__}; needed is a dict "
            "{name of a classic mistake: the wrong claim}"
        )
    if not rejects:
        raise ValueError("rejects is empty; needed is at least one classic mistake")
    for name in rejects:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f"rejects has the key {name!r}; needed is a mistake's name"
            )
        if "|" in name or "\n" in name:
            raise ValueError(
                f"rejects has the key {name!r}; it may not hold '|' or a line end"
            )
    return dict(rejects)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """A finite number in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is {type(value).__name__}; needed is a number")
    if not low <= float(value) < high:
        raise ValueError(f"{name} is {value!r}; needed is {low:g} ≤ {name} < {high:g}")
    return float(value)


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Two or more different seeds: one lucky draw is not a check."""
    seeds = tuple(seeds)
    if len(set(seeds)) < 2 or not all(isinstance(s, int) and s >= 0 for s in seeds):
        raise ValueError(
            f"seeds is {seeds}; needed are at least two different seeds ≥ 0"
        )
    return seeds


def required_parameters(function: Callable[..., Any], name: str) -> int:
    """How many positional arguments `function` needs."""
    if not callable(function):
        raise TypeError(f"{name} is {type(function).__name__}; needed is a function")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-ins have no signature
        return 0
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def generator(seed: int) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def fresh(value: Any) -> Any:
    """A copy whose changes nobody else sees: tensors, arrays, generators and the
    containers that hold them. Other objects are passed as they are."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(fresh(entry) for entry in value)
    if type(value) is dict:
        return {key: fresh(entry) for key, entry in value.items()}
    return value


@dataclass(frozen=True)
class Run:
    """What every function of a check returned on one seed."""

    seed: int | None
    claim: Any
    truth: Any
    wrongs: dict[str, Any]


class Bench:
    """Runs claim, truth and wrong claims side by side on shared inputs."""

    def __init__(
        self,
        claim: Any,
        truth: Any,
        rejects: Mapping[str, Any],
        inputs: Any,
        seeds: tuple[int, ...],
    ) -> None:
        self.claim, self.truth, self.rejects = claim, truth, rejects
        self.inputs = inputs
        self.shared: tuple[str, ...] = ()
        self.given: tuple[str, ...] = ()
        named = {"claim": claim, "truth": truth}
        named |= {f"rejects[{name!r}]": wrong for name, wrong in rejects.items()}
        needs = {name: required_parameters(f, name) for name, f in named.items()}
        if same_code(claim, truth):
            raise ValueError(
                "truth is the claim itself; needed is an independent truth"
            )
        if inputs is None:
            for name, count in needs.items():
                if count > 1:
                    raise TypeError(
                        f"{name} needs {count} arguments; without inputs= it may take "
                        "one (a generator) or none"
                    )
            self.seeds = seeds if any(needs.values()) else ()
        else:
            self.seeds = seeds if required_parameters(inputs, "inputs") else ()

    def runs(self) -> list[Run]:
        """One run for each seed; a single one where nothing is random."""
        results = []
        for seed in self.seeds or (None,):
            arguments = self._arguments(seed)
            claim_call = partial(self._call, "claim", self.claim, arguments, seed)
            truth_call = partial(self._call, "truth", self.truth, arguments, seed)
            if results:
                claim, truth = claim_call(), truth_call()
            else:  # tracing slows a call down, and one seed tells all
                claim, seen = traced(claim_call)
                truth, also = traced(truth_call)
                self.shared, self.given = shared(seen, also)
            wrongs = {
                name: self._wrong(name, wrong, arguments, seed)
                for name, wrong in self.rejects.items()
            }
            results.append(Run(seed, claim, truth, wrongs))
        return results

    def describe(self) -> str:
        """On which seeds the check ran, in words."""
        if not self.seeds:
            return "once: nothing in it is random"
        return "seeds " + " and ".join(map(str, self.seeds))

    def _arguments(self, seed: int | None) -> tuple[Any, ...] | None:
        if self.inputs is None:
            return None
        made = self.inputs() if seed is None else self.inputs(generator(seed))
        if not isinstance(made, tuple):
            raise TypeError(
                f"inputs returned {type(made).__name__}; needed is a tuple of arguments"
            )
        return made

    def _call(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...] | None,
        seed: int | None,
    ) -> Any:
        if arguments is not None:
            given = fresh(arguments)
        elif seed is not None and required_parameters(function, name):
            given = (generator(seed),)
        else:
            given = ()
        try:
            return function(*given)
        except Exception as error:
            error.add_note(f"raised by the {name} of a check (seed {seed})")
            raise

    def _wrong(self, name: str, wrong: Any, arguments: Any, seed: int | None) -> Any:
        try:
            return self._call(f"mistake {name!r}", wrong, arguments, seed)
        except Exception as error:
            return Raised(error)


@dataclass(frozen=True)
class Raised:
    """A wrong claim raised instead of returning a wrong number."""

    error: Exception


def same_code(left: Any, right: Any) -> bool:
    """Whether two functions are one, or the same text over the same variables."""
    if left is right:
        return True
    one, two = getattr(left, "__code__", None), getattr(right, "__code__", None)
    if one is None or two is None:
        return False
    if (one.co_code, one.co_consts, one.co_names) != (
        two.co_code,
        two.co_consts,
        two.co_names,
    ):
        return False

    def cells(function: Any) -> Sequence[Any]:
        closure = [cell.cell_contents for cell in function.__closure__ or ()]
        return [*closure, *(function.__defaults__ or ())]

    mine, theirs = cells(left), cells(right)
    return len(mine) == len(theirs) and all(
        a is b for a, b in zip(mine, theirs, strict=True)
    )
