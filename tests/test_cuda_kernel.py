"""The launcher: arguments, limits, rollback, order, output, global variables."""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_labs import (
    CompileError,
    CompilerMissing,
    Kernel,
    KernelError,
    check,
    reference,
)
from cuda_labs.sim import build, process

KERNELS = Path(build.__file__).parent.parent / "kernels"

COPY = """
extern "C" __global__ void copy(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
}"""


ANY: Any = Kernel  # for arguments that a type checker refuses, too


def copy(**kwargs) -> Kernel:
    return Kernel(COPY, "copy", **kwargs)


# ---- ladders ----

LENGTHS = (1, 31, 256, 1009, 4099)


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
@pytest.mark.parametrize("rung", ["01_naive", "02_grid_stride", "03_float4"])
def test_vector_add(rung: str, checked: bool) -> None:
    k = Kernel.from_file(KERNELS / "vector_add" / f"{rung}.cu", checked=checked)
    rng = np.random.default_rng(3)
    for n in LENGTHS:
        a, b = check.normals((n,), rng), check.normals((n,), rng)
        c = check.poisoned((n,))
        grid = -(-n // 256) if rung == "01_naive" else 3
        k(grid, 256, (a, b, c, np.int32(n)))
        check.agree(c, reference.vector_add(a, b))


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
@pytest.mark.parametrize("rung", ["01_naive", "02_shared", "03_padded", "04_swizzled"])
def test_transpose(rung: str, checked: bool) -> None:
    k = Kernel.from_file(KERNELS / "transpose" / f"{rung}.cu", checked=checked)
    rng = np.random.default_rng(4)
    for rows, cols in [(1, 1), (31, 67), (64, 32), (1, 97), (130, 33)]:
        a, b = check.normals((rows, cols), rng), check.poisoned((cols, rows))
        grid = -(-cols // 32), -(-rows // 32)
        k(grid, (32, 8), (a, b, np.int32(rows), np.int32(cols)))
        check.agree(b, reference.transpose(a), k=0)


WRONG: list[tuple[str, str, str, str]] = [
    ("vector_add/01_naive", "a[i] + b[i]", "a[i] - b[i]", "mismatch"),
    ("vector_add/01_naive", "i < n", "i <= n", "out of bounds"),
    ("vector_add/02_grid_stride", "i += stride", "i += stride + 1", "mismatch"),
    ("vector_add/03_float4", "i = 4LL * groups", "i = 4LL * groups + 1", "mismatch"),
    ("transpose/01_naive", "x * rows + y + j", "x * cols + y + j", "any"),
    ("transpose/02_shared", "  __syncthreads();\n", "", "mismatch"),
    ("transpose/03_padded", "x < rows && y + j < cols", "x <= rows", "any"),
    ("transpose/04_swizzled", "[c ^ threadIdx.x]", "[c]", "mismatch"),
]


@pytest.mark.parametrize(("path", "right", "wrong", "outcome"), WRONG)
def test_wrong_kernels_are_rejected(path, right, wrong, outcome) -> None:
    op = path.split("/")[0]
    source = (KERNELS / f"{path}.cu").read_text()
    assert right in source
    k = Kernel(source.replace(right, wrong), op)
    rng = np.random.default_rng(5)
    found = "none"
    try:
        if op == "vector_add":
            a, b, c = (check.normals((1023,), rng) for _ in range(3))
            c[:] = np.nan
            grid = 4 if "naive" in path else 1
            k(grid, 256, (a, b, c, np.int32(1023)))
            check.agree(c, reference.vector_add(a, b))
        else:
            a, b = check.normals((70, 41), rng), check.poisoned((41, 70))
            k((2, 3), (32, 8), (a, b, np.int32(70), np.int32(41)))
            check.agree(b, reference.transpose(a), k=0)
    except KernelError as error:
        found = error.kind
    except check.Mismatch:
        found = "mismatch"
    assert found == outcome or (outcome == "any" and found != "none")


# ---- arguments ----

TYPES = """
struct Pair { float a; int b; };
template <typename T>
__global__ void scale(T* x, T s) { x[threadIdx.x] *= s; }
extern "C" __global__ void all(char c, signed char i1, unsigned char u1, short i2,
    unsigned short u2, int i4, unsigned u4, long long i8, unsigned long long u8,
    float f4, double f8, bool b, float4 v, Pair p, double* out) {
  double a[] = {(double)c, (double)i1, (double)u1, (double)i2, (double)u2, (double)i4,
                (double)u4, (double)i8, (double)u8, (double)f4, f8, (double)b,
                (double)v.w, (double)p.a, (double)p.b};
  for (int i = 0; i < 15; ++i) out[i] = a[i];
}"""


def test_every_value_type_arrives() -> None:
    out = np.zeros(15)
    pair = np.array((2.5, -7), dtype=[("a", np.float32), ("b", np.int32)])[()]
    four = np.array([(1, 2, 3, 4)], dtype="f4,f4,f4,f4")[0]
    args = [np.int8(-3), np.int8(-4), np.uint8(200), np.int16(-300), np.uint16(60000)]
    args += [np.int32(-70000), np.uint32(4e9), -(2**40), 2**63, np.float32(0.5), 0.25]
    k = Kernel(TYPES, "all")
    k(1, 1, (*args, True, four, pair, out))
    expected = [-3, -4, 200, -300, 60000, -70000, 4e9, -(2.0**40), 2.0**63]
    assert out.tolist() == [*expected, 0.5, 0.25, 1, 4, 2.5, -7]
    shown = [p.type_name for p in k.parameters]
    assert shown[:4] == ["char", "signed char", "unsigned char", "short"]
    assert shown[-3:] == ["float4", "struct of 8 bytes", "double*"]


def test_template_instances_by_name() -> None:
    for name, kind in (("float", np.float32), ("double", np.float64)):
        x = np.arange(5, dtype=kind)
        Kernel(TYPES, f"scale<{name}>")(1, 5, (x, kind(3)))
        assert x.tolist() == [0, 3, 6, 9, 12]
    with pytest.raises(CompileError, match="no such kernel"):
        _ = Kernel(TYPES, "missing").parameters


X = np.zeros(8, np.float32)
FROZEN = np.zeros(8, np.float32)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((X, X), TypeError, r"2 arguments for 3 parameters \(const float\*, float\*"),
        ((X, X, 8), TypeError, r"parameter 3 \(int\): pass np\.int32\(\.\.\.\)"),
        ((X, X, 8.0), TypeError, r"parameter 3 \(int\): pass np\.int32"),
        ((X, X, np.int64(8)), TypeError, "pass np.int32, got np.int64"),
        ((X, X, np.uint32(8)), TypeError, "pass np.int32, got np.uint32"),
        ((X, X, True), TypeError, r"parameter 3 \(int\)"),
        ((X, X, X), TypeError, "a value is needed, got an array"),
        ((X, np.float32(1), np.int32(8)), TypeError, r"2 \(float\*\): an array"),
        (
            (X.astype(float), X, np.int32(8)),
            TypeError,
            "float32 is needed, got float64",
        ),
        ((X, X.view(np.int32), np.int32(8)), TypeError, "got int32"),
        ((X, X.astype(">f4"), np.int32(8)), TypeError, "cannot be passed"),
        ((X[::2], X, np.int32(4)), ValueError, "not contiguous"),
        ((X, np.zeros((2, 4), np.float32).T, np.int32(8)), ValueError, "contiguous"),
        ((X, FROZEN, np.int32(8)), ValueError, "read-only"),
        (([0.0], X, np.int32(8)), TypeError, r"1 \(const float\*\): an array"),
    ],
)
def test_arguments_that_do_not_fit(args, error, message) -> None:
    with pytest.raises(error, match=message):
        copy()(1, 8, args)


