"""Decoding: any number of parts gives attention, and parts merge in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from attention_truth import attend, damage
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_labs import KernelError, decode, flash, nvrtc, reference


def problem(heads, key_heads, m, d, seed=0, dtype: Any = np.float32):
    rng = np.random.default_rng(seed)
    shapes = ((heads, 1, d), (key_heads, m, d), (key_heads, m, d))
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


def truth(q, k, v, dtype: Any = np.float64):
    """Torch's attention in `dtype`, each key head repeated for its group."""
    k, v = (np.repeat(x, len(q) // len(k), axis=0) for x in (k, v))
    tensors = [torch.from_numpy(x.astype(dtype)) for x in (q, k, v)]
    return attend(*tensors).double().numpy()


def judge(o, data) -> None:
    """Within 2 times torch's error, or one rounding of the largest value."""
    assert np.isfinite(o).all()
    exact = truth(*data)
    if o.dtype == np.float64:
        np.testing.assert_allclose(o, exact, rtol=1e-12, atol=1e-14)
        return
    error = np.abs(o - exact).max()
    other = np.abs(truth(*data, dtype=np.float32) - exact).max()
    eps = np.finfo(np.float32).eps
    assert error <= 2 * max(other, eps * np.abs(data[2]).max()), error


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("heads", "key_heads", "m", "d"),
    [
        (1, 1, 1, 1),
        (3, 3, 97, 40),
        (4, 2, 113, 64),
        (3, 1, 33, 128),
        (10, 2, 64, 33),
        (7, 1, 97, 96),
    ],
)
def test_any_number_of_splits_gives_attention(heads, key_heads, m, d, dtype) -> None:
    data = problem(heads, key_heads, m, d, 1, dtype)
    for splits in (1, 3, m, m + 5):
        o = decode.split_kv(*data, splits=splits)
        assert o.shape == (heads, 1, d)
        assert o.dtype == dtype
        judge(o, data)


@settings(max_examples=15)
@given(
    m=st.integers(1, 60),
    splits=st.integers(1, 70),
    key_heads=st.integers(1, 2),
    group=st.integers(1, 6),
    d=st.integers(1, 32),
    seed=st.integers(0, 9),
)
def test_decoding_equals_the_reference(m, splits, key_heads, group, d, seed) -> None:
    data = problem(key_heads * group, key_heads, m, d, seed)
    judge(decode.split_kv(*data, splits=splits), data)


def test_parts_are_attention_to_their_keys_and_empty_ones_are_empty() -> None:
    q, k, v = problem(4, 2, 10, 8, 2, np.float64)
    o, lse = decode.partials(q, k, v, splits=7)  # two keys each: five parts
    assert (o[5:] == 0).all()
    assert np.isneginf(lse[5:]).all()
    k, v = (np.repeat(x, 2, axis=0) for x in (k, v))
    for part in range(5):
        keys = slice(2 * part, 2 * part + 2)
        want, level = reference.attention(q, k[:, keys], v[:, keys])
        np.testing.assert_allclose(o[part], want, rtol=1e-12)
        np.testing.assert_allclose(lse[part], level, rtol=1e-12)


@pytest.mark.parametrize("by", [-1000.0, 1000.0])
def test_extreme_logits(by: float) -> None:
    q, k, v = problem(2, 1, 97, 40, 3)
    q[..., 0], k[..., 0] = 4.0, by * np.sqrt(40) / 4.0
    for splits in (1, 8):
        judge(decode.split_kv(q, k, v, splits=splits), (q, k, v))


def test_a_scale_of_ones_own() -> None:
    q, k, v = problem(2, 2, 33, 16, 4, np.float64)
    o = decode.split_kv(q, k, v, splits=4, scale=0.7)
    np.testing.assert_allclose(o, reference.attention(q, k, v, scale=0.7)[0], 1e-12)


def test_the_newest_token_of_a_causal_text() -> None:
    q, k, v = (np.repeat(x, 9, axis=1) for x in problem(2, 2, 1, 8, 5))
    k += np.random.default_rng(0).standard_normal(k.shape).astype(np.float32)
    last = np.ascontiguousarray(q[:, -1:])
    whole = flash.forward(q, k, v, causal=True)[0][:, -1:]
    np.testing.assert_allclose(decode.split_kv(last, k, v, splits=3), whole, 1e-5)


# --- the merge ------------------------------------------------------------------------

LEVELS = st.one_of(
    st.just(-np.inf),
    st.floats(-5, 5),
    st.sampled_from([-1e4, -700.0, 88.8, 700.0, 1e4]),
)


@st.composite
def parts(draw, count):
    """States of `count` parts of two rows: o (count, 2, 3), lse (count, 2)."""
    lse = np.array(draw(st.lists(LEVELS, min_size=2 * count, max_size=2 * count)))
    lse = lse.reshape(count, 2)
    o = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((count, 2, 3))
    return np.where(np.isneginf(lse)[..., None], 0.0, o), lse


def same(a, b) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


def merged(*states):
    return decode.merge(
        np.stack([o for o, _ in states]), np.stack([lse for _, lse in states])
    )


@settings(max_examples=60)
@given(parts(3))
def test_merging_is_associative(states) -> None:
    a, b, c = zip(*states, strict=True)
    flat = merged(a, b, c)
    same(merged(merged(a, b), c), flat)
    same(merged(a, merged(b, c)), flat)


@settings(max_examples=40)
@given(parts(4), st.permutations(range(4)))
def test_merging_is_commutative(states, order) -> None:
    o, lse = states
    same(decode.merge(o[order], lse[order]), decode.merge(o, lse))


@settings(max_examples=40)
@given(parts(1))
def test_the_empty_part_is_the_identity(states) -> None:
    o, lse = states
    empty = np.zeros_like(o[0]), np.full_like(lse[0], -np.inf)
    alone = o[0], lse[0]
    for result in (merged(alone, empty), merged(empty, alone), merged(alone)):
        same(result, alone)
    same(merged(empty, empty), empty)


@settings(max_examples=40)
@given(parts(5))
def test_merging_is_the_mean_weighted_by_the_softmax(states) -> None:
    o, lse = states
    weights = torch.softmax(torch.from_numpy(lse), 0)
    total = torch.logsumexp(torch.from_numpy(lse), 0)
    want = (weights.nan_to_num(0.0)[..., None] * torch.from_numpy(o)).sum(0)
    same(decode.merge(o, lse), (want.numpy(), total.numpy()))


@settings(max_examples=8)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 9))
def test_parts_of_any_length_merge_to_the_whole(lengths, seed) -> None:
    rng, m = np.random.default_rng(seed), sum(lengths)
    q, k, v = (rng.standard_normal((2, rows, 8)) for rows in (5, m, m))
    cuts = np.cumsum(lengths)[:-1]
    keys, values = (np.split(x, cuts, axis=1) for x in (k, v))
    states = [
        flash.forward(q, np.ascontiguousarray(a), np.ascontiguousarray(b))
        for a, b in zip(keys, values, strict=True)
    ]
    same(merged(*states), reference.attention(q, k, v))


