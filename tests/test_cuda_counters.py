"""Counts against the definitions, written out with sets: every stride, any pattern.

Sector: 32 bytes of global memory; turn: what one of 32 banks of 4 bytes serves.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from cuda_labs import Kernel, ladders

N = np.int32
WIDTH = {"char": 1, "short": 2, "float": 4, "double": 8, "float2": 8, "float4": 16}
PLAIN = {"char": np.int8, "short": np.int16, "double": np.float64}


def touched(first: Iterable[int], width: int) -> set[int]:
    """Every byte of accesses of `width` bytes."""
    return {b for f in first for b in range(f, f + width)}


def sectors(first: Iterable[int], width: int) -> tuple[int, int]:
    """Segments of 32 bytes that one request touches, and the fewest that could."""
    found = touched(first, width)
    return len({b // 32 for b in found}), -(-len(found) // 32)


def turns(first: dict[int, int], width: int) -> tuple[int, int]:
    """Turns of shared memory for the bytes that each lane asks for, and phases."""
    together = {8: 16, 16: 8}.get(width, 32)
    total = phases = 0
    for low in range(0, 32, together):
        group = [at for lane, at in first.items() if low <= lane < low + together]
        words = {b // 4 for b in touched(group, width)}
        total += max((sum(w % 32 == k for w in words) for k in range(32)), default=0)
        phases += bool(group)
    return total, phases


# ---- every stride from 1 to 33 ----

STRIDED = """
extern "C" __global__ void f(const K* x, K* y, int s, int o) {
  __shared__ __align__(16) K tile[1200];
  int t = threadIdx.x;
  K v = x[o + s * t];
  tile[s * t] = v;
  __syncwarp();
  K w = tile[s * t];
  y[o + s * t] = w;
}"""
LOAD, PUT, TAKE, STORE = 5, 6, 8, 9


@pytest.fixture(scope="module", params=["float", "float2", "float4"])
def strided(request: pytest.FixtureRequest) -> tuple[str, Kernel]:
    return request.param, Kernel(STRIDED, "f", options=[f"-DK={request.param}"])


@pytest.mark.parametrize("stride", range(1, 34))
def test_strides(strided: tuple[str, Kernel], stride: int) -> None:
    kind, kernel = strided
    width = WIDTH[kind]
    x = np.arange(1200 * width // 4, dtype=np.float32)
    for offset in (0, 1, stride % 9):
        y = np.zeros_like(x)
        p = kernel.profile(1, 32, (x, y, N(stride), N(offset)))
        assert not p.errors
        at = [width * (offset + stride * t) for t in range(32)]
        wanted = sectors(at, width)
        for line, way in ((LOAD, "global load"), (STORE, "global store")):
            access = p.lines[line].access[way]
            assert access.requests == 1
            assert (access.sectors, access.ideal_sectors) == wanted
        wanted = turns({t: width * stride * t for t in range(32)}, width)
        for line, way in ((PUT, "shared store"), (TAKE, "shared load")):
            access = p.lines[line].access[way]
            assert (access.wavefronts, access.ideal_wavefronts) == wanted
        if offset == 0 and kind == "float":  # the same from closed forms
            assert p.lines[LOAD].access["global load"].sectors == min(4 * stride, 32)
            assert p.lines[TAKE].bank_conflict_ways == np.gcd(stride, 32)


# ---- any pattern: partial warps, lanes that sit out, addresses at random ----

GATHER = """
extern "C" __global__ void f(const K* x, K* y, const int* from, const int* to, int n) {
  extern __shared__ __align__(16) unsigned char raw[];
  K* tile = (K*)raw;
  int t = blockIdx.x * blockDim.x + threadIdx.x;
  for (int i = threadIdx.x; i < 512; i += blockDim.x) tile[i] = K();
  __syncthreads();
  if (t >= n) return;
  int a = from[t], b = to[t];
  if (a < 0) return;
  K v = x[a];
  K w = tile[a % 512];
  __syncwarp(__activemask());
  tile[512 + threadIdx.x] = v;
  y[b] = w;
}"""


@pytest.mark.parametrize("kind", sorted(WIDTH))
def test_any_pattern(kind: str) -> None:
    width, dtype = WIDTH[kind], PLAIN.get(kind, np.float32)
    lanes_of = width // np.dtype(dtype).itemsize
    kernel = Kernel(GATHER, "f", options=[f"-DK={kind}"])
    rng = np.random.default_rng(WIDTH[kind])
    for share, block in ((0.0, 33), (0.3, 96), (0.7, 50), (0.95, 64), (0.2, 7)):
        grid = int(rng.integers(1, 4))
        threads = grid * block
        n = int(rng.integers(1, threads + 1))
        start = rng.integers(0, 2048, threads)
        start[rng.random(threads) < share] = -1
        to = rng.permutation(2048)[:threads]
        x, y = (np.zeros(2048 * lanes_of, dtype) for _ in range(2))
        args = (x, y, start.astype(N), to.astype(N), N(n))
        p = kernel.profile(grid, block, args, 1024 * width)
        assert not p.errors, str(p)
        wanted = np.zeros((4, 2), int)
        requests = lanes = 0
        for b in range(grid):
            for low in range(0, block, 32):
                own = range(low, min(low + 32, block))
                on = [t for t in own if b * block + t < n and start[b * block + t] >= 0]
                if not on:
                    continue
                requests += 1
                lanes += len(on)
                reads = [width * int(start[b * block + t]) for t in on]
                writes = [width * int(to[b * block + t]) for t in on]
                taken = {t % 32: width * int(start[b * block + t] % 512) for t in on}
                put = {t % 32: width * (512 + t) for t in on}
                wanted += [
                    sectors(reads, width),
                    sectors(writes, width),
                    turns(taken, width),
                    turns(put, width),
                ]
        if not requests:
            continue
        load, store = p.lines[11].access["global load"], p.lines[15].access
        assert (load.requests, load.lanes, load.bytes) == (
            requests,
            lanes,
            width * lanes,
        )
        take, keep = p.lines[12].access["shared load"], p.lines[14].access
        found = [
            (load.sectors, load.ideal_sectors),
            (
                store["global store"].sectors,
                store["global store"].ideal_sectors,
            ),
            (take.wavefronts, take.ideal_wavefronts),
            (
                keep["shared store"].wavefronts,
                keep["shared store"].ideal_wavefronts,
            ),
        ]
        assert np.array_equal(found, wanted)


# ---- transposes of sizes that no tile divides ----

PLACE = {
    "02_shared": lambda row, col: 32 * row + col,
    "03_padded": lambda row, col: 33 * row + col,
    "04_swizzled": lambda row, col: 32 * row + (col ^ row),
}


@pytest.mark.parametrize("rung", sorted(PLACE))
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (33, 45), (70, 31), (5, 97)])
def test_transposes_of_odd_sizes(rung: str, rows: int, cols: int) -> None:
    a = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols)
    loaded = ladders.load("transpose", rung)
    p = loaded.profile(a)
    assert not p.errors
    place = PLACE[rung]
    wanted = {"global load": 0, "global store": 0, "shared load": 0, "shared store": 0}
    for by in range(0, rows, 32):
        for bx in range(0, cols, 32):
            for k in range(32):  # the row of the tile that a warp handles
                on = [t for t in range(32) if bx + t < cols and by + k < rows]
                read = [4 * ((by + k) * cols + bx + t) for t in on]
                wanted["global load"] += sectors(read, 4)[0]
                put = {t: 4 * place(k, t) for t in on}
                wanted["shared store"] += turns(put, 4)[0]
                on = [t for t in range(32) if by + t < rows and bx + k < cols]
                written = [4 * ((bx + k) * rows + by + t) for t in on]
                wanted["global store"] += sectors(written, 4)[0]
                take = {t: 4 * place(t, k) for t in on}
                wanted["shared load"] += turns(take, 4)[0]
    for kind, count in wanted.items():
        found = p.total(kind)
        assert (found.sectors if "global" in kind else found.wavefronts) == count, kind
