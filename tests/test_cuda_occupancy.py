"""Occupancy against NVIDIA's own calculator, a header of the CUDA Toolkit."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cuda_labs import nvrtc
from cuda_labs.occupancy import DEVICES, occupancy

TABLE = Path(nvrtc.__file__).parent / "occupancy_nvidia.json"
CASES = [
    *itertools.product(
        (32, 64, 96, 128, 160, 256, 384, 512, 768, 1000, 1024),
        (16, 24, 31, 32, 33, 40, 48, 55, 64, 72, 96, 128, 168, 255),
        (0, 1000, 2048, 6272, 6273, 8192, 8448, 17000, 49152, 100_000, 232_448),
    )
]
PROGRAM = """
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
  int major, minor, threads, registers;
  size_t shared, sm, block;
  while (std::scanf("%d %d %d %d %zu %zu %zu", &major, &minor, &threads, &registers,
                    &shared, &sm, &block) == 7) {
    cudaOccDeviceProp p = {};
    p.computeMajor = major; p.computeMinor = minor;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiprocessor = minor == 0 ? 2048 : 1536;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.warpSize = 32; p.numSms = 132;
    p.sharedMemPerBlock = 48 << 10; p.sharedMemPerBlockOptin = block;
    p.sharedMemPerMultiprocessor = sm; p.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes f = {};
    f.maxThreadsPerBlock = 1024; f.numRegs = registers;
    f.partitionedGCConfig = PARTITIONED_GC_OFF;
    f.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    f.maxDynamicSharedSizeBytes = block;
    cudaOccDeviceState s = {};
    s.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult r;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &f, &s, threads, shared))
      return 1;
    std::printf("%d\\n", r.activeBlocksPerMultiprocessor);
  }
}
"""


def header() -> Path | None:
    places = [*nvrtc.include_paths(), Path("/usr/local/cuda/include")]
    return next((p for p in places if (p / "cuda_occupancy.h").exists()), None)


def by_nvidia(folder: Path, device: str) -> list[int]:
    (folder / "ask.cpp").write_text(PROGRAM)
    command = ["g++", "-w", "-o", str(folder / "ask"), str(folder / "ask.cpp")]
    subprocess.run([*command, "-I", str(header())], check=True)
    major, minor = device[3:4], device[4:]
    has = DEVICES[device]
    lines = [
        f"{major} {minor} {t} {r} {s} {has.shared} {has.shared - 1024}"
        for t, r, s in CASES
    ]
    done = subprocess.run(
        [str(folder / "ask")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]


needs_header = pytest.mark.skipif(
    header() is None or shutil.which("g++") is None,
    reason=f"no cuda_occupancy.h or no g++: {nvrtc.INSTALL}",
)


@needs_header
@pytest.mark.parametrize("device", DEVICES)
def test_it_agrees_with_nvidias_calculator(tmp_path: Path, device: str) -> None:
    wanted = by_nvidia(tmp_path, device)
    assert len(wanted) == len(CASES)
    mine = [occupancy(*case, device=device).blocks for case in CASES]
    assert [c for c, a, b in zip(CASES, mine, wanted, strict=True) if a != b] == []
    assert {0, 1, 2, 3, 5} <= set(wanted)


@needs_header
def test_the_stored_table_is_nvidias(tmp_path: Path) -> None:
    stored = json.loads(TABLE.read_text())
    assert stored["device"] == "sm_90"
    wanted = by_nvidia(tmp_path, "sm_90")
    rows = [[*case, n] for case, n in zip(CASES, wanted, strict=True)]
    assert stored["rows"] == rows


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks", "limiter"),
    [
        (256, 32, 0, 8, ("warps", "registers")),
        (256, 33, 0, 6, ("registers",)),  # 33 × 32 rounds up to 1,280: 12 warps a part
        (32, 16, 0, 32, ("blocks",)),
        (128, 32, 49152, 4, ("shared memory",)),
        (1024, 65, 0, 0, ("registers",)),
        (64, 32, 232_449, 0, ("shared memory",)),
        (64, 32, 232_448, 1, ("shared memory",)),
        (32, 32, 6272, 32, ("blocks", "shared memory")),  # 57 × 128 with the 1,024
    ],
)
def test_values_by_hand(threads, registers, shared, blocks, limiter) -> None:
    found = occupancy(threads, registers, shared)
    assert (found.blocks, found.limiter) == (blocks, limiter)
    assert found.share == blocks * -(-threads // 32) / 64


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((0, 32), "threads: from 1 to 1024, got 0"),
        ((1025, 32), "threads"),
        ((32, 256), "registers: from 0 to 255, got 256"),
        ((32, 32, -1), "shared"),
        ((32, 32, 0, "sm_12"), "device: one of sm_80"),
    ],
)
def test_bad_values_are_refused(args, words) -> None:
    with pytest.raises(ValueError, match=words):
        occupancy(*args)


@pytest.mark.parametrize("args", [(2.5, 32), (256, "a"), (256, True), (256, 32, None)])
def test_what_is_no_integer_is_refused(args) -> None:
    with pytest.raises(TypeError, match=r"(threads|registers|shared): an integer, got"):
        occupancy(*args)
