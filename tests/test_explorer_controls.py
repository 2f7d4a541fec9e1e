"""Controls: reading lists of values, writing them down, sharing them by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genflow_lite.explorer._controls import match_parameters, merge, read_control


def labels(values: object) -> tuple[str, ...]:
    return read_control("w", values).labels


def test_values_from_anything_iterable() -> None:
    for given_values in (range(3), [0, 1, 2], np.arange(3), torch.arange(3)):
        control = read_control("w", given_values)
        assert control.values == (0, 1, 2)
        assert control.whole
        assert not control.text
    mixed = read_control("w", [0, 0.5, 1])
    assert not mixed.whole
    assert read_control("m", ["a", "b"]).text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 21)[:3], ("0.00", "0.05", "0.10")),
        ([0.0, 0.5, 1.0], ("0.0", "0.5", "1.0")),
        ([0, 1, 1.5], ("0.0", "1.0", "1.5")),
        ([-1, 0, 1], ("\u22121", "0", "1")),
        (np.linspace(0, 1, 4), ("0.00", "0.33", "0.67", "1.00")),
        (np.geomspace(1e-4, 1, 3), ("0.0001", "0.01", "1")),
        (np.array([-0.2, -0.1, 0.1]) + 0.1, ("\u22120.1", "0.0", "0.2")),
        ([5, 10, 1000], ("5", "10", "1000")),
        ([0.1 + 0.2], ("0.3",)),
    ],
)
def test_labels_by_hand(values: object, expected: tuple[str, ...]) -> None:
    assert labels(values) == expected


@given(
    st.lists(
        st.floats(-1e4, 1e4).map(lambda v: round(v, 3)),
        min_size=2,
        max_size=12,
        unique=True,
    ).map(sorted)
)
def test_labels_tell_values_apart_and_are_close(values: list[float]) -> None:
    texts = labels(values)
    assert len(set(texts)) == len(values)
    back = [float(t.replace("\u2212", "-")) for t in texts]
    gap = min(np.diff(values))
    assert np.abs(np.array(back) - values).max() <= 0.051 * gap + 1e-9


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((1.0, 2.0, 1001.0), ("1", "2", "1001")),
        ((0.5, 1001.0, 1002.5), ("0.5", "1001", "1002.5")),
        ((1 / 3, 1000 / 3, 1000.1 / 3), ("0.3333", "333.3", "333.4")),
        ((0.001, 20.0 / 3, 1000.0), ("0.001", "6.67", "1000")),
    ],
)
def test_labels_over_many_decades(values, texts) -> None:
    assert labels(values) == texts


def test_place_on_the_grid() -> None:
    control = read_control("t", np.linspace(0, 1, 11))
    assert control.index(0.3) == 3  # though linspace has 0.30000000000000004
    assert read_control("m", ["a", "b"]).index("b") == 1
    for wrong in (0.35, "0.3", True, None):
        with pytest.raises(ValueError, match=r"start: t = .* is not one of 0\.0, 0\.1"):
            control.index(wrong)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([], ValueError, "'w' is empty"),
        ([1, 3, 2], ValueError, "strictly increasing or decreasing"),
        ([1, 1], ValueError, "strictly increasing or decreasing"),
        ([0, float("inf")], ValueError, "must be finite"),
        (["a", "a"], ValueError, "repeats a value"),
        (["a", 1], TypeError, "numbers only or strings only"),
        ([True, False], TypeError, "numbers only or strings only"),
        ("abc", TypeError, "must be a list of numbers or of strings; got str"),
        (3.0, TypeError, "must be a list of numbers or of strings; got float"),
    ],
)
def test_a_wrong_control_is_refused(values: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        read_control("w", values)


def test_a_decreasing_control_is_fine() -> None:
    assert read_control("t", [1.0, 0.5, 0.0]).labels == ("1.0", "0.5", "0.0")


def test_names_must_fit_the_function() -> None:
    match_parameters(lambda a, b=1: (a, b), ["a"])
    match_parameters(lambda **anything: anything, ["a", "b"])
    with pytest.raises(TypeError, match=r"the controls \['w'\] do not fit .*\(a\)"):
        match_parameters(lambda a: a, ["w"])


def test_one_name_is_one_list() -> None:
    one, two = read_control("t", [0, 1]), read_control("t", [0, 2])
    assert list(merge([{"t": one}, {"t": one}])) == ["t"]
    with pytest.raises(ValueError, match="'t' has the values 0, 1 in one panel"):
        merge([{"t": one}, {"t": two}])
