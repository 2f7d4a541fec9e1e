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


def reduction(x: npt.ArrayLike) -> Array:
    """s = Σ_i x_i, as an array of one element.

    x: any shape, at least one element (ValueError otherwise).
    """
    v = _float64(x)
    if v.size == 0:
        raise ValueError("x: at least one element is needed")
    return v.sum(keepdims=True).reshape(1)


def scan(x: npt.ArrayLike) -> Array:
    """y_i = Σ_{j ≤ i} x_j, the inclusive prefix sum. x: one-dimensional."""
    v = _float64(x)
    if v.ndim != 1:
        raise ValueError(f"x: one dimension is needed, got shape {v.shape}")
    return np.cumsum(v)


def histogram(data: npt.ArrayLike) -> Array:
    """h_b = the number of i with data_i = b, for b = 0 ... 255.

    data: uint8 (TypeError otherwise).
    """
    values = np.asarray(data)
    if values.dtype != np.uint8:
        raise TypeError(f"data: uint8 is needed, got {values.dtype}")
    return np.bincount(values.reshape(-1), minlength=256).astype(np.float64)


def stencil(u: npt.ArrayLike, k: float) -> Array:
    """v = u + k Δu inside, v = u on the rim: an explicit step of the heat equation.

    (Δu)_{yx} = u_{y,x-1} + u_{y,x+1} + u_{y-1,x} + u_{y+1,x} − 4 u_{yx}: the
    five-point Laplacian (LeVeque 2007, *Finite Difference Methods*, §3.2).
    u: (rows, cols); k = diffusivity × time step / spacing², without unit.
    """
    x = _float64(u)
    if x.ndim != 2:
        raise ValueError(f"u: a matrix is needed, got shape {x.shape}")
    v = x.copy()
    around = x[1:-1, :-2] + x[1:-1, 2:] + x[:-2, 1:-1] + x[2:, 1:-1]
    v[1:-1, 1:-1] += k * (around - 4.0 * x[1:-1, 1:-1])
    return v


def matmul(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """c_{ij} = Σ_p a_{ip} b_{pj}. a: (m, k), b: (k, n). Returns (m, n)."""
    x, y = _float64(a), _float64(b)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"b: shape {y.shape} does not fit a's {x.shape}")
    return x @ y


def _float64(x: npt.ArrayLike) -> Array:
    return np.asarray(x, dtype=np.float64)
