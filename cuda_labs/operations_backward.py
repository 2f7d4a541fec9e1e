"""The ladder's rung of the backward pass: its launch, its truth and its sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuda_labs import check, flash_backward, reference
from cuda_labs.plans import Launch, Operation, Plan, filled, up

# The macros' defaults in 04_flash_bwd.cu.
_HEAD, _ROWS, _COLS = 64, 32, 32


def _plan(_: str, inputs: tuple[Any, ...]) -> Plan:
    q, k, v, do, lse, delta = inputs
    (heads, n, d), m = q.shape, k.shape[1]
    if d > _HEAD:
        raise ValueError(f"q: this rung takes d up to {_HEAD}, got {d}")
    out = filled(q, (2, *k.shape), np.float32, np.nan)
    sizes = (np.int32(n), np.int32(m), np.int32(d), np.float32(d**-0.5))
    args = (q, k, v, do, lse, delta, out[0], out[1], *sizes)
    grid = (up(m, _COLS), heads)
    memory = flash_backward.shared_bytes(_HEAD, _ROWS, _COLS, 4, 2)
    return Plan((Launch(grid, (16, 16), args, memory),), out)


def _sample(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    heads, n, m, d = shape
    q, do = check.normals((heads, n, d), rng), check.normals((heads, n, d), rng)
    k, v = check.normals((heads, m, d), rng), check.normals((heads, m, d), rng)
    p, lse = _softmax(q, k)
    delta = ((p @ v) * do).sum(-1)
    return q, k, v, do, lse.astype(np.float32), delta.astype(np.float32)


def _judge(q: Any, k: Any, v: Any, do: Any, *_rest: Any) -> tuple[Any, int, Any]:
    """dK and dV, stacked, and what rounding may move them by.

    A score is rounded relative to s |Q| |K|ᵀ and the log-sum-exp relative to
    itself; the exponential turns that into a relative error of P.
    """
    dk, dv = reference.attention_backward(q, k, v, do)[1:]
    s = q.shape[2] ** -0.5
    p, exact = _softmax(q, k)
    size = s * np.abs(q.astype(float)) @ np.abs(k.astype(float)).swapaxes(1, 2)
    size = p * (1.0 + size + np.abs(exact)[..., None])
    g, w = np.abs(do.astype(float)), np.abs(v.astype(float))
    centre = (g * (p @ w)).sum(-1, keepdims=True)
    change = size * (g @ w.swapaxes(1, 2) + centre)
    scale = s * change.swapaxes(1, 2) @ np.abs(q), size.swapaxes(1, 2) @ g
    return np.stack([dk, dv]), max(q.shape[1:]), np.stack(scale)


def _softmax(q: Any, k: Any) -> tuple[Any, Any]:
    scores = q.astype(float) @ k.astype(float).swapaxes(1, 2) * q.shape[2] ** -0.5
    top = scores.max(-1, keepdims=True)
    total = np.exp(scores - top).sum(-1, keepdims=True)
    return np.exp(scores - top) / total, (top + np.log(total))[..., 0]


BACKWARD = Operation(
    "attention",
    _plan,
    _judge,
    _sample,
    ((1, 1, 1, 1), (2, 33, 17, 40), (1, 97, 113, 64), (3, 64, 96, 32)),
)
