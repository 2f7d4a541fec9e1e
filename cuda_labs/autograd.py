"""Attention for torch tensors, computed and differentiated by the kernels.

    from cuda_labs import attention
    attention(q, k, v, causal=True).sum().backward()

On CPU tensors the kernels run on the simulator, on CUDA tensors on the GPU,
through CuPy and DLPack without a copy. A layer between torch and
`cuda_labs.flash` and `cuda_labs.flash_backward`, which know nothing of torch.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_labs import flash, flash_backward


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(s Q Kᵀ) V, with gradients by q, k and v, in O(n d) memory.

    Takes the arguments of `torch.nn.functional.scaled_dot_product_attention` in
    their order, and either computes what it does or says why not.

    Args:
        q: (..., heads, n, d), d ≤ 128, float32 or float64, on a CPU or a GPU.
        k, v: (..., heads, m, d), of q's dtype and device.
        attn_mask, dropout_p: None and 0; no other value is supported.
        is_causal: torch's mask, aligned at the top left: query i sees the keys
            j ≤ i. Supported for n = m, where it is `causal`.
        causal: the mask aligned at the bottom right: query i sees the keys
            j ≤ i + m − n, as it must while a text is continued. A query that
            sees no key has the output 0 and the gradient 0.
        scale: s, by default 1/√d.
        enable_gqa: allow fewer heads in k and v than in q, dividing its number;
            query head i reads key head i // (heads / key heads).

    Returns (..., heads, n, d). Gradients are bit-identical from run to run; a
    second derivative is refused by torch. Raises TypeError or ValueError, by
    the argument's name, for what is not supported. Method: Dao et al. (2022).
    """
    _check_options(attn_mask, dropout_p)
    _check_tensors(q, k, v)
    heads = _check_shapes(q, k, v, enable_gqa)
    if is_causal and q.shape[-2] != k.shape[-2]:
        raise ValueError(
            f"is_causal: torch aligns this mask at the top left, and for n = "
            f"{q.shape[-2]} queries of m = {k.shape[-2]} keys that differs from "
            "causal=True, which aligns it at the bottom right; pass that if you "
            "mean it"
        )
    if heads:
        k, v = (x.repeat_interleave(heads, -3) for x in (k, v))
    n, d = q.shape[-2:]
    m = k.shape[-2]
    flat = q.reshape(-1, n, d), k.reshape(-1, m, d), v.reshape(-1, m, d)
    s = None if scale is None else float(scale)
    return _Attention.apply(*flat, bool(causal or is_causal), s).reshape(q.shape)


class _Attention(torch.autograd.Function):
    """Attention of (heads, n, d) tensors; keeps the output and the log-sum-exp."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None
    ) -> Tensor:
        o, lse = _run(flash.forward, (q, k, v), causal, scale)
        ctx.save_for_backward(q, k, v, o, lse)
        ctx.options = causal, scale
        return o

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        tensors = (*ctx.saved_tensors, *grad_outputs)
        grads = _run(flash_backward.backward, tensors, *ctx.options)
        return (*grads, None, None)


def _run(
    function: Any, tensors: tuple[Tensor, ...], causal: bool, scale: float | None
) -> tuple[Tensor, ...]:
    """Call a function of arrays on tensors, on the stream that torch works on."""
    plain = [x.detach().contiguous() for x in tensors]
    if plain[0].device.type == "cpu":
        results = function(*(x.numpy() for x in plain), causal=causal, scale=scale)
        return tuple(torch.from_numpy(np.asarray(x)) for x in results)
    try:
        import cupy  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "CUDA tensors need CuPy (pip install cupy-cuda12x or cupy-cuda13x); "
            "without it, pass CPU tensors, which the simulator computes"
        ) from error
    device = plain[0].device
    stream = torch.cuda.current_stream(device).cuda_stream
    with contextlib.ExitStack() as stack:
        stack.enter_context(cupy.cuda.Device(device.index))
        stack.enter_context(cupy.cuda.ExternalStream(stream, device.index))
        arrays = [cupy.from_dlpack(x) for x in plain]
        results = function(*arrays, causal=causal, scale=scale)
        return tuple(torch.from_dlpack(x) for x in results)


def _check_options(attn_mask: Any, dropout_p: float) -> None:
    if attn_mask is not None:
        raise ValueError(
            "attn_mask: masks are not supported; use causal=True where that is "
            "the mask, or scaled_dot_product_attention"
        )
    if dropout_p != 0.0:
        raise ValueError(
            f"dropout_p: dropout of the probabilities is not supported, got "
            f"{dropout_p}; pass 0.0, or use scaled_dot_product_attention"
        )


def _check_tensors(q: Any, k: Any, v: Any) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: a torch tensor is needed, got {type(x).__name__}")
        if x.is_nested or x.layout != torch.strided:
            raise TypeError(f"{name}: a dense tensor is needed, got {x.layout}")
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{name}: float32 or float64 is needed, got {x.dtype}; convert it "
                "with .float()"
            )
        if x.device.type not in ("cpu", "cuda"):
            raise TypeError(f"{name}: a CPU or CUDA tensor is needed, got {x.device}")
        if x.dtype != q.dtype or x.device != q.device:
            raise TypeError(
                f"{name}: {q.dtype} on {q.device} as q is needed, got {x.dtype} on "
                f"{x.device}"
            )


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, enable_gqa: bool) -> int:
    """How many query heads share a key head; 0: each has its own."""
    if q.ndim < 2 or 0 in q.shape:
        raise ValueError(
            f"q: (..., n, d) without a zero is needed, got {tuple(q.shape)}"
        )
    if q.shape[-1] > flash.WIDEST:
        raise ValueError(f"q: d up to {flash.WIDEST} is supported, got {q.shape[-1]}")
    if v.shape != k.shape:
        raise ValueError(
            f"v: k's shape {tuple(k.shape)} is needed, got {tuple(v.shape)}"
        )
    if k.ndim != q.ndim or k.shape[-1] != q.shape[-1] or 0 in k.shape:
        raise ValueError(
            f"k: (..., m, {q.shape[-1]}) to fit q's {tuple(q.shape)}, got "
            f"{tuple(k.shape)}"
        )
    if k.shape[:-2] == q.shape[:-2]:
        return 0
    if not enable_gqa or q.ndim < 3 or k.shape[:-3] != q.shape[:-3]:
        raise ValueError(
            f"k: the leading sizes {tuple(q.shape[:-2])} of q are needed, got "
            f"{tuple(k.shape[:-2])}; nothing is broadcast, call expand(), or pass "
            "enable_gqa=True for fewer key heads"
        )
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(
            f"k: a number of heads that divides q's {q.shape[-3]}, got {k.shape[-3]}"
        )
    return q.shape[-3] // k.shape[-3]
