"""Blocks divided among processes: the same bits, the same findings, no leftovers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError, ladders
from cuda_labs.sim import process
from cuda_labs.sim.variables import are_independent

N = np.int32
X = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
MIXED = """
__constant__ float weight[2] = {0.5f, 2.0f};
extern "C" __global__ void f(const float* x, float* y, int n) {
  __shared__ float s[32];
  extern __shared__ float d[];
  int t = threadIdx.x;
  int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  s[t] = x[b * 32 + t] * weight[b & 1];
  d[t] = b;
  __syncthreads();
  float v = s[31 - t] + d[t ^ 1];
  for (int k = 16; k; k /= 2) v += __shfl_xor_sync(~0u, v, k) / 3.0f;
  if (b >= n) x = nullptr;
  y[b * 32 + t] = v + (b >= n ? x[0] : 0.0f);
}"""


def mixed(workers: int, n: int = 128, checked: bool = True, **kw) -> np.ndarray:
    y = np.full(4096, np.nan, np.float32)
    k = Kernel(MIXED, "f", workers=workers, checked=checked)
    k((8, 4, 4), 32, (X, y, N(n)), 128, **kw)
    return y


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
@pytest.mark.parametrize("order", ["forward", "reversed", 5])
def test_any_number_of_workers_gives_the_same_bits(checked, order) -> None:
    one = mixed(1, checked=checked, order=order)
    assert np.isfinite(one).all()
    for workers in (2, 3, 7, 64):
        assert mixed(workers, checked=checked, order=order).tobytes() == one.tobytes()


@pytest.mark.parametrize(("op", "rung"), [("matmul", 4), ("transpose", 3), ("scan", 3)])
def test_ladders_with_two_workers(op: str, rung: int) -> None:
    loaded = ladders.load(op, rung)
    inputs = {
        "matmul": (X[:2100].reshape(35, 60), X[-4080:].reshape(60, 68)),
        "transpose": (X[:3990].reshape(42, 95),),
        "scan": (X,),
    }[op]
    one = loaded.run(*inputs)
    k = Kernel(loaded.kernel.source, loaded.kernel.name, workers=2)
    plan = loaded.plan(*inputs)
    for launch in plan.launches:
        k(launch.grid, launch.block, launch.args, launch.shared_mem)
    assert np.asarray(plan.output).tobytes() == np.asarray(one).tobytes()


def test_the_lowest_block_that_fails_is_reported() -> None:
    for n in (1, 63, 64, 100, 127):
        found = []
        for workers in (1, 2, 5):
            with pytest.raises(KernelError) as caught:
                mixed(workers, n)
            found.append((str(caught.value), caught.value.block, caught.value.line))
        assert found[0] == found[1] == found[2]
        assert found[0][1] == (n % 8, n // 8 % 4, n // 32)
        assert "null pointer" in found[0][0]
    # The signal of a fast launch too.
    with pytest.raises(KernelError) as caught:
        mixed(3, 90, checked=False)
    assert caught.value.block == (90 % 8, 90 // 8 % 4, 90 // 32)


LOOP = """
extern "C" __global__ void f(int* x, int n) {
  x[blockIdx.x] = 1;
  if (blockIdx.x >= n) for (;;) ;
}"""


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(c) for c in path.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("n", [0, 5])
def test_a_deadline_ends_all_workers(n: int) -> None:
    x = np.zeros(6, N)
    k = Kernel(LOOP, "f", workers=3)
    k(6, 1, (x, N(6)))
    assert x.tolist() == [1] * 6
    helper = process.current()._child.pid
    seen: list[list[int]] = []
    timer = threading.Timer(0.4, lambda: seen.append(children(helper)))
    timer.start()
    x[:] = 7
    with pytest.raises(KernelError) as caught:
        k(6, 1, (x, N(n)), timeout=0.8)
    assert caught.value.kind == "deadline"
    assert x.tolist() == [7] * 6
    # The second share, blocks 2 and 3, has ended by then when n is 5.
    assert len(seen[0]) == {0: 2, 5: 1}[n]
    until = time.perf_counter() + 5
    while any(Path(f"/proc/{c}").exists() for c in seen[0]):
        assert time.perf_counter() < until
        time.sleep(0.02)


def test_a_worker_that_is_killed_ends_the_launch() -> None:
    k = Kernel(LOOP, "f", workers=2)
    x = np.zeros(4, N)
    k(4, 1, (x, N(4)))
    helper = process.current()._child.pid

    def kill() -> None:
        (child,) = children(helper)
        os.kill(child, 9)

    timer = threading.Timer(0.3, kill)
    timer.start()
    with pytest.raises(KernelError) as caught:
        k(4, 1, (x, N(3)), timeout=20)
    assert caught.value.kind == "crash"
    k(4, 1, (x, N(4)))


@pytest.mark.parametrize(
    ("before", "body", "independent"),
    [
        ("", "x[0] = 1;", True),
        ("__constant__ float c[4];", "x[0] = c[1];", True),
        ("static __constant__ int c = 4;", "x[0] = c;", True),
        ("__device__ float d;", "x[0] = d; d = 2;", False),
        ("", "atomicAdd(x, 1.0f);", False),
        ("", "*(volatile float*)x = 1;", False),
        ("", "__threadfence(); x[0] = 1;", False),
        ("", 'printf("%f", x[0]);', False),
        ("// atomicAdd, volatile\n", "x[0] = 1; /* printf */", True),
    ],
)
def test_which_kernels_are_divided(before, body, independent) -> None:
    text = f'{before}\nextern "C" __global__ void f(float* x) {{ {body} }}'
    k = Kernel(text, "f", workers=2)
    assert k._simulated().divisible is independent
    assert are_independent(text, k._simulated().built.image) is independent
    k(3, 1, (np.zeros(1, np.float32),))


def test_sums_in_block_order_whatever_is_asked_for() -> None:
    text = """extern "C" __global__ void f(const float* x, float* y) {
      atomicAdd(y, x[blockIdx.x * 32 + threadIdx.x]); }"""
    sums = set()
    for workers in (1, 2, 5):
        y = np.zeros(1, np.float32)
        Kernel(text, "f", workers=workers)(128, 32, (X, y))
        sums.add(y.tobytes())
    assert len(sums) == 1


@pytest.mark.parametrize(
    ("workers", "error"), [(0, ValueError), (65, ValueError), (True, TypeError)]
)
def test_numbers_of_workers_that_cannot_be(workers, error) -> None:
    with pytest.raises(error, match="workers"):
        Kernel(LOOP, "f", workers=workers)
    with pytest.raises(TypeError, match="workers"):
        Kernel(LOOP, "f", workers=2.0)  # pyright: ignore[reportArgumentType]
