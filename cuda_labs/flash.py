"""Attention in tiles: the forward pass, and standard attention to compare with.

    o, lse = flash.forward(q, k, v, causal=True)

With s the scale, S = s Q Kᵀ, P = softmax(S) row by row and O = P V, where L is
the log-sum-exp of each row of S. FlashAttention (Dao et al. 2022,
*FlashAttention*, algorithm 1) computes O and L from tiles of K and V and never
holds S; `standard` writes S and P to memory, in three tiled kernels.

`profile` runs either on the simulator and counts: `requested_bytes` of its
result is what the global memory is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch, filled, up
from cuda_labs.sim.profile import Profile

FOLDER = Path(__file__).parent / "kernels"
METHODS = ("flash", "naive", "standard")
WIDEST = 128
BLOCK = (8, 16)
# A simulated launch may take minutes; only one that hangs is ended.
TIMEOUT = 600.0
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def forward(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    scale: float | None = None,
    rows: int | None = None,
    cols: int | None = None,
    checked: bool = True,
) -> tuple[Any, Any]:
    """O = softmax(s Q Kᵀ) V and the log-sum-exp of each row of s Q Kᵀ.

    Args:
        q: (heads, n, d); k, v: (heads, m, d), d ≤ 128. All NumPy, for the
            simulator, or all CuPy; float32 or float64, contiguous.
        causal: query i sees the keys j ≤ i + m − n. A query that sees none has
            the output 0 and the log-sum-exp −∞.
        scale: s, by default 1/√d.
        rows, cols: queries and keys of a tile, multiples of 16; by default what
            suits d.
        checked: as of `Kernel`.

    Returns (o, lse), of shapes (heads, n, d) and (heads, n). Raises ValueError
    or TypeError for arrays that do not fit, `KernelError` when a launch fails.
    """
    steps, o, lse = _flash(q, k, v, causal, scale, rows, cols, checked)
    _run(steps)
    return o, lse


def standard(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    scale: float | None = None,
    rows: int | None = None,
    cols: int | None = None,
    checked: bool = True,
) -> Any:
    """O by three tiled kernels: S = s Q Kᵀ, P = softmax(S), O = P V.

    Arguments as of `forward`, float32 only. S and P are (heads, n, m) arrays in
    global memory. Returns o.
    """
    steps, o = _standard(q, k, v, causal, scale, rows, cols, checked)
    _run(steps)
    return o


def profile(
    q: Any,
    k: Any,
    v: Any,
    *,
    method: str = "flash",
    causal: bool = False,
    scale: float | None = None,
    rows: int | None = None,
    cols: int | None = None,
) -> tuple[Profile, ...]:
    """Profiles of the launches, one each: "flash", "naive" or "standard".

    Arguments as of `forward`, NumPy. "naive" is one thread a query and takes
    neither causal, rows nor cols. Raises ValueError for any other method.
    """
    if method == "flash":
        steps = _flash(q, k, v, causal, scale, rows, cols, True)[0]
    elif method == "standard":
        steps = _standard(q, k, v, causal, scale, rows, cols, True)[0]
    elif method == "naive":
        if causal or rows is not None or cols is not None:
            raise ValueError("method: 'naive' has no mask and no tiles")
        steps = _naive(q, k, v, scale)
    else:
        raise ValueError(f"method: one of {', '.join(METHODS)}, got {method!r}")
    return tuple(
        kernel.profile(s.grid, s.block, s.args, s.shared_mem, timeout=TIMEOUT)
        for kernel, s in steps
    )


def requested_bytes(profiles: Sequence[Profile]) -> int:
    """Bytes that all launches ask of global memory, 32 for each sector."""
    return sum(p.requested_bytes for p in profiles)


Steps = list[tuple[Kernel, Launch]]


def _flash(
    q: Any,
    k: Any,
    v: Any,
    causal: bool,
    scale: float | None,
    rows: int | None,
    cols: int | None,
    checked: bool,
) -> tuple[Steps, Any, Any]:
    name = "03_flash_fwd_causal" if causal else "02_flash_fwd"
    heads, n, _, d = sizes(q, k, v, tuple(REALS))
    head, rows, cols = tiles(d, q.dtype.itemsize, rows, cols)
    options = (f"-DREAL={REALS[q.dtype]}", *_macros(head, rows, cols))
    args, o, lse = arguments_of(q, k, v, scale)
    memory = shared_bytes(head, rows, cols, q.dtype.itemsize)
    launch = Launch((up(n, rows), heads), BLOCK, args, memory)
    return [(kernel("attention", name, *options, checked=checked), launch)], o, lse


def _naive(q: Any, k: Any, v: Any, scale: float | None) -> Steps:
    heads, n, _, d = sizes(q, k, v, tuple(REALS))
    options = (f"-DREAL={REALS[q.dtype]}", f"-DHEAD={_padded(d)}")
    args = arguments_of(q, k, v, scale)[0]
    launch = Launch((up(n, 128), heads), (128,), args)
    return [(kernel("attention", "01_naive", *options), launch)]


def _standard(
    q: Any,
    k: Any,
    v: Any,
    causal: bool,
    scale: float | None,
    rows: int | None,
    cols: int | None,
    checked: bool,
) -> tuple[Steps, Any]:
    heads, n, m, d = sizes(q, k, v, (np.dtype(np.float32),))
    head, rows, cols = tiles(d, 4, rows, cols)
    macros = _macros(head, rows, cols)
    (*_, o, _, queries, keys, width, s), o, _ = arguments_of(q, k, v, scale)
    scores = filled(q, (heads, n, m), np.float32, np.nan)
    p = filled(q, (heads, n, m), np.float32, np.nan)
    first = Launch(
        (up(m, cols), up(n, rows), heads),
        BLOCK,
        (q, k, scores, queries, keys, width, s),
        4 * (rows + cols) * (head + 1),
    )
    lines = heads * n
    second = Launch((up(lines, 4),), (128,), (scores, p, np.int32(lines), keys))
    third = Launch(
        (up(n, rows), heads),
        BLOCK,
        (p, v, o, queries, keys, width),
        4 * (rows * (cols + 8) + cols * head),
    )
    masked = f"-DCAUSAL={int(causal)}"
    return [
        (
            kernel("attention", "standard_scores", *macros, masked, checked=checked),
            first,
        ),
        (kernel("softmax", "03_online", checked=checked), second),
        (kernel("attention", "standard_values", *macros, checked=checked), third),
    ], o


@lru_cache(maxsize=128)
def kernel(folder: str, name: str, *options: str, checked: bool = True) -> Kernel:
    """A kernel by folder and file, with its macros."""
    path = FOLDER / folder / f"{name}.cu"
    return Kernel.from_file(path, checked=checked, options=options)


def shared_bytes(head: int, rows: int, cols: int, itemsize: int) -> int:
    """Dynamic shared memory of 02_flash_fwd and 03_flash_fwd_causal."""
    tiles = rows * (head + 1) + cols * (2 * head + 1) + rows * (cols + 8)
    return tiles * itemsize


def tiles(
    d: int, itemsize: int, rows: int | None, cols: int | None
) -> tuple[int, int, int]:
    """Padded width of a head, queries and keys of a tile.

    By default 64 × 64 where that leaves room for two blocks or more in the
    228 KB of a multiprocessor, and 64 × 32 or 32 × 32 where it would not.
    """
    head = _padded(d)
    fits = [c for c in ((64, 64), (64, 32)) if shared_bytes(head, *c, itemsize) < 98304]
    default = fits[0] if fits else (32, 32)
    rows = default[0] if rows is None else rows
    cols = default[1] if cols is None else cols
    for name, value in (("rows", rows), ("cols", cols)):
        if value % 16 or not 16 <= value <= 256:
            raise ValueError(f"{name}: a multiple of 16 up to 256, got {value}")
    return head, rows, cols


def sizes(
    q: Any, k: Any, v: Any, dtypes: tuple[np.dtype[Any], ...]
) -> tuple[int, int, int, int]:
    """(heads, n, m, d) of arrays that fit, or ValueError or TypeError."""
    if q.ndim != 3 or 0 in q.shape:
        raise ValueError(f"q: (heads, n, d) without a zero is needed, got {q.shape}")
    heads, n, d = q.shape
    if d > WIDEST:
        raise ValueError(f"q: d up to {WIDEST} is supported, got {d}")
    if k.ndim != 3 or k.shape[::2] != (heads, d) or k.shape[1] == 0:
        raise ValueError(f"k: ({heads}, m, {d}) to fit q, got {k.shape}")
    if v.shape != k.shape:
        raise ValueError(f"v: shape {k.shape} as k's is needed, got {v.shape}")
    if q.dtype not in dtypes:
        raise TypeError(f"q: {' or '.join(map(str, dtypes))}, got {q.dtype}")
    for name, array in (("k", k), ("v", v)):
        if array.dtype != q.dtype:
            raise TypeError(f"{name}: {q.dtype} as q is needed, got {array.dtype}")
    return heads, n, k.shape[1], d


def arguments_of(
    q: Any, k: Any, v: Any, scale: float | None
) -> tuple[tuple[Any, ...], Any, Any]:
    """The kernels' arguments, and the poisoned o and lse among them."""
    (heads, n, d), m = q.shape, k.shape[1]
    s = 1.0 / math.sqrt(d) if scale is None else float(scale)
    if not math.isfinite(s):
        raise ValueError(f"scale: a finite number, got {scale}")
    o = filled(q, (heads, n, d), q.dtype, np.nan)
    lse = filled(q, (heads, n), q.dtype, np.nan)
    last = (np.int32(n), np.int32(m), np.int32(d), q.dtype.type(s))
    return (q, k, v, o, lse, *last), o, lse


def _padded(d: int) -> int:
    return 32 * up(d, 32)


def _macros(head: int, rows: int, cols: int) -> tuple[str, ...]:
    return f"-DHEAD={head}", f"-DROWS={rows}", f"-DCOLS={cols}"


def _run(steps: Steps) -> None:
    for one, s in steps:
        one(s.grid, s.block, s.args, s.shared_mem, timeout=TIMEOUT)
