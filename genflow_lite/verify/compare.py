"""What a check's functions return, as arrays, and how far two of them are apart.

A result is a number, a tensor, an array, an `Estimate`, or a tuple or list of those;
each entry of a tuple is one *part*, and parts are compared one by one, each with its
own scale. Two rules keep a comparison honest: nothing is broadcast (a shape that
differs is a failure; only two single numbers, such as shapes () and (1,), count as
the same shape), and a value that is not finite never agrees with anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genflow_lite.verify.estimate import Estimate

EXACT_INT = 2**53  # beyond this an integer does not survive a trip through float64


class Unusable(Exception):
    """A result that cannot be compared: not finite, empty, or of another shape."""


@dataclass(frozen=True)
class Part:
    """One array of a result; `stderr` is None for an exact value."""

    value: np.ndarray
    stderr: np.ndarray | None = None


def parts_of(result: Any, who: str) -> tuple[Part, ...]:
    """Split a result into its parts.

    Raises `TypeError` for a result that is not made of numbers and `Unusable` for one
    with a value that is not finite or with no value at all; both name `who`.
    """
    if isinstance(result, tuple | list) and not isinstance(result, Estimate):
        if not result:
            raise Unusable(f"{who} returned an empty {type(result).__name__}")
        entries = [(f"{who}, part {i}", entry) for i, entry in enumerate(result)]
    else:
        entries = [(who, result)]
    return tuple(_part(entry, name) for name, entry in entries)


def _part(entry: Any, who: str) -> Part:
    if not isinstance(entry, Estimate):
        return Part(_finite(as_array(entry, who), who))
    value = _finite(as_array(entry.value, who), who)
    stderr = _finite(as_array(entry.stderr, who), f"the standard error of {who}")
    return Part(value, stderr.astype(np.float64))


def as_array(entry: Any, who: str) -> np.ndarray:
    """A number, tensor or array as a bool, integer, float64 or complex128 array."""
    if isinstance(entry, torch.Tensor):
        array = entry.detach().cpu().resolve_conj().resolve_neg().to_dense()
        array = array.double() if array.is_floating_point() else array
        array = array.numpy()
    elif isinstance(entry, np.ndarray | np.generic | int | float | complex):
        array = np.asarray(entry)
    elif hasattr(entry, "__float__") and not isinstance(entry, str | bytes):
        array = np.asarray(float(entry))  # SymPy and mpmath numbers, Fraction
    else:
        raise TypeError(
            f"{who} returned {type(entry).__name__}; needed is a number, a tensor, an "
            "array, an Estimate, or a tuple of those"
        )
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    raise TypeError(f"{who} returned an array of {array.dtype}; needed are numbers")


def _finite(array: np.ndarray, who: str) -> np.ndarray:
    if array.size == 0:
        raise Unusable(f"{who} is empty (shape {array.shape})")
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" at {list(where)}" if where else ""
        raise Unusable(f"{who} is {array[where]}{place}")
    return array


def aligned(
    left: Sequence[Part], right: Sequence[Part], who: str, truth: str = "the truth"
) -> list[tuple[Part, Part]]:
    """Pair the parts of two results; `Unusable` when number or shape differ."""
    if len(left) != len(right):
        raise Unusable(f"{who} has {len(left)} parts, {truth} {len(right)}")
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        if a.value.shape != b.value.shape and not a.value.size == b.value.size == 1:
            part = f", part {i}," if len(left) > 1 else ""
            raise Unusable(
                f"{who}{part} has shape {a.value.shape}, {truth} {b.value.shape}"
            )
    return list(zip(left, right, strict=True))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b| entry by entry, in exact arithmetic for integers beyond 2⁵³."""
    a, b = a.reshape(-1), b.reshape(-1)
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        exact = np.abs(a.astype(object) - b.astype(object))
        return exact.astype(np.float64)
    kind = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    return np.abs(a.astype(kind) - b.astype(kind))


@dataclass(frozen=True)
class Gap:
    """How far a result is from the truth: the measured number that decides, and how
    many times the tolerance it is (so ≤ 1 agrees)."""

    shown: float
    times: float


def relative_gap(
    left: Sequence[Part], right: Sequence[Part], rtol: float, atol: float, who: str
) -> Gap:
    """The worst part's error: max|a − b| / max|b| against rtol, or max|a − b|
    against atol where that is the kinder of the two."""
    worst = Gap(0.0, -1.0)
    for a, b in aligned(left, right, who):
        error = float(difference(a.value, b.value).max())
        scale = float(np.abs(b.value.astype(np.complex128)).max())
        if error == 0:
            gap = Gap(0.0, 0.0)
        else:
            relative = error / scale if scale > 0 else np.inf
            by_rtol = relative / rtol if rtol > 0 else np.inf
            by_atol = error / atol if atol > 0 else np.inf
            # Where only an absolute tolerance is given the absolute error is shown.
            absolute = by_atol < by_rtol or rtol == 0
            gap = Gap(error if absolute else relative, min(by_rtol, by_atol))
        worst = max(worst, gap, key=lambda g: g.times)
    return worst


def z_gap(left: Sequence[Part], right: Sequence[Part], z: float, who: str) -> Gap:
    """The worst component's distance in standard errors of both sides together."""
    worst = 0.0
    for a, b in aligned(left, right, who):
        error = difference(a.value, b.value)
        total = np.zeros_like(error)
        for part in (a, b):
            if part.stderr is not None:
                total += part.stderr.reshape(-1) ** 2
            # Rounding of the value itself: a component that is the same constant in
            # every sample has no spread, and 0.1 + 0.2 must still equal 0.3.
            size = np.abs(part.value.astype(np.complex128)).reshape(-1)
            total += (64 * np.finfo(np.float64).eps * size) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(error == 0, 0.0, error / np.sqrt(total))
        worst = max(worst, float(scores.max()))
    return Gap(worst, worst / z)