def test_a_read_only_array_may_be_read() -> None:
    y = np.zeros(8, np.float32)
    copy()(1, 8, (FROZEN, y, np.int32(8)))


@pytest.mark.parametrize(
    ("grid", "block", "shared", "error", "message"),
    [
        (1, 1025, 0, ValueError, "block.x: from 1 to 1024, got 1025"),
        (1, (1, 1, 65), 0, ValueError, "block.z: from 1 to 64"),
        (1, (64, 32, 1), 0, ValueError, "2048 threads; at most 1024"),
        (1, 0, 0, ValueError, "block.x"),
        ((1, 65536), 1, 0, ValueError, "grid.y: from 1 to 65535"),
        ((1, 1, 65536), 1, 0, ValueError, "grid.z"),
        (0, 1, 0, ValueError, "grid.x"),
        (2**31, 1, 0, ValueError, "grid.x"),
        (1, 1, 227 * 1024 + 1, ValueError, "shared_mem: from 0 to 232448"),
        (1, 1, -1, ValueError, "shared_mem"),
        (1, 1, 1.5, TypeError, "shared_mem"),
        (1.0, 1, 0, TypeError, "grid: one to three integers"),
        ((1, 1, 1, 1), 1, 0, TypeError, "grid: one to three integers"),
        (1, (1, True), 0, TypeError, "block"),
    ],
)
def test_launches_beyond_the_device(grid, block, shared, error, message) -> None:
    with pytest.raises(error, match=message):
        copy()(grid, block, (X, X, np.int32(8)), shared)


