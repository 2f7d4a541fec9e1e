"""Profiles where tables are small: long loops, many readers, flags and releases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from profiled_kernels import N, kinds, run

from cuda_labs import Kernel, KernelError
from cuda_labs.sim import process

# ---- counts ----


def test_the_parts_of_a_structure_are_requests_each() -> None:
    """48 bytes a lane, 4 at a time: twelve loads and twelve stores of a warp."""
    copy = "((S*)y)[t] = ((S*)x)[t];"
    p = run(copy, before="struct S { float a[12]; };\n")
    for kind in ("global load", "global store"):
        line = p.total(kind)
        assert (line.requests, line.lanes, line.bytes) == (12, 384, 32 * 48)
        # Lanes are 48 bytes apart: each touches a sector of its own, every time.
        assert (line.sectors, line.ideal_sectors) == (384, 48)
    assert not p.errors
    assert not p.notes


@pytest.mark.parametrize("order", ["forward", "reversed", 3, 4])
def test_lanes_that_come_late_belong_to_their_requests(order: str | int) -> None:
    """1,024 threads with 100 loads each: 3,200 requests, whoever comes first.

    Every 64th atomic lets other threads run, and a seeded order mixes the warps.
    """
    body = (
        "for (int i = 0; i < 100; ++i)\n"
        "  atomicAdd(&y[(int)x[(i * 1024 + t) & 4095] & 63], 1.0f);"
    )
    p = run(body, block=1024, order=order)
    loads = p.total("global load")
    assert (loads.requests, loads.lanes, loads.sectors) == (3200, 102400, 12800)
    assert p.total("global atomic").requests == 3200
    assert not p.notes


def test_a_loop_of_millions_of_loads_by_one_thread_is_counted() -> None:
    n = 2_200_000
    p = run(
        "float s = 0;\nfor (int i = 0; i < n; ++i) s += x[i & 1023];\ny[0] = s;",
        n=n,
        block=1,
    )
    loads = p.total("global load")
    assert (loads.requests, loads.sectors, p.errors, p.notes) == (n, n, (), ())


# ---- races ----


@pytest.mark.parametrize("block", [32, 256])
def test_the_last_reader_of_many_does_not_hide_the_others(block: int) -> None:
    p = run(
        f"float v = x[0];\ny[t] = v;\nif (t == {block - 1}) x[0] = v + 1;", block=block
    )
    assert [(f.kind, f.line, f.other_line) for f in p.errors] == [("race", 5, 3)]
    assert p.errors[0].threads == (block - 1, 0)
    # Between blocks: the last thread of the last block stores.
    p = run(
        f"float v = x[0];\ny[t] = v;\nif (t == {3 * block - 1}) x[0] = v + 1;\n"
        "if (t < 0) y[0] = 0;",
        block=block,
        grid=3,
    )
    assert kinds(p) == {"race"}


def test_bytes_that_one_thread_stores_one_by_one_are_not_one() -> None:
    """__syncwarp orders each byte's store before its load by another lane."""
    body = (
        "char *c = (char *)x;\nfor (int i = 0; i < 4; ++i) {{\n"
        "  if (t == 0) c[i] = i;\n  {}\n  if (t == 1) y[i] = c[i];\n}}"
    )
    good = run(body.format("__syncwarp();"))
    assert not good.errors
    assert kinds(run(body.format(""))) == {"race"}


def test_equal_stores_are_judged_by_the_bytes_that_meet() -> None:
    wide = "if (t == 0) x[3] = 1;\nif (t == 1) *(float4*)x = make_float4(9, 9, 9, {});"
    p = run(wide.format(1))
    assert not p.errors
    assert [f.kind for f in p.notes] == ["equal writes"]
    assert kinds(run(wide.format(2))) == {"race"}
    # All of a wide store counts, not its first 16 bytes.
    p = run(
        "S s;\nfor (int i = 0; i < 8; ++i) s.a[i] = i < 4 ? 1 : t;\n"
        "if (t < 2) *(S*)x = s;",
        before="struct S { float a[8]; };\n",
    )
    assert kinds(p) == {"race"}


# ---- what a release publishes ----

READER = (
    "else {{ if (threadIdx.x == 0) {{ while (atomicAdd((int*)y, 0) < {}) ; "
    "__threadfence(); }}\n  __syncthreads();\n"
    "  y[64 + threadIdx.x] = x[blockDim.x - 1 - threadIdx.x]; }}"
)


def test_a_lane_publishes_what_syncwarp_has_shown_it() -> None:
    body = (
        "if (blockIdx.x == 0) {{ x[t] = 1; {}\n"
        "  if (t == 0) {{ __threadfence(); atomicAdd((int*)y, 1); }} }}\n"
    )
    good = run(body.format("__syncwarp();") + READER.format(1), grid=2)
    assert not good.errors
    assert kinds(run(body.format("") + READER.format(1), grid=2)) == {"race"}


