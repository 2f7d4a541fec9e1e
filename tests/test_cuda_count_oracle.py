"""Counts and values of divergent kernels, against each lane executed by itself.

Lanes of a warp make one request where they are at one place, in the same calls and
in the same iteration of every loop around it. Here that is worked out from the
kernels' sources alone: programs at random are also executed in Python, lane after
lane, and each access is put into the set of those that belong together; sectors,
turns and bytes follow from their definitions. Every number of every line must be
equal, and so must the values, in each flavour of the simulator.

In a loop is what the next iteration can be reached from, as on a GPU, where the way
out of a loop is no part of it: what stands before a `break` or a `return` is one
request for all lanes that leave, whenever they do.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from cuda_blocks import Program
from cuda_programs_at_random import program

from cuda_labs import Kernel
from cuda_labs.sim.profile import Profile

Counts = dict[tuple[int, str], tuple[int, ...]]
ORDERS = ("forward", "reversed", 5)


def in_loops(edges: set[Any]) -> dict[Any, set[Any]]:
    """For each loop the places from which a lane can go on to its next round."""
    before = defaultdict(set)
    for u, v, _ in edges:
        before[v].add(u)
    inside: dict[Any, set[Any]] = {}
    for last, loop, again in edges:
        if not again:
            continue
        found, todo = inside.setdefault(loop, {loop}), [last]
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += before[place]
    return inside


def truth(made: Program, memory: dict[str, bytearray]) -> Counts:
    """What each line asks of memory; changes `memory` as the kernel does."""
    log, edges = made.run(memory)
    inside = in_loops(edges)
    together: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for block, thread, kind, way, array, at, size in log:
        # An array begins at a sector, so that offsets serve as addresses.
        rounds = tuple(
            (place, tuple(r for r in loops if place in inside.get(r[0], ())))
            for place, loops in way
        )
        key = (block, thread // 32, kind, array, size, rounds)
        together[key].append((thread % 32, at))
    counts: dict[Any, list[int]] = defaultdict(lambda: [0] * 8)
    for (_, _, kind, _, size, rounds), lanes in together.items():
        assert len(dict(lanes)) == len(lanes), "a lane is twice in a request"
        c = counts[rounds[-1][0].line, kind]
        for i, n in enumerate(of_request(kind, dict(lanes), size)):
            c[i] = max(c[i], n) if i == 7 else c[i] + n
    return {key: tuple(c) for key, c in counts.items()}


def of_request(kind: str, at: dict[int, int], size: int) -> tuple[int, ...]:
    """One request, in the order of `numbers`: `at` gives each lane's first byte."""
    first, asked = (1, len(at)), size * len(at)
    touched = {b for a in at.values() for b in range(a, a + size)}
    if "atomic" in kind:
        return (*first, 0, 0, 0, 0, asked, 0)
    if "global" in kind:
        sectors = len({b // 32 for b in touched})
        return (*first, sectors, -(-len(touched) // 32), 0, 0, asked, sectors)
    phase = 32 if size <= 4 else 16 if size == 8 else 8
    turns = []
    for low in range(0, 32, phase):
        own = [a for lane, a in at.items() if low <= lane < low + phase]
        words = {b // 4 for a in own for b in range(a, a + size)}
        if own:
            turns.append(max(sum(w % 32 == k for w in words) for k in range(32)))
    return (*first, 0, 0, sum(turns), len(turns), asked, max(turns))


def numbers(p: Profile, made: Program) -> Counts:
    """The same from a profile, without the line that fills shared memory."""
    return {
        (number, kind): astuple(a)
        for number, line in p.lines.items()
        for kind, a in line.access.items()
        if number != made.before
    }


def arguments(made: Program, seed: int) -> dict[str, np.ndarray]:
    rng, n = np.random.default_rng(seed), made.block * made.grid
    words = {"X": 1024, "Y": 8 * n, "Z": 16 * n, "A": 64, "H": n}
    return {
        name: rng.integers(0, 1 << 32, size, np.uint32) for name, size in words.items()
    }


def agrees(made: Program, seed: int, order: str | int, *others: str) -> None:
    start = arguments(made, seed)
    memory = {name: bytearray(a) for name, a in start.items()}
    wanted = truth(made, memory)

    def has_run(way: str) -> Profile | None:
        given = copy.deepcopy(start)
        k = Kernel(made.text, "f", checked=way != "fast", workers=2)
        call = k.profile if way == "profile" else k
        p = call(made.grid, made.block, tuple(given.values()), order=order)
        for name, array in given.items():
            assert array.tobytes() == memory[name], (way, name)
        return p

    p = has_run("profile")
    assert p is not None
    assert not p.errors
    assert not {n.kind for n in p.notes} - {"exited before a barrier"}
    found = numbers(p, made)
    differ = [k for k in wanted | found if found.get(k) != wanted.get(k)]
    assert not differ, (found.get(differ[0]), wanted.get(differ[0]), made.text)
    for way in others:
        has_run(way)


@pytest.mark.parametrize("seed", range(12))
def test_programs_at_random(seed: int) -> None:
    agrees(program(seed, size=50), seed, ORDERS[seed % 3], "checked")


@pytest.mark.parametrize("seed", range(5))
def test_programs_of_plain_and_wide_accesses(seed: int) -> None:
    agrees(program(seed, volatile=0), seed, "forward", "fast")


# ---- what the comparison has found ----
LOAD = "  h += *(volatile unsigned*)&X[(t * 3 + h) & 1023];\n"
PUT = "Y[(t * 2 + 2 & 3) * 32 + t] = h;\n"


def requests(body: str, line: int, kind: str) -> list[int]:
    """Requests and lanes of one line of a kernel whose body begins on line 2."""
    text = 'extern "C" __global__ void f(unsigned* X, unsigned* Y) { unsigned t = '
    text += f"threadIdx.x, h = 0;\n{body}\nY[t] = h; }}"
    x = np.arange(1024, dtype=np.uint32) % 7
    p = Kernel(text, "f").profile(1, 32, (x, np.zeros_like(x)))
    assert not p.errors
    assert not p.notes
    access = p.lines[line].access[kind]
    return [access.requests, access.lanes]


@pytest.mark.parametrize(
    "head",
    [
        "for (unsigned i = 0;;) { if (++i > 3) break;",
        "for (unsigned i = 0; i < 3; ++i) {",
        "unsigned i = 0; while (true) { if (++i > 3) break;",
    ],
)
def test_a_loop_that_begins_with_a_loop_is_not_one_with_it(head: str) -> None:
    """Lane 3 goes round the inner loop more often than the others."""
    body = f"{head} unsigned j = 0;\n  do {{}} while (++j < 3 && t == 3);\n{LOAD}}}"
    assert requests(body, 4, "global load") == [3, 96]


def test_loops_that_begin_with_calls_of_loops() -> None:
    """The inner loop, of a function that is inlined, is all that the outer has."""
    body = "auto go = [&](unsigned n) { for (unsigned j = 0;;) { if (++j > n) break;\n"
    body += (
        f"{LOAD}}} }};\nfor (unsigned i = 0; i < 2; ++i) {{ go(1 + (t & 3)); go(2); }}"
    )
    # Of each four lanes all go round once, three twice, ...; then all of them twice.
    assert requests(body, 3, "global load") == [2 * (4 + 2), 2 * (80 + 64)]


def test_a_round_that_ends_early_leaves_the_rounds_of_others_alone() -> None:
    """There `h` keeps its value, by which clang made a loop of such rounds alone."""
    body = "h = t * 40503u >> 3; for (unsigned i = 0;;) { if (++i > 3) break;\n"
    body += "  if ((h & 7) != 4) {\n    *(volatile unsigned*)&Y[t] = h;\n"
    body += f"    continue; }}\n{LOAD}}}"
    early: list[set[int]] = [set(), set(), set()]
    for t in range(32):
        h = t * 40503 >> 3
        for i in range(3):
            if (h & 7) != 4:
                early[i].add(t)
            else:
                h += ((t * 3 + h) & 1023) % 7
    assert len(early[0]) < len(early[2]) < 32
    assert requests(body, 4, "global store") == [3, sum(map(len, early))]
    assert requests(body, 6, "global load") == [3, 96 - sum(map(len, early))]


def test_arms_with_equal_stores_stay_apart() -> None:
    """Neither g++, which sinks stores, nor clang, which joins tails, makes them one."""
    arms = f"if (t < 12) {{\n    {PUT}  }} else {{\n    {PUT}  }}"
    body = f"for (int i = 0; i < 3; ++i) {{\n  {arms}\n}}"
    assert requests(body, 4, "global store") == [3, 36]
    assert requests(body, 6, "global store") == [3, 60]


def test_a_switch_in_a_loop_is_entered_by_one_way() -> None:
    """clang copied the jump by a table to the end of the round."""
    body = "for (unsigned i = 0; i < 3; ++i) {\n  switch (t & 3) {\n  case 0: break;\n"
    body += f"  case 1:\n{LOAD}  case 2: break;\n  default:\n{LOAD}    break; }} }}"
    assert requests(body, 6, "global load") == [3, 24]
    assert requests(body, 9, "global load") == [3, 24]


def test_marks_leave_every_form_of_a_loop_as_it_is() -> None:
    """Declarations in conditions, conditions over lines, constants, macros, ranges."""
    text = """#define EACH(i, n) for (int i = 0; i < n; ++i)
constexpr int log2_of(int n) { int r = 0; while (n >>= 1) ++r; return r; }
extern "C" __global__ void f(unsigned* X, unsigned* Y) {
  int t = threadIdx.x, sum = log2_of(32), part[log2_of(8)] = {1, 2, 3}, n = 3;
  EACH(i, 2) sum += i;
  for (int v : part) sum += v;
  while (int left = n - 1) n = left;
  if (t < 40) for (int i = 0, j = 5; i < j; ++i, --j) { if (i == 1) continue; ++sum; }
  else sum = 0;
  do sum += 1; while (sum < 0); do { ++sum; } while (
      sum == *(volatile unsigned*)&X[t + 4]);  // for (;;) while
  for (int i = 0; "a;b)"[i]; ++i) { const char* s = "do while (x"; sum += s[i] == 'd'; }
  while (
      sum < *(volatile unsigned*)&X[t]
      ) ++sum;
  Y[t] = sum; }"""
    results, x = [], np.full(64, 30, np.uint32)
    for way in ("fast", "checked", "profile"):
        y = np.zeros(64, np.uint32)
        k = Kernel(text, "f", checked=way != "fast")
        p = (k.profile if way == "profile" else k)(1, 32, (x, y))
        results.append(y.tolist())
        if p is not None:
            loads = {
                n: v.access for n, v in p.lines.items() if "global load" in v.access
            }
            assert list(loads) == [11, 14]
    assert results[0] == results[1] == results[2] == [30] * 32 + [0] * 32