BOUNDED = [
    ("{e} void __launch_bounds__(64) f(float* x) {b}", "f", 64, ()),
    ("{e} __launch_bounds__(64, 2) void f(float* x) {b}", "f", 64, ()),
    ("#define T 96\n{e} void __launch_bounds__(T) f(float* x) {b}", "f", 96, ()),
    ("{e} void __launch_bounds__(T * 2) f(float* x) {b}", "f", 64, ("-DT=32",)),
    (
        'constexpr int W = 3; extern "C" {{ __global__ void\n'
        "__launch_bounds__(32 * W, 1) f(float* x) {b} }}",
        "f",
        96,
        (),
    ),
    (
        "template <int T, class R = float> __global__ void __launch_bounds__(T / 2)\n"
        "f(R* x) {b}",
        "f<128>",
        64,
        (),
    ),
    (
        "namespace a {{ constexpr int K = 64; template <class R> __global__ void\n"
        "__launch_bounds__(K) f(R* x) {b} }}",
        "a::f<float>",
        64,
        (),
    ),
    (
        "{e} void __launch_bounds__(64) f(float* x);\n"
        "{e} void __launch_bounds__(64) f(float* x) {b}",
        "f",
        64,
        (),
    ),
    # The bound of another kernel, and one that is compiled out, say nothing.
    (
        "{e} void __launch_bounds__(64) g(float* x) {b}\n{e} void f(float* x) {b}",
        "f",
        1024,
        (),
    ),
    (
        "#if 0\n{e} void __launch_bounds__(64) f(float* x) {b}\n#else\n"
        "{e} void f(float* x) {b}\n#endif",
        "f",
        1024,
        (),
    ),
]


@pytest.mark.parametrize(("text", "name", "bound", "options"), BOUNDED)
def test_more_threads_than_declared_cannot_start(text, name, bound, options) -> None:
    entry = 'extern "C" __global__'
    k = Kernel(
        text.format(e=entry, b="{ x[threadIdx.x] = __LINE__; }"), name, options=options
    )
    x = np.zeros(1024, np.float32)
    k(1, bound, (x,))
    assert (x > 0).sum() == bound
    assert x[0] == 1 + text[: text.rindex("f(")].count("\n")  # lines stay lines
    wanted = (
        "1 to 1024, got 1025" if bound == 1024 else f"__launch_bounds__ allow {bound}"
    )
    for launch in (k, k.profile):
        with pytest.raises(ValueError, match=wanted):
            launch(1, bound + 1, (x,))