# --- the kernels ----------------------------------------------------------------------

WRONG = [
    ("decode_split_kv", "* scale", ""),
    ("decode_split_kv", "j < end ? s : none", "s"),
    ("decode_split_kv", "begin + chunk, m", "begin + chunk, m - 1"),
    ("decode_split_kv", "out[g][e] * keep", "out[g][e]"),
    ("decode_split_kv", "sum[g] * keep + p", "sum[g] + p"),
    ("decode_split_kv", "mine * out[g][e] + theirs * add", "mine * (out[g][e] + add)"),
    ("decode_split_kv", "w < 32; w *= 2", "w < 16; w *= 2"),
    ("decode_split_kv", "int w = 4; w > 0", "int w = 2; w > 0"),
    ("decode_split_kv", "share * sums[w][g]", "sums[w][g]"),
    ("decode_split_kv", "old == larger ? (REAL)1 : exp", "exp"),
    ("decode_split_kv", "blockIdx.y * group + g0", "blockIdx.y + g0"),
    ("decode_split_kv", "larger + log(total)", "log(total)"),
    ("decode_merge", "sum / total", "sum"),
    ("decode_merge", "row] - top", "row]"),
    ("decode_merge", "top + log(total)", "top"),
    ("decode_merge", "top == none ? 0 : sum", "sum"),
]


