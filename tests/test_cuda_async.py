"""Asynchronous copies: data arrive at the wait, and to read before it is found.

Counts are worked out from the definitions: a request is a warp's copy, sectors
are distinct 32-byte segments of its sources, wavefronts the turns of the banks
that take its destinations."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError, Unsupported, nvrtc
from cuda_labs.sim.profile import Profile

N = np.int32
X = np.arange(4096, dtype=np.float32)
PRIMITIVES = "#include <cuda_pipeline.h>\n"
TILE = "__shared__ __align__(16) float s[1024];"
START, COMMIT = "__pipeline_memcpy_async({}, {}, {});", "__pipeline_commit();"
WAIT, SYNC = "__pipeline_wait_prior(0);", "__syncthreads();"
FOUR = START.format("s + 4 * t", "x + 4 * t", 16)


def source(*lines: str, head: str = PRIMITIVES) -> str:
    """f(x, y, n) whose `lines` stand from line 4 on, below a tile s."""
    text = f'{head}extern "C" __global__ void f(const float* x, float* y, int n) {{\n'
    return text + f"  int t = threadIdx.x; {TILE}\n" + "\n".join(lines) + "\n}"


def call(text: str, n=0, *, block=32, checked=True, order="forward") -> np.ndarray:
    y = np.zeros(256, np.float32)
    Kernel(text, "f", checked=checked)(1, block, (X, y, N(n)), order=order)
    return y


def profiled(text: str, n=0, *, block=32) -> Profile:
    return Kernel(text, "f").profile(1, block, (X, np.zeros(256, np.float32), N(n)))


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
@pytest.mark.parametrize("order", ["forward", "reversed", 3])
def test_data_arrive_at_the_wait(checked, order) -> None:
    text = source(FOUR, COMMIT, WAIT, SYNC, "y[t] = s[127 - t];")
    assert call(text, checked=checked, order=order)[:32].tolist() == [
        127 - t for t in range(32)
    ]


def test_nothing_is_there_before_the_wait() -> None:
    for lines in ((FOUR, COMMIT, SYNC), (FOUR, SYNC), (FOUR, WAIT, COMMIT, SYNC)):
        text = source(*lines, "y[t] = s[127 - t];")
        assert np.isnan(call(text, checked=False)[:32]).all()
        with pytest.raises(KernelError, match="copy begun on line 4 has not") as caught:
            call(text)
        assert (caught.value.kind, caught.value.line) == (
            "not arrived",
            4 + len(lines),
        )
        p = profiled(text)
        (found,) = p.errors
        assert (found.kind, found.count) == ("not arrived", 32)
        assert (found.line, found.other_line) == (4 + len(lines), 4)
        assert "loads byte 508 of s" in found.message
        assert not p.notes


def test_storing_where_a_copy_will_arrive_is_found() -> None:
    text = source(FOUR, COMMIT, "s[4 * t] = 1.0f;", WAIT)
    with pytest.raises(KernelError, match=r"^line 6.*store of 4 bytes at byte 0 of s"):
        call(text)
    (found,) = profiled(text).errors
    assert (found.line, found.other_line, found.kind) == (6, 4, "not arrived")


def test_waiting_for_all_but_the_last_batches() -> None:
    # Three batches; with n still allowed under way, batch k has arrived when
    # k < 3 - n.
    starts = [
        line
        for k in range(3)
        for line in (START.format(f"s + {32 * k} + t", f"x + {100 * k} + t", 4), COMMIT)
    ]
    for prior in range(4):
        for batch in range(3):
            text = source(
                *starts,
                f"__pipeline_wait_prior({prior});",
                f"y[t] = s[{32 * batch} + t];",
            )
            arrived = batch < 3 - prior
            y = call(text, checked=False)[:32]
            expected = 100 * batch + np.arange(32.0)
            assert np.array_equal(y, expected) if arrived else np.isnan(y).all()
            assert {f.kind for f in profiled(text).errors} == (
                set() if arrived else {"not arrived"}
            )
            if not arrived:
                with pytest.raises(KernelError, match="has not yet arrived"):
                    call(text)


def test_a_double_buffered_loop_is_silent_and_its_mistakes_are_not() -> None:
    loop = [
        "float sum = 0;",
        START.format("s + t", "x + t", 4) + COMMIT,
        "for (int k = 0; k < n; ++k) {",
        "  if (k + 1 < n)",
        "    " + START.format("s + 64 * ((k + 1) & 1) + t", "x + 64 * (k + 1) + t", 4),
        "  __pipeline_commit();",
        "  __pipeline_wait_prior(1);",
        "  __syncthreads();",
        "  sum += s[64 * (k & 1) + 63 - t];",
        "  __syncthreads();",
        "}",
        "y[t] = sum;",
    ]
    good = source(*loop)
    p = profiled(good, 5, block=64)
    assert not p.errors
    assert not p.notes
    expected = sum(64 * k + 63 - np.arange(64.0) for k in range(5))
    assert np.array_equal(call(good, 5, block=64)[:64], expected)
    # The last barrier keeps the next copy from overtaking a slow reader.
    early = profiled(good.replace("- t];\n  __syncthreads();", "- t];\n"), 5, block=64)
    races = [f for f in early.errors if f.kind == "race"]
    assert {f.line for f in races} | {f.other_line for f in races} == {8, 12}
    # Without the barrier behind the wait another thread's data may be missing.
    late = profiled(
        good.replace("prior(1);\n  __syncthreads();", "prior(1);\n"), 5, block=64
    )
    assert "race" in {f.kind for f in late.errors}
    # One batch too many under way.
    with pytest.raises(KernelError, match=r"^line 12.*begun on line 5 has not"):
        call(good.replace("prior(1)", "prior(2)"), 5, block=64)


def test_the_copy_of_a_wait_needs_a_barrier_for_other_threads() -> None:
    body = (FOUR, COMMIT, WAIT, "{}", "y[t] = s[{}];")
    own = source(*body[:4], "y[t] = s[4 * t];").replace("{}", "")
    assert not profiled(own).errors
    for sync, errors in (("", True), (SYNC, False), ("__syncwarp();", False)):
        text = source(*body[:3], sync, "y[t] = s[127 - t];")
        assert bool(profiled(text).errors) == errors


def test_redundant_copies_of_equal_data_are_a_note() -> None:
    # Two warps copy the same; whoever is second stores what is there.
    same = START.format("s + t % 32", "x + t % 32", 4)
    text = source(same, COMMIT, WAIT, SYNC, "y[t] = s[t % 32];")
    p = profiled(text, block=64)
    assert not p.errors
    assert {f.kind for f in p.notes} == {"equal writes"}
    other = START.format("s + t % 32", "x + t", 4)
    p = profiled(text.replace(same, other), block=64)
    assert {f.kind for f in p.errors} == {"race"}


@pytest.mark.parametrize(("size", "lanes"), [(4, 32), (8, 16), (16, 8)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_counts_of_copies(size: int, lanes: int, stride: int) -> None:
    width = size // 4
    text = source(
        START.format(f"s + {width} * t", f"x + {stride * width} * t", size),
        COMMIT,
        WAIT,
    )
    p = profiled(text, block=64)
    load, store = p.lines[4].access["async load"], p.lines[4].access["async store"]
    first = [stride * size * np.arange(w, w + 32) for w in (0, 32)]
    sectors = sum(len({b // 32 for f in w for b in range(f, f + size)}) for w in first)
    assert (load.requests, load.lanes, load.sectors) == (2, 64, sectors)
    assert load.ideal_sectors == 2 * 32 * size // 32
    assert load.bytes == store.bytes == 64 * size
    assert store.wavefronts == store.ideal_wavefronts == 2 * 32 // lanes
    # They are no loads or stores of the other kinds, but they are traffic.
    assert set(p.lines[4].access) == {"async load", "async store"}
    assert p.lines[4].requests == 0
    assert p.requested_bytes == 32 * sectors
    assert p.footprint == 32 * sectors


def test_bank_conflicts_of_the_destination() -> None:
    for stride, ways in ((1, 1), (2, 2), (17, 1), (32, 32)):
        text = source(START.format(f"s + {stride} * t", "x + t", 4), COMMIT, WAIT)
        store = profiled(text).lines[4].access["async store"]
        assert (store.wavefronts, store.ideal_wavefronts) == (ways, 1)


def test_zeros_in_place_of_data() -> None:
    text = source(
        "int left = n - 4 * t, got = left < 0 ? 0 : left > 4 ? 4 : left;",
        "__pipeline_memcpy_async(s + 4 * t, x + 4 * t, 16, 16 - 4 * got);",
        COMMIT,
        WAIT,
        SYNC,
        "for (int i = t; i < 128; i += 32) y[i] = s[i];",
    )
    for n in (0, 1, 45, 128):
        expected = np.where(np.arange(128) < n, np.arange(128), 0)
        assert call(text, n)[:128].tolist() == expected.tolist()
        p = profiled(text, n)
        load = p.lines[5].access.get("async load")
        assert (load.bytes if load else 0) == 4 * n
        assert p.lines[5].access["async store"].bytes == 512
    # What zeros replace is not read: the address may lie beyond the array.
    y = np.zeros(256, np.float32)
    Kernel(text, "f")(1, 32, (X[:45].copy(), y, N(45)))
    assert y[:46].tolist() == [*range(45), 0]
    with pytest.raises(KernelError, match="load of 16 bytes at element 48"):
        Kernel(text, "f")(1, 32, (X[:48].copy(), y, N(128)))


BAD = [
    (START.format("s + t", "x + 4 * t", 16), "misaligned", "store .* 16 bytes.*of 16"),
    (START.format("s + 4 * t", "x + t", 16), "misaligned", "load of 16 bytes"),
    (START.format("s + 2 * t", "x + t", 8), "misaligned", "multiple of 8"),
    (START.format("(char*)s + t", "x + t", 4), "misaligned", "multiple of 4"),
    (START.format("s + t", "x + t", 12), "asynchronous copy", "4, 8 or 16"),
    (START.format("s + t", "x + t", 1), "asynchronous copy", "of 1 bytes?: 4, 8"),
    ("__pipeline_memcpy_async(s + t, x + t, 4, 5);", "asynchronous copy", "5 of them"),
    (START.format("s + 4 * t", "x + 4096 + 4 * t", 16), "out of bounds", "argument 1"),
    (START.format("s + 1024 + t", "x + t", 4), "out of bounds", "store of 4 .* of s"),
    (START.format("y + t", "x + t", 4), "asynchronous copy", "not in shared memory"),
    (START.format("s + t", "s + 32 + t", 4), "asynchronous copy", "not in global"),
    (FOUR + FOUR, "asynchronous copy", "that of line 4 is still under way"),
]


@pytest.mark.parametrize(("line", "kind", "message"), BAD)
def test_copies_that_cannot_be(line, kind, message) -> None:
    with pytest.raises(KernelError, match=message) as caught:
        call(source(line))
    assert (caught.value.kind, caught.value.line) == (kind, 4)
    assert profiled(source(line)).errors[0].kind == kind


def test_a_source_that_changes_under_way_is_found() -> None:
    text = source(
        START.format("s + t", "y + t", 4), COMMIT, "{}", WAIT, "y[t] = 1.0f + s[t];"
    )
    assert call(text.replace("{}", ""))[:32].tolist() == [1.0] * 32
    with pytest.raises(KernelError, match=r"^line 4.*changed before its wait"):
        call(text.replace("{}", "y[t] = 5.0f;"))
    other = text.replace("{}", "__syncthreads(); y[t ^ 1] = 0.0f;")
    assert {f.kind for f in profiled(other).errors} == {"race"}


def test_a_copy_left_under_way_does_not_reach_the_next_block() -> None:
    text = source("if (blockIdx.x == 0)", FOUR, "else {", "s[t] = t; y[t] = s[t]; }")
    y = np.zeros(256, np.float32)
    for checked in (True, False):
        Kernel(text, "f", checked=checked)(3, 32, (X, y, N(0)))
        assert y[:32].tolist() == list(range(32))
    assert not Kernel(text, "f").profile(3, 32, (X, y, N(0))).errors


PIPELINE = """#include <cuda/pipeline>
#include <cooperative_groups.h>
"""


def test_a_pipeline_of_one_thread() -> None:
    text = source(
        "auto pipe = cuda::make_pipeline(); auto size = cuda::aligned_size_t<4>(4);",
        "for (int k = 0; k < 2; ++k) {",
        "  pipe.producer_acquire();",
        "  cuda::memcpy_async(s + 32 * k + t, x + 32 * k + t, size, pipe);",
        "  pipe.producer_commit(); }",
        "float sum = 0;",
        "for (int k = 0; k < n; ++k) {",
        "  pipe.consumer_wait();",
        "  sum += s[32 * k + t];",
        "  pipe.consumer_release();",
        "  pipe.producer_acquire();",
        "  if (k + 2 < n)",
        "    cuda::memcpy_async(s + 32 * k + 64 + t, x + 32 * k + 64 + t, 4, pipe);",
        "  pipe.producer_commit(); }",
        "y[t] = sum;",
        head=PIPELINE,
    )
    expected = sum(32 * k + np.arange(32.0) for k in range(6))
    assert np.array_equal(call(text, 6)[:32], expected)
    assert not profiled(text, 6).errors
    last = text.replace(
        "pipe.consumer_wait();", "cuda::pipeline_consumer_wait_prior<1>(pipe);"
    )
    assert np.array_equal(call(last, 6)[:32], expected)
    last = last.replace("prior<1>", "prior<2>")
    assert {f.kind for f in profiled(last, 6).errors} == {"not arrived"}


GROUPS = """#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
namespace cg = cooperative_groups;
"""


@pytest.mark.parametrize("count", [1, 5, 32, 100, 256])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_copies_of_a_group(count: int, shift: int) -> None:
    text = source(
        "auto block = cg::this_thread_block();",
        f"cg::memcpy_async(block, s + {shift}, x + {shift}, sizeof(float) * n);",
        "cg::wait(block);",
        f"for (int i = t; i < n; i += blockDim.x) y[i] = s[{shift} + n - 1 - i];",
        head=GROUPS,
    )
    y = call(text, count, block=48)
    assert y[:count].tolist() == [shift + count - 1 - i for i in range(count)]
    p = profiled(text, count, block=48)
    assert not p.errors
    assert not p.notes
    assert p.total("async load").bytes == 4 * count
    # Parts of 16 bytes where both addresses allow them.
    part = {0: 16, 1: 4, 2: 8}[shift]
    parts = 4 * count // part + (4 * count % part) // 8 + (4 * count % part) % 8 // 4
    assert p.total("async load").lanes == parts
    unwaited = text.replace("cg::wait(block);", "block.sync();")
    assert {f.kind for f in profiled(unwaited, count, block=48).errors} == {
        "not arrived"
    }


def test_a_tile_copies_by_itself_and_bytes_are_copied_at_once() -> None:
    text = source(
        "auto tile = cg::tiled_partition<8>(cg::this_thread_block());",
        "float* mine = s + 64 * tile.meta_group_rank();",
        "cg::memcpy_async(tile, mine, 64, x + 64 * tile.meta_group_rank(), 16);",
        "cg::memcpy_async(tile, (char*)(mine + 16), (const char*)x + 1, 3);",
        "cg::wait_prior<1>(tile);",
        "y[t] = mine[15 - t % 8] + ((unsigned char*)mine)[64 + 1];",
        head=GROUPS,
    )
    middle = X[:1].tobytes() + X[1:2].tobytes()
    y = call(text)[:32]
    assert y.tolist() == [64 * (t // 8) + 15 - t % 8 + middle[2] for t in range(32)]
    assert not profiled(text).errors


@pytest.mark.parametrize(
    ("line", "construct"),
    [
        ("__pipeline_arrive_on(0);", "a barrier in shared memory"),
        ("__shared__ cuda::barrier<cuda::thread_scope_block> b;", "a barrier in"),
        (
            "__shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> p;",
            "a pipeline shared by threads",
        ),
        ("nvcuda::experimental::pipeline p;", "nvcuda::experimental"),
    ],
)
def test_what_is_refused_by_name(line: str, construct: str) -> None:
    with pytest.raises(Unsupported, match=construct) as caught:
        call(source(line))
    assert caught.value.line == 4


def test_nvcc_takes_the_same_sources() -> None:
    if not nvrtc.available():
        pytest.skip(nvrtc.INSTALL)
    group = source(
        "auto block = cg::this_thread_block();",
        "cg::memcpy_async(block, s, x, sizeof(float) * n); cg::wait(block);",
        "y[t] = s[t];",
        head=GROUPS,
    )
    for text in (source(FOUR, COMMIT, WAIT, SYNC, "y[t] = s[t];"), group):
        assert "cp.async" in Kernel(text, "f").compile("sm_80").ptx
