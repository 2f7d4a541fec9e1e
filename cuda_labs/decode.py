"""Attention of one query a head: the keys divided, the parts merged.

    o = split_kv(q, k, v, splits=8)

While a text is generated there is one query a head and a long cache of keys.
`partials` lets `splits` blocks a key head attend to one part of the keys each;
`merge` joins what they found. With o_s the output and L_s the log-sum-exp of
part s,

    L = log Σ_s exp(L_s),    o = Σ_s exp(L_s − L) o_s,

is attention over all parts (Milakov and Gimelshein 2018, *Online normalizer
calculation for softmax*, §3.1; Dao et al. 2023, *Flash-Decoding*). The empty
part (0, −∞) changes nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuda_labs import flash
from cuda_labs.arguments import expect_array
from cuda_labs.kernel import Kernel
from cuda_labs.plans import Launch, filled, up
from cuda_labs.sim.profile import Profile


def split_kv(q: Any, k: Any, v: Any, *, splits: int, scale: float | None = None) -> Any:
    """Attention of one query a head over `splits` parts of the keys, merged.

    Arguments as of `partials`. Returns o, (heads, 1, d).
    """
    return merge(*partials(q, k, v, splits=splits, scale=scale))[0]


def partials(
    q: Any, k: Any, v: Any, *, splits: int, scale: float | None = None
) -> tuple[Any, Any]:
    """Attention of one query a head to each part of the keys.

    Part s holds the keys s c ... s c + c − 1 with c = ⌈m / splits⌉; the last
    parts may hold fewer or none.

    Args:
        q: (heads, 1, d), d ≤ 128.
        k, v: (key heads, m, d), m ≥ 1. heads is a multiple of the key heads,
            and query head i reads key head i // (heads / key heads): one key
            head for all is multi-query attention, several are grouped-query
            attention. All NumPy or all CuPy, float32 or float64, contiguous.
        splits: number of parts, at least 1; more than m is allowed.
        scale: by default 1/√d.

    Returns o, (splits, heads, 1, d), and lse, (splits, heads, 1); an empty part
    has o = 0 and lse = −inf. Raises ValueError or TypeError for arguments that
    do not fit, `KernelError` when the launch fails.
    """
    (run, launch), o, lse = _split(q, k, v, splits, scale)
    run(launch.grid, launch.block, launch.args, timeout=flash.TIMEOUT)
    return o, lse


def merge(o: Any, lse: Any) -> tuple[Any, Any]:
    """Join partial results: o = Σ_s exp(L_s − L) o_s with L = log Σ_s exp(L_s).

    o: (parts, *rows, d), lse: (parts, *rows): of two results of
    `flash.forward` over different keys, `stack([o1, o2])` and
    `stack([l1, l2])`. Associative, commutative, with the identity (0, −inf), up to
    rounding. Returns o, (*rows, d), and lse, (*rows). Raises ValueError or
    TypeError for arrays that do not fit.
    """
    (run, launch), out, total = _join(o, lse)
    run(launch.grid, launch.block, launch.args, timeout=flash.TIMEOUT)
    return out, total


def profile(
    q: Any, k: Any, v: Any, *, splits: int, scale: float | None = None
) -> dict[str, Profile]:
    """Profiles of the two launches of `split_kv`, by the name of the file.

    Arguments as of `partials`, all NumPy.
    """
    (first, one), o, lse = _split(q, k, v, splits, scale)
    found = first.profile(one.grid, one.block, one.args, timeout=flash.TIMEOUT)
    (second, two), _, _ = _join(o, lse)
    last = second.profile(two.grid, two.block, two.args, timeout=flash.TIMEOUT)
    return {"decode_split_kv": found, "decode_merge": last}


def _split(
    q: Any, k: Any, v: Any, splits: int, scale: float | None
) -> tuple[tuple[Kernel, Launch], Any, Any]:
    heads, group, m, d = _check(q, k, v)
    _whole("splits", splits)
    s = 1.0 / math.sqrt(d) if scale is None else float(scale)
    if not math.isfinite(s):
        raise ValueError(f"scale: a finite number, got {scale}")
    dtype, head = np.dtype(q.dtype), 32 * up(d, 32)
    served = _served(group, head, dtype)
    macros = (_real(dtype), f"-DHEAD={head}", f"-DGROUP={served}")
    o = filled(q, (splits, heads, 1, d), dtype, np.nan)
    lse = filled(q, (splits, heads, 1), dtype, np.nan)
    grid = (splits, heads // group, up(group, served))
    sizes = (np.int32(group), np.int32(m), np.int32(d), dtype.type(s))
    launch = Launch(grid, (128,), (q, k, v, o, lse, *sizes))
    return (flash.kernel("attention", "decode_split_kv", *macros), launch), o, lse


def _join(o: Any, lse: Any) -> tuple[tuple[Kernel, Launch], Any, Any]:
    expect_array("o", o)
    expect_array("lse", lse)
    if o.ndim < 2:
        raise ValueError(f"o: (parts, *rows, d) is needed, got {o.shape}")
    if lse.shape != o.shape[:-1]:
        raise ValueError(f"lse: shape {o.shape[:-1]} is needed, got {lse.shape}")
    _floats("o", o)
    if lse.dtype != o.dtype:
        raise TypeError(f"lse: {o.dtype} as o is needed, got {lse.dtype}")
    out = filled(o, o.shape[1:], o.dtype, np.nan)
    total = filled(o, lse.shape[1:], o.dtype, np.nan)
    rows = math.prod(o.shape[1:-1])
    sizes = (np.int32(o.shape[0]), np.int32(rows), np.int32(o.shape[-1]))
    launch = Launch((rows,), (128,), (o, lse, out, total, *sizes))
    run = flash.kernel("attention", "decode_merge", _real(np.dtype(o.dtype)))
    return (run, launch), out, total


def _served(group: int, head: int, dtype: np.dtype[Any]) -> int:
    """Query heads a block: as many as its registers hold without a spill."""
    if dtype == np.float64 and group > 1:
        return 2 if head > 64 else 4
    return min(group, 4) if group != 3 else 4


def _real(dtype: np.dtype[Any]) -> str:
    return f"-DREAL={'float' if dtype == np.float32 else 'double'}"


def _floats(name: str, x: Any) -> None:
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: float32 or float64 is needed, got {x.dtype}")


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: an integer is needed, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: at least 1 is needed, got {value}")


def _check(q: Any, k: Any, v: Any) -> tuple[int, int, int, int]:
    if q.ndim != 3 or q.shape[1] != 1 or 0 in q.shape:
        raise ValueError(f"q: (heads, 1, d), one query a head, got {q.shape}")
    heads, _, d = q.shape
    if d > flash.WIDEST:
        raise ValueError(f"q: d up to {flash.WIDEST} is supported, got {d}")
    if k.ndim != 3 or k.shape[2] != d or 0 in k.shape:
        raise ValueError(f"k: (key heads, m, {d}) to fit q, got {k.shape}")
    if heads % k.shape[0]:
        raise ValueError(
            f"q: heads in multiples of the key heads, got {heads} and {k.shape[0]}"
        )
    if v.shape != k.shape:
        raise ValueError(f"v: shape {k.shape} is needed, got {v.shape}")
    _floats("q", q)
    for name, array in (("k", k), ("v", v)):
        if array.dtype != q.dtype:
            raise TypeError(f"{name}: {q.dtype} as q is needed, got {array.dtype}")
    return heads, heads // k.shape[0], k.shape[1], d
