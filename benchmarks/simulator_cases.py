"""What simulator.py measures: kernels with their launches, and what they must give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cuda_labs import check, ladders, reference

BLOCK_SUMS = """
extern "C" __global__ void block_sums(const float* x, float* out, int n) {
  __shared__ float part[256];
  int t = threadIdx.x;
  int i = blockIdx.x * 256 + t;
  part[t] = i < n ? x[i] : 0.0f;
  for (int k = 128; k > 0; k /= 2) {
    __syncthreads();
    if (t < k) {
      part[t] += part[t + k];
    }
  }
  if (t == 0) {
    out[blockIdx.x] = part[0];
  }
}
"""
SMALL = 'extern "C" __global__ void one(float* x) { x[threadIdx.x] += 1.0f; }'


@dataclass(frozen=True)
class Case:
    """A kernel with its launch; the last array among `arrays` is the result."""

    name: str
    source: str
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arrays: tuple[np.ndarray[Any, Any], ...]
    values: tuple[Any, ...]

    @property
    def args(self) -> tuple[Any, ...]:
        """The kernel's arguments."""
        return (*self.arrays, *self.values)


def cases() -> list[Case]:
    """The three kernels on fixed data."""
    rng = np.random.default_rng(0)
    n, side = 100_000, 128
    x, y = (rng.standard_normal(n, dtype=np.float32) for _ in range(2))
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    blocks = -(-n // 256)
    add, tiled = ladders.load("vector_add", 1), ladders.load("matmul", "03_shared")
    size, count = np.int32(side), np.int32(n)
    zeros = np.zeros
    return [
        Case(
            "vector addition, 1e5",
            add.kernel.source,
            "vector_add",
            (blocks,),
            (256,),
            (x, y, zeros(n, np.float32)),
            (count,),
        ),
        Case(
            "sums in shared memory, 1e5 by 256",
            BLOCK_SUMS,
            "block_sums",
            (blocks,),
            (256,),
            (x, zeros(blocks, np.float32)),
            (count,),
        ),
        Case(
            "tiled matrix product, 128",
            tiled.kernel.source,
            "matmul",
            (side // 16, side // 16),
            (16, 16),
            (a, b, zeros((side, side), np.float32)),
            (size, size, size),
        ),
    ]


def verify(case: Case, result: Any) -> float:
    """Error over tolerance against the float64 reference; raises `check.Mismatch`."""
    if case.kernel == "vector_add":
        return check.agree(result, reference.vector_add(*case.arrays[:2]), k=1).worst
    if case.kernel == "matmul":
        a, b = case.arrays[:2]
        scale = reference.matmul(abs(a), abs(b))
        return check.agree(result, reference.matmul(a, b), k=128, scale=scale).worst
    padded = np.zeros(256 * result.size)
    padded[: case.arrays[0].size] = case.arrays[0]
    parts = padded.reshape(-1, 256)
    return check.agree(result, parts.sum(1), k=256, scale=np.abs(parts).sum(1)).worst


def first(which: str) -> tuple[Any, ...]:
    """Source, name, grid, block and arguments of a case, or of the small kernel."""
    if which == "small":
        return SMALL, "one", (1,), (32,), (np.zeros(32, np.float32),)
    case = next(c for c in cases() if c.name == which)
    return case.source, case.kernel, case.grid, case.block, case.args