def test_static_shared_memory_is_limited() -> None:
    source = 'extern "C" __global__ void f(int* x) { __shared__ int s[12289]; '
    source += "s[threadIdx.x] = 1; __syncthreads(); x[0] = s[x[0]]; }"
    with pytest.raises(CompileError, match="at most 49152"):
        Kernel(source, "f")(1, 1, (np.zeros(1, np.int32),))


# ---- memory ----


@settings(max_examples=30)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 30),
    st.sampled_from(["forward", "reversed", 7]),
)
def test_overlapping_slices_stay_overlapping(i, j, n, order) -> None:
    base = np.arange(80, dtype=np.float32)
    expected = base.copy()
    threads = list(range(n))
    if order == "reversed":
        threads.reverse()
    if order == 7:  # any order gives this when the slices are apart or equal
        j = i if abs(i - j) < n else j
    for t in threads:
        expected[j + t] = expected[i + t]
    copy()(1, n, (base[i : i + n], base[j : j + n], np.int32(n)), order=order)
    assert base.tolist() == expected.tolist()


def test_a_failed_launch_changes_nothing() -> None:
    source = """
    extern "C" __global__ void f(float* x, int n) {
      x[threadIdx.x] = 9.0f;
      if (threadIdx.x == 63) x[n] = 1.0f;
    }"""
    k = Kernel(source, "f")
    x = np.arange(64, dtype=np.float32)
    for n in (64, -1, 64 + 4096, -4096, 1 << 30):
        with pytest.raises(KernelError) as caught:
            k(1, 64, (x, np.int32(n)))
        error = caught.value
        assert (error.kind, error.line) == ("out of bounds", 4)
        assert (error.block, error.thread) == ((0, 0, 0), (63, 0, 0))
        assert f"element {n} of argument 1, which has 64" in str(error)
        assert x.tolist() == list(range(64))
    k(1, 64, (x, np.int32(63)))
    assert x.tolist() == [9.0] * 63 + [1.0]


def test_a_slice_is_as_misaligned_as_on_a_gpu() -> None:
    k = Kernel.from_file(KERNELS / "vector_add" / "03_float4.cu")
    a, b = np.arange(65, dtype=np.float32), np.ones(65, np.float32)
    c = np.zeros(65, np.float32)
    k(1, 32, (a[4:], b[:61], c[:61], np.int32(61)))
    assert c[:61].tolist() == (np.arange(4, 65) + 1).tolist()
    with pytest.raises(KernelError, match="multiple of 16") as caught:
        k(1, 32, (a[1:], b[:64], c[:64], np.int32(64)))
    assert caught.value.kind == "misaligned"
    assert caught.value.line == 21


def test_null_and_empty_arrays() -> None:
    k = copy()
    k(1, 8, (None, None, np.int32(0)))
    k(1, 8, (X[:0], X[:0], np.int32(0)))
    with pytest.raises(KernelError, match="null pointer"):
        k(1, 8, (None, X, np.int32(8)))
    with pytest.raises(KernelError, match="element 0 of argument 1, which has 0"):
        k(1, 8, (X[:0], X, np.int32(8)))


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
def test_shared_memory_starts_out_as_nothing_a_kernel_could_rely_on(checked) -> None:
    source = """
    extern "C" __global__ void f(float* x, int n) {
      __shared__ float s[32]; extern __shared__ float d[]; int t = threadIdx.x;
      x[blockIdx.x * 64 + t] = s[(t + n) % 32]; x[blockIdx.x * 64 + 32 + t] = d[t];
      s[t] = 1.0f; d[t] = 2.0f;
    }"""
    x = np.zeros(256, np.float32)
    # With n = 0 each thread reads its own elements before it writes them.
    Kernel(source, "f", checked=checked)(4, 32, (x, np.int32(0)), 128)
    assert np.isnan(x).all()


GLOBALS = """
__constant__ float weight[3] = {1.0f, 2.0f, 3.0f};
__device__ int calls;
static __device__ double total = 0.5;
extern "C" __global__ void f(float* x, int fail) {
  int i = threadIdx.x;
  x[i] *= weight[i];
  if (i == 0) { calls += 1; total += 2.0; }
  if (fail) x[-1] = 0.0f;
}"""


