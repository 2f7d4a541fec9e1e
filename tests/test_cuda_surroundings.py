"""What surrounds a kernel in a program, and functions of the standard library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, Unsupported

F = np.float32
Dim = int | tuple[int, ...]
FILL = "\n__global__ void fill(float* x) { x[threadIdx.x] = 7.0f; }\n"
GROUPS = "#include <cooperative_groups.h>\nnamespace cg = cooperative_groups;\n"


def run(source: str, name: str, out: np.ndarray, grid: Dim = 1, block: Dim = 1):
    """`out` after each build's launch, which must agree."""
    left = []
    for checked in (True, False):
        array = out.copy()
        Kernel(source, name, checked=checked)(grid, block, (array,))
        left.append(array)
    np.testing.assert_array_equal(*left)
    return left[0]


def refusal(source: str, name: str = "fill") -> Unsupported:
    with pytest.raises(Unsupported) as caught:
        _ = Kernel(source, name).parameters
    return caught.value


def complaint(source: str, name: str = "fill") -> str:
    with pytest.raises(CompileError) as caught:
        _ = Kernel(source, name).parameters
    return str(caught.value)


def test_host_code_is_named() -> None:
    main = """
int main(void) {
  float* x = (float*)malloc(4);
  fill<<<1, 1>>>(x);
}
"""
    error = refusal("#include <stdlib.h>" + FILL + main)
    assert "host code" in error.construct
    assert error.line == 4
    hint = "paste the kernels"
    assert hint in complaint(FILL + "void h(float* x) { cudaFree(x); }")
    assert hint in complaint("#include <vector>\nvoid h(std::vector<int> x);" + FILL)
    assert hint in complaint("void h(cudaDeviceProp p);" + FILL)
    assert hint in complaint('void h() { fprintf(stderr, "no"); }' + FILL)
    assert hint in complaint("void h() { FILE* at; }" + FILL)
    assert hint in complaint("void h() { thrust::sort(); }" + FILL)


def test_host_types_in_a_structure() -> None:
    source = "struct Job { float* at; cudaEvent_t done; cudaStream_t on; };\n"
    source += "inline bool good(cudaError_t e) { return e == cudaSuccess; }"
    assert run(source + FILL, "fill", np.zeros(1, F)) == 7.0


def test_mathematics_of_the_standard_library() -> None:
    source = """
#include <algorithm>
#include <cmath>
#include <limits>
inline int rounds(int n) { return std::max(n, 2); }
__global__ void all(double* x) {
  typedef std::numeric_limits<float> real;
  x[0] = std::max(2.5f, 1.0f);
  x[1] = std::min(-3, 4);
  x[2] = std::exp(1.0);
  x[3] = std::abs(-2.5) + std::abs(-3);
  x[4] = std::pow(2.0, 0.5);
  x[5] = real::lowest();
  x[6] = real::epsilon();
  x[7] = real::infinity() > real::max();
  x[8] = std::numeric_limits<short>::min();
  x[9] = std::numeric_limits<unsigned>::max();
  int a = 5, b = 6;
  std::swap(a, b);
  x[10] = 10 * a + b;
  x[11] = (double)std::numeric_limits<long long>::max();
  x[12] = std::clamp(9, 0, 4);
}
"""
    limits = np.finfo(F)
    expected = [2.5, -3, np.e, 5.5, np.sqrt(2), limits.min, limits.eps, 1, -(2**15)]
    expected += [2**32 - 1, 65, float(2**63), 4]
    got = run(source, "all", np.zeros(13))
    np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_the_grid_as_a_group_numbers_its_threads() -> None:
    source = (
        GROUPS
        + """
__global__ void number(unsigned long long* x) {
  auto all = cg::this_grid();
  unsigned long long me = all.thread_rank();
  if (all.is_valid()) x[me] += all.block_rank() * 1000 + me;
  if (me == 0)
    x[all.size()] = all.num_threads() * 100 + all.num_blocks() + all.group_dim().y
                  + cg::group_size(all);
}
"""
    )
    got = run(source, "number", np.zeros(49, np.uint64), (2, 3), (4, 2))
    ranks = np.arange(48)
    assert got[:48].tolist() == (ranks // 8 * 1000 + ranks).tolist()
    assert got[48] == 48 * 100 + 6 + 3 + 48


WAITS: dict[str, str] = {
    "method": "auto all = cg::this_grid();\n  all.sync();",
    "function": "cg::grid_group all = cg::this_grid();\n  cg::sync(all);",
    "helper": "\n  wait(cg::this_grid());",
    "two halves": "\n  auto t = cg::this_grid().barrier_arrive();",
}


@pytest.mark.parametrize("form", WAITS)
def test_waiting_for_the_grid_is_refused(form: str) -> None:
    helper = "__device__ void wait(cg::grid_group g) { g.sync(); }\n"
    before = helper if form == "helper" else "\n"
    error = refusal(f"{GROUPS}{before}__global__ void fill() {{ {WAITS[form]} }}\n")
    assert error.construct == "grid-wide synchronisation"
    assert error.line == (3 if form == "helper" else 5)


def test_tiles_of_several_warps_are_refused() -> None:
    body = "__global__ void fill() { __shared__ cg::block_tile_memory<64> m; }"
    assert "several warps" in refusal(GROUPS + body).construct
    body = "__global__ void fill() {\n"
    body += "  cg::tiled_partition<64>(cg::this_thread_block()); }"
    told = complaint(GROUPS + body)
    assert "line 4: a tile has 1, 2" in told


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        ("x[0] = __shfl_xor(x[0], 1);", "__shfl_xor_sync"),
        ("x[0] = __ballot(1);", "__ballot_sync"),
        ("x[0] = __any(1);", "__any_sync"),
    ],
)
def test_functions_of_a_warp_without_a_mask(call: str, instead: str) -> None:
    told = complaint(f"__global__ void fill(float* x) {{ {call} }}")
    assert f"write {instead}" in told


def test_an_array_for_a_vector_is_told_what_to_be() -> None:
    k = Kernel("__global__ void add(float3 v, float* x) { x[0] += v.x + v.z; }", "add")
    x = np.zeros(1, F)
    with pytest.raises(TypeError, match="such as") as caught:
        k(1, 1, (np.ones(3, F), x))
    asked = str(caught.value).partition("such as ")[2]
    made: Callable[..., object] = eval  # the message is the code to write
    k(1, 1, (made(asked.replace("0, 0, 0", "1, 2, 3"), {"np": np}), x))
    assert x[0] == 4.0
