"""A bad kernel ends in an error with its line, and never ends this process."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, KernelError, Unsupported
from cuda_labs.sim import process, source

N = np.int32


def kernel(body: str, before: str = "") -> Kernel:
    """f(x, n) with `body` from line 3 on (later when `before` has lines)."""
    text = f'{before}extern "C" __global__ void f(float* x, int n) {{\n'
    return Kernel(text + f"  int t = threadIdx.x;\n{body}\n}}", "f")


def failure(k: Kernel, n: int, block=64, shared=0, **kwargs) -> KernelError:
    x = np.arange(64, dtype=np.float32)
    with pytest.raises(KernelError) as caught:
        k(1, block, (x, N(n)), shared, **kwargs)
    assert x.tolist() == list(range(64))
    return caught.value


# body, n, block, kind, line, part of the message
BAD = [
    ("x[t + 1] = 1.0f;", 0, 64, "out of bounds", 3, "store of 4 .* element 64 of"),
    ("x[t] =\n x[t - 1];", 0, 64, "out of bounds", 4, "load of 4 .* element -1 of"),
    ("x[n] += 1.0f;", 64, 1, "out of bounds", 3, "load"),
    ("atomicAdd(&x[n], 1.0f);", 64, 1, "out of bounds", 3, "element 64"),
    ("((char*)x)[n] = 1;", 256, 1, "out of bounds", 3, "store of 1"),
    ("((float4*)x)[n] = float4();", 16, 1, "out of bounds", 3, "store of 16"),
    ("*(float2*)(x + n) = float2();", 1, 1, "misaligned", 3, "multiple of 8"),
    ("*(double*)(x + n) = 1.0;", 3, 1, "misaligned", 3, "multiple of 8"),
    ("x[0] = 5 / n;", 0, 1, "division", 3, "zero"),
    ("x[0] = 5 % n;", 0, 1, "division", 3, "zero"),
    ("x[0] = (long long)5 / n;", 0, 1, "division", 3, "zero"),
    ("x[0] = 1 << n;", 32, 1, "shift", 3, "shift by 32"),
    ("x[0] = 1u >> n;", -1, 1, "shift", 3, "shift by -1"),
    ("x[0] = (int)(n * 1e9f);", 3, 1, "conversion", 3, "saturates"),
    ("int a[4] = {1}; a[n] = 2; x[0] = a[n - 1];", 4, 1, "out of bounds", 3, "index 4"),
    ("assert(t < n);", 5, 64, "assert", 3, "assertion failed: t < n"),
    ("if (t == n) __trap();", 5, 64, "trap", 3, "__trap"),
    (
        "if (t < n) __syncthreads(); else\n__syncthreads();",
        5,
        64,
        "barrier divergence",
        3,
        "threads 0-4 wait at __syncthreads on line 3; "
        "threads 5-63 wait at __syncthreads on line 4",
    ),
    (
        "if (t < n) __syncthreads(); else __syncwarp();",
        5,
        64,
        "deadlock",
        None,
        "threads 0-4 wait at __syncthreads on line 3; threads 5-31 wait at __syncwarp",
    ),
    (
        "if (t % 2) x[t] = __shfl_sync(-1u, x[t], 0);\nelse __ballot_sync(-1u, 1);",
        5,
        32,
        "deadlock",
        None,
        "__shfl_sync with mask 0xffffffff on line 3",
    ),
    (
        "if (t > 0) __shfl_sync(1, x[t], 0);",
        0,
        32,
        "warp mask",
        3,
        "lane 1 .* 0x00000001",
    ),
    ("x[t] = __shfl_sync(-1u, x[t], 0, n);", 12, 32, "warp width", 3, "width 12"),
    (
        "x[t] = __shfl_down_sync(-1u, x[t], n);",
        8,
        20,
        "inactive lane",
        3,
        "lane 12 reads lane 20",
    ),
    (
        "if (t) x[t] = __shfl_sync(0xfffffffeu, x[t], n);",
        0,
        32,
        "inactive lane",
        3,
        "reads lane 0",
    ),
    (
        "__shared__ float s[8]; s[t] = x[t]; __syncthreads(); x[t] = s[t ^ 1];",
        0,
        9,
        "out of bounds",
        3,
        "index 8",
    ),
    (
        "__shared__ float s[8]; float* p = s; p += n; p[t] = x[t]; __syncthreads();"
        "\nx[t] = s[7 - t];",
        4096,
        8,
        "out of bounds",
        3,
        "of s, which has 32 bytes",
    ),
    (
        "extern __shared__ float s[]; s[t] = x[t]; __syncthreads(); x[t] = s[63 - t];",
        0,
        64,
        "out of bounds",
        3,
        r"byte 128 of dynamic .* gives 128 bytes",
    ),
    ("float* p = n ? x : nullptr; p[t] = 1.0f;", 0, 64, "null pointer", 3, "store"),
    ("while (n == 0);", 0, 64, "deadline", 3, "more than 0.3 s"),
    ("for (;;) atomicAdd(x, 1.0f);", 0, 64, "deadline", 3, "more than 0.3 s"),
    ("for (volatile int i = 0; i < 1;) x[n] = 2.0f;", 0, 2, "deadline", 3, "0.3 s"),
]


@pytest.mark.parametrize(
    ("body", "n", "block", "kind", "line", "message"), BAD, ids=[b[0][:40] for b in BAD]
)
def test_findings(body, n, block, kind, line, message) -> None:
    seconds = 0.3 if kind == "deadline" else 10.0
    error = failure(kernel(body), n, block, 128, timeout=seconds)
    assert error.kind == kind
    # Where a deadline strikes is chance: it may be between two threads.
    assert error.line == line or (kind == "deadline" and error.line is None)
    assert re.search(message, str(error))


def test_good_forms_of_the_same_are_silent() -> None:
    x = np.arange(64, dtype=np.float32)
    good = [
        ("if (t + 1 < n) x[t] += 1.0f;", 64),
        ("if (t >= n) return;\n__syncthreads();", 20),
        ("if (t < n) return;\n__syncwarp(); x[t] = __any_sync(-1u, 1);", 16),
        ("x[t] = __shfl_down_sync(-1u, x[t], 16, 16);", 0),
        ("if (n > 4) { __syncthreads(); } __syncthreads();", 5),
        ("x[t] = 1u << 31; x[t] = -1 >> 31; x[t] = (int)2147483520.0f;", 0),
        ("((float4*)x)[t / 4] = make_float4(1, 2, 3, 4);", 0),
        (
            "extern __shared__ float s[]; s[t % 32] = t; __syncthreads(); x[t] = s[0];",
            0,
        ),
    ]
    for body, n in good:
        kernel(body)(1, 64, (x, N(n)), 128)


def test_the_thread_and_block_of_a_finding() -> None:
    k = Kernel(
        """extern "C" __global__ void f(int* x) {
          if (blockIdx.y == 2 && threadIdx.z == 1 && threadIdx.x == 3)
            x[1 << 20] = 0;
        }""",
        "f",
    )
    with pytest.raises(KernelError) as caught:
        k((2, 3), (4, 2, 2), (np.zeros(1, np.int32),))
    assert caught.value.block == (0, 2, 0)
    assert caught.value.thread == (3, 0, 1)
    assert str(caught.value).startswith("line 3, block (0, 2, 0), thread (3, 0, 1): ")


def test_recursion_and_large_local_arrays_end_in_an_error() -> None:
    deep = "__device__ int g(int n) { return n ? g(n + 1) * 3 + g(n + 2) : 1; }\n"
    error = failure(kernel("x[0] = g(n);", deep), 1)
    assert error.kind == "stack overflow"
    error = failure(
        kernel(
            "float a[1 << 17]; for (int i = 0; i < n; ++i) a[i] = i;x[0] = a[n / 2];"
        ),
        1 << 17,
    )
    assert error.kind == "stack overflow"


@pytest.mark.parametrize("extra", range(0, 128, 16))
def test_a_stack_may_end_while_threads_are_switched(extra: int) -> None:
    # The stacks are full at different places: in the function, in the launcher.
    deep = (
        f"__device__ __noinline__ int g(int n) {{ char a[{extra + 2}]; "
        "for (int i = 0; i < n % 3; ++i) a[i] = n; __syncthreads();\n"
        "  return g(n + 1) + a[0]; }\n"
    )
    error = failure(kernel("x[threadIdx.x] = g(1);", deep), 1)
    assert (error.kind, error.line) == ("stack overflow", 1)


def test_one_is_singular() -> None:
    x = np.zeros(1, np.float32)
    k = kernel("((char*)x)[n] = 1;")
    wanted = "store of 1 byte at element 1 of argument 1, which has 1 element$"
    with pytest.raises(KernelError, match=wanted):
        k(1, 1, (x, N(4)))
    x = np.zeros(2, np.float32)
    with pytest.raises(KernelError, match=r"element 2 of argument 1, .* 2 elements$"):
        k(1, 1, (x, N(8)))


def test_a_header_helper_is_reported_at_its_own_line() -> None:
    helper = "__device__ float get(const float* p, int i) {\n  return p[i];\n}\n"
    for inline in ("", "__forceinline__ ", "__noinline__ "):
        error = failure(kernel("x[t] = get(x, t + n);", inline + helper), 60, 8)
        assert error.line == 2
        assert error.thread == (4, 0, 0)


def test_a_helper_killed_from_outside_is_replaced() -> None:
    k = kernel("x[t] = n;")
    x = np.zeros(64, np.float32)
    k(1, 64, (x, N(1)))
    slow = kernel("while (n == 0);")
    child = process.current()._child.pid
    timer = threading.Timer(0.2, os.kill, (child, signal.SIGKILL))
    timer.start()
    with pytest.raises(KernelError) as caught:
        slow(1, 1, (x, N(0)))
    assert caught.value.kind == "crash"
    k(1, 64, (x, N(2)))
    assert x.tolist() == [2] * 64


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own SIGINT handler: a job in the background starts without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_launch_and_changes_nothing() -> None:
    x = np.zeros(64, np.float32)
    k = kernel("x[t] = 1.0f; while (n == 0);")
    assert k.parameters
    main = threading.get_ident()
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        k(1, 1, (x, N(0)))
    assert time.perf_counter() - start < 5
    assert x.tolist() == [0] * 64
    k(1, 64, (x, N(1)))
    assert x.tolist() == [1] * 64


def test_fast_launches_are_contained_too() -> None:
    x = np.zeros(64, np.float32)
    for body, kind in [
        ("x[n] = 1.0f;", "signal"),
        ("x[0] = 5 / n;", "division"),
        ("while (n);", "deadline"),
        ("if (t < 3) __syncthreads(); else __syncwarp();", "deadlock"),
    ]:
        k = Kernel(kernel(body).source, "f", checked=False)
        n = 0 if kind == "division" else 1 << 30
        with pytest.raises(KernelError) as caught:
            k(1, 64, (x, N(n)), timeout=0.3)
        assert caught.value.kind == kind
        assert x.tolist() == [0] * 64


def test_wide_copies_and_byte_copies_are_checked() -> None:
    for body in (
        "struct S { float a[7]; }; *(S*)(x + n) = *(S*)x;",
        "memcpy(x + n, x, 28);",
        "memset(x + n, 0, 28);",
    ):
        assert failure(kernel(body), 58, 1).kind == "out of bounds"
        kernel(body)(1, 1, (np.zeros(64, np.float32), N(57)))


def test_accesses_that_reach_over_an_end_are_seen() -> None:
    x = np.zeros(63, np.float32)
    for body in ("((float4*)x)[15] = float4();", "((float2*)x)[31] = float2();"):
        with pytest.raises(KernelError, match=r"element \d+ of argument 1"):
            kernel(body)(1, 1, (x, N(0)))
    kernel("((float4*)x)[14] = float4();")(1, 1, (x, N(0)))
    whole = np.zeros(64, np.float32)
    with pytest.raises(KernelError, match=r"load of 4 .* element -1 "):
        kernel("x[0] = *(float*)((char*)x - 4);")(1, 1, (whole[1:], N(0)))


# ---- what is refused ----

REFUSED = [
    ('asm volatile("mov.u32 %0, 1;" : "=r"(n));', 3, "inline PTX"),
    ("/* a\n comment */ f<<<1, 1>>>(x, n);", 4, "launch from CUDA C"),
    ("x[0] = tex1Dfetch<float>(0, 1);", 3, "texture"),
    ("x[0] = clock64();", 3, "clock"),
    ("float* p = (float*)malloc(4);", 3, "malloc"),
    ("float* p = new float[4];", 3, "operator new"),
    ("static float s[4];\ns[t & 3] = x[t]; x[t] = s[n & 3];", 3, "static local"),
]


@pytest.mark.parametrize(("body", "line", "construct"), REFUSED)
def test_constructs_that_the_simulator_lacks(body, line, construct) -> None:
    with pytest.raises(Unsupported, match=construct) as caught:
        _ = kernel(body).parameters
    assert caught.value.line == line


@pytest.mark.parametrize("header", ["boost/any.hpp", "cuda/atomic", "mystery.h"])
def test_unknown_includes_are_named(header: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(f"#include <{header}>")) as caught:
        _ = kernel("x[t] = 1;", f"// first\n#include <{header}>\n").parameters
    assert caught.value.line == 2


def test_refusals_ignore_comments_and_strings() -> None:
    k = kernel('// asm("x") <<<1>>>\n/* malloc(3) */ if (n < 0) printf("clock() new");')
    k(1, 1, (np.zeros(1, np.float32), N(0)))


def test_compiler_errors_carry_the_line_and_the_log() -> None:
    with pytest.raises(CompileError, match=r"^line 4: .*missing") as caught:
        _ = kernel("x[t] = 1;\nx[t] = missing;").parameters
    assert "kernel.cu:4" in caught.value.log


UNCLOSED = [
    ("__global__ void f(int* x) {\n  if (x[0]) {\n    x[0] = 1;\n}\n", 1),
    ("namespace n {\n__global__ void f(int* x) {\n  x[0] = 1;\n}\n", 1),
    ("\n__device__ int g(int v) {\n  return v;\n\n", 2),
]


@pytest.mark.parametrize(("text", "line"), UNCLOSED)
def test_a_brace_that_is_never_closed_is_named(text, line) -> None:
    if "f(" not in text:
        text += 'extern "C" __global__ void f(int* x) {\n  x[0] = g(1);\n}\n'
    name = "n::f" if "namespace" in text else "f"
    with pytest.raises(CompileError, match=r"is never closed|closed\?") as caught:
        Kernel(text, name)(1, 1, (np.zeros(1, np.int32),))
    assert re.search(rf"line {line}(?: closed|:)", str(caught.value))


def test_rewriting_keeps_lines() -> None:
    text = """
extern __shared__ __align__(16)
  float s[];
template <typename T> __global__ void f(T* x) {
  extern __shared__ unsigned char raw[];
  extern volatile __shared__ double d[][3];
  static __shared__ int k; // extern __shared__ float no[];
}"""
    out = source.translate(text)
    assert out.count("\n") == text.count("\n")
    lines = out.splitlines()
    assert lines[1] == "float *const s = reinterpret_cast<float *>(sim_dynamic);"
    assert "unsigned char *const raw = " in lines[4]
    assert "volatile double (*const d)[3] = " in lines[5]
    aligned = "__shared__ alignas(2 * sizeof(int)) int a;"
    moved = source.translate(f"{aligned} extern __shared__ alignas(8) int b[];")
    assert moved.startswith("alignas(2 * sizeof(int)) __shared__ int a; int *const b")
    assert lines[6] == "  __shared__ int k; // extern __shared__ float no[];"
    with pytest.raises(Unsupported, match="dynamic shared memory"):
        source.translate("void f() { extern __shared__ float a[], b[]; }")