def test_each_warp_of_a_block_publishes_its_part() -> None:
    body = (
        "if (blockIdx.x == 0) {{ x[t] = 1; {}\n"
        "  if (t % 32 == 0) {{ __threadfence(); atomicAdd((int*)y, 1); }} }}\n"
    )
    shown = body.format("__syncwarp();") + READER.format(4)
    assert not run(shown, grid=2, block=128).errors
    late = body.format("if (t == 5) __nanosleep(1);") + READER.format(4)
    assert kinds(run(late, grid=2, block=128)) == {"race"}


def test_a_later_release_without_a_fence_takes_nothing_back() -> None:
    body = (
        "__syncthreads();\nif (blockIdx.x == 0) { x[t] = 1; __syncthreads();\n"
        "  if (t == 0) { __threadfence(); atomicAdd((int*)y, 1); }\n"
        "  __syncthreads(); if (t == 1) atomicAdd((int*)y, 1); }\n"
    )
    assert not run(body + READER.format(2), grid=2, block=64).errors


def test_a_flag_in_shared_memory_tells_other_blocks_nothing() -> None:
    body = (
        "__shared__ int s;\nif (threadIdx.x == 0) s = 0;\n__syncthreads();\n"
        "if (blockIdx.x == 0 && t == 0) { x[0] = 1; __threadfence(); }\n"
        "atomicAdd({}, 1);\nif (blockIdx.x == 1) y[t] = x[0];"
    )
    assert kinds(run(body.replace("{}", "&s"), grid=2)) == {"race"}
    # One in global memory does, as far as one run of the kernel can show.
    assert not run(body.replace("{}", "(int*)y + 4096"), grid=2).errors


@pytest.mark.parametrize("blocks", [60, 300])
def test_a_chain_of_as_many_flags_as_blocks(blocks: int) -> None:
    """Decoupled look-back: each block waits for the one before it."""
    body = (
        "int b = blockIdx.x;\nif (threadIdx.x == 0) {{ float s = 1;\n"
        "  if (b > 0) {{ while (atomicAdd((int*)y + b - 1, 0) == 0) ; "
        "__threadfence(); s += x[b - 1]; }}\n"
        "  x[b] = s; {} atomicExch((int*)y + b, 1); }}"
    )
    assert not run(body.format("__threadfence();"), grid=blocks).errors
    assert kinds(run(body.format(""), grid=blocks)) == {"race"}


def test_more_flags_in_a_block_than_there_is_room_for() -> None:
    p = run(
        "int *flag = (int*)y;\n"
        "if (t < 300) { x[t] = t; __threadfence_block(); atomicExch(flag + t, 1); }\n"
        "else if (t >= 320 && t < 620) { int u = t - 320;\n"
        "  while (atomicAdd(flag + u, 0) == 0) ;\n"
        "  __threadfence_block(); y[1000 + u] = x[u]; }",
        block=640,
    )
    assert not p.errors


def test_what_an_earlier_launch_touched_leaves_room_for_this_one() -> None:
    """Races are tracked in 32 MB; the launches here touch 15 and 20 MB of 48."""
    text = """extern "C" __global__ void f(float* x, int first) {
      x[(first + blockIdx.x * blockDim.x + threadIdx.x) * 1024] = 1;
    }"""
    k = Kernel(text, "f")
    x = np.zeros(12 << 20, np.float32)
    for first, blocks in ((0, 15), (6144, 20)):
        assert not k.profile(blocks, 256, (x, N(first))).notes


# ---- signals ----

COUNT = """extern "C" __global__ void f(int* x) {
  x[blockIdx.x] = 1;
}"""


def test_a_timer_that_rings_after_the_launch_harms_nothing() -> None:
    k = Kernel(COUNT, "f")
    x = np.zeros(4, np.int32)
    k(4, 1, (x,))
    helper = process.current()
    for _ in range(3):
        os.kill(helper._child.pid, signal.SIGALRM)
        time.sleep(0.02)
    assert not helper.has_ended()
    k(4, 1, (x,))
    assert process.current() is helper


def test_a_deadline_holds_where_alarms_are_blocked() -> None:
    k = Kernel('extern "C" __global__ void f(int* x) { while (x[0] == 0) ; }', "f")
    x = np.zeros(1, np.int32)
    process.current().close()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        start = time.monotonic()
        with pytest.raises(KernelError, match="line 1"):
            k(1, 1, (x,), timeout=0.5)
        assert time.monotonic() - start < process.GRACE
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        process.current().close()


def test_workers_end_where_the_parent_ignores_its_children() -> None:
    script = (
        "import signal, numpy as np\nfrom cuda_labs import Kernel\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"x = np.zeros(8, np.int32)\nk = Kernel('''{COUNT}''', 'f', workers=2)\n"
        "k(8, 1, (x,), timeout=3)\nprint(x.sum())"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert out.stdout.strip() == "8", out.stderr[-300:]
