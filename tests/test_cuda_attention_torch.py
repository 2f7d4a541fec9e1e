"""`cuda_labs.attention` on torch tensors: gradients, and in place of torch's own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from attention_truth import attend
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention

from cuda_labs import attention, flash, flash_backward


def tensors(*shapes, dtype=torch.float64, seed=0) -> Any:
    g = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes
    )


def test_torch_is_imported_when_attention_is_asked_for() -> None:
    code = (
        "import sys, cuda_labs; assert 'torch' not in sys.modules\n"
        "cuda_labs.attention; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_still_an_error() -> None:
    import cuda_labs

    with pytest.raises(AttributeError, match="no attribute 'atention'"):
        _ = cuda_labs.atention  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("n", "m", "options"),
    [
        (3, 5, {}),
        (3, 5, {"causal": True}),
        (5, 3, {"causal": True, "scale": 0.4}),
        (4, 4, {"is_causal": True}),
    ],
)
def test_gradcheck(n: int, m: int, options: dict[str, Any]) -> None:
    q, k, v = tensors((1, n, 3), (1, m, 3), (1, m, 3))
    assert gradcheck(lambda *x: attention(*x, **options), (q, k, v))


def test_gradcheck_of_grouped_heads_in_batches() -> None:
    q, k, v = tensors((2, 2, 2, 2), (2, 1, 3, 2), (2, 1, 3, 2))
    assert gradcheck(lambda *x: attention(*x, enable_gqa=True), (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("q", "k", "options"),
    [
        ((2, 3, 33, 16), (2, 3, 47, 16), {}),
        ((2, 3, 33, 16), (2, 3, 33, 16), {"is_causal": True}),
        ((2, 6, 20, 8), (2, 2, 20, 8), {"is_causal": True, "enable_gqa": True}),
        ((4, 17, 40), (4, 9, 40), {"scale": 0.5}),
        ((17, 5), (9, 5), {}),
        ((1, 2, 1, 3, 17, 5), (1, 2, 1, 3, 9, 5), {}),
    ],
)
def test_in_place_of_scaled_dot_product_attention(q, k, options, dtype) -> None:
    ours, theirs = (tensors(q, k, k, dtype=dtype, seed=1) for _ in range(2))
    given: Any = {"attn_mask": None, "dropout_p": 0.0, **options}
    got = attention(*ours, **given)
    want = scaled_dot_product_attention(*theirs, **given)
    tight = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(got, want, rtol=tight, atol=tight)
    weights = torch.randn(got.shape, dtype=dtype)
    grads = (
        torch.autograd.grad((o * weights).sum(), x)
        for o, x in ((got, ours), (want, theirs))
    )
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=tight, atol=tight)


def test_torchs_positional_arguments_in_their_order() -> None:
    q, k, v = tensors((2, 9, 4), (2, 9, 4), (2, 9, 4))
    torch.testing.assert_close(
        attention(q, k, v, None, 0.0, True),
        scaled_dot_product_attention(q, k, v, None, 0.0, True),
    )


def test_the_mask_is_aligned_at_the_bottom_right() -> None:
    q, k, v = tensors((2, 3, 4), (2, 8, 4), (2, 8, 4))
    o = attention(q, k, v, causal=True)
    torch.testing.assert_close(o, attend(q, k, v, causal=True))
    corner = scaled_dot_product_attention(q, k, v, is_causal=True)
    assert (o - corner).abs().max() > 0.1


def test_queries_that_see_no_key() -> None:
    q, k, v = tensors((1, 9, 4), (1, 5, 4), (1, 5, 4))
    o = attention(q, k, v, causal=True)
    dq, dk, dv = torch.autograd.grad(o.exp().sum(), (q, k, v))
    assert (o[:, :4] == 0).all()
    assert (dq[:, :4] == 0).all()
    assert all(x.isfinite().all() for x in (o, dq, dk, dv))


def test_views_are_taken_as_they_are() -> None:
    (packed,) = tensors((2, 11, 3, 4, 8), seed=2)  # batch, n, (q k v), heads, d
    q, k, v = (x.transpose(1, 2) for x in packed.unbind(2))
    got = torch.autograd.grad(attention(q, k, v, causal=True).sin().sum(), packed)
    want = torch.autograd.grad(attend(q, k, v, causal=True).sin().sum(), packed)
    torch.testing.assert_close(got[0], want[0])
    # A gradient that is expanded, as that of a sum is, has strides of zero.
    got = torch.autograd.grad(attention(q, k, v).sum(), packed)
    want = torch.autograd.grad(attend(q, k, v).sum(), packed)
    torch.testing.assert_close(got[0], want[0])


def test_only_what_needs_a_gradient_gets_one() -> None:
    q, k, v = tensors((1, 5, 4), (1, 6, 4), (1, 6, 4))
    out = attention(q.detach(), k, v.detach())
    out.sum().backward()
    assert q.grad is None
    assert v.grad is None
    assert k.grad is not None
    assert not attention(q.detach(), k.detach(), v.detach()).requires_grad


def test_two_runs_give_the_same_bits() -> None:
    q, k, v = tensors((2, 65, 16), (2, 97, 16), (2, 97, 16), dtype=torch.float32)
    seen = set()
    for _ in range(2):
        o = attention(q, k, v, causal=True)
        grads = torch.autograd.grad(o.square().sum(), (q, k, v))
        seen.add(b"".join(x.detach().numpy().tobytes() for x in (o, *grads)))
    assert len(seen) == 1


def test_a_second_derivative_is_refused() -> None:
    q, k, v = tensors((1, 3, 2), (1, 4, 2), (1, 4, 2))
    o = attention(q, k, v).square().sum()
    (dq,) = torch.autograd.grad(o, q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"attn_mask": torch.ones(3, 4)}, ValueError, "attn_mask: masks are not"),
        ({"dropout_p": 0.1}, ValueError, "dropout_p: dropout .* got 0.1"),
        ({"is_causal": True}, ValueError, "is_causal: torch aligns .* top left"),
        ({"q": np.zeros((2, 3, 4))}, TypeError, "q: a torch tensor .* ndarray"),
        (
            {"v": torch.zeros(2, 4, 4).half()},
            TypeError,
            "v: float32 or .* got torch.float16",
        ),
        ({"q": torch.zeros(2, 3, 4).bfloat16()}, TypeError, r"q: .* \.float\(\)"),
        ({"k": torch.zeros(2, 4, 4).double()}, TypeError, "k: torch.float32 on cpu"),
        ({"q": torch.zeros(2, 3, 4, device="meta")}, TypeError, "q: .* meta"),
        ({"k": torch.eye(4).to_sparse()}, TypeError, "k: a dense tensor"),
        ({"q": torch.zeros(4)}, ValueError, r"q: \(\.\.\., n, d\)"),
        ({"q": torch.zeros(2, 0, 4)}, ValueError, "q: .* without a zero"),
        ({"q": torch.zeros(2, 3, 129)}, ValueError, "q: d up to 128"),
        ({"k": torch.zeros(2, 4, 5)}, ValueError, "v: k's shape"),
        ({"q": torch.zeros(2, 3, 5)}, ValueError, r"k: \(\.\.\., m, 5\) to fit"),
        ({"q": torch.zeros(1, 2, 3, 4)}, ValueError, r"k: \(\.\.\., m, 4\)"),
        ({"q": torch.zeros(4, 3, 4)}, ValueError, "nothing is broadcast"),
        (
            {"q": torch.zeros(3, 3, 4), "enable_gqa": True},
            ValueError,
            "k: a number of heads that divides q's 3, got 2",
        ),
        ({"scale": float("nan")}, ValueError, "scale: a finite number"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(change, error, what) -> None:
    good = {
        "q": torch.zeros(2, 3, 4),
        "k": torch.zeros(2, 4, 4),
        "v": torch.zeros(2, 4, 4),
    }
    given: Any = {**good, **change}
    with pytest.raises(error, match=what):
        attention(**given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and CuPy")
def test_a_gpu_gives_what_the_simulator_gives() -> None:
    pytest.importorskip("cupy")
    host = tensors((2, 3, 97, 40), (2, 3, 113, 40), (2, 3, 113, 40))
    device = tuple(x.detach().cuda().requires_grad_() for x in host)
    results = []
    for x in (host, device):
        o = attention(*x, causal=True)
        results.append((o, *torch.autograd.grad(o.sin().sum(), x)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b.cpu())


def test_the_kernels_did_it(monkeypatch) -> None:
    calls = []
    for module, name in ((flash, "forward"), (flash_backward, "backward")):
        intact = getattr(module, name)

        def counted(*a, intact=intact, name=name, **o):
            calls.append(name)
            return intact(*a, **o)

        monkeypatch.setattr(module, name, counted)
    q, k, v = tensors((2, 5, 4), (2, 6, 4), (2, 6, 4))
    attention(q, k, v).sum().backward()
    assert calls == ["forward", "backward"]
