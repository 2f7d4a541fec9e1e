"""Attention in tiles with torch alone, for a CPU: no kernel, no simulator.

    o = tiled.attention(q, k, v, causal=True)

The loops of FlashAttention written with matrix products of torch: a tile of
scores is made, used and overwritten, so the memory beside inputs and output is
one tile (two while differentiating), whatever the number of keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# A tile of float32 scores is 512 KB: it stays in a core's second-level cache.
TILE = (256, 512)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
) -> Tensor:
    """softmax(s Q Kᵀ) V by the online softmax, with gradients by recomputation.

    For each tile of queries the keys come in tiles; with S the scores of a tile
    and (μ, ℓ, A) what the rows have so far,

        μ' = max(μ, max S),  ℓ' = e^(μ−μ') ℓ + Σ e^(S−μ'),
        A' = e^(μ−μ') A + e^(S−μ') V,

    and at the end O = A / ℓ, L = μ + log ℓ (Milakov and Gimelshein 2018; Dao
    et al. 2022). Gradients use P = e^(S−L), tile by tile again.

    Args:
        q: (..., n, d), float32 or float64, on a CPU.
        k: (..., m, d) and v: (..., m, e), same leading sizes, dtype and device.
        causal: query i sees the keys j ≤ i + m − n; one that sees none has the
            output 0 and the gradient 0.
        scale: s, by default 1/√d.
        tile: queries and keys of a tile.

    Returns (..., n, e). Raises TypeError or ValueError for what does not fit; a
    second derivative is refused by torch.
    """
    _check(q, k, v, tile)
    n, d = q.shape[-2:]
    m, e = v.shape[-2:]
    s = d**-0.5 if scale is None else float(scale)
    flat = q.reshape(-1, n, d), k.reshape(-1, m, d), v.reshape(-1, m, e)
    o = _Tiled.apply(*flat, bool(causal), s, tuple(int(t) for t in tile))
    return o.reshape(*q.shape[:-1], e)


class _Tiled(torch.autograd.Function):
    """Attention of (heads, n, d) tensors."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        causal: bool,
        scale: float,
        tile: tuple[int, int],
    ) -> Tensor:
        heads, n, _ = q.shape
        o = q.new_empty(heads, n, v.shape[2])
        lse = q.new_empty(heads, n, 1)
        for h in range(heads):
            _forward(q[h], k[h], v[h], o[h], lse[h], causal, scale, tile)
        ctx.save_for_backward(q, k, v, o, lse)
        ctx.options = causal, scale, tile
        return o

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        tensors = (*ctx.saved_tensors, *grad_outputs)
        grads = tuple(torch.zeros_like(x) for x in tensors[:3])
        for h in range(len(tensors[0])):
            of_head = [x[h] for x in (*tensors, *grads)]
            _backward(of_head, *ctx.options)
        return (*grads, None, None, None)


def _tiles(
    rows: slice, n: int, m: int, causal: bool, cols: int
) -> Iterator[tuple[slice, int | None]]:
    """Tiles of keys that queries see, each with the diagonal of its mask."""
    shift = m - n
    end = min(m, rows.stop + shift) if causal else m
    for j in range(0, end, cols):
        stop = min(j + cols, m)
        # Row r of a tile sees the columns up to r + diagonal.
        diagonal = rows.start + shift - j
        masked = causal and diagonal < stop - j - 1
        yield slice(j, stop), diagonal if masked else None


def _scores(q: Tensor, k: Tensor, diagonal: int | None, out: Tensor) -> Tensor:
    """Q Kᵀ in `out`'s memory, −∞ beyond the diagonal."""
    s = torch.mm(q, k.t(), out=out[: len(q) * len(k)].view(len(q), len(k)))
    if diagonal is not None:
        s.masked_fill_(
            torch.ones_like(s, dtype=torch.bool).triu_(diagonal + 1), -torch.inf
        )
    return s


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    causal: bool,
    scale: float,
    tile: tuple[int, int],
) -> None:
    (n, _), (m, e) = q.shape, v.shape
    scores = q.new_empty(min(tile[0], n) * min(tile[1], m))
    lowest = torch.finfo(q.dtype).min
    for i in range(0, n, tile[0]):
        rows = slice(i, min(i + tile[0], n))
        mine = q[rows] * scale
        # Not −∞: a row that has seen no key would compute −∞ − (−∞).
        top = q.new_full((len(mine), 1), lowest)
        total, acc = q.new_zeros(len(mine), 1), q.new_zeros(len(mine), e)
        for cols, diagonal in _tiles(rows, n, m, causal, tile[1]):
            s = _scores(mine, k[cols], diagonal, scores)
            larger = torch.maximum(top, s.amax(1, keepdim=True))
            p = s.sub_(larger).exp_()
            shrink = top.sub_(larger).exp_()
            total.mul_(shrink).add_(p.sum(1, keepdim=True))
            acc.mul_(shrink).addmm_(p, v[cols])
            top = larger
        torch.add(top, total.log(), out=lse[rows])
        # The largest score adds exactly 1: below it is only a row without keys.
        torch.div(acc, total.clamp_min_(1), out=o[rows])


def _backward(
    of_head: list[Tensor], causal: bool, scale: float, tile: tuple[int, int]
) -> None:
    """dV = Pᵀ dO, dS = P∘(dO Vᵀ − D), dQ = s dS K, dK = s dSᵀ Q, tile by tile."""
    q, k, v, o, lse, do, dq, dk, dv = of_head
    n, m = len(q), len(k)
    size = min(tile[0], n) * min(tile[1], m)
    scores, changes = q.new_empty(size), q.new_empty(size)
    lowest = torch.finfo(q.dtype).min
    for i in range(0, n, tile[0]):
        rows = slice(i, min(i + tile[0], n))
        mine, grad = q[rows] * scale, do[rows]
        level = lse[rows].clamp_min(lowest)
        mean = (grad * o[rows]).sum(1, keepdim=True)
        for cols, diagonal in _tiles(rows, n, m, causal, tile[1]):
            p = _scores(mine, k[cols], diagonal, scores).sub_(level).exp_()
            dv[cols].addmm_(p.t(), grad)
            ds = _scores(grad, v[cols], None, changes).sub_(mean).mul_(p)
            dk[cols].addmm_(ds.t(), mine)
            dq[rows].addmm_(ds, k[cols], alpha=scale)


def _check(q: Any, k: Any, v: Any, tile: tuple[int, int]) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: a torch tensor is needed, got {type(x).__name__}")
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name}: float32 or float64 is needed, got {x.dtype}")
        if x.dtype != q.dtype or x.device != q.device:
            raise TypeError(
                f"{name}: {q.dtype} on {q.device} as q is needed, got {x.dtype} on "
                f"{x.device}"
            )
        if x.ndim < 2 or 0 in x.shape:
            raise ValueError(
                f"{name}: at least two sizes, none of them 0, got {tuple(x.shape)}"
            )
    if k.shape[:-2] != q.shape[:-2] or k.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"k: (..., m, d) to fit q's {tuple(q.shape)}, got {tuple(k.shape)}"
        )
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(
            f"v: (..., m, e) to fit k's {tuple(k.shape)}, got {tuple(v.shape)}"
        )
    if not isinstance(tile, (tuple, list)) or not all(type(t) is int for t in tile):
        raise TypeError(f"tile: two integers are needed, got {tile!r}")
    if len(tile) != 2 or min(tile) < 1:
        raise ValueError(f"tile: two sizes of at least 1 are needed, got {tile}")
