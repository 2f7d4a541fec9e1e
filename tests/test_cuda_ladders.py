"""Every rung of every ladder: right on its shapes, and its wrong kernels caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError, check, ladders, reference

ALL = [(op, name) for op in ladders.operations() for name in ladders.rungs(op)]


def inputs(rung: ladders.Rung, shape: tuple[int, ...], seed: int = 0):
    return rung.operation.sample(shape, np.random.default_rng(seed))


@pytest.mark.parametrize(("op", "name"), ALL)
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
def test_every_rung_is_right(op: str, name: str, checked: bool) -> None:
    rung = ladders.load(op, name, checked=checked)
    for shape in rung.shapes:
        data = inputs(rung, shape)
        rung.check(rung.run(*data), *data)


@pytest.mark.parametrize(("op", "name"), ALL)
def test_no_rung_depends_on_the_order_of_threads(op: str, name: str) -> None:
    rung = ladders.load(op, name)
    shape = rung.shapes[-1 if op == "matmul" else 3]
    data = inputs(rung, shape, 1)
    results = []
    for order in ("forward", "reversed", 11):
        plan = rung.plan(*data)
        for launch in plan.launches:
            rung.kernel(
                launch.grid, launch.block, launch.args, launch.shared_mem, order=order
            )
        rung.check(plan.output, *data)
        results.append(plan.output)
    exact = name != "01_atomic"  # its sum is in the order of the threads
    same = all(np.array_equal(results[0], other) for other in results)
    assert same or not exact


@pytest.mark.parametrize(("op", "name"), ALL)
def test_no_rung_has_a_finding(op: str, name: str) -> None:
    rung = ladders.load(op, name)
    p = rung.profile(*inputs(rung, rung.shapes[0 if len(rung.shapes) == 2 else 1], 2))
    assert not p.errors, str(p)
    assert "counts split" not in {n.kind for n in p.notes}


WRONG = [
    ("reduction", "01_atomic", "i += stride", "i += 2 * stride"),
    ("reduction", "02_shared_tree", "k = 128", "k = 64"),
    ("reduction", "02_shared_tree", "    __syncthreads();\n", ""),
    ("reduction", "03_warp_shuffle", "k = 16", "k = 8"),
    ("reduction", "03_warp_shuffle", "  __syncthreads();\n", ""),
    ("reduction", "03_warp_shuffle", "threadIdx.x < 8 ?", "threadIdx.x < 7 ?"),
    ("reduction", "04_two_pass", "out[blockIdx.x]", "out[0]"),
    ("scan", "01_hillis_steele", "t >= k", "t > k"),
    ("scan", "01_hillis_steele", "before += part[from][255]", "before += 0.0f"),
    ("scan", "01_hillis_steele", "from = 1 - from;", ""),
    ("scan", "02_warp_shuffle", "lane >= k", "lane > k"),
    ("scan", "02_warp_shuffle", "lane == 31", "lane == 30"),
    ("scan", "03_look_back", "b = tile - 1", "b = tile - 2"),
    ("scan", "03_look_back", "w < warp", "w <= warp"),
    (
        "histogram",
        "01_global_atomic",
        "atomicAdd(&counts[data[i]], 1u)",
        "counts[data[i]] = 1",
    ),
    (
        "histogram",
        "02_privatised",
        "b < 256; b += blockDim.x) {\n    if",
        "b < 255; b += blockDim.x) {\n    if",
    ),
    ("histogram", "03_aggregated", "__ffs(same) - 1", "__ffs(same)"),
    ("stencil", "01_naive", "x < cols - 1", "x < cols"),
    ("stencil", "01_naive", "in[i - 1]", "in[i - 2]"),
    ("stencil", "02_tiled", "i < 340", "i < 330"),
    ("stencil", "02_tiled", "tile[ty - 1][tx]", "tile[ty - 1][tx - 1]"),
    ("softmax", "01_three_pass", "expf(v - most);", "expf(v);"),
    (
        "softmax",
        "02_warp",
        "j = lane; j < cols; j += 32",
        "j = lane; j < cols; j += 64",
    ),
    ("softmax", "02_warp", "__shfl_xor_sync", "__shfl_down_sync"),
    ("softmax", "03_online", "sum *= rescale(most, larger);", ""),
    ("softmax", "03_online", "sum * rescale(most, larger)", "sum"),
    ("softmax", "03_online", "old_most == new_most ? 1.0f :", ""),
    ("matmul", "01_naive", "i < k", "i < k - 1"),
    ("matmul", "02_coalesced", "(size_t)i * n + col", "(size_t)col * k + i"),
    ("matmul", "03_shared", "k0 + tx < k", "k0 + tx < k - 1"),
    ("matmul", "03_shared", "    }\n    __syncthreads();", "    }"),
    ("matmul", "04_register", "row < m && col < n", "row < m"),
    ("matmul", "06_wmma", "i += 16", "i += 32"),
    ("matmul", "06_wmma", "warp / 2 * 16", "warp * 16"),
    ("matmul", "06_wmma", "wmma::row_major> fb", "wmma::col_major> fb"),
    ("matmul", "05_vectorised", "turned[(s + 1) * 64 + r]", "turned[(s + 2) * 64 + r]"),
]


@pytest.mark.parametrize(("op", "name", "right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(op, name, right, wrong) -> None:
    rung = ladders.load(op, name)
    assert right in rung.kernel.source
    broken = Kernel(rung.kernel.source.replace(right, wrong), op)
    damaged = dataclasses.replace(rung, kernel=broken)
    rejected = []
    for shape in rung.shapes:
        data = inputs(rung, shape, 3)
        try:
            damaged.check(damaged.run(*data), *data)
        except (check.Mismatch, KernelError) as error:
            rejected.append(type(error).__name__)
    races = damaged.profile(*inputs(rung, rung.shapes[-1], 3)).errors
    assert rejected or races
    # A barrier too few may give the right numbers here; the profile sees it.
    if "__syncthreads" in right:
        assert {f.kind for f in races} & {"race", "uninitialised"}


def test_traffic_of_the_matmul_ladder() -> None:
    m = n = k = 64
    data = inputs(ladders.load("matmul", 1), (m, k, n))
    loads = {}
    for number in range(1, 6):
        p = ladders.load("matmul", number).profile(*data)
        loads[number] = p.total("global load")
        assert p.total("global store").bytes == 4 * m * n
    warps = m * n // 32
    # A step of a warp: 32 rows of a and one element of b; then one and 32.
    assert loads[1].sectors == warps * k * 33
    assert loads[2].sectors == warps * k * 5
    assert loads[1].requests == loads[2].requests == warps * k * 2
    # Tiles: each element of a and b once for every 16, or 64, columns or rows.
    assert loads[3].bytes == 4 * (m * k * n // 16 + k * n * m // 16)
    assert loads[4].bytes == loads[5].bytes == 4 * (m * k + k * n)
    assert loads[5].requests * 4 == loads[4].requests
    table = (ladders.FOLDER / "matmul" / "README.md").read_text()
    for number, load in loads.items():
        row = f" | {load.requests} | {load.sectors} | {load.bytes} |"
        assert f"{ladders.load('matmul', number).name}{row}" in table


def test_the_reduction_tree_has_no_bank_conflicts() -> None:
    p = ladders.load("reduction", 2).profile(np.ones(256, np.float32))
    shared = [a for line in p.lines.values() for a in line.access.values()]
    assert all(a.wavefronts == a.ideal_wavefronts for a in shared)
    assert p.total("global atomic").requests == 1
    p = ladders.load("reduction", 1).profile(np.ones(256, np.float32))
    assert p.total("global atomic").lanes == 256


def test_two_passes_give_the_same_bits_each_time() -> None:
    rung = ladders.load("reduction", 4)
    (x,) = inputs(rung, (70001,))
    assert len({rung.run(x).tobytes() for _ in range(3)}) == 1


def test_references_against_loops() -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((4, 5))
    v = reference.stencil(u, 0.1)
    for y in range(4):
        for x in range(5):
            rim = y in (0, 3) or x in (0, 4)
            lap = 0.0
            if not rim:
                lap = u[y, x - 1] + u[y, x + 1] + u[y - 1, x] + u[y + 1, x]
                lap -= 4 * u[y, x]
            assert v[y, x] == pytest.approx(u[y, x] + 0.1 * lap)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    c = reference.matmul(a, b)
    total = sum(a[2, p] * b[p, 1] for p in range(4))
    assert c[2, 1] == pytest.approx(total)
    assert reference.scan([1, 2, 3]).tolist() == [1, 3, 6]
    assert reference.reduction([1, 2, 3]).tolist() == [6]
    assert reference.histogram(np.array([3, 3, 255], np.uint8))[[3, 255]].tolist() == [
        2,
        1,
    ]


F = np.float32


@pytest.mark.parametrize(
    ("op", "rung", "given", "error"),
    [
        ("vector_add", 1, (), TypeError("inputs: a, b are needed, got 0")),
        ("vector_add", 1, (5, 5), TypeError("a: a NumPy or CuPy array .* got int")),
        ("vector_add", 1, (np.ones(5, F), np.ones(3, F)), ValueError("b: a's shape")),
        ("vector_add", 1, (np.ones(5), np.ones(5)), TypeError("float32 .* float64")),
        ("transpose", 4, (np.ones(5, F),), ValueError("a: a matrix .* shape .5,.")),
        ("transpose", 4, ([[1.0]],), TypeError("a: .* got list")),
        ("reduction", 4, (np.ones((5, 2), F),), ValueError("x: a vector")),
        ("scan", 3, (np.ones(0, F),), ValueError("x: no size may be 0")),
        ("histogram", 3, (np.ones(5, F),), TypeError("uint8 .* float32")),
        ("stencil", 2, (np.ones((3, 3), F),), TypeError("u, k are needed, got 1")),
        ("matmul", 3, (np.ones((2, 3), F),), TypeError("a, b are needed, got 1")),
        ("matmul", 6, ([1], [2]), TypeError("a: .* got list")),
        ("softmax", 3, (np.ones(5, F),), ValueError("x: a matrix")),
        ("attention", 2, (np.ones((2, 3), F),) * 3, ValueError("q: 3 dimensions")),
        ("attention", 4, (np.ones((1, 2, 8), F),) * 2, TypeError("q, k, v, do")),
    ],
)
def test_inputs_that_a_rung_refuses(op, rung, given, error) -> None:
    loaded = ladders.load(op, rung)
    for use in (loaded.run, loaded.profile):
        with pytest.raises(type(error), match=str(error)):
            use(*given)


def test_what_a_ladder_does_not_have() -> None:
    with pytest.raises(ValueError, match="operation: one of attention, histogram"):
        ladders.load("sort", 1)
    with pytest.raises(ValueError, match="rung: one of 01_naive"):
        ladders.load("matmul", 9)
    with pytest.raises(ValueError, match="multiples of 64"):
        ladders.load("matmul", 5).run(*inputs(ladders.load("matmul", 1), (65, 16, 64)))
    assert ladders.rungs("transpose")[3] == "04_swizzled"
    for bad in (
        lambda: reference.matmul(np.zeros((2, 3)), np.zeros((2, 3))),
        lambda: reference.scan(np.zeros((2, 2))),
        lambda: reference.reduction([]),
        lambda: reference.stencil(np.zeros(3), 0.1),
    ):
        with pytest.raises(ValueError, match=r"needed|fit"):
            bad()
    with pytest.raises(TypeError, match="uint8"):
        reference.histogram([1])
