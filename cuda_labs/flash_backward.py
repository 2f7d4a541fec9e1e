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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs import arguments
from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch
from cuda_labs.sim.profile import Profile

FOLDER = Path(__file__).parent / "kernels" / "attention"
HEADS = (32, 64, 128)
# A simulated launch may take minutes; only one that hangs is ended.
TIMEOUT = 600.0


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

    Returns (dq, dk, dv) in the shapes of q, k and v. Raises ValueError or
    TypeError for arrays that do not fit, `KernelError` when a launch fails.
    """
    delta, first, second, results = _plan(
        q, k, v, o, lse, do, causal, scale, rows, cols
    )
    for kernel, launch in (delta, first, second):
        kernel(
            launch.grid, launch.block, launch.args, launch.shared_mem, timeout=TIMEOUT
        )
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

    Arguments as of `backward`, all NumPy. The requested bytes of the backward
    pass are the sum of the three `requested_bytes()`.
    """
    launches = _plan(q, k, v, o, lse, do, causal, scale, rows, cols)[:3]
    names = ("backward_delta", "04_flash_bwd", "backward_dq")
    return {
        name: kernel.profile(
            launch.grid, launch.block, launch.args, launch.shared_mem, timeout=TIMEOUT
        )
        for name, (kernel, launch) in zip(names, launches, strict=True)
    }


@lru_cache(maxsize=64)
def kernel(name: str, *options: str, checked: bool = True) -> Kernel:
    """A kernel of the attention folder, by its file's name, with its macros."""
    path = FOLDER / f"{name}.cu"
    return Kernel.from_file(path, checked=checked, options=options)


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
) -> Any:
    heads, n, m, d = _check(q, k, v, o, lse, do)
    for name, value in (("rows", rows), ("cols", cols)):
        if value % 16 or not 16 <= value <= 256:
            raise ValueError(f"{name}: a multiple of 16 up to 256, got {value}")
    s = 1.0 / math.sqrt(d) if scale is None else float(scale)
    if not math.isfinite(s):
        raise ValueError(f"scale: a finite number, got {scale}")
    dtype = np.dtype(q.dtype)
    real = "float" if dtype == np.float32 else "double"
    head = next(h for h in HEADS if h >= d)
    options = (f"-DREAL={real}", f"-DHEAD={head}", f"-DROWS={rows}", f"-DCOLS={cols}")
    options += (f"-DCAUSAL={int(causal)}",)
    delta, dq, dk, dv = empty(q, (heads, n), q.shape, k.shape, v.shape)
    sizes = (np.int32(n), np.int32(m), np.int32(d), dtype.type(s))
    inputs = (q, k, v, do, lse, delta)
    memory = [shared_bytes(head, rows, cols, dtype.itemsize, t) for t in (2, 1)]
    total = heads * n
    args = (o, do, delta, np.int32(total), np.int32(d))
    return (
        (
            kernel("backward_delta", options[0]),
            Launch((-(-total // 8),), (256,), args),
        ),
        (
            kernel("04_flash_bwd", *options),
            Launch(
                (-(-m // cols), heads), (16, 16), (*inputs, dk, dv, *sizes), memory[0]
            ),
        ),
        (
            kernel("backward_dq", *options),
            Launch((-(-n // rows), heads), (16, 16), (*inputs, dq, *sizes), memory[1]),
        ),
        (dq, dk, dv),
    )


def _check(
    q: Any, k: Any, v: Any, o: Any, lse: Any, do: Any
) -> tuple[int, int, int, int]:
    if q.ndim != 3 or 0 in q.shape:
        raise ValueError(f"q: (heads, n, d) without a zero is needed, got {q.shape}")
    heads, n, d = q.shape
    if d > HEADS[-1]:
        raise ValueError(f"q: d up to {HEADS[-1]} is supported, got {d}")
    if q.dtype not in (np.float32, np.float64):
        raise TypeError(f"q: float32 or float64 is needed, got {q.dtype}")
    if k.ndim != 3 or k.shape[::2] != (heads, d) or k.shape[1] == 0:
        raise ValueError(f"k: ({heads}, m, {d}) to fit q, got {k.shape}")
    wanted = {"v": (v, k.shape), "o": (o, q.shape), "do": (do, q.shape)}
    wanted["lse"] = (lse, q.shape[:2])
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(f"{name}: shape {shape} is needed, got {array.shape}")
    for name, array in {"k": k, "v": v, "o": o, "do": do, "lse": lse}.items():
        if array.dtype != q.dtype:
            raise TypeError(f"{name}: {q.dtype} as q is needed, got {array.dtype}")
    return heads, n, k.shape[1], d


def empty(like: Any, *shapes: tuple[int, ...]) -> list[Any]:
    """Arrays of NaN where `like` lives: an element that no thread writes shows."""
    if arguments.is_device_array(like):
        import cupy  # pyright: ignore[reportMissingImports]

        return [cupy.full(shape, np.nan, like.dtype) for shape in shapes]
    return [np.full(shape, np.nan, like.dtype) for shape in shapes]