def test_variables_live_between_launches_and_survive_failures() -> None:
    k = Kernel(GLOBALS, "f")
    x = np.ones(3, np.float32)
    k(1, 3, (x, np.int32(0)))
    assert x.tolist() == [1, 2, 3]
    k.get_global("weight").view(np.float32)[:] = [2, 2, 2]
    with pytest.raises(KernelError):
        k(1, 3, (x, np.int32(1)))
    k(1, 3, (x, np.int32(0)))
    assert x.tolist() == [2, 4, 6]
    assert k.get_global("calls").view(np.int32).tolist() == [2]
    assert k.get_global("total").view(np.float64).tolist() == [4.5]
    with pytest.raises(KeyError, match="no __device__"):
        k.get_global("weights")
    other = Kernel(GLOBALS, "f")
    assert other.get_global("calls").view(np.int32).tolist() == [0]


# ---- order, output, repetition ----


def test_the_order_of_threads_is_the_callers() -> None:
    source = """
    extern "C" __global__ void f(int* next, int* seen) {
      seen[threadIdx.x] = (*next)++;
    }"""
    k = Kernel(source, "f")
    seen = {}
    for order in ("forward", "reversed", 2, 3, 2):
        at, out = np.zeros(1, np.int32), np.full(33, -1, np.int32)
        k(1, 33, (at, out), order=order)
        seen.setdefault(order, []).append(out.tolist())
    assert seen["forward"][0] == list(range(33))
    assert seen["reversed"][0] == list(range(33))[::-1]
    assert sorted(seen[2][0]) == list(range(33))
    assert seen[2][0] == seen[2][1] != seen[3][0]
    with pytest.raises(ValueError, match="order"):
        k(1, 1, (at, out), order=1)


def test_a_launch_does_not_depend_on_those_before() -> None:
    # Threads take turns at atomics: not where an earlier launch left off.
    source = """
    extern "C" __global__ void f(int* ticket, int* seen) {
      for (int i = 0; i < 7; ++i) seen[atomicAdd(ticket, 1)] = threadIdx.x;
    }"""
    k = Kernel(source, "f")
    seen = []
    for _ in range(3):
        out = np.zeros(7 * 33, np.int32)
        k(1, 33, (np.zeros(1, np.int32), out))
        seen.append(out.tolist())
    assert seen[0] == seen[1] == seen[2]


def test_printf_comes_in_block_order(capsys: pytest.CaptureFixture[str]) -> None:
    source = r"""
    extern "C" __global__ void f(int n) {
      printf("%d.%d %s %5.2f %c%%\n", blockIdx.x, threadIdx.x, "of", n * 0.5, 'x');
    }"""
    k = Kernel(source, "f")
    k(3, 2, (np.int32(5),))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{b}.{t} of  2.50 x%" for b in range(3) for t in range(2)]
    k(1024, 128, (np.int32(5),))
    assert 1_000_000 < len(capsys.readouterr().out) < 1 << 20


def test_denormal_floats_are_flushed_and_doubles_kept() -> None:
    source = """
    extern "C" __global__ void f(T* x) { x[1] = x[0] * (T)0.5; }"""
    x = np.array([np.finfo(np.float32).tiny, 1], np.float32)
    Kernel(source, "f", options=("-DT=float",))(1, 1, (x,))
    assert x[1] == 0
    y = np.array([np.finfo(np.float64).tiny, 1])
    Kernel(source, "f", options=["-DT=double"])(1, 1, (y,))
    assert y[1] == np.finfo(np.float64).tiny / 2
    template = source.replace('extern "C"', "template <class T>")
    y[1] = 1
    Kernel(template, "f<double>")(1, 1, (y,))
    assert y[1] == np.finfo(np.float64).tiny / 2
    # A word in a comment changes nothing.
    x[1] = 1
    Kernel(source + "// double-buffered", "f", options=["-DT=float"])(1, 1, (x,))
    assert x[1] == 0


