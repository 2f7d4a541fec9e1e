"""The ladders of softmax and attention: launches, truths and sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from cuda_labs import check, flash_launches, reference
from cuda_labs.operations_backward import BACKWARD
from cuda_labs.plans import Launch, Operation, Plan, filled, up

# Of the sources as they stand: rungs are loaded without macros.
TILE = 64
# Rungs on 16-bit inputs: queries and threads of a block, dynamic shared memory.
SHORT = {
    "05_wmma": (64, 128, flash_launches.shared_bytes_wmma(TILE)),
    "06_mma": (128, 128, 768 * TILE),
    "07_wgmma": (128, 256, 1024 * TILE + 1024),
}
# Below this a GPU flushes to zero.
_TINY = float(np.finfo(np.float32).tiny) / check.epsilon(np.float32)


def _softmax(rung: str, inputs: tuple[Any, ...]) -> Plan:
    (x,) = inputs
    rows, cols = x.shape
    y = filled(x, x.shape, np.float32, np.nan)
    grid = up(rows, 128) if rung == "01_three_pass" else up(rows, 4)
    args = (x, y, np.int32(rows), np.int32(cols))
    return Plan((Launch((grid,), (128,), args),), y)


def _shares(x: Any) -> tuple[Any, int, Any]:
    """An exponent e is wrong by ε|e| and exp(e) by as much, relatively."""
    expected = reference.softmax(x)
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(expected > 0, expected, 1.0))
    top = -np.log(expected.max(-1, keepdims=True).clip(1e-300))
    return expected, x.shape[1], expected * (1 + np.abs(logs + top)) + _TINY


def _rows(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    x = check.normals(shape, rng)
    x[rng.random(shape) < 0.1] = -np.inf
    x[shape[0] // 2] = -np.inf
    return (x,)


def _attention(rung: str, inputs: tuple[Any, ...]) -> Plan:
    q, k, v = inputs
    short = rung in SHORT
    dtype = np.dtype(np.float16 if short else np.float32)
    heads, n, _, d = flash_launches.sizes(q, k, v, (dtype,))
    if d > TILE:
        raise ValueError(f"q: d up to {TILE}, got {d}; flash.forward takes more")
    if short and d % 8:
        raise ValueError(f"q: rung {rung} needs d in multiples of 8, got {d}")
    args, o, _ = flash_launches.arguments_of(q, k, v, None)
    if rung == "01_naive":
        return Plan((Launch((up(n, 128), heads), (128,), args),), o)
    if short:
        rows, threads, memory = SHORT[rung]
        return Plan((Launch((up(n, rows), heads), (threads,), args, memory),), o)
    memory = flash_launches.shared_bytes(TILE, TILE, TILE, 4)
    return Plan((Launch((up(n, TILE), heads), flash_launches.BLOCK, args, memory),), o)


def _mean(q: Any, k: Any, v: Any, *, causal: bool = False) -> tuple[Any, int, Any]:
    """A score is wrong by ε Σ|q k|, and a mean of |v| by as much, relatively."""
    o = reference.attention(q, k, v, causal=causal)[0]
    size = reference.attention(q, k, np.abs(v), causal=causal)[0]
    terms = np.abs(q).astype(float) @ np.abs(k).astype(float).swapaxes(1, 2)
    worst = terms.max(-1, keepdims=True) / math.sqrt(q.shape[-1])
    return o, q.shape[-1] + k.shape[1], size * (1 + worst)


def _short_mean(q: Any, k: Any, v: Any) -> tuple[Any, int, Any]:
    """Half rounds the weights and the output; scores and sums are float."""
    o, _, scale = _mean(q, k, v)
    size = reference.attention(q, k, np.abs(v))[0]
    finer = check.epsilon(np.float32) / check.epsilon(np.float16)
    return o, 1, size + finer * scale


def _queries(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    """Outliers in v alone: in q or k they would leave each query a single key."""
    heads, n, m, d = shape
    q = check.normals((heads, n, d), rng, outliers=0.0)
    k = check.normals((heads, m, d), rng, outliers=0.0)
    return q, k, check.normals((heads, m, d), rng)


SOFTMAX = Operation(
    "softmax", _softmax, _shares, _rows, ((1, 1), (5, 97), (31, 33), (130, 64))
)
_FORWARD = Operation(
    "attention",
    _attention,
    _mean,
    _queries,
    ((1, 1, 1, 1), (2, 33, 97, 40), (1, 113, 70, 64), (2, 65, 130, 8)),
)
_GPU_ONLY = {"06_mma": "sm_80", "07_wgmma": "sm_90a"}
_HALF = replace(
    _FORWARD,
    judge=_short_mean,
    shapes=((1, 1, 1, 8), *_FORWARD.shapes[1:]),
    rounds=dict.fromkeys(SHORT, np.float16),
    gpu_only=_GPU_ONLY,
)
ATTENTION = replace(
    _FORWARD,
    gpu_only=_GPU_ONLY,
    variants={
        "03_flash_fwd_causal": replace(
            _FORWARD, judge=lambda q, k, v: _mean(q, k, v, causal=True)
        ),
        "04_flash_bwd": BACKWARD,
        **dict.fromkeys(SHORT, _HALF),
    },
)
