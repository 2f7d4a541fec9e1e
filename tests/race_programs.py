"""Programs of accesses, barriers and flags, and one kernel that runs them all.

A program is a table, one row a line: what is done, and who takes part. The kernel
interprets such tables, so that thousands of programs need one compilation.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from cuda_labs import Kernel
from cuda_labs.sim.profile import Finding

LOAD, STORE, VLOAD, VSTORE, ATOMIC, SYNC, WARP, SHUFFLE = range(1, 9)
SET, WAIT, FENCE, FENCE_BLOCK, COUNT = range(9, 14)
ROWS = 20
ALL = 0xFFFFFFFF


class Row(NamedTuple):
    """space: 0 static, 1 dynamic, 2 global; a flag is volatile or else atomic.

    who: 0 all threads, 1 thread a, 2 those before a, 3 those that leave b mod a;
    block, warp: -1 for all. A thread comes to byte `at` + `stride` (t mod 8).
    """

    op: int
    size: int = 4
    space: int = 2
    at: int = 0
    stride: int = 0
    who: int = 0
    a: int = 1
    b: int = 0
    block: int = -1
    volatile: int = 0
    warp: int = -1
    mask: int = ALL

    def takes(self, b: int, t: int) -> bool:
        """Does thread t of block b take part?"""
        picks = (True, t == self.a, t < self.a, t % max(self.a, 1) == self.b)
        return self.block in (-1, b) and picks[self.who]


class Program(NamedTuple):
    """equal: all stores store the same bytes; else each thread its own on each line."""

    grid: int
    block: int
    rows: list[Row]
    order: str | int = "forward"
    equal: bool = False


_TYPES = {1: "char", 2: "short", 4: "int", 8: "long long"}
_CODE = {LOAD: "acc += *(T*)a", STORE: "*(T*)a = w"}
_CODE |= {VLOAD: "acc += *(volatile T*)a", VSTORE: "*(volatile T*)a = w"}
_ACCESS = {
    (op, n): code.replace("T", c)
    for n, c in _TYPES.items()
    for op, code in _CODE.items()
} | {
    (LOAD, 16): "int4 v = *(int4*)a; acc += v.x + v.y * 3 + v.z * 5 + v.w",
    (STORE, 16): "*(int4*)a = make_int4(w, w >> 32, w, w >> 32)",
    (ATOMIC, 4): "atomicExch((int*)a, (int)w)",
    (ATOMIC, 8): "atomicExch((unsigned long long*)a, w)",
}
_CASES = "".join(
    f"case {100 * op + size}: {{ {code}; break; }} "
    for (op, size), code in _ACCESS.items()
)
# Flags stand apart from the data; a ticket tells in which order threads counted.
_SLOT = f"""#define WORD(k) (((k) * 256 + b * 80 + t + 1) * 0x9E3779B97F4A7C15ull >> 3)
#define SLOT(k) {{ const int* p = rows + 12 * k; int op = p[0]; \\
  char* a = (p[2] == 0 ? s : p[2] == 1 ? d : g) + p[3] + p[4] * (t % 8); \\
  int* f = (p[2] ? flag : q) + p[3]; \\
  unsigned long long w = equal ? 0x5555555555555555ull : WORD(k); \\
  if (op == 6) __syncthreads(); else if (op == 7) {{ \\
    if ((p[10] < 0 || p[10] == t / 32) && (unsigned)p[11] >> t % 32 & 1) \\
      __syncwarp(p[11]); }} \\
  else if (op == 8) acc += __shfl_sync(~0u, (int)acc, 0); \\
  else if (op && (p[8] < 0 || p[8] == b) && (p[5] == 0 || (p[5] == 1 && t == p[6]) || \\
           (p[5] == 2 && t < p[6]) || (p[5] == 3 && t % p[6] == p[7]))) \\
    switch (op < 6 ? 100 * op + p[1] : op) {{ {_CASES} \\
      case 9: if (p[9]) *(volatile int*)f = 1; else atomicAdd(f, 1); break; \\
      case 10: if (p[9]) while (*(volatile int*)f == 0) ; \\
               else while (atomicAdd(f, 0) == 0) ; break; \\
      case 11: __threadfence(); break; case 12: __threadfence_block(); break; \\
      case 13: ticket[(k * gridDim.x + b) * blockDim.x + t] = atomicAdd(f, 1); break; \\
    }} }}"""
_HEAD = """
extern "C" __global__ void f(char* g, int* flag, const int* rows, long long* out,
                             int* ticket, int equal) {
  __shared__ __align__(16) char s[64]; extern __shared__ __align__(16) char d[];
  __shared__ int q[16];
  int t = threadIdx.x, b = blockIdx.x; long long acc = 0;
  for (int i = t; i < 64; i += blockDim.x) { s[i] = d[i] = 0; if (i < 16) q[i] = 0; }
  __syncthreads();
"""
_TAIL = "\n  out[b * blockDim.x + t] = acc;\n}"
FIRST = (_SLOT + _HEAD).count("\n") + 1  # the line of the first row
KERNEL = Kernel(
    _SLOT + _HEAD + "\n".join(f"SLOT({k})" for k in range(ROWS)) + _TAIL, "f"
)


def _line(k: int, r: Row) -> str:
    if r.op == SYNC:
        return "__syncthreads();"
    if r.op == SHUFFLE:
        return "acc += __shfl_sync(~0u, (int)acc, 0);"
    if r.op == WARP:
        named = f"({r.warp} < 0 || t / 32 == {r.warp}) && {r.mask}u >> t % 32 & 1"
        return f"if ({named}) __syncwarp({r.mask}u);"
    who = ("true", f"t == {r.a}", f"t < {r.a}", f"t % {r.a} == {r.b}")[r.who]
    where = f"{'sdg'[r.space]} + rows[{12 * k + 3}] + {r.stride} * (t % 8)"
    value = f"equal ? 0x5555555555555555ull : WORD({k})"
    return (
        f"if (({r.block} < 0 || b == {r.block}) && {who}) {{ char* a = {where}; "
        f"unsigned long long w = {value}; {_ACCESS[r.op, r.size]}; }}"
    )


def written_out(p: Program) -> Kernel:
    """A kernel with a statement of its own on each line; accesses and barriers only."""
    lines = [_line(k, row) for k, row in enumerate(p.rows)]
    return Kernel(_SLOT + _HEAD + "\n".join(lines) + _TAIL, "f")


def profile(p: Program, k: Kernel = KERNEL) -> tuple[list[Finding], np.ndarray]:
    """What the simulator finds, and the tickets by row, block and thread."""
    rows = np.zeros((ROWS, 12), np.int64)
    rows[: len(p.rows)] = p.rows
    flag, out = np.zeros(16, np.int32), np.zeros(p.grid * p.block, np.int64)
    ticket = np.full(ROWS * out.size, -1, np.int32)
    table = rows.astype(np.uint32).view(np.int32).ravel()
    args = (np.zeros(64, np.int8), flag, table, out, ticket, np.int32(p.equal))
    found = k.profile(p.grid, p.block, args, 64, order=p.order, timeout=5)
    return [*found.errors, *found.notes], ticket.reshape(ROWS, p.grid, p.block)


def word(p: Program, k: int, b: int, t: int) -> bytes:
    """What thread t of block b stores on line k."""
    w = (k * 256 + b * 80 + t + 1) * 0x9E3779B97F4A7C15 % 2**64 >> 3
    return (0x5555555555555555 if p.equal else w).to_bytes(8, "little") * 2


def _who(rng: random.Random, block: int) -> dict[str, int]:
    who = rng.choice((0, 1, 1, 1, 2, 3))
    a = rng.choice((2, 3, 5, 16, 31)) if who == 3 else rng.randrange(block)
    return {
        "who": who,
        "a": max(a, 1) if who == 3 else a,
        "b": rng.randrange(max(a, 1)),
    }


def _barrier(rng: random.Random, block: int, tiles: bool) -> Row:
    op = rng.choice((SYNC, WARP, WARP, WARP, SHUFFLE))
    lanes = rng.choice((32, 16, 8, 4, 2))
    mask = ((1 << lanes) - 1) << lanes * rng.randrange(32 // lanes)
    if not tiles:
        mask = rng.choice((mask, ALL - 1, 3, rng.getrandbits(32) or 1))
    return Row(op, warp=rng.randint(-1, (block - 1) // 32), mask=mask)


def ordered_by_barriers(rng: random.Random, tiles: bool) -> Program:
    """Accesses and barriers: what comes before what depends on no schedule.

    tiles: threads run one after the other, without volatile accesses, and
    __syncwarp names aligned parts of a warp, as tiles do.
    """
    grid, block = rng.choice((1, 1, 2, 3)), rng.choice((3, 20, 32, 40, 64))
    spaces = rng.choice(((0,), (1,), (2,), (0, 2), (0, 1, 2)))
    room, often = rng.choice((4, 8, 16, 32)), rng.choice((0.1, 0.3, 0.5))
    loose = 0 if tiles else rng.choice((0.2, 0.6))
    rows: list[Row] = []
    for _ in range(rng.randint(2, 14)):
        if rng.random() < often:
            rows.append(_barrier(rng, block, tiles))
            continue
        op, sizes = rng.choice((LOAD, STORE)), (1, 2, 4, 4, 4, 8, 16)
        if rng.random() < loose:
            op, sizes = rng.choice((VLOAD, VSTORE, ATOMIC)), (1, 2, 4, 8)
        size = rng.choice((4, 8) if op == ATOMIC else sizes)
        at = rng.randrange(max(1, room // size)) * size
        stride = rng.choice((0, 0, 0, size if size <= 4 else 0))
        where = rng.choice((-1, -1, rng.randrange(grid)))
        who = _who(rng, block)
        rows.append(Row(op, size, rng.choice(spaces), at, stride, block=where, **who))
    order = "forward" if tiles else rng.choice(("reversed", rng.randint(3, 99)))
    return Program(grid, block, rows, order, rng.random() < 0.3)


def ordered_by_flags(rng: random.Random) -> Program:
    """Hand-overs through flags and counters, within blocks and between them."""
    grid, block = rng.choice((1, 1, 2, 3)), rng.choice((2, 3, 5, 20, 33, 40))
    space = rng.choice((0, 2, -1)) if grid == 1 else 2
    places, care = rng.choice((1, 2, 3)), rng.choice((0.5, 0.9, 1))
    rows: list[Row] = []

    def data(**who: int) -> None:
        op, where = (
            rng.choice((LOAD, STORE)),
            space if space >= 0 else rng.choice((0, 2)),
        )
        rows.append(Row(op, 4, where, 4 * rng.randrange(places), **who))

    flag, length = 0, rng.randint(4, ROWS)
    while len(rows) < length:
        one, other = rng.randrange(block), rng.randrange(block)
        first = rng.randrange(grid)
        then = rng.randrange(first, grid)  # the earlier block runs first
        inside = grid == 1 and rng.random() < 0.4
        x = rng.random()
        if x < 0.35:
            data(block=rng.choice((-1, first)), **_who(rng, block))
        elif x < 0.45:
            rows.append(_barrier(rng, block, False))
        elif x < 0.9 and flag < 8:
            giver = {"who": 1, "a": one, "block": first}
            taker = {"who": rng.choice((0, 1, 1, 1)), "a": other, "block": then}
            if rng.random() < 0.6:
                data(**giver)
            if rng.random() < care:
                fence = rng.choice((FENCE, FENCE, FENCE_BLOCK))
                rows.append(Row(fence, **{**giver, "who": rng.choice((0, 1))}))
                rows += [Row(SYNC)] * (rng.random() < 0.3)
            place = {"space": 0 if inside else 2, "at": flag}
            rows.append(Row(SET, **place, **giver, volatile=rng.choice((0, 1))))
            rows.append(Row(WAIT, **place, **taker, volatile=rng.choice((0, 1))))
            flag += 1
            if rng.random() < 0.6:
                data(**taker)
        elif x >= 0.9:
            rows += [Row(rng.choice((FENCE, FENCE, FENCE_BLOCK)))] * (
                rng.random() < 0.6
            )
            rows += [Row(SYNC)] * (rng.random() < 0.3)
            at = 8 + rng.randrange(2)
            rows.append(Row(COUNT, 4, 0 if inside else 2, at, **_who(rng, block)))
    order = rng.choice(("forward", "forward", "reversed", rng.randint(3, 99)))
    return Program(grid, block, rows[:ROWS], order)
