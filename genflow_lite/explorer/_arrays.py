"""Whatever a function returns as numbers, as a checked float64 array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def array(value: Any, where: str) -> Array:
    """`value` as a float64 array; tensors are detached and brought to the CPU."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        out = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where} must be numbers, an array or a tensor; "
            f"got {type(value).__name__} ({error})"
        ) from None
    return out


def finite(value: Any, where: str) -> Array:
    """As :func:`array`; refuses NaN and infinities, saying how many there are."""
    out = array(value, where)
    bad = int(np.count_nonzero(~np.isfinite(out)))
    if bad:
        raise ValueError(f"{where} must be finite; {bad} of {out.size} values are not")
    return out


def shaped(value: Any, where: str, wanted: str, ok: Callable[[Array], bool]) -> Array:
    """As :func:`finite`, with a shape that `ok` accepts and `wanted` describes."""
    out = finite(value, where)
    if not ok(out):
        raise ValueError(f"{where} must have shape {wanted}; got {out.shape}")
    return out
