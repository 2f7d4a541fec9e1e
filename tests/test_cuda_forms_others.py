"""More kernels as people write them, in the manner of samples, textbooks and
libraries: each is right in every build and order, gives no finding, and is CUDA C
to NVIDIA's compiler; damaged twins give one, at the line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cuda_forms_bits import BITS
from cuda_forms_floats import FLOATS
from cuda_forms_language import LANGUAGE

from cuda_labs import CompileError, Kernel, KernelError, Unsupported, nvrtc
from cuda_labs.sim import profile

OTHERS = {form[0]: form for form in (*BITS, *FLOATS, *LANGUAGE)}
names = pytest.mark.parametrize("name", OTHERS)


def made(name: str, source: str = "", **kw: Any) -> tuple[Kernel, list[Any], Any]:
    """The kernel of a form, fresh arguments, and the shape of its launch."""
    _, original, args, _, launch = OTHERS[name]
    k = Kernel(source or original, launch.get("kernel", "f"), **kw)
    for variable, value in launch.get("set", {}).items():
        k.get_global(variable)[:] = np.ascontiguousarray(value).view(np.uint8).ravel()
    fresh = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    shape = launch.get("grid", 1), launch.get("block", 256)
    return k, [*shape, fresh, launch.get("shared", 0)], fresh


def compare(name: str, got: list[Any]) -> None:
    _, _, _, want, launch = OTHERS[name]
    for i, truth in want.items():
        found, expected = got[i].ravel(), np.asarray(truth).ravel()
        if "seen" in launch and found.dtype == np.uint8:
            found = found.view(launch["seen"])
        np.testing.assert_allclose(
            found,
            expected,
            rtol=launch.get("rtol", 0.0),
            atol=launch.get("atol", 0.0),
            err_msg=f"argument {i + 1}",
        )


def test_the_list_is_long() -> None:
    assert len(OTHERS) == len(BITS) + len(FLOATS) + len(LANGUAGE) >= 60


@names
def test_the_fast_build_is_right_in_every_order(name: str) -> None:
    for order in ("forward", "reversed", 7):
        k, launch, fresh = made(name, checked=False)
        k(*launch, order=order)
        compare(name, fresh)


@names
def test_the_profile_is_right_and_reports_nothing(name: str) -> None:
    k, launch, fresh = made(name)
    p = k.profile(*launch, order=11)
    assert not p.errors, str(p)
    assert not [n for n in p.notes if n.kind == "counts split"]
    compare(name, fresh)


needs_nvrtc = pytest.mark.skipif(
    not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}"
)


@needs_nvrtc
def test_all_are_cuda_c() -> None:
    # In one source, since most of a compilation goes into headers.
    whole, instances = "", []
    for i, (source, launch) in enumerate((f[1], f[4]) for f in OTHERS.values()):
        lines = source.replace('extern "C" ', "").splitlines(keepends=True)
        includes = [line for line in lines if line.startswith("#include")]
        rest = "".join(line for line in lines if line not in includes)
        macros = re.findall(r"^#\s*define (\w+)", rest, re.M)
        whole += (
            f"{''.join(includes)}namespace form{i} {{ using ::make_float3; {rest}\n}}\n"
        )
        whole += "".join(f"#undef {macro}\n" for macro in macros)
        if "<" in launch.get("kernel", ""):
            name = re.sub(
                r"\b(?=(Less|Greater|gemm)\b)", f"form{i}::", launch["kernel"]
            )
            instances.append(name if name.startswith("form") else f"form{i}::{name}")
    compiled = nvrtc.build(whole, names=instances)
    assert compiled.ptx.count(".entry") == len(OTHERS) + 1  # one form has two


# ---- damaged twins ----

# form, what is taken out or changed, for what, the finding, part of its line
TWINS = [
    (
        "a bitonic sort with a comparison as a template argument",
        "      __syncthreads();\n      unsigned at",
        "      unsigned at",
        "race",
        "if (before(s[at + stride], s[at]) == up)",
    ),
    (
        "breadth-first search, one block, the frontier in shared memory",
        "    if (threadIdx.x == 0) count[step & 1] = 0;\n    __syncthreads();\n",
        "    if (threadIdx.x == 0) count[step & 1] = 0;\n",
        "race",
        "atomicAdd(&count[~step & 1], 1)",
    ),
    (
        "bodies attract each other, positions in tiles",
        "    }\n    __syncthreads();\n  }\n",
        "    }\n  }\n",
        "race",
        "make_float3(tile[k]) - me",
    ),
    (
        "bodies attract each other, positions in tiles",
        "j < n ? body[j]",
        "j <= n ? body[j]",
        "out of bounds",
        "body[j]",
    ),
    (
        "a picture of uchar4: grey, inverted, saturated",
        "x >= width || y >= height",
        "x >= width || y > height",
        "out of bounds",
        "uchar4 p = in[y * width + x];",
    ),
    (
        "heat on a chip, steps within a block, two tiles that change places",
        "i < c.steps; ++i) {\n    __syncthreads();",
        "i < c.steps; ++i) {",
        "race",
        "next[y][x] = now[y][x]",
    ),
    (
        "a stencil in three dimensions, planes passing through registers",
        "ahead = in[IDX(x, y, z + 1)];\n    __syncthreads();",
        "ahead = in[IDX(x, y, z + 1)];",
        "race",
        "s[ty][tx] = here;",
    ),
    (
        "a product of tiles by layouts, traits and partial specialisation",
        "s.b[kk][tc + j];\n      __syncthreads();",
        "s.b[kk][tc + j];",
        "race",
        "acc.at(i, j) += s.a[kk][tr + i] * s.b[kk][tc + j];",
    ),
    (
        "sixteen bytes at a time: an aligned structure of bfloat16",
        "if (i >= n) return;",
        "if (i > n) return;",
        "out of bounds",
        "__ldcs(reinterpret_cast<const int4*>(p))",
    ),
    (
        "a generic group that is a block, a tile or a part of a tile",
        "    if (lane < i) v += temp[lane + i];\n    g.sync();",
        "    if (lane < i) v += temp[lane + i];",
        "race",
        "temp[lane] = v;",
    ),
    (
        "a lock in a structure around a sum of doubles, and atomics on doubles",
        "    l.unlock();",
        "    l.unlock();\n    c[0] += 0;",
        "race",
        "c[0] += 0;",
    ),
    (
        "Cholesky's factor, a column at a time",
        "L(r, k) /= L(k, k);\n    __syncthreads();",
        "L(r, k) /= L(k, k);",
        "race",
        "L(r, c) -= L(r, k) * L(c, k)",
    ),
    (
        "dynamic shared memory cut into arrays of three types",
        "  __syncthreads();\n",
        "",
        "uninitialised",
        "value[o] * sign[o]",
    ),
    (
        "queens by recursion on bits, totals by warps",
        "__reduce_add_sync(0xffffffff, found)",
        "__reduce_add_sync(0xfffffffe, found)",
        "warp mask",
        "__reduce_add_sync(0xfffffffe, found)",
    ),
    (
        "decoupled look-back, status and sum in one word, read with __ldcv",
        "before = sum;\n  }\n  __syncthreads();",
        "before = sum;\n  }",
        "race",
        "out[at] = before + v;",
    ),
    (
        "long long shuffles and a maximum with its place in 64 bits",
        "v += __shfl_xor_sync(~0u, v, d);",
        "if (threadIdx.x < 250) v += __shfl_xor_sync(~0u, v, d);",
        "deadlock",
        "",
    ),
]


@pytest.mark.parametrize("twin", TWINS, ids=lambda t: f"{t[0][:30]} {t[3]}")
def test_a_damaged_twin_is_found_at_its_line(twin: tuple[str, ...]) -> None:
    name, old, new, kind, line = twin
    source = OTHERS[name][1]
    assert source.count(old) == 1
    source = source.replace(old, new)
    k, launch, _ = made(name, source)
    found = [f for f in k.profile(*launch).errors if f.kind == kind]
    assert found
    if line:
        rows = source.splitlines()
        lines = {n for f in found for n in (f.line, f.other_line) if n}
        assert any(line in rows[n - 1] for n in lines), lines


# ---- counts, worked out by hand ----

COUNTS = [
    # 40 of 64 pixels a block: 10 warps of 2 rows, 2 or 1 sectors a row.
    ("a picture of uchar4: grey, inverted, saturated", "global load", 20, 60, 0),
    ("a picture of uchar4: grey, inverted, saturated", "global store", 20, 60, 0),
    # Three warps of 32, 16 and 16 lanes, 16 bytes each, from two arrays.
    (
        "sixteen bytes at a time: an aligned structure of bfloat16",
        "global load",
        6,
        64,
        0,
    ),
    (
        "sixteen bytes at a time: an aligned structure of bfloat16",
        "global store",
        3,
        32,
        0,
    ),
    # 12 rows, each with its gains and shifts, 32 float4 a warp.
    ("layer normalisation, a warp a row, float4 in a union", "global load", 36, 576, 0),
    (
        "layer normalisation, a warp a row, float4 in a union",
        "global store",
        12,
        192,
        0,
    ),
    # A row of 33 words a column: no conflict along either.
    (
        "an integral image: rows by shuffles, columns through a transposed tile",
        "shared load",
        64,
        0,
        64,
    ),
    # Two arrays of 16 bytes a thread, two warps.
    (
        "a union with a constructor's work: pieces of a vector, copied whole",
        "global store",
        4,
        64,
        0,
    ),
]


@pytest.mark.parametrize("count", COUNTS, ids=lambda c: f"{c[0][:30]} {c[1]}")
def test_counts_by_hand(count: tuple[Any, ...]) -> None:
    name, kind, *numbers = count
    k, launch, _ = made(name)
    total: profile.Access = k.profile(*launch).total(kind)
    assert [total.requests, total.sectors, total.wavefronts] == numbers


# ---- single forms ----


def value(expression: str, before: str = "", kind: str = "double", **kw: Any) -> Any:
    """What a kernel makes of an expression in x = 2.75 and n = -7."""
    source = f'{before}\nextern "C" __global__ void f({kind}* out, double x, int n) '
    k = Kernel(source + f"{{ out[0] = {expression}; }}", "f", checked=False, **kw)
    types = {"double": np.float64, "unsigned long long": np.uint64}
    out = np.zeros(1, types.get(kind, np.int64))
    k(1, 1, (out, 2.75, np.int32(-7)))
    return out[0].item()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("llrintf((float)x) + llround(-x)", 0),
        ("__float2ll_rd(-2.5f) * 10 + __double2ll_ru(x)", -27),
        ("__float2int_rz(3e9f)", 2**31 - 1),
        ("__float2uint_rn(-1.0f)", 0),
        ("__ll2float_rz(16777219LL) - __ll2float_ru(16777217LL)", 0),
        ("umax(0xf0000000u, 1u) / 2", 0x78000000),
        ("__hadd(n, 4) * 10 + (int)__urhadd(4u, 7u)", -14),
        ("(long long)(sinpi(1e3) * 1e30) + (long long)(cospi(0.5f) * 1e30)", 0),
        ("(int)__dp4a(0x80u, 0xffu, 0u)", 128 * 255),
        ("sizeof(1.0f * exp10(1.0f)) + sizeof(frexp(1.0f, &n))", 8),
        ("max(n, 5u) > 100", 1),
        ("__mul64hi(-1LL, 4LL) + (long long)__umul64hi(~0ull, 4ull)", 2),
        ("__viaddmax_s32_relu(n, 3, -2) + __vimax3_s32(n, 1, 2)", 2),
        ("__vadd4(0xff01u, 0x0101u) + __vsads4(0x80u, 0x7fu)", 0x02 + 255),
        ("__double2hiint(x) ^ __double2hiint(__hiloint2double(0x40060000, 0))", 0),
    ],
)
def test_values_of_functions(expression: str, expected: int) -> None:
    assert value(expression, kind="long long") == expected


def test_names_and_macros_of_the_source_do_not_reach_the_headers() -> None:
    before = """#define N 4
