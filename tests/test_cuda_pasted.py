"""Sources as they stand in files: with the headers of host code, with branches for
other hardware, and with the device libraries that kernels are written with."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, Unsupported, nvrtc

F, N = np.float32, np.int32
RNG = np.random.default_rng(29)
ADD_ONE = 'extern "C" __global__ void f(float* x) { x[threadIdx.x] += 1; }\n'

needs_nvrtc = pytest.mark.skipif(
    not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}"
)


def added(source: str) -> list[float]:
    x = np.arange(4, dtype=F)
    Kernel(source, "f")(1, 4, (x,))
    return x.tolist()


def refused(source: str) -> Unsupported:
    with pytest.raises(Unsupported) as caught:
        _ = Kernel(source, "f").parameters
    return caught.value


# ---- headers of which nothing is needed ----


def test_headers_of_host_code_may_stand_above_a_kernel() -> None:
    names = ["cstdlib", "stdlib.h", "algorithm", "iostream", "vector", "time.h"]
    lines = "".join(f"#include <{name}>\n" for name in names)
    assert added(lines + ADD_ONE) == [1, 2, 3, 4]


LIBRARIES = [
    ("cuda_fp8.h", "__nv_fp8_e4m3 low;"),
    ("thrust/sort.h", "thrust::sort(x, x + 4);"),
    ("curand_kernel.h", "curandState s;"),
    ("torch/extension.h", "torch::Tensor t;"),
    ("cublas_v2.h", "cublasHandle_t h;"),
]


@pytest.mark.parametrize(("header", "use"), LIBRARIES)
def test_a_library_may_be_included_but_not_used(header: str, use: str) -> None:
    assert added(f"#include <{header}>\n{ADD_ONE}") == [1, 2, 3, 4]
    wrong = refused(
        f"// one\n#include <{header}>\n" + ADD_ONE.replace("{", f"{{ {use}")
    )
    assert wrong.line == 2
    assert header in str(wrong)


# ---- what the compiler does not come to ----

BRANCHES = [
    '#include "hip/intrinsics.h"',
    '__device__ void g() { asm("v_nop"); }',
    "__device__ float g(cudaTextureObject_t t) { return tex1D<float>(t, 0); }",
    "inline void g() { f<<<1, 4>>>(0); }",
    "__device__ float* g() { return new float[3]; }",
]


@pytest.mark.parametrize("text", BRANCHES)
def test_a_branch_that_is_not_compiled_may_hold_anything(text: str) -> None:
    assert added(f"#if __CUDA_ARCH__ < 300\n{text}\n#endif\n{ADD_ONE}")[3] == 4
    other = f"{ADD_ONE}#ifdef __CUDACC__\n#else\n{text}\n#endif\n"
    assert added(other)[3] == 4


@pytest.mark.parametrize("text", BRANCHES)
def test_one_that_is_compiled_is_refused_at_its_line(text: str) -> None:
    guard = "#ifndef GUARD\n#define GUARD\n"
    assert refused(f"{guard}{ADD_ONE}\n{text}\n#endif\n").line == 5
    # Whatever else the compiler has to say of the host code around it.
    host = "void launch(cudaStream_t s, std::vector<int> v) {\n"
    assert refused(f"{guard}{ADD_ONE}{host}{text}\n}}\n#endif\n").line == 5


def test_a_macro_is_refused_where_it_is_used() -> None:
    macro = '#define NOP() \\\n  asm volatile("nop;")\n'
    assert added(macro + ADD_ONE)[3] == 4
    wrong = refused(macro + ADD_ONE.replace("{", "{\n  NOP();"))
    assert wrong.construct == "inline PTX (asm)"
    assert wrong.line in (2, 4)  # of its text, or of its use


# ---- <type_traits>, <limits> ----

TRAITS = """
#include <type_traits>
#include <limits>
template <class T,
          typename std::enable_if<std::is_floating_point<T>::value, int>::type = 0>
__device__ T half_of(T v) { return v / 2; }
template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
__device__ T half_of(T v) { return (T)((v + 1) / 2); }
struct Base {}; struct Derived : Base { __device__ operator int() const { return 3; } };
enum Colour { RED };
static_assert(
    std::is_same<std::conditional_t<(sizeof(int) > 2), int, float>, int>::value, "");
