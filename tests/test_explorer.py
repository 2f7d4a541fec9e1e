"""The figure as a whole: what it computes, stores, prints and refuses."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genflow_lite.explorer import Explorer, explore, panel
from genflow_lite.explorer import _figure as figure_module
from genflow_lite.explorer._codec import decode
from genflow_lite.explorer._evaluate import evaluate
from genflow_lite.explorer._summary import rounded
from genflow_lite.explorer._widget import MODULE_END, answer, source

WORDS: dict[str, Any] = {"caption": "A caption.", "alt": "Points on a line."}


def points(a: float, b: float = 0.0) -> np.ndarray:
    return np.array([[a, b], [a + 1, b + 2]])


def small(**more: object) -> Explorer:
    options: dict = {
        "kind": "scatter",
        "a": [0, 1, 2],
        "b": [0.0, 0.5],
        **WORDS,
        **more,
    }
    return explore(points, **options)


def test_every_state_is_stored_with_the_last_control_fastest() -> None:
    layer = small().spec["panels"][0]["layers"][0]
    x, y = decode(layer["ch"]["x"]), decode(layer["ch"]["y"])
    assert len(x) == 6
    for k, (a, b) in enumerate((a, b) for a in (0, 1, 2) for b in (0.0, 0.5)):
        np.testing.assert_allclose(x[k], [a, a + 1], atol=3 / 1022 / 2)
        np.testing.assert_allclose(y[k], [b, b + 2], atol=2.5 / 1022 / 2)


def test_a_panel_has_the_grid_of_its_own_controls_only() -> None:
    calls: list[tuple] = []

    def first(a: int) -> list:
        calls.append(("first", a))
        return [[a, 0]]

    def second(a: int, b: str) -> dict:
        calls.append(("second", a, b))
        return {"v": float(a)}

    made = explore(
        panel(first, kind="scatter", a=[1, 2]),
        panel(second, kind="bars", a=[1, 2], b=["p", "q", "r"]),
        start={"b": "q"},
        names={"a": "a long name"},
        play="a",
        **WORDS,
    )
    assert len(calls) == 2 + 6
    assert [c["name"] for c in made.spec["controls"]] == ["a", "b"]
    assert [c["start"] for c in made.spec["controls"]] == [0, 1]
    assert made.spec["controls"][0]["label"] == "a long name"
    assert [p["controls"] for p in made.spec["panels"]] == [["a"], ["a", "b"]]


def test_a_series_keeps_its_colour_in_every_state_and_panel() -> None:
    def some(a: int) -> dict:
        both = {"data": [[0, a]], "model": [[a, 0]]}
        return both if a else {"model": [[a, 0]]}

    def lines(a: int) -> dict:
        return {"exact": ([0, 1], [a, 1]), "data": ([0, 1], [0, a])}

    made = explore(
        panel(some, kind="scatter", a=[0, 1]),
        panel(lines, kind="lines", a=[0, 1]),
        **WORDS,
    )
    one, two = (p["layers"][0] for p in made.spec["panels"])
    assert dict(zip(one["series"], one["color"], strict=True)) == {
        "model": 0,
        "data": 1,
    }
    assert dict(zip(two["series"], two["color"], strict=True)) == {
        "exact": 2,
        "data": 1,
    }
    # "data" is missing in the first state: an empty array holds its place.
    assert [a.size for a in decode(one["ch"]["x"])] == [1, 0, 1, 1]


def test_axes_hold_all_states_and_do_not_move() -> None:
    head = small().spec["panels"][0]
    assert head["xlim"] == pytest.approx([0 - 0.04 * 3, 3 + 0.04 * 3])
    assert head["ylim"] == pytest.approx([0 - 0.04 * 2.5, 2.5 + 0.04 * 2.5])
    fixed = small(xlim=(-5, 5), ylim=(0, 1)).spec["panels"][0]
    assert (fixed["xlim"], fixed["ylim"]) == ([-5, 5], [0, 1])
    logs = explore(
        lambda a: ([1, 10], [10.0**a, 1]), kind="lines", a=[0, 3], logy=True, **WORDS
    ).spec["panels"][0]
    assert logs["xlim"] == [1, 10]
    assert logs["ylim"] == pytest.approx([-0.12, 3.12])
    bars = explore(
        lambda a: {"v": a, "w": 2.0}, kind="bars", a=[1.0, 4.0], **WORDS
    ).spec["panels"][0]
    assert bars["ylim"][0] == 0
    assert 4 < bars["ylim"][1] < 5


def test_arrows_have_one_scale_in_all_states() -> None:
    grid = np.stack(np.meshgrid(*2 * [np.linspace(0, 4, 5)]), -1).reshape(-1, 2)

    def field(a: float) -> tuple:
        return grid, a * np.ones_like(grid) / np.sqrt(2)

    made = explore(field, kind="field", a=[1.0, 10.0], **WORDS)
    # Usual largest speed 10, points about 4/5 apart: 10·arrow = 0.8.
    assert made.spec["panels"][0]["arrow"] == pytest.approx(0.08)
    double = explore(field, kind="field", a=[1.0, 10.0], arrows=2, **WORDS)
    assert double.spec["panels"][0]["arrow"] == pytest.approx(0.16)
    # The points are the same in both states and are stored once.
    assert made.spec["panels"][0]["layers"][0]["ch"]["x"]["k"] == 1


class _Figure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, dict] = {}

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] = dict(attrs)


def test_html_survives_quotes_and_angle_brackets() -> None:
    nasty = "a < b & \"c\" 'd' &quot; &lt; </figure><script>"
    made = small(caption=nasty, alt=nasty, title=nasty, names={"a": nasty})
    parser = _Figure()
    parser.feed(made.html())
    assert set(parser.tags) == {"figure", "img", "figcaption"}
    assert json.loads(parser.tags["figure"]["data-lx"]) == made.spec
    assert parser.tags["img"]["alt"] == nasty
    assert html.escape(nasty) in made.html()


def test_stored_form_has_no_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENFLOW_STATIC", "1")
    bundle = small()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert "data-lx-key" not in bundle["text/html"]
    assert bundle == small()._repr_mimebundle_()  # deterministic, picture and all


def test_live_form_ties_the_html_to_a_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_module, "_kernel_listens", lambda: True)
    bundle = small()._repr_mimebundle_()
    # No widget view is stored: a reopened notebook would show "model not found".
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert re.search(
        r'<figure class="lx" data-lx-key="[0-9a-f]{16}" ', bundle["text/html"]
    )


def test_picture_is_small_and_leaves_matplotlib_alone() -> None:
    from matplotlib import pyplot as plt

    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(1500, 2))
    before, open_before = dict(matplotlib.rcParams), plt.get_fignums()
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        made = explore(
            lambda a: ((np.outer(*2 * [np.hanning(40)]), (-2, 2, -2, 2)), a * cloud),
            kind=("heat", "scatter"),
            a=[0.5, 1.0],
            equal=True,
            **WORDS,
        )
        png = made.png
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == open_before
    assert len(png) <= 25_000
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert picture.getpixel((0, 0)) == (255, 255, 255)  # white, whatever the style
    red, _, blue = np.moveaxis(np.asarray(picture, dtype=int), -1, 0)
    assert (blue > red + 60).any()  # the first series is blue


def test_a_colour_that_only_the_legend_shows_survives_the_palette() -> None:
    """Four lines of one course: the last covers the others, but not in the legend."""
    points = np.random.default_rng(0).normal(size=(300, 2))
    x, y = np.arange(1.0, 9.0), np.arange(1.0, 9.0) ** 2

    def cloud(a: float) -> dict:
        return {"one": points + a, "two": 0.8 * points}

    def lines(a: float) -> dict:
        return {f"line {k}": (x, a + y) for k in range(4)}

    made = explore(
        panel(cloud, kind="scatter", a=[0, 1]),
        panel(lines, kind="lines", a=[0, 1]),
        **WORDS,
    )
    picture = Image.open(io.BytesIO(made.png)).convert("RGB")
    colours = np.asarray(picture, dtype=int).reshape(-1, 3)
    for wanted in ("#009E73", "#CC79A7", "#56B4E9", "#E69F00"):
        rgb = [int(wanted[k : k + 2], 16) for k in (1, 3, 5)]
        assert (colours == rgb).all(axis=1).any(), wanted
    assert (colours.max(axis=0) == 255).all()
    assert tuple(colours[0]) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["scatter", "lines", "trajectories", "field", "bars"])
def test_picture_shows_the_start_state(kind: str) -> None:
    def value(a: int) -> object:
        return {
            "scatter": points(a),
            "lines": ([0, 1], [a, 2 * a]),
            "trajectories": np.array([[[0, 0], [a, 1], [2, a]]]),
            "field": (points(0), points(a)),
            "bars": {"v": a + 1},
        }[kind]

    first, last = (
        explore(value, kind=kind, a=[0, 1, 2], start={"a": a}, **WORDS).png
        for a in (0, 2)
    )
    assert first != last


def test_cells_have_edges_in_the_picture() -> None:
    z = np.zeros((9, 9))
    z[2:5, 4:7] = 1.0
    shades = []
    for cells in (False, True):
        made = explore(
            lambda a: (a * z, (-1, 1, -1, 1)), kind="heat", a=[1], cells=cells, **WORDS
        )
        assert ("cells" in made.spec["panels"][0]) == cells
        grey = np.asarray(Image.open(io.BytesIO(made.png)).convert("L"), dtype=int)
        shades.append(((grey > 150) & (grey < 230)).sum())
    smooth, sharp = shades
    assert sharp < smooth / 2


def test_images_in_the_picture() -> None:
    light, dark = np.ones((2, 4, 4)), np.zeros((2, 4, 4))
    made = explore(
        lambda a: light if a else dark, kind="images", a=[0, 1], columns=2, **WORDS
    )
    picture = Image.open(io.BytesIO(made.png)).convert("L")
    assert picture.getextrema() == (0, 255)
    assert made.spec["panels"][0]["columns"] == 2


def test_too_large_a_figure_is_refused_with_its_size() -> None:
    cloud = np.random.default_rng(0).normal(size=(3000, 2))
    options: dict = {"kind": "scatter", "a": list(range(1, 31)), **WORDS}
    with pytest.raises(ValueError, match=r"take \d+ KB, more than max_kb = 120; most"):
        explore(lambda a: a * cloud, **options)
    with pytest.raises(ValueError, match="scatter over 30 a: give fewer values"):
        explore(lambda a: a * cloud, **options)


def test_bits_are_given_up_before_a_figure_is_refused() -> None:
    cloud = np.random.default_rng(0).normal(size=(1000, 2))
    options: dict = {"kind": "scatter", "a": [1, 2, 3, 4, 5], **WORDS}
    full = explore(lambda a: a * cloud, **options)
    tight = explore(lambda a: a * cloud, max_kb=14.5, **options)
    bits = [m.spec["panels"][0]["layers"][0]["ch"]["x"]["b"] for m in (full, tight)]
    assert bits[0] == 10
    assert bits[1] == 8
    assert len(tight.payload) <= 14.5 * 1024


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "pie"}, ValueError, r"kind must be among .*; got 'pie'"),
        ({"kind": ("bars", "lines")}, ValueError, "images and bars stand alone"),
        ({"start": {"a": 7}}, ValueError, "start: a = 7 is not one of 0, 1, 2"),
        ({"start": {"z": 7}}, ValueError, r"start: 'z' is not a control; .*'a', 'b'"),
        ({"play": "z"}, ValueError, "play: 'z' is not a control"),
        ({"names": {"z": ""}}, ValueError, "names: 'z' is not a control"),
        ({"alt": " "}, ValueError, "alt must be a sentence"),
        ({"caption": ""}, ValueError, "caption must be a sentence"),
        ({"xlim": (1, 0)}, ValueError, r"xlim must be \(low, high\)"),
        ({"xlim": (0, 1), "logx": True}, ValueError, "xlim must be positive"),
        ({"columns": 0}, ValueError, "columns must be at least 1; got 0"),
        ({"vmax": 0}, ValueError, "vmax must be positive; got 0"),
        ({"aspect": 9}, ValueError, "aspect must be from 0.2 to 2; got 9"),
        ({"digits": 9}, ValueError, "digits must be 0, 1, 2 or 3; got 9"),
        ({"c": [1]}, TypeError, "do not fit the parameters of points"),
        ({"a": []}, ValueError, "control 'a' is empty"),
    ],
)
def test_a_bad_argument_is_refused_by_name(
    change: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        small(**change)


def test_what_cannot_be_a_figure() -> None:
    with pytest.raises(TypeError, match="needs a function or panels"):
        explore(**WORDS)
    with pytest.raises(TypeError, match="needs kind="):
        explore(points, a=[1], **WORDS)
    with pytest.raises(ValueError, match="at least one control"):
        explore(lambda: points(1), kind="scatter", **WORDS)
    with pytest.raises(TypeError, match=r"give \['xlim'\] to panel"):
        explore(panel(points, kind="scatter", a=[1]), xlim=(0, 1), **WORDS)
    with pytest.raises(TypeError, match="one function, or panels only"):
        explore(points, panel(points, kind="scatter", a=[1]), **WORDS)
    with pytest.raises(TypeError, match="fn must be callable; got int"):
        panel(3, kind="scatter", a=[1])  # type: ignore[arg-type]


def test_shapes_must_not_change_between_states() -> None:
    with pytest.raises(ValueError, match="images: shape, extent or categories must be"):
        explore(lambda a: np.zeros((a, 2, 2)), kind="images", a=[1, 2], **WORDS)


def test_an_error_names_the_state() -> None:
    def wrong_at_three(a: int) -> np.ndarray:
        return np.zeros((1, 2 if a < 3 else 3))

    with pytest.raises(
        ValueError, match=r"scatter from wrong_at_three\(a=3\) must have"
    ):
        explore(wrong_at_three, kind="scatter", a=[2, 3], **WORDS)


# ---------------------------------------------------------------- the text form


def test_text_by_hand() -> None:
    assert repr(small(title="Two points", names={"a": "size a"}, start={"a": 1})) == (
        "Explorer: Two points\n"
        "  size a: 0, 1, 2; starts at 1\n"
        "  b: 0.0, 0.5; starts at 0.0\n"
        "  panel: 6 states over a × b\n"
        "    scatter: x 0 to 3.0, mean at start 1.5; y 0 to 2.5, mean at start 1.0"
    )
    silent = repr(small(digits=0)).splitlines()[-1]
    assert silent == "    scatter: x 12 values; y 12 values"


@given(
    value=st.builds(
        lambda k, p: k * 0.5 * 10.0**-p, st.integers(-9, 9), st.integers(0, 3)
    ),
    noise=st.floats(-1e-9, 1e-9),
    size=st.sampled_from([0.125, 0.5, 1.0, 3.0, 10.0]),
)
def test_text_does_not_flip_with_the_last_bits(
    value: float, noise: float, size: float
) -> None:
    """Halves lie on rounding boundaries; noise must not move them across."""
    scaled = size * (1 + noise)
    assert rounded(value + noise, scaled, 2) == rounded(value, size, 2)


def test_rounding_notices_a_real_change() -> None:
    assert rounded(0.5, 1.0, 2) == "0.5"
    assert rounded(0.56, 1.0, 2) == "0.6"
    assert rounded(-0.5, 1.0, 2) == "\u22120.5"
    assert rounded(1234.0, 5000.0, 2) == "1200"
    assert rounded(1e-18, 1.0, 2) == "0"
    assert rounded(5.0, 0.0, 2) == "0"


# ------------------------------------------------------------- asking the kernel


def test_the_kernel_answers_off_the_grid() -> None:
    made = small()
    reply = answer(
        made.panels, {"id": "q", "panel": 0, "values": {"a": 7.4, "b": 0.25}}
    )
    assert (reply["id"], reply["panel"], reply["note"]) == ("q", 0, "")
    layer = reply["layers"][0]
    # `a` holds whole numbers, so 7.4 became 7; two values alone are exact.
    np.testing.assert_allclose(decode(layer["ch"]["x"])[0], [7, 8], rtol=1e-12)
    np.testing.assert_allclose(decode(layer["ch"]["y"])[0], [0.25, 2.25], rtol=1e-12)
    json.dumps(reply)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"id": "q", "panel": 9, "values": {}}, "IndexError"),
        ({"id": "q", "panel": 0, "values": {"a": 1}}, "KeyError"),
        (
            {"id": "q", "panel": 0, "values": {"a": float("nan"), "b": 0}},
            "a must be fin",
        ),
        ({"id": "q"}, "KeyError"),
    ],
)
def test_a_bad_question_is_answered_with_an_error(request_: dict, error: str) -> None:
    reply = answer(small().panels, request_)
    assert error in reply["error"]
    assert reply["id"] == "q"
    assert "layers" not in reply


def test_an_error_of_the_function_reaches_the_figure() -> None:
    def picky(a: float) -> np.ndarray:
        if a > 2:
            raise ValueError("a is too large")
        return points(a)

    made = explore(picky, kind="scatter", a=[0.0, 1.0], **WORDS)
    reply = answer(made.panels, {"id": 1, "panel": 0, "values": {"a": 3.0}})
    assert reply["error"] == "ValueError: a is too large"


def test_summary_texts_belong_to_their_state() -> None:
    made = small(summary=lambda xy: f"first x {xy[0, 0]:g}")
    notes = made.spec["panels"][0]["notes"]
    assert notes == [f"first x {a}" for a in (0, 0, 1, 1, 2, 2)]
    reply = answer(made.panels, {"id": 1, "panel": 0, "values": {"a": 5, "b": 0.0}})
    assert reply["note"] == "first x 5"


def test_the_script_is_plain_and_the_module_is_the_same_text() -> None:
    script = source("explorer.js")
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    assert not re.search(r"https?://(?!www\.w3\.org)", script + source("explorer.css"))
    assert re.search(r"^export default", MODULE_END, re.MULTILINE)


def test_progress_stays_silent_when_outputs_are_stored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("GENFLOW_STATIC", "1")
    evaluate([panel(points, kind="scatter", a=[1, 2, 3])])
    assert capsys.readouterr() == ("", "")
