"""Attention as torch's autograd differentiates it: what kernels are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cuda_labs import Kernel, flash, reference


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal=False, scale=None) -> Tensor:
    """softmax(s Q Kᵀ) V with the whole matrix; 0 for a query that sees no key."""
    n, m = q.shape[-2], k.shape[-2]
    scores = (q @ k.mT) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if not causal:
        return torch.softmax(scores, -1) @ v
    sees = torch.ones(n, m, dtype=torch.bool).tril(m - n)
    blind = ~sees.any(1, keepdim=True)
    # What a blind row's softmax is taken of must not reach its gradient.
    p = torch.softmax(scores.masked_fill(~(sees | blind), -torch.inf), -1)
    return p.masked_fill(blind, 0.0) @ v


def gradients(q, k, v, do, *, causal=False, scale=None):
    """(dq, dk, dv) in float64, by autograd through the whole matrix."""
    x = [torch.tensor(a).double().requires_grad_() for a in (q, k, v)]
    o = attend(*x, causal=causal, scale=scale)
    found = torch.autograd.grad(o, x, torch.tensor(do).double())
    return [g.numpy() for g in found]


def fused_gradients(q, k, v, do, *, causal=False, scale=None):
    """(dq, dk, dv) by torch's own fused attention, in the precision of q.

    Queries that see no key are left out: torch is not asked about them.
    """
    n, m = q.shape[1], k.shape[1]
    start = max(n - m, 0) if causal else 0
    x = [torch.tensor(a)[None].requires_grad_() for a in (q[:, start:], k, v)]
    mask = torch.ones(n - start, m, dtype=torch.bool)
    mask = mask.tril(m - (n - start)) if causal else None
    o = scaled_dot_product_attention(*x, attn_mask=mask, scale=scale)
    grads = torch.autograd.grad(o, x, torch.tensor(do[:, start:])[None])
    dq, dk, dv = (g[0].double().numpy() for g in grads)
    return [np.pad(dq, ((0, 0), (start, 0), (0, 0))), dk, dv]


def assert_as_exact_as_torch(
    o: np.ndarray,
    found: np.ndarray,
    inputs: list[Tensor],
    causal: bool,
    *,
    rtol: float,
    atol: float,
) -> None:
    """o errs at most twice as much as torch's own attention of the same 16 bits.

    found: the logarithms of the rows' sums, to be within rtol and atol of the truth.
    """
    n, m = inputs[0].shape[1], inputs[1].shape[1]
    exact = [x.double().numpy() for x in inputs]
    expected, lse = reference.attention(*exact, causal=causal)
    mask = torch.ones(n, m, dtype=torch.bool).tril(m - n) if causal else None
    q, k, v = (x[None] for x in inputs)
    own = scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].double().numpy()
    own[:, : max(0, n - m) if causal else 0] = 0.0
    assert np.abs(o - expected).max() <= 2 * np.abs(own - expected).max(), o.shape
    seen = np.isfinite(lse)
    assert np.array_equal(found[~seen], lse[~seen])
    np.testing.assert_allclose(found[seen], lse[seen], rtol=rtol, atol=atol)


def problem(shape, seed=0, dtype: Any = np.float32, size=1.0):
    """q, k, v and do for (heads, n, m, d); the logits have the deviation `size`."""
    heads, n, m, d = shape
    rng = np.random.default_rng(seed)
    shapes = ((heads, n, d), (heads, m, d), (heads, m, d), (heads, n, d))
    q, k, v, do = (rng.standard_normal(s).astype(dtype) for s in shapes)
    return (q * dtype(size), k, v, do)


def damage(monkeypatch, file: str, right: str, wrong: str) -> None:
    """Until the end of the test, `flash.kernel` gives this file with a mistake."""
    intact = flash.kernel

    def kernel(folder, name, *options, checked=True):
        k = intact(folder, name, *options, checked=checked)
        if name != file:
            return k
        assert right in k.source, (file, right)
        source = k.source.replace(right, wrong)
        return Kernel(source, k.name, checked=checked, options=options)

    monkeypatch.setattr(flash, "kernel", kernel)