static_assert(std::is_same_v<std::remove_cv_t<const volatile int>, int>, "");
static_assert(std::is_same_v<std::remove_reference_t<int&&>, int>, "");
static_assert(std::is_same_v<std::remove_pointer_t<const int* const>, const int>, "");
static_assert(std::is_same_v<std::decay_t<const float[3]>, const float*>, "");
static_assert(std::is_pointer_v<int* const> && !std::is_pointer_v<int>, "");
static_assert(std::is_base_of_v<Base, Derived>, "");
static_assert(!std::is_base_of_v<Derived, Base>, "");
static_assert(std::is_convertible_v<Derived, int>, "");
static_assert(!std::is_convertible_v<Base, int>, "");
static_assert(std::is_signed_v<char> && std::is_unsigned_v<std::uint8_t>, "");
static_assert(!std::is_signed_v<float*> && std::is_signed_v<const double>, "");
static_assert(std::is_enum<Colour>() && std::is_class_v<Base>, "");
static_assert(std::is_const_v<const int>, "");
static_assert(std::is_same_v<std::make_unsigned_t<int>, unsigned>, "");
static_assert(std::numeric_limits<int>::max() == 2147483647, "");
static_assert(std::numeric_limits<int>::min() == -2147483647 - 1, "");
static_assert(std::numeric_limits<unsigned char>::max() == 255, "");
static_assert(std::numeric_limits<long long>::lowest() < -9223372036854775807LL, "");
static_assert(std::numeric_limits<unsigned long long>::max() == ~0ull, "");
static_assert(std::is_void_v<void> && std::is_arithmetic_v<bool>, "");
static_assert(std::integral_constant<int, 4>() == 4, "");
template <class T, class = void> struct has_x : std::false_type {};
template <class T>
struct has_x<T, std::void_t<decltype(std::declval<T>().x)>> : std::true_type {};
static_assert(has_x<float2>::value && !has_x<Base>::value, "");
extern "C" __global__ void f(const float* x, float* out, int* count) {
  int t = threadIdx.x;
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i <= t; ++i) least = fminf(least, x[i]);
  out[t] = half_of(least);
  count[t] = half_of(t);
}
"""


def test_traits_and_limits() -> None:
    x = RNG.standard_normal(32).astype(F)
    out, count = np.zeros(32, F), np.zeros(32, N)
    Kernel(TRAITS, "f")(1, 32, (x, out, count))
    np.testing.assert_array_equal(out, np.minimum.accumulate(x) / 2)
    np.testing.assert_array_equal(count, (np.arange(32) + 1) // 2)


def test_nvrtcs_names_for_traits_mean_the_same() -> None:
    there = TRAITS.replace("std::", "cuda::std::")
    there = there.replace("<type_traits>", "<cuda/std/type_traits>")
    there = there.replace("<limits>", "<cuda/std/limits>")
    there = there.replace("cuda::std::uint8_t", "unsigned char")
    assert len(Kernel(there, "f").parameters) == 3
    if nvrtc.available():
        nvrtc.build(there)


def test_traits_need_no_header_of_their_own() -> None:
    # They come with others that nvcc includes.
    k = Kernel(TRAITS.replace("#include", "//"), "f")
    assert len(k.parameters) == 3


# ---- CUB's reductions ----

CUB = """
#include <cub/block/block_reduce.cuh>
#include <cub/warp/warp_reduce.cuh>
struct Larger {
  __device__ float operator()(float a, float b) const { return a < b ? b : a; }
};
struct Best {  // more than eight bytes
  double value; int at;
};
struct Better {
  __device__ Best operator()(const Best& a, const Best& b) const {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  }
};
template <int THREADS>
__global__ void rows(const float* x, float* sums, float* tops, int* at, int n) {
  typedef cub::BlockReduce<float, THREADS> Floats;
  using Bests = cub::BlockReduce<Best, THREADS>;
  __shared__ union {
    typename Floats::TempStorage floats;
    typename Bests::TempStorage bests;
  } room;
  __shared__ float total;
  x += blockIdx.x * n;
  float sum = 0.0f, top = -3e38f;
  Best best = {-1e300, n};
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    sum += x[i];
    top = fmaxf(top, x[i]);
    best = Better()(best, Best{x[i], i});
  }
  sum = Floats(room.floats).Sum(sum, blockDim.x);
  if (threadIdx.x == 0) total = sum;
  __syncthreads();
  top = Floats(room.floats).Reduce(top, Larger(), blockDim.x);
  __syncthreads();
  best = Bests(room.bests).Reduce(best, Better(), blockDim.x);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = total;
    tops[blockIdx.x] = top;
    at[blockIdx.x] = best.at;
  }
}
__global__ void tiles(const int* x, int* of_quarters, int* of_block) {
  using Eights = cub::WarpReduce<int, 8>;
  using Block = cub::BlockReduce<int, 8, cub::BLOCK_REDUCE_WARP_REDUCTIONS, 4, 3>;
  __shared__ typename Eights::TempStorage one[12];
  __shared__ typename Block::TempStorage all;
  int t = threadIdx.x + 8 * (threadIdx.y + 4 * threadIdx.z);
  int items[2] = {x[2 * t], x[2 * t + 1]};
  int quarter = Eights(one[t / 8]).Sum(items[0] + items[1]);
  if (t % 8 == 0) of_quarters[t / 8] = quarter;
  int whole = Block(all).Sum(items);
  if (t == 0) *of_block = whole;
}
"""


@pytest.mark.parametrize("threads", [256, 100, 32, 5])
def test_cub_reduces_blocks_full_and_not(threads: int) -> None:
    x = RNG.standard_normal((3, 777)).astype(F)
    sums, tops, at = np.zeros(3, F), np.zeros(3, F), np.zeros(3, N)
    k = Kernel(CUB, "rows<256>")
    k(3, threads, (x, sums, tops, at, N(777)))
    np.testing.assert_allclose(sums, x.astype(float).sum(1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(tops, x.max(1))
    np.testing.assert_array_equal(at, x.argmax(1))
    p = k.profile(3, threads, (x, sums, tops, at, N(777)), order=5)
    assert not p.errors, str(p)


def test_cub_reduces_parts_of_warps_and_blocks_of_three_dimensions() -> None:
    x = RNG.integers(-99, 99, 192).astype(N)
    quarters, whole = np.zeros(12, N), np.zeros(1, N)
    for order in ("forward", "reversed", 3):
        k = Kernel(CUB, "tiles", checked=False)
        k(1, (8, 4, 3), (x, quarters, whole), order=order)
        np.testing.assert_array_equal(quarters, x.reshape(12, 16).sum(1))
        assert whole[0] == x.sum()


def test_cubs_functors_as_they_were() -> None:
    source = """