def test_many_launches_of_many_kernels_share_one_helper() -> None:
    y = np.zeros(4, np.float32)
    a = Kernel(COPY, "copy")
    a(1, 4, (np.arange(4, dtype=np.float32), y, np.int32(4)))
    helper = process.current()
    start = time.perf_counter()
    for _ in range(50):
        a(1, 4, (X[:4], y, np.int32(4)))
    assert (time.perf_counter() - start) / 50 < 0.02
    assert process.current() is helper


def test_threads_of_python_take_turns() -> None:
    k = copy()
    outs = [np.zeros(1000, np.float32) for _ in range(8)]
    x = np.arange(1000, dtype=np.float32)

    def work(y: np.ndarray) -> None:
        for _ in range(5):
            k(4, 256, (x, y, np.int32(1000)))

    workers = [threading.Thread(target=work, args=(y,)) for y in outs]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert all(y.tolist() == x.tolist() for y in outs)


def test_a_forked_process_starts_its_own_helper() -> None:
    y = np.zeros(4, np.float32)
    k = copy()
    k(1, 4, (X[:4], y, np.int32(4)))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            z = np.zeros(4, np.float32)
            copy()(1, 4, (np.full(4, 7, np.float32), z, np.int32(4)))
            os.write(write, b"y" if z.tolist() == [7] * 4 else b"n")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"y"
    k(1, 4, (np.ones(4, np.float32), y, np.int32(4)))
    assert y.tolist() == [1] * 4


def test_without_a_compiler_the_error_names_one_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_LABS_CXX", "no-such-compiler")
    with pytest.raises(ImportError, match="not installed: pip install ziglang"):
        build.compiler()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Kernel("", "f"), ValueError("source: CUDA C")),
        (lambda: ANY(b"f", "f"), TypeError("source: .* bytes")),
        (lambda: Kernel(COPY, ""), ValueError("name: the name")),
        (lambda: ANY(COPY, None), TypeError("name: .* NoneType")),
        (lambda: Kernel(COPY, "copy", options="-DA"), TypeError("options: .*-DA")),
        (lambda: ANY(COPY, "copy", options=5), TypeError("options")),
        (lambda: ANY(COPY, "copy", options=[5]), TypeError("options: strings")),
        (
            lambda: Kernel(COPY, "copy", options=["-O0"]).parameters,
            ValueError("options: only -D and -U"),
        ),
        (lambda: ANY(COPY, "copy", arch=90), TypeError("arch: .* 90")),
        (lambda: ANY(COPY, "copy").compile(arch=90), TypeError("arch: .* 90")),
        (lambda: copy().compile("sm_9"), ValueError("arch: .*'sm_9'")),
    ],
)
def test_kernels_that_cannot_be(make: Callable[[], object], error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        make()


class OnDevice:
    """An array of a GPU, as far as a launch looks at it here."""

    __cuda_array_interface__: ClassVar[dict[str, object]] = {}
    dtype, ndim, nbytes, flags = np.dtype(np.float32), 1, 32, X.flags


@pytest.mark.parametrize("way", ["__call__", "profile"])
@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"args": 5}, TypeError("args: a tuple of arguments, got int")),
        ({"args": None}, TypeError("args: .* NoneType")),
        ({"args": X}, TypeError("args: .* ndarray")),
        ({"shared_mem": 1.5}, TypeError("shared_mem: bytes as an int, got 1.5")),
        ({"shared_mem": None}, TypeError("shared_mem: .* None")),
        ({"shared_mem": True}, TypeError("shared_mem: .* True")),
        ({"shared_mem": -1}, ValueError("shared_mem: from 0 to 232448")),
        ({"timeout": "5"}, TypeError("timeout: seconds as a number, got '5'")),
        ({"timeout": None}, TypeError("timeout: .* None")),
        ({"timeout": True}, TypeError("timeout: .* True")),
        ({"timeout": 0}, ValueError("timeout: .* more than 0 .* got 0")),
        ({"timeout": float("nan")}, ValueError("timeout: .* got nan")),
        ({"timeout": 1e9}, ValueError("timeout: .* at most 86400")),
        ({"order": 1}, ValueError("order: .* got 1")),
        ({"order": True}, ValueError("order: .* got True")),
        ({"grid": ()}, TypeError("grid: one to three integers, got ()")),
        ({"grid": np.array([1, 1])}, TypeError("grid")),
        ({"block": "32"}, TypeError("block: .* '32'")),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_a_call_and_a_profile_refuse(way: str, changed: dict, error) -> None:
    given = {"grid": 1, "block": 8, "args": (X, X, np.int32(8))} | changed
    with pytest.raises(type(error), match=str(error).replace("()", r"\(\)")):
        getattr(copy(), way)(**given)


