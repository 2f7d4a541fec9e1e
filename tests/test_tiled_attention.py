"""Attention in tiles of plain torch: equal to the whole, in the memory of a tile."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_truth import attend
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from cuda_labs import reference, tiled


def tensors(n, m, d=5, e=None, lead=(2,), dtype=torch.float64, seed=0) -> Any:
    g = torch.Generator().manual_seed(seed)
    shapes = ((n, d), (m, d), (m, e or d))
    return tuple(
        torch.randn((*lead, *s), generator=g, dtype=dtype).requires_grad_()
        for s in shapes
    )


@settings(max_examples=40)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    tile=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    causal=st.booleans(),
    scale=st.sampled_from([None, 0.1, -1.0, 3.0]),
)
def test_any_tile_gives_attention_and_its_gradients(n, m, tile, causal, scale) -> None:
    q, k, v = tensors(n, m, e=3)
    got = tiled.attention(q, k, v, causal=causal, scale=scale, tile=tile)
    want = attend(q, k, v, causal=causal, scale=scale)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    weights = torch.linspace(-1, 1, got.numel()).double().reshape(got.shape)
    ours = torch.autograd.grad((got * weights).sum(), (q, k, v))
    theirs = torch.autograd.grad((want * weights).sum(), (q, k, v))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_gradcheck() -> None:
    for n, m in ((4, 6), (6, 4)):
        inputs = tensors(n, m, d=3, e=2)
        assert gradcheck(
            lambda *x: tiled.attention(*x, causal=True, tile=(2, 3)), inputs
        )


def test_the_default_tile_against_the_reference() -> None:
    q, k, v = tensors(300, 700, d=16, lead=(1,))
    got = tiled.attention(q, k, v, causal=True)
    arrays = [x.detach().numpy() for x in (q, k, v)]
    want = reference.attention(*arrays, causal=True)[0]
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_in_float32_as_exact_as_torch(size: float) -> None:
    q, k, v = tensors(97, 113, d=64, dtype=torch.float32, seed=1)
    q = q * size
    exact = attend(q.double(), k.double(), v.double())
    error = (tiled.attention(q, k, v, tile=(32, 48)) - exact).abs().max()
    other = (scaled_dot_product_attention(q, k, v) - exact).abs().max()
    assert error <= 2 * other


@pytest.mark.parametrize("by", [-1000.0, 1000.0])
def test_extreme_logits(by: float) -> None:
    q, k, v = (x.detach() for x in tensors(20, 30, d=4))
    q[..., 0], k[..., 0] = 2.0, by
    got = tiled.attention(q, k, v, causal=True, tile=(7, 9))
    torch.testing.assert_close(got, attend(q, k, v, causal=True), rtol=1e-9, atol=1e-9)


def test_queries_that_see_no_key() -> None:
    q, k, v = tensors(9, 5)
    o = tiled.attention(q, k, v, causal=True, tile=(3, 2))
    grads = torch.autograd.grad(o.exp().sum(), (q, k, v))
    assert (o[:, :4] == 0).all()
    assert (grads[0][:, :4] == 0).all()
    assert all(x.isfinite().all() for x in (o, *grads))


def test_leading_sizes_of_any_number() -> None:
    for lead in ((), (2, 3), (1, 2, 1)):
        q, k, v = tensors(7, 8, lead=lead)
        torch.testing.assert_close(tiled.attention(q, k, v), attend(q, k, v))


class Largest(TorchDispatchMode):
    """Notes the largest storage that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // 8)
        return result


def test_the_benchmark_compares_what_is_equal() -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "attention.py"
    sys.path.insert(0, str(path.parent))
    try:
        bench = runpy.run_path(str(path))
    finally:
        sys.path.remove(str(path.parent))
    assert bench["agree"](100) < 1e-5
    seconds = bench["times"]("forward", 64, 1)
    assert list(seconds) == ["naive", "tiled", "sdpa"]
    row = {"pass": "forward", "n": bench["JUDGED"]}
    row["seconds"] = {"naive": 9.0, "tiled": 3.0, "sdpa": 2.0}
    row["bytes"] = {"naive": 100, "tiled": 4, "sdpa": 1}
    assert bench["ratios"]([row]) == {
        "forward": {"tiled time / sdpa time": 1.5, "tiled memory / naive memory": 0.04}
    }


def test_nothing_larger_than_a_tile_or_an_input_is_made() -> None:
    q, k, v = tensors(400, 500, d=8, lead=(1,))
    with Largest() as largest:
        o = tiled.attention(q, k, v, causal=True, tile=(50, 100))
        torch.autograd.grad(o.sum(), (q, k, v))
    assert largest.numbers == 50 * 100
    with Largest() as largest:
        attend(q, k, v)
    assert largest.numbers == 400 * 500


def test_a_causal_mask_spares_tiles(monkeypatch) -> None:
    tiles, intact = [], tiled._scores
    monkeypatch.setattr(tiled, "_scores", lambda *a: tiles.append(a[2]) or intact(*a))
    q, k, v = (x.detach() for x in tensors(8, 12, lead=(1,)))
    tiled.attention(q, k, v, tile=(2, 2))
    assert len(tiles) == 4 * 6
    tiles.clear()
    tiled.attention(q, k, v, causal=True, tile=(2, 2))
    assert len(tiles) == 3 + 4 + 5 + 6
    assert sum(x is not None for x in tiles) == 4


def test_a_second_derivative_is_refused() -> None:
    q, k, v = tensors(3, 4)
    (dq,) = torch.autograd.grad(
        tiled.attention(q, k, v).square().sum(), q, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"q": np.zeros((3, 4))}, TypeError, "q: a torch tensor"),
        ({"k": torch.zeros(5, 4).half()}, TypeError, "k: float32 or float64"),
        ({"v": torch.zeros(5, 4).double()}, TypeError, "v: torch.float32 on cpu"),
        ({"q": torch.zeros(4)}, ValueError, "q: at least two sizes"),
        ({"v": torch.zeros(0, 4)}, ValueError, "v: .* none of them 0"),
        ({"k": torch.zeros(5, 3)}, ValueError, r"k: \(\.\.\., m, d\)"),
        ({"k": torch.zeros(1, 5, 4)}, ValueError, r"k: \(\.\.\., m, d\)"),
        ({"v": torch.zeros(6, 4)}, ValueError, r"v: \(\.\.\., m, e\)"),
        ({"tile": (0, 4)}, ValueError, "tile: two sizes"),
        ({"tile": (4,)}, ValueError, "tile: two sizes"),
        ({"tile": 4}, TypeError, "tile: two integers .* got 4"),
        ({"tile": (4.0, 4)}, TypeError, "tile: two integers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, error, what) -> None:
    good = {"q": torch.zeros(3, 4), "k": torch.zeros(5, 4), "v": torch.zeros(5, 4)}
    with pytest.raises(error, match=what):
        tiled.attention(**{**good, **change})
