"""The only comparator: does a kernel's result agree with the reference?

A result passes when every element obeys

    |result − expected| ≤ 4 √K ε(dtype) · scale,

where K is the length of the sum behind an element (1 for a single rounding),
ε the spacing of the result's dtype at 1, and scale the size of what was
rounded: |expected| itself unless the caller gives a larger one, such as
Σ |a_k b_k| for a dot product, whose terms may cancel. Rounding errors of K
independent roundings grow as √K; see Higham (2002), *Accuracy and
Stability of Numerical Algorithms*, §2.8 and §3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SAFETY = 4.0

# NumPy has no bfloat16; eight significant bits give the spacing 2^-7 at 1.
_BFLOAT16_EPS = 2.0**-7


class Mismatch(AssertionError):
    """A result that disagrees with its reference."""


@dataclass(frozen=True)
class Comparison:
    """How close a result came.

    worst: the largest |result − expected| / tolerance, at most 1;
    index: where it lies; error: |result − expected| there; elements: how many
    were compared.
    """

    worst: float
    index: tuple[int, ...]
    error: float
    elements: int


def epsilon(dtype: npt.DTypeLike | str) -> float:
    """Spacing of a floating-point format at 1; 0 for integers and bool.

    "bfloat16" is accepted by name. Raises TypeError for anything that is
    neither a real floating-point format nor an integer.
    """
    if str(dtype) == "bfloat16":
        return _BFLOAT16_EPS
    kind = np.dtype(dtype)
    if kind.kind in "iub":
        return 0.0
    if kind.kind != "f":
        raise TypeError(f"dtype: a real floating-point format or integer, got {kind}")
    return float(np.finfo(kind.type).eps)


def agree(
    result: Any,
    expected: npt.ArrayLike,
    *,
    k: int = 1,
    scale: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | str | None = None,
) -> Comparison:
    """Compare `result` with `expected`, or raise `Mismatch`.

    Args:
        result: array from a kernel, NumPy or CuPy. bfloat16 data are passed as
            float32 with dtype="bfloat16".
        expected: float64 reference of the same shape, finite everywhere.
        k: length of the sum behind one element. k = 0 demands equality, for
            kernels that only move data; integers are always compared exactly.
        scale: non-negative, broadcastable to the shape; by default |expected|.
        dtype: format in which the kernel rounded; by default result's own.

    Returns a `Comparison`. Raises `Mismatch` first for non-finite elements,
    then for elements out of tolerance, naming the worst; ValueError for shapes
    that differ, an empty comparison, a negative k or an unusable reference.
    """
    got = np.asarray(result.get() if hasattr(result, "get") else result)
    want = np.asarray(expected, dtype=np.float64)
    if got.shape != want.shape:
        raise ValueError(f"result: shape {got.shape}, expected has {want.shape}")
    if got.size == 0:
        raise ValueError("result: no elements, so nothing would be checked")
    if k < 0:
        raise ValueError(f"k: must be 0 or more, got {k}")
    if not np.isfinite(want).all():
        raise ValueError("expected: must be finite everywhere to judge a result")
    eps = epsilon(got.dtype if dtype is None else dtype)
    value = got.astype(np.float64)
    finite = np.isfinite(value)
    if not finite.all():
        where = _index(~finite, got.shape)
        count = int(got.size - finite.sum())
        raise Mismatch(
            f"{count} of {got.size} elements are not finite; "
            f"the first, at {where}, is {value[where]} (expected {want[where]:.9g})"
        )
    size = np.abs(want) if scale is None else _scale(scale, want.shape)
    tolerance = SAFETY * np.sqrt(float(k)) * eps * size
    error = np.abs(value - want)
    # Where the tolerance is 0 only equality passes.
    ratio = np.divide(
        error, tolerance, out=np.where(error > 0, np.inf, 0.0), where=tolerance > 0
    )
    flat = int(np.argmax(ratio))
    where = tuple(int(i) for i in np.unravel_index(flat, got.shape))
    worst = float(ratio[where])
    if worst > 1.0:
        wrong = int((ratio > 1.0).sum())
        raise Mismatch(
            f"{wrong} of {got.size} elements are out of tolerance; "
            f"the worst, at {where}, is {value[where]:.9g}, "
            f"expected {want[where]:.9g} ± {float(tolerance[where]):.3g}"
        )
    return Comparison(worst, where, float(error[where]), int(got.size))


def normals(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    outliers: float = 0.01,
) -> npt.NDArray[Any]:
    """Standard normals of which a share `outliers` is 100 times larger.

    A kernel that drops, repeats or misplaces an element cannot pass on such
    data by luck, and one that sums carelessly shows it. Raises ValueError
    unless 0 ≤ outliers ≤ 1.
    """
    if not 0.0 <= outliers <= 1.0:
        raise ValueError(f"outliers: a share from 0 to 1, got {outliers}")
    x = rng.standard_normal(shape)
    x = np.where(rng.random(shape) < outliers, 100.0 * x, x)
    return x.astype(dtype)


def poisoned(
    shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
) -> npt.NDArray[Any]:
    """An output array in which an element never written cannot pass.

    NaN for floating-point formats; for integers the byte 0xA5 repeated.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.full(shape, np.nan, dtype=kind)
    if kind.kind not in "iu":
        raise TypeError(f"dtype: a floating-point format or integer, got {kind}")
    raw = np.full((*shape, kind.itemsize), 0xA5, dtype=np.uint8)
    return raw.view(kind).reshape(shape)


def _scale(scale: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    size = np.asarray(scale, dtype=np.float64)
    try:
        size = np.broadcast_to(size, shape)
    except ValueError:
        raise ValueError(
            f"scale: shape {size.shape} does not broadcast to the result's {shape}"
        ) from None
    if not (np.isfinite(size).all() and (size >= 0).all()):
        raise ValueError("scale: must be finite and not negative")
    return size


def _index(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[int, ...]:
    first = np.unravel_index(int(np.argmax(mask)), shape)
    return tuple(int(i) for i in first)