def test_without_cupy_the_error_names_one_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(CompilerMissing, match="pip install cupy-cuda13x"):
        copy()(1, 8, (OnDevice(), OnDevice(), np.int32(8)))


class Driver:
    """A GPU's driver and CuPy, as far as a launch asks them about parameters."""

    RawModule: ClassVar[type]
    launched: ClassVar[list[tuple]] = []

    def __init__(self, sizes: list[int], end: int = 1) -> None:
        self.sizes, self.end = sizes, end
        self.kernel = types.SimpleNamespace(ptr=77)

    def get_function(self, name: str) -> Driver:
        return self

    def __call__(self, *call, shared_mem: int) -> None:
        self.launched.append(call)

    def CUfunction(self, at: int) -> int:
        return at

    def cuFuncGetParamInfo(self, handle: int, index: int) -> tuple[int, int, int]:
        assert handle == 77
        if index < len(self.sizes):
            return 0, 8 * index, self.sizes[index]
        return self.end, 0, 0


PTX_COPY = COPY.replace("if (i < n)", 'asm volatile("");')


@pytest.mark.parametrize("end", [1, 801])
def test_on_a_gpu_the_driver_tells_the_sizes_of_what_cannot_be_simulated(
    monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    driver = Driver([8, 8, 4], end)
    cuda = types.SimpleNamespace(Device=lambda: types.SimpleNamespace(id=0))
    cupy = types.SimpleNamespace(RawModule=lambda **_: driver, cuda=cuda)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    monkeypatch.setattr(Driver, "launched", [])
    k = Kernel(PTX_COPY, "copy")
    a = OnDevice()
    k(1, 8, (a, None, np.int32(8)))
    wrong = [(a, a, 8), (a, a, 8.0), (a, a, True), (a, a, np.int64(8)), (a, a)]
    for args in wrong if end == 1 else []:
        with pytest.raises(TypeError, match=r"parameter 3 \(4 bytes\)|args: \d arg"):
            k(1, 8, args)
    if end != 1:  # a driver that cannot tell
        k(1, 8, (a, a, 8))
    assert len(driver.launched) == (1 if end == 1 else 2)
    # What the compiler knows is more than sizes, and goes first.
    k = Kernel(COPY, "copy")
    with pytest.raises(TypeError, match=r"parameter 3 \(int\): pass np.int32"):
        k(1, 8, (a, a, np.float32(8)))


def test_on_another_system_the_simulator_says_that_it_needs_linux(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CompileError, match="runs on Linux, this is darwin"):
        copy()(1, 8, (X, X, np.int32(8)))


def test_a_profile_takes_no_arrays_of_a_gpu() -> None:
    with pytest.raises(TypeError, match=r"args: .* simulator; pass NumPy arrays"):
        copy().profile(1, 8, (X, OnDevice(), np.int32(8)))
    with pytest.raises(TypeError, match="NumPy and CuPy arrays in one launch"):
        copy()(1, 8, (X, OnDevice(), np.int32(8)))


def test_compile_through_the_kernel_object() -> None:
    from cuda_labs import nvrtc

    if not nvrtc.available():
        pytest.skip(nvrtc.INSTALL)
    assert copy().compile("sm_80").resources("copy").registers >= 8
    assert Kernel(TYPES, "scale<double>").compile().resources("scale<double>")
