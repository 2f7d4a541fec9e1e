"""One profiled launch of a small kernel: what the tests of profiles start from."""

from __future__ import annotations

import numpy as np

from cuda_labs import Kernel
from cuda_labs.sim import profile

N = np.int32


def run(
    body: str,
    *,
    n=0,
    block=32,
    grid=1,
    size=8192,
    shared=0,
    before="",
    order: str | int = "forward",
):
    """Profile f(x, y, n) with `body` from line 3 on; x holds 0, 1, 2, ..."""
    text = f'{before}extern "C" __global__ void f(float* x, float* y, int n) {{\n'
    text += f"  int t = blockIdx.x * blockDim.x + threadIdx.x;\n{body}\n}}"
    x = np.arange(size, dtype=np.float32)
    y = np.zeros(size, np.float32)
    return Kernel(text, "f").profile(grid, block, (x, y, N(n)), shared, order=order)


def kinds(p: profile.Profile) -> set[str]:
    """The kinds of its findings."""
    return {f.kind for f in p.errors}
