"""What a figure's function may return, and how a wrong return is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genflow_lite.explorer._frames import Frame, read


def one(kind: str, value: object, *, logx: bool = False, logy: bool = False) -> Frame:
    return read((kind,), value, "f(w=1)", logx=logx, logy=logy)[0]


def test_tensors_arrays_and_lists_are_the_same_points() -> None:
    points = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    tensor = torch.tensor(points, requires_grad=True)
    for given in (points, np.array(points), tensor):
        frame = one("scatter", {"a": given})
        np.testing.assert_array_equal(frame.series["a"]["x"], [0, 2, 4])
        np.testing.assert_array_equal(frame.series["a"]["y"], [1, 3, 5])
    assert list(one("scatter", points).series) == [""]


def test_paths_are_separated_by_gaps() -> None:
    paths = np.arange(12.0).reshape(2, 3, 2)
    s = one("trajectories", paths).series[""]
    np.testing.assert_array_equal(s["x"], [0, 2, 4, np.nan, 6, 8, 10, np.nan])
    np.testing.assert_array_equal(s["y"], [1, 3, 5, np.nan, 7, 9, 11, np.nan])


def test_lines_keep_gaps_and_logarithms_keep_the_order() -> None:
    s = one("lines", ([1, 10, 100], [0.1, np.nan, 1000]), logx=True, logy=True)
    np.testing.assert_allclose(s.series[""]["x"], [0, 1, 2], atol=1e-15)
    np.testing.assert_allclose(s.series[""]["y"], [-1, np.nan, 3], atol=1e-15)


def test_heat_images_bars_and_field() -> None:
    heat = one("heat", (np.arange(6.0).reshape(2, 3), (-1, 1, 0, 2)))
    assert heat.meta == {"ny": 2, "nx": 3, "box": [-1, 1, 0, 2]}
    np.testing.assert_array_equal(heat.series[""]["z"], np.arange(6))
    assert one("images", np.zeros((4, 3, 2))).meta == {"n": 4, "h": 3, "w": 2}
    bars = one("bars", {"ours": {"a": 1, "b": -2}, "theirs": {"a": 3, "b": 4}})
    assert bars.meta == {"categories": ["a", "b"]}
    np.testing.assert_array_equal(bars.series["theirs"]["v"], [3, 4])
    assert list(one("bars", {"a": 1.0}).series) == [""]
    field = one("field", ([[0, 1]], [[2, 3]])).series[""]
    assert [field[k].item() for k in "xyuv"] == [0, 1, 2, 3]


def test_layers_come_in_order() -> None:
    scatter, lines = read(
        ("scatter", "lines"),
        ([[0, 1]], ([0, 1], [2, 3])),
        "f()",
        logx=False,
        logy=False,
    )
    assert scatter.series[""]["x"].size == 1
    assert lines.series[""]["x"].size == 2


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (
            "scatter",
            np.zeros((3, 3)),
            r"f\(w=1\) must have shape \(n, 2\); got \(3, 3\)",
        ),
        ("scatter", {"a": [[0, np.inf]]}, r"'a' must be finite; 1 of 2 values"),
        ("scatter", {}, "at least one series"),
        ("lines", [1, 2, 3], r"must be a pair \(x, y\); got 3 items"),
        ("lines", ([1, 2], [1, 2, 3]), r"one shape; got \(2,\) and \(3,\)"),
        ("lines", ([1, np.nan], [1, 2]), "x, must be finite"),
        ("lines", ([1, 2], [1, np.inf]), "or NaN for a gap; got inf"),
        ("trajectories", np.zeros((3, 2)), r"\(paths, steps, 2\); got \(3, 2\)"),
        ("trajectories", np.full((1, 1, 2), np.nan), "2 of 2 values are not"),
        ("field", ([[0, 1]], [[1, 2, 3]]), r"vectors, must have shape \(1, 2\)"),
        ("heat", np.zeros((2, 2, 2)), "must be a pair"),
        ("heat", (-np.ones((2, 2)), (0, 1, 0, 1)), "must be ≥ 0; its least is -1"),
        ("heat", (np.ones((2, 2)), (1, 0, 0, 1)), "x0 < x1"),
        ("images", np.full((1, 2, 2), 1.5), r"in \[0, 1\]; got 1.5 to 1.5"),
        ("images", np.zeros((2, 2)), r"\(n, h, w\); got \(2, 2\)"),
        ("bars", {"a": 1, "b": {"c": 2}}, "mixes numbers and dicts"),
        ("bars", {"s": {"a": 1}, "r": {"b": 1}}, r"categories \['a'\]; got \['b'\]"),
        ("bars", 3, "non-empty dict"),
        ("bars", {"a": float("nan")}, "must be finite"),
    ],
)
def test_a_wrong_return_is_refused_by_name(
    kind: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        one(kind, value)


def test_a_logarithmic_axis_refuses_what_it_cannot_show() -> None:
    with pytest.raises(ValueError, match="needs positive values; got 0"):
        one("lines", ([1, 2], [0, 1]), logy=True)


def test_not_numbers_at_all() -> None:
    with pytest.raises(TypeError, match="must be numbers, an array or a tensor"):
        one("scatter", object())


def test_layers_must_be_as_many_as_kinds() -> None:
    with pytest.raises(ValueError, match=r"tuple of 2 layers .* got 3"):
        read(("scatter", "lines"), (1, 2, 3), "f()", logx=False, logy=False)
