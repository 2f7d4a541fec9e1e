"""Kernels in inline PTX: all but the instructions themselves is run on a CPU.

See tests/ptx_emulation.py for what stands in for each instruction.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import ptx_emulation as ptx
import pytest

from cuda_labs import Kernel, KernelError, Unsupported, check, ladders, nvrtc

LATER = {"wait_for_all_but_1", "wait_for_all_but_2"}
COPIES = {name: body for name, body in ptx.COPIES.items() if name not in LATER}
BODIES = {
    "07_mma": COPIES
    | ptx.MMA
    | {"wait_for_all_but_2": ptx.COPIES["wait_for_all_but_2"]},
    "08_wgmma": COPIES
    | ptx.WGMMA
    | {"wait_for_all_but_1": ptx.COPIES["wait_for_all_but_1"]},
}
COMMON = {"07_mma": ptx.COMMON, "08_wgmma": ptx.COMMON + ptx.WGMMA_COMMON}
RUNGS = sorted(BODIES)


def emulated(name: str, *options: str, right: str = "", wrong: str = ""):
    """The rung on the simulator, with one thing changed when asked."""
    rung = ladders.load("matmul", name)
    assert right in rung.kernel.source
    source = rung.kernel.source.replace(right, wrong) if right else rung.kernel.source
    text = ptx.emulated(source, BODIES[name], COMMON[name])
    kernel = Kernel(text, "matmul", options=options)
    return dataclasses.replace(rung, kernel=kernel)


def inputs(rung: ladders.Rung, shape: tuple[int, ...], seed: int = 0):
    return rung.operation.sample(shape, np.random.default_rng(seed))


@pytest.mark.parametrize("late", [0, 1], ids=["at once", "as late as allowed"])
@pytest.mark.parametrize("name", RUNGS)
def test_index_arithmetic_and_waits(name: str, late: int) -> None:
    rung = emulated(name, f"-DLATE={late}")
    for shape in rung.shapes:
        data = inputs(rung, shape)
        rung.check(rung.run(*data), *data)


@pytest.mark.parametrize("name", RUNGS)
def test_bfloat16(name: str) -> None:
    rung = emulated(name, "-DBF16")
    a, b = (x.view(np.uint32) >> 16 for x in inputs(rung, rung.shapes[1]))
    a, b = a.astype(np.uint16), b.astype(np.uint16)
    plan = rung.operation.plan(name, (a, b))
    (step,) = plan.launches
    rung.kernel(step.grid, step.block, step.args, step.shared_mem)
    exact = ((x.astype(np.uint32) << 16).view(np.float32) for x in (a, b))
    expected, k, scale = rung.operation.judge(*exact)
    check.agree(plan.output, expected, k=k, scale=scale)


@pytest.mark.parametrize("name", RUNGS)
def test_no_race_and_no_bank_conflict(name: str) -> None:
    rung = emulated(name)
    shape = (70, 136, 72)  # five tiles, or three
    p = rung.profile(*inputs(rung, shape))
    assert not p.errors, str(p.errors[0])
    if name == "07_mma":
        # Lanes read eight rows of 16 bytes, one 8 x 8 matrix, in one turn.
        number = 1 + rung.kernel.source[: rung.kernel.source.index("r[i] = *")].count(
            "\n"
        )
        assert p.lines[number].access["shared load"].requests > 0
        assert p.lines[number].bank_conflict_ways == 1


WRONG = [
    ("07_mma", "row + 16 * i + lane % 16", "row + 16 * i + lane / 2"),
    (
        "07_mma",
        "2 * h + lane / 16));\n      for (int j",
        "h + lane / 16));\n      for (int j",
    ),
    ("07_mma", "16 * h + lane % 16, col / 8", "8 * h + lane % 16, col / 8"),
    ("07_mma", "col / 8 + 2 * j + lane / 16", "col / 8 + j + lane / 16"),
    ("07_mma", "y[j / 2][j % 2 * 2], y", "y[j / 2][j % 2], y"),
    ("07_mma", "8 * h + lane / 4;", "8 * h + lane % 4;"),
    ("07_mma", "2 * (lane % 4);", "(lane % 4);"),
    ("07_mma", "r < m && s < k;", "r < m;"),
    ("07_mma", "in = r < k && s < n;", "in = r < k;"),
    ("07_mma", "    wait_for_all_but_2();", "    // "),
    ("07_mma", "int next = s + STAGES - 1", "int next = s + STAGES"),
    ("07_mma", "to + 8192 + in_b", "to + 8192 + in_a"),
    ("08_wgmma", "(address(tiles) + 1023) / 1024 * 1024", "address(tiles)"),
    ("08_wgmma", "64ull << 32", "32ull << 32"),
    ("08_wgmma", "1ull << 62", "2ull << 62"),
    ("08_wgmma", "8192 * group + 32 * h", "8192 * group + 16 * h"),
    ("08_wgmma", "8192 * group + 32 * h", "32 * h"),
    ("08_wgmma", "tb + 2048 * h, 8192", "tb + 1024 * h, 8192"),
    ("08_wgmma", "tb + 2048 * h, 8192", "tb + 2048 * h, 4096"),
    ("08_wgmma", "16 * (i % 8 ^ i / 8 % 8)", "16 * (i % 8)"),
    ("08_wgmma", "16 * (i % 8 ^ i / 32 % 8)", "16 * (i % 8 ^ i / 8 % 8)"),
    ("08_wgmma", "    wait_for_all_but_1();", "    // "),
    ("08_wgmma", "    wgmma_wait<1>();", "    wgmma_wait<4>();"),
    ("08_wgmma", "  wgmma_wait<0>();\n", ""),
    ("08_wgmma", "    wgmma_commit();\n", ""),
    ("08_wgmma", "threadIdx.x % 32 / 4;", "threadIdx.x % 32 % 8;"),
    ("08_wgmma", "col0 + i / 2 * 8", "col0 + i * 8"),
    ("08_wgmma", "r < m && s < k;", "s < k;"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(name: str, right: str, wrong: str) -> None:
    rung = emulated(name, "-DLATE=1", right=right, wrong=wrong)
    data = inputs(rung, (70, 168 if name == "07_mma" else 264, 136), 3)
    with pytest.raises((check.Mismatch, KernelError)):
        rung.check(rung.run(*data), *data)


@pytest.mark.parametrize("name", RUNGS)
def test_a_missing_barrier_is_a_race(name: str) -> None:
    rung = emulated(name, right="    __syncthreads();", wrong="    // ")
    p = rung.profile(*inputs(rung, (70, 136, 72)))
    assert {f.kind for f in p.errors} & {"race", "uninitialised"}


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("options", [(), ("-DBF16",)], ids=["half", "bfloat16"])
def test_what_the_compiler_makes_of_them(name: str, options: tuple[str, ...]) -> None:
    rung = ladders.load("matmul", name)
    compiled = Kernel(
        rung.kernel.source, "matmul", options=options, arch=rung.kernel.arch
    ).compile()
    used = compiled.resources()
    assert used.spill_stores == used.spill_loads == used.stack == 0
    # Two blocks of 128 threads, or one of 256, must find their registers.
    assert used.registers <= (248 if name == "07_mma" else 255)
    kind = "bf16" if options else "f16"
    counts = {
        "07_mma": {
            f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32": 64,
            "ldmatrix.sync.aligned": 16,
        },
        "08_wgmma": {
            f"wgmma.mma_async.sync.aligned.m64n256k16.f32.{kind}.{kind}": 4,
            "fence.proxy.async": 1,
        },
    }
    for instruction, count in counts[name].items():
        assert compiled.ptx.count(instruction) == count
    # ptxas says so when wgmma cannot run beside what follows it.
    assert "serialized" not in compiled.log


def test_they_are_known_and_set_apart() -> None:
    assert set(RUNGS) <= set(ladders.rungs("matmul", gpu_only=True))
    assert not set(RUNGS) & set(ladders.rungs("matmul"))
    for name in RUNGS:
        rung = ladders.load("matmul", name)
        assert rung.gpu_only
        with pytest.raises(Unsupported, match=r"inline PTX"):
            rung.run(*inputs(rung, rung.shapes[0]))
        with pytest.raises(ValueError, match="multiples of 1, 8 and 8"):
            rung.plan(*inputs(rung, (16, 12, 16)))
    assert ladders.load("matmul", 8).kernel.arch == "sm_90a"
    assert ladders.load("matmul", 7).kernel.arch is None
    assert not ladders.load("matmul", 6).gpu_only


def test_the_emulation_refuses_what_it_does_not_replace() -> None:
    source = ladders.load("matmul", 7).kernel.source
    with pytest.raises(ValueError, match="inline PTX is left"):
        ptx.emulated(source, COPIES)
    with pytest.raises(ValueError, match="no function sine"):
        ptx.emulated(source, {"sine": ""})