#include <cub/cub.cuh>
extern "C" __global__ void f(const float* x, float* out, int* at) {
  typedef cub::KeyValuePair<int, float> Pair;
  typedef cub::BlockReduce<Pair, 64> Pairs;
  typedef cub::BlockReduce<float, 64> Floats;
  __shared__ typename Pairs::TempStorage pairs;
  __shared__ typename Floats::TempStorage floats[2];
  Pair mine(threadIdx.x, x[threadIdx.x]);
  Pair top = Pairs(pairs).Reduce(mine, cub::ArgMax());
  float least = Floats(floats[0]).Reduce(mine.value, cub::Min{});
  float sum = Floats(floats[1]).Reduce(mine.value, cub::Sum(), 40);
  if (threadIdx.x == 0) {
    out[0] = top.value; out[1] = least; out[2] = sum; *at = top.key;
  }
}"""
    x, out, at = RNG.standard_normal(64).astype(F), np.zeros(3, F), np.zeros(1, N)
    Kernel(source, "f")(1, 64, (x, out, at))
    np.testing.assert_allclose(out, [x.max(), x.min(), x[:40].sum()], rtol=1e-5)
    assert at[0] == x.argmax()


def test_room_used_again_without_a_barrier_is_a_race_at_the_second_call() -> None:
    damaged = CUB.replace("total = sum;\n  __syncthreads();\n", "total = sum;\n")
    second = "top = Floats"
    line = damaged[: damaged.index(second)].count("\n") + 1
    x = RNG.standard_normal((1, 777)).astype(F)
    room = np.zeros(1, F), np.zeros(1, F), np.zeros(1, N)
    p = Kernel(damaged, "rows<256>").profile(1, 256, (x, *room, N(777)))
    assert {(e.kind, e.line) for e in p.errors} == {("race", line)}


def test_more_of_cub_is_refused_by_name() -> None:
    wrong = refused(
        "#include <cub/cub.cuh>\n"
        + ADD_ONE.replace("{", "{\n cub::BlockScan<int, 4> s;")
    )
    assert (wrong.line, "more of CUB" in str(wrong)) == (3, True)


@needs_nvrtc
def test_nvidias_compiler_takes_the_same_text() -> None:
    compiled = nvrtc.build(CUB, names=["rows<256>", "tiles"])
    assert compiled.ptx.count(".entry") == 2


# ---- messages ----


def test_two_kernels_of_one_name_are_said_to_be_two() -> None:
    both = "__global__ void f(float*) {}\n__global__ void f(int*) {}\n"
    with pytest.raises(CompileError, match="no such kernel, or more than one"):
        _ = Kernel(both, "f").parameters
