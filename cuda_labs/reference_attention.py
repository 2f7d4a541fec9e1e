"""What the gradients of attention must be: float64 NumPy, every matrix in full.

Kept apart from `cuda_labs.reference`, which gives its function under that name
too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


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

    Here O = P V, P = softmax(s Q Kᵀ) by rows, dP = dO Vᵀ. The kernels take
    rowsum(dO∘O) in place of rowsum(P∘dP) and exp(S − L) in place of P
    (Dao et al. 2022, *FlashAttention*, appendix B); here are neither, so that
    the two sides share no step.

    q, do: (heads, n, d); k, v: (heads, m, d). scale: s, by default 1/√d.
    causal: query i sees the keys j ≤ i + m − n; a query that sees none has the
    output 0, and gives and gets no gradient. Returns (dq, dk, dv) in the shapes
    of q, k and v. Raises ValueError for shapes that do not fit.
    """
    a, b, c, g = (np.asarray(x, dtype=np.float64) for x in (q, k, v, do))
    if a.ndim != 3 or b.ndim != 3 or b.shape[::2] != a.shape[::2]:
        raise ValueError(f"k: (heads, m, d) to fit q's {a.shape}, got {b.shape}")
    if c.shape != b.shape:
        raise ValueError(f"v: shape {c.shape} differs from k's {b.shape}")
    if g.shape != a.shape:
        raise ValueError(f"do: shape {g.shape} differs from q's {a.shape}")
    n, m = a.shape[1], b.shape[1]
    s = a.shape[2] ** -0.5 if scale is None else float(scale)
    sees = np.ones((n, m), dtype=bool)
    if causal:
        sees = np.arange(m) <= np.arange(n)[:, None] + (m - n)
    scores = np.where(sees, s * (a @ b.swapaxes(1, 2)), -np.inf)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(-1, keepdims=True)
    p = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    dp = g @ c.swapaxes(1, 2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True))
    return s * (ds @ b), s * (ds.swapaxes(1, 2) @ a), p.swapaxes(1, 2) @ g
