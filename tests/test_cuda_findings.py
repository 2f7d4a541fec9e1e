"""Findings of a profile that must appear, with their lines, and that must not."""

from __future__ import annotations

import re

import numpy as np
import pytest
from profiled_kernels import N, kinds, run
from test_cuda_forms import FORMS, UNORDERED, Form, _ordered

from cuda_labs import Kernel, KernelError

# ---- races in shared memory, and what nothing has written ----


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
    # Without a fence before it is opened, the lock publishes nothing.
    assert kinds(run(body.format(""), block=40)) == {"race"}


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
    # A fence for the block orders nothing for other blocks, one for the system does.
    for fence, found in (("_block", {"race"}), ("_system", set())):
        told = run(body.format("", f"__threadfence{fence}();"), grid=4, n=start + 3)
        assert kinds(told) == found


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
    for_block = body.replace("__threadfence();", "__threadfence_block();")
    assert kinds(run(for_block.format("", "", ""), grid=4, n=n)) == {"race"}
    # One thread without a fence, a store behind the fences or behind the barrier.
    for parts in (
        ("if (threadIdx.x != 9)", "", ""),
        ("", "if (threadIdx.x == 7) y[t] = 5.0f;\n", ""),
        ("", "", "if (threadIdx.x == 7) y[t] = 5.0f;\n"),
    ):
        assert kinds(run(body.format(*parts), grid=4, n=n)) == {"race"}


@pytest.mark.parametrize(("first", "then"), [("load", "store"), ("store", "load")])
def test_blocks_race_whichever_comes_first(first: str, then: str) -> None:
    does = {"load": "y[blockIdx.x] = x[9];", "store": "x[9] = 5.0f;"}
    p = run(
        f"if (blockIdx.x == 0) {{\n{does[first]}\n}} else {{\n{does[then]}\n}}",
        grid=2,
        block=1,
    )
    assert [(f.kind, f.line, f.other_line) for f in p.errors] == [("race", 6, 4)]


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


def test_a_comparison_that_only_a_later_block_makes() -> None:
    body = (
        "unsigned* a = (unsigned*)y;\nif (blockIdx.x == 1) atomicAdd(a, 1u);\n"
        "if (blockIdx.x == 2) {\n  unsigned old = *a;\n  atomicCAS(a, old, old + 1);\n}"
    )
    p = run(body, grid=3, block=1)
    assert not p.errors
    assert {f.kind for f in p.notes} == {"checked by atomicCAS"}


def test_each_line_that_loads_what_nothing_wrote_is_reported() -> None:
    p = run(
        "__shared__ float s[1];\nfloat a = s[0];\na += 2 * s[0];\ny[t] = a;", block=1
    )
    assert [(f.kind, f.line) for f in p.errors] == [("uninitialised", 4)]
    body = "__shared__ float s[1];\nif (t == 0) y[0] = s[0];\nif (t == 1) y[1] = s[0];"
    lines = [(f.kind, f.line) for f in run(body, block=2).errors]
    assert lines == [("uninitialised", 4), ("uninitialised", 5)]


@pytest.mark.parametrize("byte", range(8))
def test_a_race_with_part_of_a_word(byte: int) -> None:
    # Four bytes from the third one on, across a boundary of words.
    p = run(
        "__shared__ alignas(4) char s[8];\n((int*)s)[t] = 1;\n"
        "__syncthreads();\n"
        f"if (t == 0) memcpy(s + 2, &n, 4);\nelse y[0] = s[{byte}];",
        block=2,
        n=7,
    )
    assert kinds(p) == ({"race"} if 2 <= byte < 6 else set())


def test_a_reader_of_another_warp_is_not_forgotten_for_ordered_ones() -> None:
    # Warp 1 loads first; six lanes of warp 0 follow, each after the one before.
    body = (
        "__shared__ float s;\nint lane = t % 32;\nif (t == 0) s = 1;\n"
        "__syncthreads();\nif (t == {reader}) y[40] = s;\nif (t < 32) {{\n"
        "  for (int i = 0; i < 6; ++i) {{\n    if (lane == i) y[i] = s;\n"
        "    __syncwarp();\n  }}\n  if (lane == 31) s = 2;\n}}"
    )
    p = run(body.format(reader=32), block=64, order="reversed")
    assert [(f.kind, f.line, f.other_line) for f in p.errors] == [("race", 13, 7)]
    assert not run(body.format(reader=5), block=64, order="reversed").errors


# ---- no finding where there is no fault ----


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
