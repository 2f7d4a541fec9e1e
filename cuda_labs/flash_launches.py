"""Which kernels compute attention, with which tiles and arguments.

Each function here gives the kernels of a method with their launches, and the
arrays that then hold the results; `cuda_labs.flash` runs them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs.arguments import expect_array
from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch, filled, up

FOLDER = Path(__file__).parent / "kernels"
WIDEST = 128
BLOCK = (8, 16)
SIDE = 64  # queries and keys of a tile of 05_wmma
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# NumPy has no bfloat16: its bits travel as uint16.
SHORTS = {np.dtype(np.float16): "__half", np.dtype(np.uint16): "__nv_bfloat16"}
Steps = list[tuple[Kernel, Launch]]


def flash(
    q: Any,
    k: Any,
    v: Any,
    causal: bool,
    scale: float | None,
    rows: int | None,
    cols: int | None,
    checked: bool,
) -> tuple[Steps, Any, Any]:
    """02_flash_fwd, 03_flash_fwd_causal or 05_wmma, and (o, lse)."""
    heads, n, _, d = sizes(q, k, v, (*REALS, *SHORTS))
    args, o, lse = arguments_of(q, k, v, scale)
    if q.dtype in REALS:
        name = "03_flash_fwd_causal" if causal else "02_flash_fwd"
        head, rows, cols = tiles(d, q.dtype.itemsize, rows, cols)
        options = (f"-DREAL={REALS[q.dtype]}", *macros(head, rows, cols))
        memory = shared_bytes(head, rows, cols, q.dtype.itemsize)
        launch = Launch((up(n, rows), heads), BLOCK, args, memory)
    else:
        if d % 8:
            raise ValueError(f"q: d in multiples of 8 for {SHORTS[q.dtype]}, got {d}")
        for side, value in (("rows", rows), ("cols", cols)):
            if value not in (None, SIDE):
                raise ValueError(f"{side}: {SIDE} for {SHORTS[q.dtype]}, got {value}")
        name, head = "05_wmma", 16 * up(d, 16)
        options = (f"-DTYPE={SHORTS[q.dtype]}", f"-DHEAD={head}")
        options += (f"-DCAUSAL={int(causal)}",)
        launch = Launch((up(n, SIDE), heads), (128,), args, shared_bytes_wmma(head))
    return [(kernel("attention", name, *options, checked=checked), launch)], o, lse


def naive(q: Any, k: Any, v: Any, scale: float | None) -> tuple[Steps, Any, Any]:
    """01_naive, and (o, lse)."""
    heads, n, _, d = sizes(q, k, v, tuple(REALS))
    options = (f"-DREAL={REALS[q.dtype]}", f"-DHEAD={_padded(d)}")
    args, o, lse = arguments_of(q, k, v, scale)
    launch = Launch((up(n, 128), heads), (128,), args)
    return [(kernel("attention", "01_naive", *options), launch)], o, lse


def standard(
    q: Any,
    k: Any,
    v: Any,
    causal: bool,
    scale: float | None,
    rows: int | None,
    cols: int | None,
    checked: bool,
) -> tuple[Steps, Any]:
    """standard_scores, softmax/03_online and standard_values, and o."""
    heads, n, m, d = sizes(q, k, v, (np.dtype(np.float32),))
    head, rows, cols = tiles(d, 4, rows, cols)
    (*_, queries, keys, width, s), o, _ = arguments_of(q, k, v, scale)
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
    options = macros(head, rows, cols)
    masked = f"-DCAUSAL={int(causal)}"
    product = kernel("attention", "standard_scores", *options, masked, checked=checked)
    softmax = kernel("softmax", "03_online", checked=checked)
    mean = kernel("attention", "standard_values", *options, checked=checked)
    return [(product, first), (softmax, second), (mean, third)], o


@lru_cache(maxsize=128)
def kernel(folder: str, name: str, *options: str, checked: bool = True) -> Kernel:
    """A kernel by folder and file, with its macros."""
    path = FOLDER / folder / f"{name}.cu"
    return Kernel.from_file(path, checked=checked, options=options)


def shared_bytes(head: int, rows: int, cols: int, itemsize: int) -> int:
    """Dynamic shared memory of 02_flash_fwd and 03_flash_fwd_causal."""
    elements = rows * (head + 1) + cols * (2 * head + 1) + rows * (cols + 8)
    return elements * itemsize


def shared_bytes_wmma(head: int) -> int:
    """Dynamic shared memory of 05_wmma."""
    return SIDE * (2 * (3 * (head + 8) + SIDE + 8) + 4 * (SIDE + 4 + 20))


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
    for name, array in (("q", q), ("k", k), ("v", v)):
        expect_array(name, array)
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
    real = q.dtype if q.dtype in REALS else np.dtype(np.float32)
    bits = q.dtype.kind == "u"
    o = filled(q, (heads, n, d), q.dtype, 0x7FFF if bits else np.nan)
    lse = filled(q, (heads, n), real, np.nan)
    last = (np.int32(n), np.int32(m), np.int32(d), real.type(s))
    return (q, k, v, o, lse, *last), o, lse


def macros(head: int, rows: int, cols: int) -> tuple[str, ...]:
    """The tile sizes, for the preprocessor."""
    return f"-DHEAD={head}", f"-DROWS={rows}", f"-DCOLS={cols}"


def _padded(d: int) -> int:
    return 32 * up(d, 32)
