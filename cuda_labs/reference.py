"""What every kernel must compute: float64 NumPy, one function an operation.

Each function takes arrays of any dtype, computes in float64 and returns
float64, so that the reference is never the less exact of the two sides.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def vector_add(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """c_i = a_i + b_i.

    a, b: equal shapes. Returns that shape. Raises ValueError when the shapes
    differ: a kernel does not broadcast.
    """
    x, y = _float64(a), _float64(b)
    if x.shape != y.shape:
        raise ValueError(f"b: shape {y.shape} differs from a's {x.shape}")
    return x + y


def transpose(a: npt.ArrayLike) -> Array:
    """b_{ji} = a_{ij}.

    a: (rows, cols). Returns a contiguous (cols, rows) array. Raises
    ValueError unless a is two-dimensional.
    """
    x = _float64(a)
    if x.ndim != 2:
        raise ValueError(f"a: a matrix is needed, got shape {x.shape}")
    return np.ascontiguousarray(x.T)


def _float64(x: npt.ArrayLike) -> Array:
    return np.asarray(x, dtype=np.float64)
