"""The gradients of attention in tiles, without the matrix of probabilities.

    o, lse = flash.forward(q, k, v)
    dq, dk, dv = backward(q, k, v, o, lse, do)

With L the log-sum-exp of the forward pass and s the scale, every tile of

    P = exp(s Q Kᵀ − L),  D = rowsum(dO∘O),  dS = P∘(dO Vᵀ − D),
    dV = Pᵀ dO,  dQ = s dS K,  dK = s dSᵀ Q

is computed when it is needed and forgotten (Dao et al. 2022,
*FlashAttention*, §3.1 and appendix B). Three kernels: `backward_delta.cu` for
D, `04_flash_bwd.cu` for dK and dV, `backward_dq.cu` for dQ. Each sum is added
by one thread in a fixed order, so that two runs give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuda_labs import flash
from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch, filled, up
from cuda_labs.sim.profile import Profile

NAMES = ("backward_delta", "04_flash_bwd", "backward_dq")


def backward(
    q: Any,
    k: Any,
    v: Any,
    o: Any,
    lse: Any,
    do: Any,
    *,
    causal: bool = False,
    scale: float | None = None,
    rows: int = 32,
    cols: int = 32,
    checked: bool = True,
) -> tuple[Any, Any, Any]:
    """dQ, dK and dV of O = softmax(s Q Kᵀ) V.

    Args:
        q, o, do: (heads, n, d), o the output of the forward pass and do the
            gradient of a loss by it; k, v: (heads, m, d), d ≤ 128. All NumPy or
            all CuPy, float32 or float64, contiguous.
        lse: (heads, n), the log-sum-exp of each row of scores, −inf for a
            query that sees no key.
        causal: query i sees the keys j ≤ i + m − n.
        scale: s, by default 1/√d.
        rows, cols: queries and keys of a tile, multiples of 16.
        checked: as of `Kernel`.

    Returns (dq, dk, dv) in the shapes of q, k and v. Raises ValueError or
    TypeError for arrays that do not fit, `KernelError` when a launch fails.
    """
    steps, results = _plan(q, k, v, o, lse, do, causal, scale, rows, cols, checked)
    for kernel, s in steps:
        kernel(s.grid, s.block, s.args, s.shared_mem, timeout=flash.TIMEOUT)
    return results


def profile(
    q: Any,
    k: Any,
    v: Any,
    o: Any,
    lse: Any,
    do: Any,
    *,
    causal: bool = False,
    scale: float | None = None,
    rows: int = 32,
    cols: int = 32,
) -> dict[str, Profile]:
    """Profiles of the three launches, by the name of the file.

    Arguments as of `backward`, all NumPy. What the backward pass asks of global
    memory is `flash.requested_bytes` of the three.
    """
    steps, _ = _plan(q, k, v, o, lse, do, causal, scale, rows, cols, True)
    return {
        name: kernel.profile(
            s.grid, s.block, s.args, s.shared_mem, timeout=flash.TIMEOUT
        )
        for name, (kernel, s) in zip(NAMES, steps, strict=True)
    }


def shared_bytes(head: int, rows: int, cols: int, itemsize: int, tiles: int) -> int:
    """Dynamic shared memory of 04_flash_bwd (tiles = 2) or backward_dq (1)."""
    wide, tall = head + 1, (cols // 16 | 1) * 16
    numbers = 2 * (rows + cols) * wide + tiles * rows * tall + 2 * rows
    return numbers * itemsize


def _plan(
    q: Any,
    k: Any,
    v: Any,
    o: Any,
    lse: Any,
    do: Any,
    causal: bool,
    scale: float | None,
    rows: int,
    cols: int,
    checked: bool,
) -> tuple[list[tuple[Kernel, Launch]], tuple[Any, Any, Any]]:
    heads, n, m, d = flash.sizes(q, k, v, tuple(flash.REALS))
    wanted = {"o": (o, q.shape), "do": (do, q.shape), "lse": (lse, q.shape[:2])}
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(f"{name}: shape {shape} is needed, got {array.shape}")
        if array.dtype != q.dtype:
            raise TypeError(f"{name}: {q.dtype} as q is needed, got {array.dtype}")
    head, rows, cols = flash.tiles(d, q.dtype.itemsize, rows, cols)
    s = 1.0 / math.sqrt(d) if scale is None else float(scale)
    if not math.isfinite(s):
        raise ValueError(f"scale: a finite number, got {scale}")
    delta = filled(q, (heads, n), q.dtype, np.nan)
    dq, dk, dv = (filled(x, x.shape, x.dtype, np.nan) for x in (q, k, v))
    real = f"-DREAL={flash.REALS[q.dtype]}"
    macros = (real, f"-DHEAD={head}", f"-DROWS={rows}", f"-DCOLS={cols}")
    macros = (*macros, f"-DCAUSAL={int(causal)}")
    inputs = (q, k, v, do, lse, delta)
    sizes = (np.int32(n), np.int32(m), np.int32(d), q.dtype.type(s))
    memory = [shared_bytes(head, rows, cols, q.dtype.itemsize, t) for t in (2, 1)]
    sums = (o, do, delta, np.int32(heads * n), np.int32(d))
    launches = (
        Launch((up(heads * n, 8),), (256,), sums),
        Launch((up(m, cols), heads), (16, 16), (*inputs, dk, dv, *sizes), memory[0]),
        Launch((up(n, rows), heads), (16, 16), (*inputs, dq, *sizes), memory[1]),
    )
    options = ((real,), macros, macros)
    kernels = (
        flash.kernel("attention", name, *chosen, checked=checked)
        for name, chosen in zip(NAMES, options, strict=True)
    )
    return list(zip(kernels, launches, strict=True)), (dq, dk, dv)
