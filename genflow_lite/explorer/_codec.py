"""Numbers to text and back: 8 to 12 bits a value, packed, base64.

A channel holds many short arrays (one for every state and series). Equal arrays
are stored once. A value x in [lo, hi] is stored as the integer

    code = round((x − lo) / step),   step = (hi − lo) / (2^bits − 2),

and read back as lo + code·step, so the error is at most half a step. The largest
code, 2^bits − 1, means "no value" (NaN, a gap in a line). Codes follow each other
most significant bit first, without padding. JavaScript decodes with the same two
operations in double precision, so both sides have the same numbers to the last bit.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from genflow_lite.explorer._arrays import Array


def encode(arrays: Sequence[Array], bits: int, *, own_range: bool = False) -> dict:
    """Arrays (1-D, NaN allowed) as a JSON-ready dict.

    Keys: ``b`` bits; ``lo``, ``hi`` the range (with `own_range` one ``hi`` for each
    stored array and ``lo`` = 0: a density keeps its precision while its peak
    grows); ``k`` how many arrays are stored, ``n`` their lengths (one number if they
    are equal); ``r`` which stored array each given one is (absent if it is the k-th);
    ``d`` the packed codes.

    Raises ValueError if `bits` is not in 2…12.
    """
    if not 2 <= bits <= 12:
        raise ValueError(f"bits must be from 2 to 12; got {bits}")
    index: dict[bytes, int] = {}
    stored: list[Array] = []
    refs = []
    for item in arrays:
        flat = np.ascontiguousarray(item, dtype=np.float64).ravel()
        key = flat.tobytes()
        if key not in index:
            index[key] = len(stored)
            stored.append(flat)
        refs.append(index[key])
    top = 2**bits - 2
    if own_range:
        lo: Any = 0.0
        hi: Any = [float(np.nanmax(a, initial=0.0)) for a in stored]
    else:
        values = np.concatenate(stored) if stored else np.zeros(0)
        known = values[~np.isnan(values)]
        lo = float(known.min()) if known.size else 0.0
        hi = float(known.max()) if known.size else 0.0
    codes = []
    for k, item in enumerate(stored):
        step = ((hi[k] if own_range else hi) - lo) / top
        scaled = (item - lo) / step if step > 0 else np.where(np.isnan(item), item, 0.0)
        codes.append(np.where(np.isnan(scaled), top + 1, np.rint(scaled)))
    flat = np.concatenate(codes).astype(np.uint32) if codes else np.zeros(0, np.uint32)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
    packed = np.packbits(((flat[:, None] >> shifts) & 1).astype(np.uint8))
    lengths = [a.size for a in stored]
    out: dict[str, Any] = {
        "b": bits,
        "lo": lo,
        "hi": hi,
        "k": len(stored),
        "n": lengths[0] if len(set(lengths)) == 1 else lengths,
        "d": base64.b64encode(packed.tobytes()).decode("ascii"),
    }
    if refs != list(range(len(refs))):
        out["r"] = refs
    return out


def decode(channel: dict) -> list[Array]:
    """The arrays that :func:`encode` was given, to half a step."""
    bits, count = channel["b"], channel["k"]
    lengths = channel["n"] if isinstance(channel["n"], list) else [channel["n"]] * count
    raw = np.frombuffer(base64.b64decode(channel["d"]), dtype=np.uint8)
    digits = np.unpackbits(raw)[: sum(lengths) * bits].reshape(-1, bits)
    codes = digits.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))
    top = 2**bits - 2
    stored = []
    at = 0
    for k, length in enumerate(lengths):
        lo, hi = channel["lo"], channel["hi"]
        step = ((hi[k] if isinstance(hi, list) else hi) - lo) / top
        part = codes[at : at + length]
        stored.append(np.where(part > top, np.nan, lo + part * step))
        at += length
    return [stored[k] for k in channel.get("r", range(count))]