#define T 7
#define H nonsense
#include <cooperative_groups.h>
#include <cuda_fp16.h>
typedef unsigned long long uint64_t;
using int64_t = long long;
__device__ float saturate(float v) { return v + N; }"""
    expression = (
        "saturate(1) + __half2float(__hadd(__half(1), __half(T))) + uint64_t(0)"
    )
    assert value(expression, before, options=("-DM=9", "-DG=x,")) == 13
    inner = "[](int n) { const int warpSize = 5; return warpSize * n; }(3)"
    assert value(inner) == 15


def test_raw_strings_and_literals_hide_code() -> None:
    before = 'extern "C" __device__ const char* s = R"x(asm(" <<< )" new int)x";'
    assert value("1", before) == 1


def test_the_shared_memory_of_another_kernel_does_not_count() -> None:
    one = """extern "C" __global__ void {}(float* y) {{ __shared__ float s[8192];
      int t = threadIdx.x; s[t] = t; __syncthreads(); y[t] = s[63 - t]; }}\n"""
    y = np.zeros(64, np.float32)
    Kernel(one.format("a") + one.format("b"), "b")(1, 64, (y,), 190 << 10)
    assert y.tolist() == list(range(64))[::-1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('extern "C" __global__ void f(float& x) {}', "is a reference"),
        (
            "__device__ int g(); __device__ int h = 3; __device__ int v = g();\n"
            '__device__ __noinline__ int g() { return h + printf("g"); }\n'
            'extern "C" __global__ void f(int* x) { x[0] = v; h = 4; }',
            "initial value is no constant",
        ),
        ('extern "C" __global__ void f(long double* x) {}', "long double"),
    ],
)
def test_what_cuda_c_does_not_have_is_refused(source: str, message: str) -> None:
    with pytest.raises((CompileError, Unsupported), match=message):
        _ = Kernel(source, "f").parameters


def test_a_shared_variable_that_only_ever_holds_one_value_is_loaded() -> None:
    source = """extern "C" __global__ void f(int* y, int n) { __shared__ int k[2];
      if (threadIdx.x < n) k[1] = 1;
      __syncthreads(); y[threadIdx.x] = k[1]; }"""
    for n, kinds in ((1, set()), (0, {"uninitialised"})):
        y = np.zeros(32, np.int32)
        p = Kernel(source, "f").profile(1, 32, (y, np.int32(n)))
        assert {f.kind for f in p.errors} == kinds
        assert p.total("shared load").requests == 1
        assert n == 0 or y.tolist() == [1] * 32


def test_active_lanes_come_with_a_note() -> None:
    source = """extern "C" __global__ void f(int* y) {
      if (threadIdx.x < 10)
        y[threadIdx.x] = __popc(__activemask()); }"""
    y = np.zeros(32, np.int32)
    p = Kernel(source, "f").profile(1, 64, (y,))
    assert y.tolist() == [10] * 10 + [0] * 22
    assert [(n.kind, n.line) for n in p.notes] == [("active lanes", 3)]
    assert not p.errors


def test_macros_declare_dynamic_shared_memory_and_values_are_moved() -> None:
    source = """#define SHARED(T, name) extern __shared__ __align__(16) T name[]
#define POOL(T)          \\
  extern __shared__      \\
  unsigned char raw[];   \\
  T* const pool = (T*)raw
struct Pair { int a, b; };
template <class T> __device__ T swapped(T&& p) { return T{p.b, std::move(p).a}; }
__device__ float turned(int n) { POOL(float); return pool[n - 1 - threadIdx.x]; }
extern "C" __global__ void f(float* y, int n) {
  SHARED(float, s);
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = turned(n) + swapped(std::forward<Pair>(Pair{1, 2})).a; }"""
    y = np.zeros(8, np.float32)
    for checked in (True, False):
        Kernel(source, "f", checked=checked)(1, 8, (y, np.int32(8)), 32)
        assert y.tolist() == [9.0 - t for t in range(8)]
    with pytest.raises(KernelError) as caught:
        Kernel(source, "f")(1, 8, (y, np.int32(8)), 24)
    assert caught.value.line == 11
