"""Counts against numbers worked out by hand, and findings that must and must not
appear. Sectors, words and banks are recomputed here from the definitions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from test_cuda_forms import FORMS, UNORDERED, Form, _ordered

from cuda_labs import Kernel, KernelError
from cuda_labs.sim import build, profile

KERNELS = Path(build.__file__).parent.parent / "kernels"
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


# ---- findings ----


def kinds(p: profile.Profile) -> set[str]:
    return {f.kind for f in p.errors}


def test_a_missing_barrier_is_a_race_with_both_lines() -> None:
    p = run("__shared__ float s[64];\ns[t] = x[t];\ny[t] = s[63 - t];", block=64)
    races = [f for f in p.errors if f.kind == "race"]
    assert {(f.line, f.other_line) for f in races} == {(5, 4), (4, 5)}
    for f in races:
        assert sum(f.threads) == 63
        assert "of s" in f.message
    good = run(
        "__shared__ float s[64];\ns[t] = x[t];\n__syncthreads();\ny[t] = s[63 - t];",
        block=64,
    )
    assert not good.errors
    assert not good.notes


def test_loading_the_next_tile_too_early_is_a_race() -> None:
    loop = (
        "__shared__ float s[64];\nfor (int k = 0; k < n; ++k) {{\n"
        "  s[t] = x[64 * k + t];\n  __syncthreads();\n  y[t] += s[63 - t];\n{}}}"
    )
    p = run(loop.format(""), n=3, block=64)
    assert {(f.line, f.other_line) for f in p.errors} <= {(5, 7), (7, 5)}
    assert kinds(p) == {"race"}
    assert not run(loop.format("  __syncthreads();\n"), n=3, block=64).errors
    assert not run(loop.format(""), n=1, block=64).errors


def test_a_race_within_a_warp_needs_syncwarp() -> None:
    body = "__shared__ float s[32];\ns[t] = x[t];\n{}y[t] = s[t ^ 1];"
    assert kinds(run(body.format(""))) == {"race", "uninitialised"}
    assert not run(body.format("__syncwarp();\n")).errors
    assert not run(body.format("__syncthreads();\n")).errors
    # A mask orders only the lanes that it names, and shuffles order no memory.
    assert kinds(run(body.format("__shfl_sync(-1u, t, 0);\n"))) == {"race"}
    halves = "if (t < 16) __syncwarp(0xffff); else __syncwarp(0xffff0000u);\n"
    assert not run(body.format(halves)).errors
    across = body.replace("t ^ 1", "31 - t")
    assert kinds(run(across.format(halves))) == {"race", "uninitialised"}
    p = run(
        "__shared__ float s[64];\ns[t] = x[t];\n__syncwarp();\ny[t] = s[63 - t];",
        block=64,
    )
    assert "race" in kinds(p)


def test_syncwarp_is_transitive() -> None:
    p = run(
        "__shared__ float s[4];\nif (t == 0) s[0] = 1.0f;\n"
        "if (t < 2) __syncwarp(3);\nif (t == 1 || t == 2) __syncwarp(6);\n"
        "if (t == 2) y[0] = s[0];"
    )
    assert not p.errors
    p = run(
        "__shared__ float s[4];\nif (t == 0) s[0] = 1.0f;\n"
        "if (t == 1 || t == 2) __syncwarp(6);\nif (t < 2) __syncwarp(3);\n"
        "if (t == 2) y[0] = s[0];"
    )
    assert kinds(p) == {"race"}


def test_equal_stores_are_a_note_and_different_ones_a_race() -> None:
    body = "__shared__ float s[2];\ns[1] = {};\n__syncthreads();\ny[t] = s[1];"
    p = run(body.format("n + 5.0f"))
    assert not p.errors
    assert [f.kind for f in p.notes] == ["equal writes"]
    p = run(body.format("t"))
    assert kinds(p) == {"race"}
    late = run(body.format("t / 31 ? 6.0f : 5.0f"))
    assert kinds(late) == {"race"}


def test_an_atomic_and_a_plain_access_race() -> None:
    body = "__shared__ int s[1];\nif (t == 0) s[0] = 0;\n{}atomicAdd(s, 1);\n{}"
    body += "y[t] = s[0];"
    sync = "__syncthreads();\n"
    assert not run(body.format(sync, sync), block=64).errors
    assert kinds(run(body.format(sync, ""), block=64)) == {"race"}
    assert "race" in kinds(run(body.format("", sync), block=64))


def test_a_flag_with_a_fence_orders_and_without_one_does_not() -> None:
    body = (
        "__shared__ float s[1]; __shared__ volatile int flag;\n"
        "if (t == 0) flag = 0;\n__syncthreads();\n"
        "if (t == 40) {{ s[0] = 3.0f; {} flag = 1; }}\n"
        "if (t == 0) {{ while (flag == 0); __threadfence_block(); y[0] = s[0]; }}"
    )
    assert not run(body.format("__threadfence_block();"), block=64).errors
    assert kinds(run(body.format(""), block=64)) == {"race"}


def test_a_lock_orders_what_it_protects() -> None:
    body = (
        "__shared__ int lock; __shared__ float s;\nif (t == 0) {{ lock = 0; s = 0; }}\n"
        "__syncthreads();\nfor (bool done = false; !done;) {{\n"
        "  if (atomicCAS(&lock, 0, 1) == 0) {{\n    __threadfence(); s += 1.0f;\n"
        "    {} atomicExch(&lock, 0); done = true; }} }}\n__syncthreads();\ny[t] = s;"
    )
    assert not run(body.format("__threadfence();"), block=40).errors


def test_reading_what_nothing_has_written() -> None:
    p = run(
        "__shared__ float s[32];\nif (t != 9) s[t] = x[t];\n__syncthreads();\n"
        "y[t] = s[t];"
    )
    (found,) = p.errors
    assert (found.kind, found.line, found.count) == ("uninitialised", 6, 1)
    assert "byte 36 of s" in found.message
    p = run("extern __shared__ float d[];\ny[t] = d[t];", shared=128)
    assert kinds(p) == {"uninitialised"}
    assert "of dynamic shared memory" in p.errors[0].message
    # Each block has shared memory of its own.
    p = run(
        "__shared__ float s[32];\nif (blockIdx.x == 0) s[threadIdx.x] = 1;\n"
        "__syncthreads();\ny[t] = s[threadIdx.x];",
        grid=2,
    )
    assert kinds(p) == {"uninitialised"}
    assert p.errors[0].block == (1, 0, 0)


def test_bytes_have_shadows_of_their_own() -> None:
    for kind in ("char", "short", "__half", "float4"):
        header = "#include <cuda_fp16.h>\n" if "half" in kind else ""
        p = run(
            f"__shared__ {kind} s[64];\ns[t] = (({kind}*)x)[t];\n__syncthreads();\n"
            f"(({kind}*)y)[t] = s[63 - t];",
            block=64,
            before=header,
        )
        assert not p.errors
    p = run("__shared__ char s[64];\ns[t] = (char)t;\ny[t] = s[t ^ 1];", block=64)
    assert "race" in kinds(p)


@pytest.mark.parametrize("byte", range(-1, 5))
def test_a_word_and_its_bytes_share_a_shadow(byte: int) -> None:
    # Thread 0 stores bytes 4 to 7, thread 1 one byte at or beside them.
    tile = "extern __shared__ __align__(8) char s[];\n"
    word = "if (t == 0) ((float*)s)[1] = x[1];\n"
    part = f"if (t == 1) s[4 + {byte}] = 77;\n"
    for first, second in ((word, part), (part, word)):
        p = run(tile + first + second, shared=16)
        assert kinds(p) == ({"race"} if 0 <= byte < 4 else set())
        assert not run(tile + first + "__syncthreads();\n" + second, shared=16).errors
    # Of a word of which a byte was stored, the others hold nothing.
    for load, errors in (("s[5]", byte != 1), ("((float*)s)[1]", True)):
        body = f"{tile}{part}__syncthreads();\ny[t] = {load};"
        p = run(body, shared=16)
        assert kinds(p) == ({"uninitialised"} if errors else set())


def test_exited_threads_are_a_note() -> None:
    p = run("if (t >= 20) return;\n__syncthreads();\ny[t] = x[t];")
    assert [(f.kind, f.line) for f in p.notes] == [("exited before a barrier", 4)]
    assert not p.errors


def test_a_fatal_finding_is_reported_and_changes_nothing() -> None:
    k = Kernel('extern "C" __global__ void f(float* x) {\n x[threadIdx.x] = 1; }', "f")
    x = np.zeros(31, np.float32)
    p = k.profile(1, 32, (x,))
    (found,) = p.errors
    assert (found.kind, found.line, found.fatal) == ("out of bounds", 2, True)
    assert x.tolist() == [0.0] * 31
    assert not p.lines
    with pytest.raises(KernelError):
        k(1, 32, (x,))
    with pytest.raises(TypeError):
        k.profile(1, 32, (x, N(1)))


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


def test_the_display_shows_the_source_with_its_numbers() -> None:
    p = run("__shared__ float s[64];\ns[t] = x[2 * t];\ny[t] = s[63 - t];", block=64)
    page = p._repr_html_()
    assert page.count("<tr") == 1 + len(p.source.splitlines())
    assert page.count('<tr role="row" class="cuda-bad"') == 2
    assert "<b>global load</b>: 2 requests, 8 sectors each (ideal 4)<" in page
    assert "<b>global store</b>: 2 requests, 4 sectors each<" in page
    assert page.count('class="cuda-access cuda-poor"') == 1
    assert page.count('<p class="cuda-error">✗ line ') == len(p.errors) == 3
    assert "768 bytes requested, in sectors of 32; 768 different bytes." in page
    assert "✗ line 5: thread" in str(p) == repr(p)
    row = next(r for r in p.table if r["access"] == "global load")
    assert row["sectors/request"] == 8.0
    with pytest.raises(ValueError, match="kind: one of"):
        p.total("loads")


def test_the_display_escapes_and_greys_comments_and_needs_no_colour() -> None:
    p = run("if (t < 3) y[t] = x[t]; // <b> & done", block=32)
    page = p._repr_html_()
    assert 'if (t &lt; 3) y[t] = x[t]; <span class="cuda-comment">' in page
    assert "// &lt;b&gt; &amp; done</span>" in page
    assert "1 request, 1 sector each, 3 of 32 lanes" in page
    assert "color" not in page
    tags = re.findall(r"<(/?)(div|table|thead|tbody|tr|th|td|pre|p|b|span)\b", page)
    for name in {name for _, name in tags}:
        opened = [slash for slash, tag in tags if tag == name]
        assert opened.count("") == opened.count("/"), name


def test_the_display_marks_both_lines_of_a_finding() -> None:
    race = profile.Finding("race", "a race", 2, 3)
    note = profile.Finding("equal writes", "a note", 4, 5)
    source = "\n".join(f"line {k};" for k in range(1, 7))
    page = profile.Profile(source, (race,), (note,), {}, 0)._repr_html_()
    rows = page.split("<tbody")[1].split("<tr")[1:]
    marks = [("cuda-bad" in row, "cuda-noted" in row) for row in rows]
    assert [k for k, (bad, _) in enumerate(marks, 1) if bad] == [2, 3]
    assert [k for k, (_, noted) in enumerate(marks, 1) if noted] == [4, 5]


def test_the_display_of_a_kernel_that_fails_or_touches_nothing() -> None:
    failed = run("y[t + 9000] = 0.0f;")
    assert repr(failed).startswith("✗ line 3, block (0, 0, 0), thread (0, 0, 0): store")
    assert repr(failed).count("line 3") == 1
    page = failed._repr_html_()
    assert page.count('<tr role="row" class="cuda-bad"') == 1
    assert "cuda-total" not in page
    nothing = run("")
    assert repr(nothing) == "Profile: no loads or stores"
    assert "cuda-access" not in nothing._repr_html_()
    assert ">memory<" not in nothing._repr_html_()
    assert "cuda-margin" not in nothing._repr_html_()
    assert ">memory<" in run("y[t] = 0;")._repr_html_()
    conflicts = run(
        "__shared__ float s[1024]; s[t] = t;\n__syncthreads();\n"
        "y[t] = s[32 * t % 1024];"
    )
    assert "32 wavefronts (32-way)" in conflicts._repr_html_()


GOOD = [f for f in FORMS if not f.refused]


@pytest.mark.parametrize("form", GOOD, ids=lambda f: f.name)
def test_correct_kernels_give_no_report(form: Form) -> None:
    k = Kernel(form.source, form.kernel)
    expected = np.asarray(form.expected)
    kind = [p for p in k.parameters if p.pointer][-1]
    base = {"h": "f2", "c": "i1"}.get(kind.base, f"{kind.base}{kind.width}")
    out = np.zeros(expected.size, base)
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in form.args]
    p = k.profile(form.grid, form.block, _ordered(k, args, out), form.shared)
    assert not p.errors, str(p)
    assert not [f for f in p.notes if f.kind == "counts split"]
    if form.name in UNORDERED:
        out.sort()
        expected = np.sort(expected)
    np.testing.assert_allclose(out, expected.ravel(), rtol=form.rtol, atol=form.atol)


# ---- races in global memory ----


def test_a_plain_histogram_races_between_blocks_and_within_one() -> None:
    for grid, block in ((1, 64), (2, 32), (64, 1)):
        p = run("y[t % 4] += 1.0f;", grid=grid, block=block)
        assert kinds(p) == {"race"}
        assert all(f.line == f.other_line == 3 for f in p.errors)
        assert "of argument 2" in p.errors[0].message
        assert ("of block number" in p.errors[0].message) == (block < 4)
        named = re.match(r"thread \d+( of block number \d+)? ", p.errors[0].message)
        assert named
        assert bool(named[1]) == (block < 4)
        assert not run("atomicAdd(&y[t % 4], 1.0f);", grid=grid, block=block).errors


def test_blocks_are_not_ordered_by_barriers() -> None:
    body = "y[t] = x[t];\n__syncthreads();\nx[t] = y[(t + {}) % 64];"
    assert kinds(run(body.format(32), grid=2)) == {"race"}
    assert not run(body.format(0), grid=2).errors
    inside = "y[t] = x[t];\n__syncthreads();\nx[t] = y[t ^ 1];"
    assert not run(inside, grid=2).errors
    assert kinds(run(inside.replace("__syncthreads();", ""), grid=2)) == {"race"}


def test_neighbouring_bytes_do_not_race() -> None:
    for kind in ("char", "short", "float", "float4"):
        assert not run(f"(({kind}*)y)[t] = (({kind}*)x)[t];", grid=3).errors
    assert kinds(run("((char*)y)[t / 2] = t;", grid=2)) == {"race"}


def test_a_fence_and_an_atomic_order_blocks() -> None:
    body = (
        "__shared__ int last;\ny[t] = x[t] + 1;\n{0}__syncthreads();\n"
        "if (threadIdx.x == 0) {{ {1} last = atomicAdd((int*)x + 4000, 1) == n; }}\n"
        "__syncthreads();\n"
        "if (last && threadIdx.x == 0) for (int i = 0; i < 128; ++i) x[i] = y[i];"
    )
    good = body.format("", "__threadfence();")
    start = int(np.array([4000], np.float32).view(N)[0])  # x[4000] as an int
    assert not run(good, grid=4, n=start + 3).errors
    assert kinds(run(body.format("", ""), grid=4, n=start + 3)) == {"race"}


def test_a_fence_of_each_thread_before_a_barrier_orders_blocks_too() -> None:
    body = (
        "__shared__ int last;\ny[t] = x[t] + 1;\n{} __threadfence();\n{}"
        "__syncthreads();\n{}"
        "if (threadIdx.x == 0) last = atomicAdd((int*)x + 4000, 1) == n;\n"
        "__syncthreads();\n"
        "if (last) for (int i = threadIdx.x; i < 128; i += 32) x[i] = y[i];"
    )
    n = int(np.array([4000], np.float32).view(N)[0]) + 3  # x[4000] as an int
    assert not run(body.format("", "", ""), grid=4, n=n).errors
    # One thread without a fence, a store behind the fences or behind the barrier.
    for parts in (
        ("if (threadIdx.x != 9)", "", ""),
        ("", "if (threadIdx.x == 7) y[t] = 5.0f;\n", ""),
        ("", "", "if (threadIdx.x == 7) y[t] = 5.0f;\n"),
    ):
        assert kinds(run(body.format(*parts), grid=4, n=n)) == {"race"}


def test_equal_stores_of_blocks_are_a_note() -> None:
    assert not run("y[7] = 3.0f;", grid=2).errors
    assert kinds(run("y[7] = blockIdx.x;", grid=2, block=1)) == {"race"}


def test_a_load_that_compare_and_swap_checks_is_a_note() -> None:
    body = (
        "unsigned* a = (unsigned*)y; unsigned old = *a, seen;\n"
        "do { seen = old;\n"
        "  old = atomicCAS(a, seen, __float_as_uint(1 + __uint_as_float(seen)));\n"
        "} while (old != seen);"
    )
    p = run(body, grid=2)
    assert not p.errors
    assert {f.kind for f in p.notes} == {"checked by atomicCAS"}
    p = run("if (t == 0) atomicAdd(y, 1.0f);\nx[t] = *y;", grid=2)
    assert kinds(p) == {"race"}
