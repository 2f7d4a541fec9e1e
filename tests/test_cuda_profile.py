"""Counts against numbers worked out by hand: sectors, words and banks are recomputed
here from the definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from profiled_kernels import N, run

from cuda_labs import Kernel
from cuda_labs.sim import build, profile

KERNELS = Path(build.__file__).parent.parent / "kernels"
LANES = range(1, 32, 2)


def sectors(first: np.ndarray, width: int) -> int:
    """Distinct 32-byte segments of accesses of `width` bytes at byte offsets."""
    return len({b // 32 for f in first for b in range(f, f + width)})


def turns(first: np.ndarray, width: int) -> int:
    """Turns of shared memory for one warp, from the definition."""
    lanes = {4: 32, 8: 16, 16: 8}.get(width, 32)
    total = 0
    for at in range(0, len(first), lanes):
        words = {b // 4 for f in first[at : at + lanes] for b in range(f, f + width)}
        total += max(sum(w % 32 == bank for w in words) for bank in range(32))
    return total


# ---- global memory ----


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 33])
def test_strided_loads(stride: int) -> None:
    p = run(f"y[t] = x[{stride} * t];", block=64)
    load = p.lines[3].access["global load"]
    expected = [sectors(4 * stride * np.arange(w, w + 32), 4) for w in (0, 32)]
    assert load.requests == 2
    assert load.sectors == sum(expected)
    assert load.ideal_sectors == 8
    assert load.lanes == 64
    assert load.most == max(expected)
    if stride <= 8:  # 32 lanes over 4 * stride sectors
        assert load.sectors == 2 * 4 * stride
    else:
        assert load.sectors == 64
    assert p.lines[3].access["global store"].sectors == 8
    assert not p.errors


@pytest.mark.parametrize("offset", range(17))
def test_shifted_loads(offset: int) -> None:
    p = run(f"y[t] = x[t + {offset}];")
    assert p.lines[3].access["global load"].sectors == (4 if offset % 8 == 0 else 5)


@pytest.mark.parametrize(
    ("kind", "width"), [("float", 4), ("float2", 8), ("float4", 16)]
)
def test_wide_loads(kind: str, width: int) -> None:
    p = run(f"(({kind}*)y)[t] = (({kind}*)x)[t];")
    for way in ("global load", "global store"):
        access = p.lines[3].access[way]
        assert (access.requests, access.lanes) == (1, 32)
        assert access.sectors == access.ideal_sectors == width
        assert access.bytes == 32 * width
    assert p.footprint == 2 * 32 * width
    assert p.requested_bytes == 2 * 32 * width


def test_bytes_halves_and_doubles() -> None:
    for kind, width, full in (("char", 1, 1), ("short", 2, 2), ("double", 8, 8)):
        p = run(f"(({kind}*)y)[t] = (({kind}*)x)[t];")
        load = p.lines[3].access["global load"]
        assert (load.requests, load.sectors, load.ideal_sectors) == (1, full, full)
        assert load.bytes == 32 * width


def test_broadcast_and_partial_warps() -> None:
    p = run("y[t] = x[7];", block=45)
    load = p.lines[3].access["global load"]
    assert (load.requests, load.lanes, load.sectors) == (2, 45, 2)
    store = p.lines[3].access["global store"]
    assert (store.requests, store.lanes) == (2, 45)
    assert store.sectors == 4 + 2  # 13 floats from a multiple of 32 floats
    p = run("if (t < n) y[t] = x[t];", n=70, block=256)
    load = p.lines[3].access["global load"]
    assert (load.requests, load.lanes, load.sectors) == (3, 70, 4 + 4 + 1)
    assert p.lines[3].requests == 6
    assert p.lines[3].sectors_per_request == 3.0


def test_divergence_makes_requests_of_their_own() -> None:
    p = run("if (t & 1)\n  y[t] = x[t];\nelse\n  y[t] = x[t + 64];")
    for line in (4, 6):
        load = p.lines[line].access["global load"]
        assert (load.requests, load.lanes, load.sectors) == (1, 16, 4)


def test_divergent_loops_are_paired_by_iteration() -> None:
    p = run("for (int i = 0; i <= t; ++i)\n  y[t] += x[i];")
    load = p.total("global load")
    # Iteration i is made by the lanes t >= i, all at x[i]. y[t] is loaded once,
    # and then kept in a register, but stored each time.
    lanes = sum(32 - i for i in range(32))
    assert (load.requests, load.lanes) == (32 + 1, lanes + 32)
    assert load.sectors == 32 + 4
    store = p.lines[4].access["global store"]
    assert (store.requests, store.lanes) == (32, lanes)
    assert store.sectors == sum(sectors(4 * np.arange(i, 32), 4) for i in range(32))


@pytest.mark.parametrize(("outer", "inner"), [(3, 4), (2, 7), (5, 3)])
def test_nested_divergent_loops(outer: int, inner: int) -> None:
    p = run(
        f"float s = 0;\nfor (int i = 0; i < 1 + t % {outer}; ++i)\n"
        f"  for (int j = 0; j < 1 + (t + i) % {inner}; ++j)\n"
        "    s += x[i * 512 + j * 32 + t];\ny[t] = s;"
    )
    groups: dict[tuple[int, int], list[int]] = {}
    for t in range(32):
        for i in range(1 + t % outer):
            for j in range(1 + (t + i) % inner):
                groups.setdefault((i, j), []).append(4 * (i * 512 + j * 32 + t))
    load = p.lines[6].access["global load"]
    assert load.requests == len(groups)
    assert load.sectors == sum(sectors(np.array(g), 4) for g in groups.values())
    assert not p.notes


@pytest.mark.parametrize("blocks", [1, 4])
def test_loops_that_only_later_blocks_enter_are_paired(blocks: int, capsys) -> None:
    # The first block shows no loop, or only the outer one; all runs but the last
    # leave nothing behind.
    p = run(
        'if (t == 0) printf("once\\n");\nfloat s = 0;\n'
        "for (int i = 0; i < (blockIdx.x ? 1 + t % 3 : n); ++i)\n"
        "  for (int j = 0; j < (blockIdx.x ? 1 + (t + i) % 4 : 0); ++j)\n"
        "    s += x[i * 512 + j * 32 + t];\ny[t] += s + 1;",
        grid=blocks,
    )
    groups: dict[tuple[int, int, int], list[int]] = {}
    for t in range(32, 32 * blocks):
        for i in range(1 + t % 3):
            for j in range(1 + (t + i) % 4):
                at = 4 * (i * 512 + j * 32 + t)
                groups.setdefault((t // 32, i, j), []).append(at)
    load = p.lines[7].access["global load"] if blocks > 1 else profile.Access()
    assert load.requests == len(groups)
    assert load.sectors == sum(sectors(np.array(g), 4) for g in groups.values())
    assert p.lines[8].access["global store"].requests == blocks
    assert not p.errors
    assert not p.notes
    assert capsys.readouterr().out == "once\n"


def test_a_break_a_continue_and_a_while_are_paired() -> None:
    p = run(
        "float s = 0;\nfor (int i = 0; i < 8; ++i) {\n  if ((t + i) % 3 == 0) "
        "continue;\n  s += x[i * 64 + t];\n  if (i > t / 4) break;\n}\ny[t] = s;"
    )
    groups: dict[int, list[int]] = {}
    for t in range(32):
        for i in range(8):
            if (t + i) % 3 == 0:
                continue
            groups.setdefault(i, []).append(4 * (i * 64 + t))
            if i > t // 4:
                break
    load = p.lines[6].access["global load"]
    assert load.requests == len(groups)
    assert load.sectors == sum(sectors(np.array(g), 4) for g in groups.values())


@pytest.mark.parametrize("meet", ["s += 1", "tick()"])
def test_very_long_loops_are_paired(meet: str) -> None:
    # More program points than are kept at once: they are collected on the way,
    # with the other lanes at the end or the beginning, or side by side in a call.
    steps, longer = 70_000, 40
    p = run(
        f"float s = 0;\nfor (int i = 0; i < {steps} + t % 2 * {longer}; ++i) {{\n"
        f"  if ((i + t) % 32 < 31) s += get(x, i % 64, t);\n"
        f"  if (i < {steps}) {meet};\n}}\ny[t] = s;",
        before="__device__ __noinline__ float get(const float* p, int i, int t) {\n"
        "  return i % 2 ? p[i + t] : p[t];\n}\n"
        "__device__ __noinline__ void tick() { __syncwarp(); }\n",
    )
    # Lane t sits out the iterations with (i + t) % 32 = 31, one lane in each.
    odd = longer // 2 * 16 * 2  # the odd lanes alone, at even i and at odd i
    idle = sum((i + t) % 32 == 31 for i in range(steps, steps + longer) for t in LANES)
    loads = p.lines[2].access["global load"]
    assert loads.lanes == 31 * steps + odd - idle
    assert loads.requests == steps + longer
    assert not p.notes
    assert not p.errors


def test_lanes_that_wait_in_a_call_find_their_way_back() -> None:
    # Lane 0, the last one, uses up the table of points while the others wait.
    p = run(
        "float s = 0;\nfor (int j = 0; j < 3; ++j) {\n  if (t == 0 && j == 1)\n"
        "    for (int i = 0; i < 400000; ++i) s += i;\n  tick();\n"
        "  s += x[32 * j + t];\n}\ny[t] = s;",
        before="__device__ __noinline__ void tick() { __syncwarp(); }\n",
        order="reversed",
    )
    load = p.total("global load")
    assert (load.requests, load.lanes, load.sectors) == (3, 96, 12)
    assert not p.notes


def test_a_part_of_a_warp_after_a_whole_one() -> None:
    p = run("float s = x[t];\n__syncthreads();\nif (t < 8) s += x[t];\ny[t] = s;")
    assert p.lines[3].access["global load"].sectors == 4
    assert p.lines[5].access["global load"].sectors == 1


def test_calls_are_told_apart_by_their_site() -> None:
    helper = (
        "__device__ __noinline__ float get(const float* p, int i) { return p[i]; }\n"
    )
    p = run(
        "float s = get(x, t);\ns += get(x, t + 64);\nif (t < 8) s += get(x, t + 128);\n"
        "y[t] = s;",
        before=helper,
    )
    load = p.lines[1].access["global load"]
    assert (load.requests, load.lanes, load.sectors) == (3, 72, 4 + 4 + 1)


def test_the_order_of_threads_changes_no_count() -> None:
    body = "for (int i = 0; i < 1 + t % 5; ++i) y[t] += x[(3 * t + i) % 512];"
    tables = [run(body, block=96, order=o).table for o in ("forward", "reversed", 5)]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("rung", ["01_naive", "02_grid_stride", "03_float4"])
def test_vector_add(rung: str) -> None:
    k = Kernel.from_file(KERNELS / "vector_add" / f"{rung}.cu")
    a = np.ones(1 << 12, np.float32)
    c = np.zeros_like(a)
    p = k.profile(16 if rung == "01_naive" else 2, 256, (a, a.copy(), c, N(a.size)))
    load, store = p.total("global load"), p.total("global store")
    width = 16 if rung == "03_float4" else 4
    assert load.requests == 2 * store.requests == 2 * a.size * 4 // (32 * width)
    assert load.sectors == load.ideal_sectors == 2 * a.nbytes // 32
    assert store.sectors == store.ideal_sectors == a.nbytes // 32
    assert p.requested_bytes == p.footprint == 3 * a.nbytes
    assert not p.errors
    assert c.tolist() == [2.0] * a.size


TRANSPOSE = {  # sectors a load and a store, wavefronts a store and a load
    "01_naive": (4, 32, 0, 0),
    "02_shared": (4, 4, 1, 32),
    "03_padded": (4, 4, 1, 1),
    "04_swizzled": (4, 4, 1, 1),
}


@pytest.mark.parametrize("rung", sorted(TRANSPOSE))
def test_transpose(rung: str) -> None:
    k = Kernel.from_file(KERNELS / "transpose" / f"{rung}.cu")
    a = np.arange(64 * 96, dtype=np.float32).reshape(64, 96)
    b = np.zeros((96, 64), np.float32)
    p = k.profile((3, 2), (32, 8), (a, b, N(64), N(96)))
    assert np.array_equal(b, a.T)
    warps = 6 * 32
    found = []
    for kind in ("global load", "global store"):
        assert p.total(kind).requests == warps
        found.append(p.total(kind).sectors // warps)
    found += [p.total(f"shared {w}").wavefronts // warps for w in ("store", "load")]
    assert tuple(found) == TRANSPOSE[rung]
    assert not p.errors
    table = (KERNELS / "transpose" / "README.md").read_text()
    row = " | ".join(str(v) if v else "–" for v in TRANSPOSE[rung])
    assert f"| {rung} | {row} |" in table


# ---- shared memory ----


SHARED = "__shared__ __align__(16) float s[4096];\n"


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6, 8, 12, 16, 17, 31, 32, 33])
def test_bank_conflicts_of_strides(stride: int) -> None:
    p = run(
        f"{SHARED}s[{stride} * t] = x[t];\n__syncthreads();\ny[t] = s[{stride} * t];"
    )
    ways = turns(4 * stride * np.arange(32), 4)
    assert ways == np.gcd(stride, 32)
    for line, kind in ((4, "shared store"), (6, "shared load")):
        access = p.lines[line].access[kind]
        assert (access.requests, access.wavefronts) == (1, ways)
        assert access.ideal_wavefronts == 1
        assert p.lines[line].bank_conflict_ways == ways
        assert p.lines[line].bank_conflicts == ways - 1
    assert not p.errors


@pytest.mark.parametrize(
    ("index", "ways"),
    [
        ("t / 2", 1),
        ("t % 2", 1),
        ("0", 1),
        ("32 * (t % 2)", 2),
        ("33 * t", 1),
        ("t ^ 5", 1),
        ("32 * (t / 8) + t % 8", 4),
        ("64 * (t % 4) + t / 4", 4),
    ],
)
def test_broadcasts_are_free(index: str, ways: int) -> None:
    p = run(
        f"{SHARED}for (int i = t; i < 4096; i += 32) s[i] = x[i];\n"
        f"__syncthreads();\ny[t] = s[{index}];"
    )
    numbers = np.array([eval(index.replace("/", "//"), {"t": t}) for t in range(32)])
    assert turns(4 * numbers, 4) == ways
    assert p.lines[6].access["shared load"].wavefronts == ways


@pytest.mark.parametrize(("kind", "width"), [("float2", 8), ("float4", 16)])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_wide_shared_accesses_go_by_phases(kind: str, width: int, stride: int) -> None:
    p = run(
        f"{SHARED}(({kind}*)s)[{stride} * t] = (({kind}*)x)[t];\n__syncthreads();\n"
        f"(({kind}*)y)[t] = (({kind}*)s)[{stride} * t];"
    )
    access = p.lines[4].access["shared store"]
    assert access.wavefronts == turns(width * stride * np.arange(32), width)
    assert access.ideal_wavefronts == width // 4


def test_partial_warps_of_shared_memory() -> None:
    p = run(
        f"{SHARED}if (t % 4 == 0) s[32 * t] = x[t];\n__syncthreads();\n"
        "if (t % 4 == 0) y[t] = s[32 * t];"
    )
    access = p.lines[4].access["shared store"]
    assert (access.requests, access.lanes, access.wavefronts) == (1, 8, 8)


def test_atomics_are_counted_apart() -> None:
    p = run(
        "__shared__ int s[4];\nif (t < 4) s[t] = 0;\n__syncthreads();\n"
        "atomicAdd(&s[t % 4], 1);\natomicAdd(&y[0], 1.0f);",
        block=64,
    )
    assert p.lines[6].access["shared atomic"].requests == 2
    assert p.lines[7].access["global atomic"].lanes == 64
    assert "shared load" not in p.lines[6].access
    assert p.lines[7].requests == 0


def test_a_profiled_launch_runs_once_for_its_arguments(capsys) -> None:
    source = r"""
    __device__ int calls;
    extern "C" __global__ void f(int* x) { atomicAdd(&calls, 1);
      x[threadIdx.x] += 1; if (threadIdx.x == 0) printf("once\n"); }"""
    k = Kernel(source, "f")
    x = np.zeros(8, np.int32)
    k.profile(1, 8, (x,))
    assert x.tolist() == [1] * 8
    assert capsys.readouterr().out == "once\n"
    k(1, 8, (x,))
    assert k.get_global("calls").view(np.int32).tolist() == [16]
