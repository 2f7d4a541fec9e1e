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

from collections.abc import Sequence
from typing import Any

from cuda_labs import flash_launches
from cuda_labs.flash_launches import REALS, WIDEST, kernel, shared_bytes, sizes, tiles
from cuda_labs.sim.profile import Profile

__all__ = [
    "METHODS",
    "REALS",
    "TIMEOUT",
    "WIDEST",
    "forward",
    "kernel",
    "profile",
    "requested_bytes",
    "shared_bytes",
    "sizes",
    "standard",
    "tiles",
]
METHODS = ("flash", "naive", "standard")
# A simulated launch may take minutes; only one that hangs is ended.
TIMEOUT = 600.0


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
            simulator, or all CuPy; contiguous. float32, float64, float16, or
            uint16 for the bits of bfloat16. The last two run on tensor cores
            with float32 sums and need d in multiples of 8.
        causal: query i sees the keys j ≤ i + m − n. A query that sees none has
            the output 0 and the log-sum-exp −∞.
        scale: s, by default 1/√d.
        rows, cols: queries and keys of a tile, multiples of 16; by default what
            suits d. Always 64 for 16-bit inputs.
        checked: as of `Kernel`.

    Returns (o, lse), of shapes (heads, n, d) and (heads, n), o in the dtype of q
    and lse in that of the sums. Raises ValueError
    or TypeError for arrays that do not fit, `KernelError` when a launch fails.
    """
    steps, o, lse = flash_launches.flash(q, k, v, causal, scale, rows, cols, checked)
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
    steps, o = flash_launches.standard(q, k, v, causal, scale, rows, cols, checked)
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
        steps = flash_launches.flash(q, k, v, causal, scale, rows, cols, True)[0]
    elif method == "standard":
        steps = flash_launches.standard(q, k, v, causal, scale, rows, cols, True)[0]
    elif method == "naive":
        if causal or rows is not None or cols is not None:
            raise ValueError("method: 'naive' has no mask and no tiles")
        steps = flash_launches.naive(q, k, v, scale)[0]
    else:
        raise ValueError(f"method: one of {', '.join(METHODS)}, got {method!r}")
    return tuple(
        run.profile(s.grid, s.block, s.args, s.shared_mem, timeout=TIMEOUT)
        for run, s in steps
    )


def requested_bytes(profiles: Sequence[Profile]) -> int:
    """Bytes that all launches ask of global memory, 32 for each sector."""
    return sum(p.requested_bytes for p in profiles)


def _run(steps: flash_launches.Steps) -> None:
    for run, s in steps:
        run(s.grid, s.block, s.args, s.shared_mem, timeout=TIMEOUT)
