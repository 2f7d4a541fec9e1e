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
    """y_i = Σ_{j ≤ i} x_j, the inclusive prefix sum.

    x: one-dimensional (ValueError otherwise). Returns its shape.
    """
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
    u: (rows, cols), ValueError otherwise; k = diffusivity × time step / spacing²,
    without unit. Returns (rows, cols).
    """
    x = _float64(u)
    if x.ndim != 2:
        raise ValueError(f"u: a matrix is needed, got shape {x.shape}")
    v = x.copy()
    around = x[1:-1, :-2] + x[1:-1, 2:] + x[:-2, 1:-1] + x[2:, 1:-1]
    v[1:-1, 1:-1] += k * (around - 4.0 * x[1:-1, 1:-1])
    return v


def matmul(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """c_{ij} = Σ_p a_{ip} b_{pj}.

    a: (m, k), b: (k, n). Returns (m, n). Raises ValueError for other shapes.
    """
    x, y = _float64(a), _float64(b)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"b: shape {y.shape} does not fit a's {x.shape}")
    return x @ y


def softmax(x: npt.ArrayLike) -> Array:
    """y_{ij} = exp(x_{ij} − max_k x_{ik}) / Σ_k exp(x_{ik} − max_k x_{ik}).

    x: (rows, cols), −∞ allowed. A row of nothing but −∞ gives 0, which is the
    convention of attention for a query that sees no key. Raises ValueError
    unless x is two-dimensional.
    """
    v = _float64(x)
    if v.ndim != 2:
        raise ValueError(f"x: a matrix is needed, got shape {v.shape}")
    return _softmax(v)[0]


def attention(
    q: npt.ArrayLike,
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """O = softmax(s Q Kᵀ) V, and the log-sum-exp of each row of s Q Kᵀ.

    Vaswani et al. (2017), *Attention Is All You Need*, equation 1. q: (heads,
    n, d); k, v: (heads, m, d). scale: s, by default 1/√d. causal: query i sees
    the keys j ≤ i + m − n; one that sees none has the output 0 and the
    log-sum-exp −∞. Returns (o, lse), of shapes (heads, n, d) and (heads, n).
    Raises ValueError for shapes that do not fit.
    """
    a, b, c = _float64(q), _float64(k), _float64(v)
    p, lse = _probabilities(a, b, c, causal, scale)
    return p @ c, lse


def attention_backward(
    q: npt.ArrayLike,
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    do: npt.ArrayLike,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array, Array]:
    """dV = Pᵀ dO, dQ = s dS K, dK = s dSᵀ Q with dS = P∘(dP − rowsum(P∘dP)).

    Here O = P V, P = softmax(s Q Kᵀ) by rows, dP = dO Vᵀ; the first three are
    products, the last is the softmax's Jacobian, diag(p) − p pᵀ, by rows. The
    kernels take rowsum(dO∘O) for rowsum(P∘dP) and exp(S − L) for P (Dao et al.
    2022, *FlashAttention*, appendix B); here are neither.

    q, k, v, causal, scale: as of `attention`; do: (heads, n, d). Returns (dq,
    dk, dv), in the shapes of q, k and v. Raises ValueError for shapes that do
    not fit.
    """
    a, b, c, g = _float64(q), _float64(k), _float64(v), _float64(do)
    p, _ = _probabilities(a, b, c, causal, scale)
    if g.shape != a.shape:
        raise ValueError(f"do: shape {a.shape} as q's is needed, got {g.shape}")
    s = a.shape[2] ** -0.5 if scale is None else scale
    dp = g @ c.swapaxes(1, 2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True))
    return s * (ds @ b), s * (ds.swapaxes(1, 2) @ a), p.swapaxes(1, 2) @ g


def _probabilities(
    a: Array, b: Array, c: Array, causal: bool, scale: float | None
) -> tuple[Array, Array]:
    """P and the log-sum-exp of each row of scores."""
    if a.ndim != 3 or b.ndim != 3 or b.shape[::2] != a.shape[::2]:
        raise ValueError(f"k: (heads, m, d) to fit q's {a.shape}, got {b.shape}")
    if c.shape != b.shape:
        raise ValueError(f"v: shape {b.shape} as k's is needed, got {c.shape}")
    n, m, d = a.shape[1], b.shape[1], a.shape[2]
    scores = (d**-0.5 if scale is None else scale) * (a @ b.swapaxes(1, 2))
    if causal:
        seen = np.arange(m) <= np.arange(n)[:, None] + (m - n)
        scores = np.where(seen, scores, -np.inf)
    return _softmax(scores)


def _softmax(scores: Array) -> tuple[Array, Array]:
    """Softmax and log-sum-exp along the last axis."""
    top = scores.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0.0, top)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    return weights / np.where(total > 0, total, 1.0), lse


def _float64(x: npt.ArrayLike) -> Array:
    return np.asarray(x, dtype=np.float64)