@pytest.mark.parametrize(("file", "right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(monkeypatch, file, right, wrong) -> None:
    damage(monkeypatch, file, right, wrong)
    q, k, v = problem(6, 2, 100, 33, 6)
    k[:, :, 0] += np.linspace(0, 60, 100)  # the maximum moves from key to key

    def everything() -> None:
        o, lse = decode.partials(q, k, v, splits=2)
        many = [np.repeat(x, 3, axis=0) for x in (k, v)]
        level = decode.merge(o, lse)[1]
        np.testing.assert_allclose(level, reference.attention(q, *many)[1], 1e-5)
        for splits in (2, 110):
            judge(decode.split_kv(q, k, v, splits=splits), (q, k, v))
        nothing = decode.merge(0 * o, np.full_like(lse, -np.inf))
        assert (nothing[0] == 0).all()
        assert np.isneginf(nothing[1]).all()

    with pytest.raises((AssertionError, KernelError)):
        everything()


def test_profiles_have_no_finding_and_keys_are_loaded_once_for_a_group() -> None:
    for heads, key_heads, blocks in ((2, 2, 1), (4, 1, 1), (10, 2, 2)):
        m, d, splits = 45, 33, 4
        q, k, v = problem(heads, key_heads, m, d, 7)
        found = decode.profile(q, k, v, splits=splits)
        assert list(found) == ["decode_split_kv", "decode_merge"]
        for name, p in found.items():
            assert not p.errors, f"{name}: {p}"
            assert "counts split" not in {n.kind for n in p.notes}
        load = found["decode_split_kv"].total("global load").bytes
        teams = 16  # each loads its query
        assert load == 4 * d * (2 * key_heads * blocks * m + teams * splits * heads)
        store = found["decode_merge"].total("global store").bytes
        assert store == 4 * heads * (d + 1)


def test_a_missing_barrier_is_found(monkeypatch) -> None:
    damage(monkeypatch, "decode_split_kv", "  __syncthreads();\n", "")
    found = decode.profile(*problem(1, 1, 45, 8, 8), splits=2)
    assert {f.kind for f in found["decode_split_kv"].errors} & {"race", "uninitialised"}


def test_no_order_of_threads_changes_a_bit(monkeypatch) -> None:
    data, intact, seen = problem(4, 2, 97, 40, 9), flash.kernel, set()
    for order in ("forward", "forward", "reversed", 11):

        def kernel(*names, checked=True, order=order):
            k = intact(*names, checked=checked)
            return lambda *a, **o: k(*a, order=order, **o)

        monkeypatch.setattr(flash, "kernel", kernel)
        seen.add(decode.split_kv(*data, splits=5).tobytes())
    assert len(seen) == 1


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
@pytest.mark.parametrize(
    ("dtype", "group", "d"),
    [(np.float32, 4, 128), (np.float32, 2, 64), (np.float64, 2, 128)],
)
def test_the_widest_groups_do_not_spill(monkeypatch, dtype, group, d) -> None:
    used, intact = {}, flash.kernel

    def kernel(folder, name, *options, checked=True):
        used[name] = intact(folder, name, *options, checked=checked)
        return used[name]

    monkeypatch.setattr(flash, "kernel", kernel)
    decode.partials(*problem(group, 1, 3, d, 10, dtype), splits=1)
    for arch in ("sm_80", "sm_90"):
        r = used["decode_split_kv"].compile(arch).resources()
        assert r.spill_stores == r.spill_loads == r.stack == 0


def test_what_decoding_does_not_take() -> None:
    q, k, v = problem(4, 2, 9, 8)
    for bad, what in (
        ((np.zeros((4, 2, 8), np.float32), k, v), "q: .* one query a head"),
        ((q[:3].copy(), k, v), "q: heads in multiples"),
        ((q, k[..., :7].copy(), v), "k: "),
        ((q, k[:, :0], v[:, :0]), "k: "),
        ((q, k, v[:, :8]), "v: shape"),
        ((np.zeros((4, 1, 130), np.float32), k, v), "q: d up to 128"),
    ):
        with pytest.raises(ValueError, match=what):
            decode.partials(*bad, splits=2)
    wrong: Any = ((0, ValueError), (-1, ValueError), (2.0, TypeError))
    for splits, error in wrong:
        with pytest.raises(error, match="splits: "):
            decode.split_kv(q, k, v, splits=splits)
    with pytest.raises(ValueError, match="scale: a finite number"):
        decode.split_kv(q, k, v, splits=1, scale=np.nan)
    with pytest.raises(TypeError, match="k: float32 as q"):
        decode.split_kv(q, k.astype(np.float64), v, splits=1)
    with pytest.raises(TypeError, match="q: float32 or float64"):
        decode.split_kv(q.astype(np.int32), k, v, splits=1)
    o, lse = decode.partials(q, k, v, splits=3)
    with pytest.raises(ValueError, match=r"lse: shape \(3, 4, 1\) is needed"):
        decode.merge(o, lse[:2])
    with pytest.raises(ValueError, match="o: "):
        decode.merge(o[:0], lse[:0])
    with pytest.raises(TypeError, match="lse: float32 as o"):
        decode.merge(o, lse.astype(np.float64))
