"""What a structure costs: as many requests as the loads of NVIDIA's compiler.

Hardware moves 1, 2, 4, 8 or 16 bytes a lane at once, and a type's alignment says how
many of them it may. So a structure of four floats takes four requests, the same with
an alignment of 16 bytes takes one.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError, nvrtc
from cuda_labs.sim import build

# Name: declaration of V, its bytes, and the bytes of each request.
TYPES = {
    "two floats": ("struct V { float a, b; };", 8, [4] * 2),
    "two floats, aligned": ("struct __align__(8) V { float a, b; };", 8, [8]),
    "three floats": ("struct V { float a, b, c; };", 12, [4] * 3),
    "float3": ("typedef float3 V;", 12, [4] * 3),
    "double3": ("typedef double3 V;", 24, [8] * 3),
    "four floats": ("struct V { float a, b, c, d; };", 16, [4] * 4),
    "four, aligned to 8": ("struct __align__(8) V { float a[4]; };", 16, [8] * 2),
    "four, aligned to 16": ("struct alignas(16) V { float a, b, c, d; };", 16, [16]),
    "a vector": ("struct V { float4 a; };", 16, [16]),
    "two vectors": ("struct V { float4 a[2]; };", 32, [16] * 2),
    "two doubles": ("struct V { double a, b; };", 16, [8] * 2),
    "six floats": ("struct V { float a[6]; };", 24, [4] * 6),
    "eight floats": ("struct V { float a[8]; };", 32, [4] * 8),
    "twelve floats": ("struct V { float a[12]; };", 48, [4] * 12),
    "three bytes": ("struct V { char a, b, c; };", 3, [1] * 3),
    "two shorts": ("struct V { short a, b; };", 4, [2] * 2),
    "of a template": ("template <class T> struct W { T a, b; };\nusing V = W<int>;", 8,
                      [4] * 2),
}  # fmt: skip
BODIES = {"moved": "y[t] = x[t];", "kept": "V v = x[t]; __syncwarp(); y[t] = v;"}


def source(declared: str, body: str) -> str:
    return (
        f'{declared}\nextern "C" __global__ void f(const V* x, V* y) {{\n'
        f"  int t = threadIdx.x;\n  {body}\n}}"
    )


def arrays(size: int) -> tuple[np.ndarray, np.ndarray]:
    """32 structures of `size` bytes, of which the parameter's type says no more."""
    kind = np.dtype([("bytes", np.uint8, (size,))])
    x = np.arange(32 * size, dtype=np.uint16).astype(np.uint8).view(kind)
    return x, np.zeros(32, kind)


def arrays_of(kind: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = arrays(size)
    if kind not in ("float3", "double3"):
        return x, y
    number = {"float3": np.float32, "double3": np.float64}[kind]
    return x.view(number).reshape(32, 3), y.view(number).reshape(32, 3)


def instructions(text: str) -> dict[str, list[int]]:
    """Bytes of each global load and store in the PTX."""
    found: dict[str, list[int]] = {"ld": [], "st": []}
    ptx = nvrtc.build(text).ptx
    for way, lanes, bits in re.findall(
        r"\b(ld|st)\.global(?:\.nc)?(?:\.v(\d))?\.[a-z](\d+)", ptx
    ):
        found[way].append(int(lanes or 1) * int(bits) // 8)
    return found


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", TYPES)
def test_a_structure_is_moved_by_its_alignment(kind: str, body: str) -> None:
    declared, size, parts = TYPES[kind]
    text = source(declared, BODIES[body])
    x, y = arrays_of(kind, size)
    p = Kernel(text, "f").profile(1, 32, (x, y))
    assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    assert not p.errors
    first = np.arange(32) * size
    offsets = np.cumsum([0, *parts[:-1]])
    sectors = sum(
        len({b // 32 for a in first + o for b in range(a, a + n)})
        for o, n in zip(offsets, parts, strict=True)
    )
    for way in ("global load", "global store"):
        seen = p.total(way)
        assert (seen.requests, seen.sectors) == (len(parts), sectors), way
        assert seen.bytes == 32 * size
    if nvrtc.available():
        assert instructions(text) == {"ld": parts, "st": parts}


NESTED = "struct D { double a, b; };\nstruct V { double p; D d; };"


@pytest.mark.parametrize("body", ["y[t].d = x[t].d;", "D d = x[t].d; y[t].d = d;"])
def test_sixteen_bytes_that_need_a_multiple_of_eight(body: str) -> None:
    x, y = arrays(24)
    k = Kernel(source(NESTED, body), "f")
    k(1, 32, (x, y))
    assert np.array_equal(x["bytes"][:, 8:], y["bytes"][:, 8:])
    assert not y["bytes"][:, :8].any()
    assert not k.profile(1, 32, (x, y)).errors


@pytest.mark.parametrize(
    ("body", "way"),
    [
        ("((float*)y)[t] = ((float4*)((char*)x + 8))[0].x + t;", None),
        ("((float4*)y)[0] = *(const float4*)((const char*)x + 8);", "load"),
        ("*(float4*)((char*)y + 24) = ((const float4*)x)[0];", "store"),
        ("double2 d = *(const double2*)((const char*)x + 8); y[0].p = d.x;", "load"),
        ("*(W*)((char*)y + 8) = W{1, 2, 3, 4};", "store"),
    ],
)
def test_sixteen_bytes_that_need_a_multiple_of_sixteen(
    body: str, way: str | None
) -> None:
    aligned = "struct __align__(16) W { float a, b, c, d; };\n"
    if "W{" in body and build.compiler().family == "zig":
        pytest.skip("clang moves structures by a call that knows no alignment")
    k = Kernel(source(aligned + NESTED, f"if (t == 3) {{ {body} }}"), "f")
    x, y = arrays(24)
    if way is None:
        k(1, 32, (x, y))
        return
    with pytest.raises(KernelError) as caught:
        k(1, 32, (x, y))
    assert (caught.value.kind, caught.value.line) == ("misaligned", 6)
    assert f"{way} of 16 bytes" in str(caught.value)
    assert caught.value.thread == (3, 0, 0)
    assert not y["bytes"].any()


def test_a_part_of_something_misaligned_may_be_aligned() -> None:
    aligned = "struct __align__(16) V { float a, b, c, d; };"
    body = "const V* p = (const V*)((const float*)x + 1); y[t].b = p[t % 31].c;"
    x, y = (np.arange(128, dtype=np.float32).view([("v", "4f4")]) for _ in "xy")
    k = Kernel(source(aligned, body), "f")
    k(1, 32, (x, y))
    assert np.array_equal(y["v"][:31, 1], 4 * np.arange(31) + 3)
