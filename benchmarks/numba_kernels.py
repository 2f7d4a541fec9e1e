"""The kernels of simulator.py for Numba, whose simulator wants `cuda` as a global."""

from __future__ import annotations

import importlib
from typing import Any

cuda: Any = importlib.import_module("numba.cuda")
float32: Any = importlib.import_module("numba").float32


@cuda.jit
def vector_add(a: Any, b: Any, c: Any, n: int) -> None:
    """c = a + b, one thread an element."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c[i] = a[i] + b[i]


@cuda.jit
def block_sums(x: Any, out: Any, n: int) -> None:
    """The sum of each block's 256 elements, by a tree in shared memory."""
    part = cuda.shared.array(256, float32)
    t = cuda.threadIdx.x
    i = cuda.blockIdx.x * 256 + t
    part[t] = x[i] if i < n else 0.0
    k = 128
    while k > 0:
        cuda.syncthreads()
        if t < k:
            part[t] += part[t + k]
        k //= 2
    if t == 0:
        out[cuda.blockIdx.x] = part[0]


@cuda.jit
def matmul(a: Any, b: Any, c: Any, m: int, n: int, k: int) -> None:
    """c = a b in tiles of 16 x 16."""
    ta = cuda.shared.array((16, 16), float32)
    tb = cuda.shared.array((16, 16), float32)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    row = cuda.blockIdx.y * 16 + ty
    col = cuda.blockIdx.x * 16 + tx
    total = 0.0
    for k0 in range(0, k, 16):
        ta[ty, tx] = a[row, k0 + tx] if row < m and k0 + tx < k else 0.0
        tb[ty, tx] = b[k0 + ty, col] if k0 + ty < k and col < n else 0.0
        cuda.syncthreads()
        for i in range(16):
            total += ta[ty, i] * tb[i, tx]
        cuda.syncthreads()
    if row < m and col < n:
        c[row, col] = total
