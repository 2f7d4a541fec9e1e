"""What each ladder computes: its launches, its truth and its sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuda_labs import check, reference
from cuda_labs.attention_operations import ATTENTION, SOFTMAX
from cuda_labs.plans import Launch, Operation, Plan, filled, up

__all__ = ["OPERATIONS", "Launch", "Operation", "Plan"]


def _vector_add(rung: str, inputs: tuple[Any, ...]) -> Plan:
    a, b = inputs
    if b.shape != a.shape:
        raise ValueError(f"b: a's shape {a.shape} is needed, got {b.shape}")
    out = filled(a, a.shape, np.float32, np.nan)
    grid = up(a.size, 256) if rung == "01_naive" else min(up(a.size, 256), 264)
    args = (a, b, out, np.int32(a.size))
    return Plan((Launch((grid,), (256,), args),), out)


def _transpose(_: str, inputs: tuple[Any, ...]) -> Plan:
    (a,) = inputs
    rows, cols = a.shape
    out = filled(a, (cols, rows), np.float32, np.nan)
    grid = (up(cols, 32), up(rows, 32))
    args = (a, out, np.int32(rows), np.int32(cols))
    return Plan((Launch(grid, (32, 8), args),), out)


def _reduction(rung: str, inputs: tuple[Any, ...]) -> Plan:
    (x,) = inputs
    grid = min(up(x.size, 256), 264)
    n = np.int32(x.size)
    if rung != "04_two_pass":
        out = filled(x, (1,), np.float32, 0.0)
        return Plan((Launch((grid,), (256,), (x, out, n)),), out)
    part = filled(x, (grid,), np.float32, np.nan)
    out = filled(x, (1,), np.float32, np.nan)
    first = Launch((grid,), (256,), (x, part, n))
    second = Launch((1,), (256,), (part, out, np.int32(grid)))
    return Plan((first, second), out)


def _scan(rung: str, inputs: tuple[Any, ...]) -> Plan:
    (x,) = inputs
    out = filled(x, x.shape, np.float32, np.nan)
    args = (x, out, np.int32(x.size))
    if rung != "03_look_back":
        return Plan((Launch((1,), (256,), args),), out)
    tiles = up(x.size, 256)
    state = filled(x, (tiles,), np.uint64, 0)
    ticket = filled(x, (1,), np.uint32, 0)
    return Plan((Launch((tiles,), (256,), (*args, state, ticket)),), out)


def _histogram(_: str, inputs: tuple[Any, ...]) -> Plan:
    (data,) = inputs
    counts = filled(data, (256,), np.uint32, 0)
    grid = min(up(data.size, 256), 264)
    args = (data, np.int32(data.size), counts)
    return Plan((Launch((grid,), (256,), args),), counts)


def _stencil(_: str, inputs: tuple[Any, ...]) -> Plan:
    u, k = inputs
    rows, cols = u.shape
    out = filled(u, u.shape, np.float32, np.nan)
    grid = (up(cols, 32), up(rows, 8))
    args = (u, out, np.int32(rows), np.int32(cols), np.float32(k))
    return Plan((Launch(grid, (32, 8), args),), out)


# What m, n and k must be multiples of, where a rung has no bounds of its own or
# copies 16 bytes at a time.
_MULTIPLES = {
    "05_vectorised": (64, 64, 16),
    "06_wmma": (32, 32, 16),
    "07_mma": (1, 8, 8),
    "08_wgmma": (1, 8, 8),
}


def _matmul(rung: str, inputs: tuple[Any, ...]) -> Plan:
    a, b = inputs
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise ValueError(f"b: shape {b.shape} does not fit a's {a.shape}")
    least_m, least_n, least_k = _MULTIPLES.get(rung, (1, 1, 1))
    if m % least_m or n % least_n or k % least_k:
        raise ValueError(
            f"a, b: rung {rung} needs m, n and k in multiples of {least_m}, "
            f"{least_n} and {least_k}, got m = {m}, n = {n}, k = {k}"
        )
    c = filled(a, (m, n), np.float32, np.nan)
    args = (a, b, c, np.int32(m), np.int32(n), np.int32(k))
    grid, block, *dynamic = {
        "01_naive": ((up(m, 32), up(n, 8)), (32, 8)),
        "02_coalesced": ((up(n, 32), up(m, 8)), (32, 8)),
        "03_shared": ((up(n, 16), up(m, 16)), (16, 16)),
        "04_register": ((up(n, 64), up(m, 64)), (16, 16)),
        "05_vectorised": ((n // 64, m // 64), (16, 16)),
        "06_wmma": ((n // 32, m // 32), (128,)),
        "07_mma": ((up(n, 128), up(m, 128)), (128,), 4 * 16384),
        "08_wgmma": ((up(n, 256), up(m, 128)), (256,), 4 * 49152 + 1024),
    }[rung]
    return Plan((Launch(grid, block, args, *dynamic),), c)


def _sums(x: Any) -> tuple[Any, int, Any]:
    size = np.abs(x.astype(np.float64))
    return reference.reduction(x), x.size, size.sum()


def _prefix_sums(x: Any) -> tuple[Any, int, Any]:
    return reference.scan(x), x.size, np.cumsum(np.abs(x.astype(np.float64)))


def _heat(u: Any, k: float) -> tuple[Any, int, Any]:
    size = reference.stencil(np.abs(u), 0.0)
    around = size.copy()
    inner = size[1:-1, :-2] + size[1:-1, 2:] + size[:-2, 1:-1] + size[2:, 1:-1]
    around[1:-1, 1:-1] += abs(k) * (inner + 4.0 * size[1:-1, 1:-1])
    return reference.stencil(u, float(np.float32(k))), 1, around


def _products(a: Any, b: Any) -> tuple[Any, int, Any]:
    expected, size = reference.matmul(a, b), reference.matmul(abs(a), abs(b))
    return expected, a.shape[1], size


_LINES = ((1,), (31,), (256,), (1009,), (70001,))
_SHEETS = ((1, 1), (31, 67), (64, 32), (1, 97), (130, 33))
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation(
            "vector_add",
            _vector_add,
            lambda a, b: (reference.vector_add(a, b), 1, None),
            lambda s, rng: (check.normals(s, rng), check.normals(s, rng)),
            _LINES,
        ),
        Operation(
            "transpose",
            _transpose,
            lambda a: (reference.transpose(a), 0, None),
            lambda s, rng: (check.normals(s, rng),),
            _SHEETS,
        ),
        Operation(
            "reduction",
            _reduction,
            _sums,
            lambda s, rng: (check.normals(s, rng),),
            _LINES,
        ),
        Operation(
            "scan",
            _scan,
            _prefix_sums,
            lambda s, rng: (check.normals(s, rng),),
            _LINES,
        ),
        Operation(
            "histogram",
            _histogram,
            lambda data: (reference.histogram(data), 0, None),
            # Unequal bins, and runs of equal bytes.
            lambda s, rng: (np.sort(rng.normal(99, 40, s).clip(0, 255)).astype("u1"),),
            _LINES,
        ),
        Operation(
            "stencil",
            _stencil,
            _heat,
            lambda s, rng: (check.normals(s, rng), 0.2),
            _SHEETS,
        ),
        Operation(
            "matmul",
            _matmul,
            _products,
            lambda s, rng: (check.normals(s[:2], rng), check.normals(s[1:], rng)),
            ((1, 1, 1), (17, 31, 45), (65, 7, 97), (64, 128, 64)),
            {
                "05_vectorised": ((64, 16, 64), (128, 48, 192)),
                "06_wmma": ((32, 16, 32), (64, 48, 96)),
                "07_mma": ((1, 8, 8), (97, 40, 136), (130, 264, 136)),
                "08_wgmma": ((1, 8, 8), (97, 40, 24), (130, 328, 264)),
            },
            dict.fromkeys(("06_wmma", "07_mma", "08_wgmma"), np.float16),
            {"07_mma": "sm_80", "08_wgmma": "sm_90a"},
        ),
        SOFTMAX,
        ATTENTION,
    )
}
