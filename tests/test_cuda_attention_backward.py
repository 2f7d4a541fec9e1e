"""The gradients of attention by the kernels, against torch's in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from attention_truth import attend, damage, fused_gradients, gradients, problem

from cuda_labs import KernelError, flash, flash_backward, nvrtc, reference

SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 97, 40),
    (1, 97, 1, 64),
    (2, 97, 113, 33),
    (1, 113, 97, 64),
    (1, 64, 64, 128),
    (3, 33, 65, 96),
]
NAMES = ("dq", "dk", "dv")
EPS = np.finfo(np.float32).eps


def backward(q, k, v, do, *, causal=False, scale=None, **tiles):
    o, lse = flash.forward(q, k, v, causal=causal, scale=scale)
    return flash_backward.backward(
        q, k, v, o, lse, do, causal=causal, scale=scale, **tiles
    )


def judge(found, data, *, causal=False, scale=None) -> None:
    """Each gradient is within 3 times the error of torch's fused attention.

    Where torch's own error vanishes (with one key P = 1, and dS = P∘(dP − D) is
    exactly 0) what is left is the rounding of dP and D, sums of d products. In
    float64 torch is the truth itself and no measure: twelve digits are asked.
    """
    exact = gradients(*data, causal=causal, scale=scale)
    if data[0].dtype == np.float64:
        bounds = [1e-12 * max(np.abs(x).max(), 1.0) for x in exact]
    else:
        fused = fused_gradients(*data, causal=causal, scale=scale)
        errors = [np.abs(a - b).max() for a, b in zip(fused, exact, strict=True)]
        q, k, v, do = (np.abs(x).max() for x in data)
        s = data[0].shape[-1] ** -0.5 if scale is None else abs(scale)
        passed = EPS * s * do * v * np.sqrt(data[0].shape[-1])
        floors = (passed * k, passed * q, EPS * do)
        bounds = [3 * max(a, b) for a, b in zip(errors, floors, strict=True)]
    for name, got, want, bound in zip(NAMES, found, exact, bounds, strict=True):
        assert np.isfinite(got).all(), f"{name}: not finite"
        error = np.abs(got - want).max()
        assert error <= bound, f"{name}: error {error:.3g}, allowed {bound:.3g}"


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_autograd(shape, dtype, causal) -> None:
    data = problem(shape, 1, dtype)
    judge(backward(*data, causal=causal), data, causal=causal)


def shifted(shape, seed: int, by: float):
    """A problem whose logits are all moved by `by`, which changes no probability."""
    q, k, v, do = problem(shape, seed)
    q[..., 0], k[..., 0] = 4.0, by * np.sqrt(shape[-1]) / 4.0
    return q, k, v, do


@pytest.mark.parametrize("size", [10.0, 100.0])
def test_gradients_of_sharp_attention(size: float) -> None:
    data = problem((1, 97, 113, 64), 2, np.float32, size)
    judge(backward(*data, causal=True), data, causal=True)


@pytest.mark.parametrize("by", [-1000.0, 1000.0])
def test_gradients_of_extreme_logits(by: float) -> None:
    # The largest exponent in float32 is 88: alone, exp(S) is 0 or infinite.
    data = shifted((1, 65, 97, 40), 2, by)
    judge(backward(*data, causal=True), data, causal=True)


@pytest.mark.parametrize("scale", [0.01, 1.0, -0.5])
def test_any_scale(scale: float) -> None:
    data = problem((1, 20, 33, 16), 3, np.float64)
    judge(backward(*data, scale=scale), data, scale=scale)


def test_gradients_against_central_differences_of_the_forward_kernel() -> None:
    q, k, v, do = problem((1, 33, 47, 24), 4, np.float64)
    found = backward(q, k, v, do, causal=True)
    rng, h = np.random.default_rng(5), 1e-5
    for i, grad in enumerate(found):
        x = [q, k, v]
        along = rng.standard_normal(x[i].shape)
        ends = []
        for sign in (1, -1):
            moved = [*x]
            moved[i] = x[i] + sign * h * along
            ends.append((flash.forward(*moved, causal=True)[0] * do).sum())
        slope = (ends[0] - ends[1]) / (2 * h)
        assert slope == pytest.approx((grad * along).sum(), rel=1e-7)


def test_the_reference_is_the_gradient_that_autograd_finds() -> None:
    for causal, scale in itertools.product((False, True), (None, 0.3)):
        data = problem((2, 13, 9, 5), 6, np.float64)
        for got, want in zip(
            reference.attention_backward(*data, causal=causal, scale=scale),
            gradients(*data, causal=causal, scale=scale),
            strict=True,
        ):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_queries_that_see_no_key_neither_give_nor_get() -> None:
    q, k, v, do = problem((2, 97, 20, 16), 7)
    do[:, 3] = 1e30  # a row that must not matter
    dq, dk, dv = backward(q, k, v, do, causal=True)
    assert (dq[:, :77] == 0).all()
    assert (dq[:, 77:] != 0).any(axis=(0, 2)).all()
    # Without those rows it is a square problem.
    rest = tuple(np.ascontiguousarray(x[:, 77:]) for x in (q, do))
    again = backward(rest[0], k, v, rest[1], causal=True)
    for got, want in zip((dq[:, 77:], dk, dv), again, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_tiles_of_any_size_give_the_same() -> None:
    data = problem((1, 70, 97, 24), 8)
    for rows, cols in ((16, 48), (64, 16)):
        judge(backward(*data, causal=True, rows=rows, cols=cols), data, causal=True)


def test_every_run_and_every_order_of_threads_gives_the_same_bits(monkeypatch) -> None:
    q, k, v, do = problem((2, 97, 65, 40), 9)
    o, lse = flash.forward(q, k, v, causal=True)
    intact, seen = flash.kernel, set()
    for order in ("forward", "forward", "reversed", 11):

        def kernel(*names, checked=True, order=order):
            k = intact(*names, checked=checked)
            return lambda *a, **o: k(*a, order=order, **o)

        monkeypatch.setattr(flash, "kernel", kernel)
        grads = flash_backward.backward(q, k, v, o, lse, do, causal=True)
        seen.add(b"".join(g.tobytes() for g in grads))
    assert len(seen) == 1


def test_the_fast_build_gives_the_same_bits() -> None:
    data = problem((1, 65, 33, 64), 10)
    for a, b in zip(backward(*data), backward(*data, checked=False), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_profiles_have_no_finding_and_the_traffic_of_the_head_comments(causal) -> None:
    heads, n, m, d = 2, 49, 65, 40
    q, k, v, do = problem((heads, n, m, d), 11)
    o, lse = flash.forward(q, k, v, causal=causal)
    rows, cols = 32, 48
    found = flash_backward.profile(
        q, k, v, o, lse, do, causal=causal, rows=rows, cols=cols
    )
    assert list(found) == ["backward_delta", "04_flash_bwd", "backward_dq"]
    for name, p in found.items():
        assert not p.errors, f"{name}: {p}"
        assert not p.notes, f"{name}: {p.notes}"
    row, key = 2 * d + 2, 2 * d  # q, dout, lse, delta; k, v
    if not causal:
        tiles = -(-m // cols), -(-n // rows)
        loads = {
            "backward_delta": 2 * n * d,
            "04_flash_bwd": m * key + tiles[0] * n * row,
            "backward_dq": n * row + tiles[1] * m * key,
        }
        for name, elements in loads.items():
            assert found[name].total("global load").bytes == 4 * heads * elements
    stores = {"backward_delta": n, "04_flash_bwd": 2 * m * d, "backward_dq": n * d}
    for name, elements in stores.items():
        assert found[name].total("global store").bytes == 4 * heads * elements


def test_a_causal_mask_spares_tiles() -> None:
    q, k, v, do = problem((1, 128, 128, 2), 12)
    bytes_of = {}
    for causal in (False, True):
        o, lse = flash.forward(q, k, v, causal=causal)
        found = flash_backward.profile(q, k, v, o, lse, do, causal=causal)
        for name in ("04_flash_bwd", "backward_dq"):
            bytes_of[name, causal] = found[name].total("global load").bytes
    # Of 4 × 4 tiles 10 are on the diagonal or below it.
    row, key = 4 * 32 * (2 * 2 + 2), 4 * 32 * 2 * 2
    assert bytes_of["04_flash_bwd", False] == 4 * key + 16 * row
    assert bytes_of["04_flash_bwd", True] == 4 * key + 10 * row
    assert bytes_of["backward_dq", False] == 4 * row + 16 * key
    assert bytes_of["backward_dq", True] == 4 * row + 10 * key


def test_no_bank_conflicts() -> None:
    q, k, v, do = problem((1, 32, 32, 64), 13)
    o, lse = flash.forward(q, k, v)
    for name, p in flash_backward.profile(q, k, v, o, lse, do).items():
        shared = [a for line in p.lines.values() for a in line.access.values()]
        assert all(a.wavefronts == a.ideal_wavefronts for a in shared), name


WRONG = [
    ("04_flash_bwd", "(dp[a][b] - s.delta[r])", "dp[a][b]"),
    ("04_flash_bwd", "scale * sum_k[b][c]", "sum_k[b][c]"),
    ("04_flash_bwd", "scale * qk[a][b]", "qk[a][b]"),
    ("04_flash_bwd", "j0 + c <= i0 + r + m - n", "j0 + c <= i0 + r"),
    ("04_flash_bwd", "j0 + c <= i0 + r + m - n", "j0 + c < i0 + r + m - n"),
    ("04_flash_bwd", "/ ROWS * ROWS : 0", "/ ROWS * ROWS + ROWS : 0"),
    ("04_flash_bwd", "(j0 - (m - n)) / ROWS * ROWS", "j0 / ROWS * ROWS"),
    ("04_flash_bwd", "(size_t)blockIdx.y * m;", "(size_t)blockIdx.y * n;"),
    ("04_flash_bwd", "ds * s.q[r]", "ds * s.dout[r]"),
    ("backward_dq", "(dp[a][b] - s.delta[r])", "dp[a][b]"),
    ("backward_dq", "scale * sum[a][b]", "sum[a][b]"),
    ("backward_dq", "i0 + ROWS + m - n", "i0 + m - n"),
    ("backward_dq", "i0 + r + m - n", "i0 + r"),
    ("backward_dq", "ds * s.k[c]", "ds * s.v[c]"),
    ("backward_dq", "i0 + r < n && j0 + c < m;", "i0 + r < n;"),
    ("backward_delta", "h += 32", "h += 64"),
    ("backward_delta", "step > 0; step", "step > 1; step"),
]


@pytest.mark.parametrize(("file", "right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(monkeypatch, file, right, wrong) -> None:
    # Log-sum-exps of −200: nothing may come from beyond an edge.
    data = shifted((2, 49, 65, 40), 14, -200.0)
    damage(monkeypatch, file, right, wrong)

    def both() -> None:
        for causal in (False, True):
            judge(backward(*data, causal=causal), data, causal=causal)

    with pytest.raises((AssertionError, KernelError), match=r"d[qkv]: |line"):
        both()


BARRIERS = [
    ("04_flash_bwd", "    __syncthreads();  // the tile before has been used\n"),
    ("04_flash_bwd", "    }\n    __syncthreads();\n    for (int r = 0;"),
    ("backward_dq", "    __syncthreads();  // the tile before has been used\n"),
    ("backward_dq", "    }\n    __syncthreads();\n    for (int c = 0;"),
]


@pytest.mark.parametrize(("file", "barrier"), BARRIERS)
def test_a_missing_barrier_is_found(monkeypatch, file, barrier) -> None:
    q, k, v, do = problem((1, 65, 65, 16), 15)
    o, lse = flash.forward(q, k, v)
    without = barrier.replace("    __syncthreads();", "").replace("\n\n", "\n")
    damage(monkeypatch, file, barrier, without)
    found = flash_backward.profile(q, k, v, o, lse, do)[file].errors
    assert {f.kind for f in found} & {"race", "uninitialised"}


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_widest_heads_do_not_spill(monkeypatch, dtype) -> None:
    q, k, v, do = problem((1, 1, 1, 128), 16, dtype)
    used, intact = {}, flash.kernel

    def kernel(folder, name, *options, checked=True):
        used[name] = intact(folder, name, *options, checked=checked)
        return used[name]

    monkeypatch.setattr(flash, "kernel", kernel)
    flash_backward.backward(q, k, v, do, do[..., 0].copy(), do)
    assert set(used) == set(flash_backward.NAMES)
    for name, arch in (("04_flash_bwd", "sm_80"), ("backward_dq", "sm_90")):
        r = used[name].compile(arch).resources()
        assert r.spill_stores == r.spill_loads == r.stack == 0, name


def test_what_backward_does_not_take() -> None:
    q, k, v, do = problem((2, 5, 7, 4), 17)
    o, lse = flash.forward(q, k, v)

    def call(**changed):
        given = {"q": q, "k": k, "v": v, "o": o, "lse": lse, "do": do}
        return flash_backward.backward(**{**given, **changed})

    for name, bad, what in (
        ("o", o[:, :4], r"o: shape \(2, 5, 4\) is needed"),
        ("lse", lse[..., None], r"lse: shape \(2, 5\)"),
        ("do", do[:1], "do: shape"),
        ("k", k[:, :, :3], "k: "),
        ("v", v[:, :3], "v: shape"),
        ("q", np.zeros((1, 2, 129), np.float32), "q: d up to 128"),
        ("do", np.asfortranarray(do), "contiguous"),
        ("scale", np.inf, "scale: a finite number"),
        ("rows", 24, "rows: a multiple of 16"),
        ("cols", 0, "cols: a multiple of 16"),
    ):
        with pytest.raises(ValueError, match=what):
            call(**{name: bad})
    with pytest.raises(TypeError, match="lse: float32 as q"):
        call(lse=lse.astype(np.float64))
    with pytest.raises(TypeError, match="q: float32 or float64"):
        call(**{x: a.astype(np.float16) for x, a in (("q", q), ("k", k), ("v", v))})


def test_the_truth_is_attention() -> None:
    q, k, v, _ = problem((2, 9, 12, 5), 18, np.float64)
    a, b, c = tensors = [torch.from_numpy(x) for x in (q, k, v)]
    plain = torch.nn.functional.scaled_dot_product_attention(a, b, c)
    assert torch.allclose(attend(*tensors), plain, rtol=1e-12)
    o = reference.attention(q, k, v, causal=True)[0]
    assert np.allclose(attend(*tensors, causal=True).numpy(), o, rtol=1e-12)
