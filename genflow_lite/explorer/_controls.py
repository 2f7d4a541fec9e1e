"""The controls of a figure: named lists of values, and how to write them down."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Control:
    """One control: its name, its values in order, and a label for each value."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]

    @property
    def text(self) -> bool:
        """Whether the values are strings."""
        return isinstance(self.values[0], str)

    @property
    def whole(self) -> bool:
        """Whether every value is a whole number given as one."""
        return all(isinstance(v, int) for v in self.values)

    def index(self, value: Any) -> int:
        """The place of `value` on the grid; ValueError if it is not there."""
        if self.text:
            if value in self.values:
                return self.values.index(value)
        elif isinstance(value, Real) and not isinstance(value, bool):
            spread = abs(self.values[-1] - self.values[0]) or 1.0
            for k, own in enumerate(self.values):
                if abs(own - float(value)) <= 1e-9 * spread:
                    return k
        raise ValueError(
            f"start: {self.name} = {value!r} is not one of {self.describe()}"
        )

    def describe(self) -> str:
        """The values, shortened: ``0, 0.5, …, 8 (17 values)``."""
        if len(self.labels) <= 6:
            return ", ".join(self.labels)
        first, second, *_, final = self.labels
        return f"{first}, {second}, …, {final} ({len(self.labels)} values)"


def _plain(value: Any) -> Any:
    """A Python int, float or str; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return None
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return None


def number_labels(values: tuple[float, ...]) -> tuple[str, ...]:
    """Each number with the fewest decimals that still tell them all apart.

    Numbers that have a short decimal form are written in full; for a grid such as
    ``linspace(0, 1, 7)`` two digits beyond the closest spacing are kept; in a grid that
    spans more than three decades they get three significant digits, or as many as
    tell them apart.
    """
    if all(isinstance(v, int) for v in values):
        return tuple(str(v).replace("-", "\u2212") for v in values)
    size = max(abs(v) for v in values) or 1.0
    nonzero = [abs(v) for v in values if v]
    wide = bool(nonzero) and max(nonzero) / min(nonzero) > 1000
    if wide and len(nonzero) == len(values):
        texts = next(
            texts
            for digits in range(3, 18)
            if len(set(texts := _significant(values, digits))) == len(set(values))
        )
    else:
        gaps = [abs(b - a) for a, b in itertools.pairwise(values)]
        most = max(0, 2 - math.floor(math.log10(min(gaps, default=size) or size)))
        digits = next(
            (d for d in range(most) if _exact(values, d, size)), max(most - 1, 0)
        )
        texts = [f"{v:.{digits}f}" for v in values]
        texts = [t if float(t) else t.lstrip("-") for t in texts]  # no "-0.0"
    return tuple(t.replace("-", "\u2212") for t in texts)


def _significant(values: tuple[float, ...], digits: int) -> list[str]:
    full = [f"{v:.10g}" for v in values]
    return [
        text if float(text) == v else f"{v:.{digits}g}"
        for text, v in zip(full, values, strict=True)
    ]


def _exact(values: tuple[float, ...], digits: int, size: float) -> bool:
    return all(abs(round(v, digits) - v) <= 1e-9 * size for v in values)


def read_control(name: str, values: Any) -> Control:
    """A control from a list, range, array or tensor.

    Raises ValueError where it is empty, not strictly monotone (numbers), or repeats
    itself (strings); TypeError where the values are neither numbers nor strings.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"control {name!r} must be a list of numbers or of strings; "
            f"got {type(values).__name__}"
        )
    plain = tuple(_plain(v.item() if hasattr(v, "item") else v) for v in values)
    if not plain:
        raise ValueError(f"control {name!r} is empty; it needs at least one value")
    texts = sum(isinstance(v, str) for v in plain)
    if None in plain or texts not in (0, len(plain)):
        raise TypeError(
            f"control {name!r} must hold numbers only or strings only; got {values!r}"
        )
    if texts:
        if len(set(plain)) != len(plain):
            raise ValueError(f"control {name!r} repeats a value: {list(plain)}")
        return Control(name, plain, plain)
    if not all(math.isfinite(v) for v in plain):
        raise ValueError(f"control {name!r} must be finite; got {list(plain)}")
    steps = [b - a for a, b in itertools.pairwise(plain)]
    if not (all(s > 0 for s in steps) or all(s < 0 for s in steps)):
        raise ValueError(
            f"control {name!r} must be strictly increasing or decreasing; "
            f"got {list(plain)}"
        )
    return Control(name, plain, number_labels(plain))


def match_parameters(fn: Callable, names: Iterable[str]) -> None:
    """Check that `fn` can be called with exactly these keyword arguments.

    Raises TypeError naming `fn`, the controls given and the parameters it has.
    """
    names = list(names)
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin: nothing to compare with
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        called = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(
            f"the controls {names} do not fit the parameters of "
            f"{called}{signature}: {error}"
        ) from None


def merge(groups: Iterable[Mapping[str, Control]]) -> dict[str, Control]:
    """All controls of several panels; one name must mean one list of values."""
    merged: dict[str, Control] = {}
    for group in groups:
        for name, control in group.items():
            other = merged.setdefault(name, control)
            if other.values != control.values:
                raise ValueError(
                    f"control {name!r} has the values {other.describe()} in one panel "
                    f"and {control.describe()} in another; panels share a control by "
                    "its name"
                )
    return merged
