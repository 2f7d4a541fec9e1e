"""The comparator and the references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuda_labs import check, reference


def test_float_addition_passes_and_a_shifted_one_does_not() -> None:
    rng = np.random.default_rng(0)
    a, b = check.normals((1009,), rng), check.normals((1009,), rng)
    expected = reference.vector_add(a, b)
    good = check.agree(a + b, expected)
    # One rounding is off by at most ε/2 of the result, an eighth of 4 ε.
    assert good.worst <= 0.125
    assert good.elements == 1009
    with pytest.raises(check.Mismatch, match=r"of 1009 elements are out of"):
        check.agree(np.roll(a + b, 1), expected)
    half = (a + b).astype(np.float16)
    with pytest.raises(check.Mismatch):
        check.agree(half.astype(np.float32), expected)


def test_the_worst_index_is_named() -> None:
    expected = np.arange(1.0, 13.0).reshape(3, 4)
    got = expected.astype(np.float32)
    got[1, 2] += 1e-3
    got[2, 0] += 1.0
    with pytest.raises(check.Mismatch, match=r"2 of 12 .*\(2, 0\), is 10"):
        check.agree(got, expected)


def test_non_finite_results_are_refused_before_anything_else() -> None:
    expected = np.ones((2, 3))
    got = np.full((2, 3), 99.0, np.float32)
    got[1, 1] = np.nan
    with pytest.raises(check.Mismatch, match=r"1 of 6 elements are not finite.*1, 1"):
        check.agree(got, expected)
    got[1, 1] = np.inf
    with pytest.raises(check.Mismatch, match="not finite"):
        check.agree(got, expected, scale=1e30)


@given(st.integers(1, 10**6), st.sampled_from(["float16", "float32", "bfloat16"]))
def test_the_tolerance_is_4_root_k_epsilon(k: int, dtype: str) -> None:
    tolerance = 4 * k**0.5 * check.epsilon(dtype) * 3.0
    expected = np.full(5, 3.0)
    got = expected.copy()
    got[3] += 0.999 * tolerance
    found = check.agree(got, expected, k=k, dtype=dtype)
    assert found.index == (3,)
    assert found.worst == pytest.approx(0.999)
    got[3] = 3.0 - 1.001 * tolerance
    with pytest.raises(check.Mismatch, match=r"at \(3,\)"):
        check.agree(got, expected, k=k, dtype=dtype)


def test_epsilon_is_the_gap_above_one() -> None:
    for kind in (np.float16, np.float32, np.float64):
        assert check.epsilon(kind) == float(np.nextafter(kind(1), kind(2)) - kind(1))
    # bfloat16 keeps the upper 16 bits of a float32.
    one = np.array([1.0], np.float32).view(np.uint32)
    above = (one + np.uint32(1 << 16)).view(np.float32)
    assert check.epsilon("bfloat16") == float(above[0]) - 1.0
    assert check.epsilon(np.int32) == 0.0
    with pytest.raises(TypeError, match="complex64"):
        check.epsilon(np.complex64)


def test_moves_and_integers_are_exact() -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    check.agree(np.ascontiguousarray(a.T), reference.transpose(a), k=0)
    with pytest.raises(check.Mismatch):
        check.agree(np.nextafter(a, np.float32(9)), a, k=0)
    n = np.array([1, 2, 3])
    with pytest.raises(check.Mismatch, match=r"\(2,\), is 4, expected 3"):
        check.agree(np.array([1, 2, 4]), n, k=100)


def test_scale_is_the_size_of_what_was_rounded() -> None:
    # 1e8 + 1 − 1e8 in float32 is 0: wrong for |expected| = 1, right for 2e8.
    got = np.float32(1e8) + np.float32(1) - np.float32(1e8)
    with pytest.raises(check.Mismatch):
        check.agree(np.array([got]), [1.0], k=3)
    check.agree(np.array([got]), [1.0], k=3, scale=2e8 + 1)


@pytest.mark.parametrize(
    ("result", "expected", "kwargs", "message"),
    [
        (np.zeros(3), np.zeros(4), {}, "shape"),
        (np.zeros(0), np.zeros(0), {}, "nothing would be checked"),
        (np.zeros(2), [0.0, np.inf], {}, "expected: must be finite"),
        (np.zeros(2), np.zeros(2), {"k": -1}, "k: must be 0 or more"),
        (np.zeros(2), np.zeros(2), {"scale": -1.0}, "scale: must be"),
        (np.zeros(2), np.zeros(2), {"scale": np.ones(3)}, r"scale: shape \(3,\) does"),
    ],
)
def test_unusable_comparisons_are_errors(result, expected, kwargs, message) -> None:
    with pytest.raises(ValueError, match=message):
        check.agree(result, expected, **kwargs)


def test_device_arrays_are_fetched() -> None:
    class Device:
        def get(self) -> np.ndarray:
            return np.ones(3, np.float32)

    assert check.agree(Device(), np.ones(3)).elements == 3


def test_poison_cannot_pass_and_inputs_are_not_tame() -> None:
    for kind in (np.float16, np.float32, np.float64):
        with pytest.raises(check.Mismatch, match="not finite"):
            check.agree(check.poisoned((2, 2), kind), np.zeros((2, 2)))
    assert check.poisoned((2,), np.int32).tolist() == [-1515870811] * 2
    assert check.poisoned((1,), np.uint8).tolist() == [0xA5]
    x = check.normals((10000,), np.random.default_rng(1))
    assert 50 < (np.abs(x) > 10).sum() < 150
    assert x.dtype == np.float32
    assert 0.9 < np.median(np.abs(x)) / 0.6745 < 1.1
    with pytest.raises(ValueError, match="outliers"):
        check.normals((1,), np.random.default_rng(1), outliers=2.0)


def test_references_refuse_what_a_kernel_would_not_take() -> None:
    with pytest.raises(ValueError, match="shape"):
        reference.vector_add(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="matrix"):
        reference.transpose(np.zeros(4))
