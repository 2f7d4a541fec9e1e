"""How many blocks fit on a streaming multiprocessor, and what stops more.

A block needs warps, registers, shared memory and one of the places for blocks; the
scarcest decides. Registers are given to whole warps in units of 256, and each warp
lives in one of four parts of the multiprocessor that have a quarter of the
registers each; shared memory is given in units of 128 bytes, with 1,024 more for
the system. Rules and limits: NVIDIA, `cuda_occupancy.h` (CUDA Toolkit 13.0) and
*CUDA C++ Programming Guide*, "Compute Capabilities".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WARP = 32
PARTS = 4  # of a multiprocessor, each with a scheduler and its own registers


@dataclass(frozen=True)
class Device:
    """What a multiprocessor of one compute capability has.

    warps, blocks: resident at most; registers: 32-bit ones; shared: bytes for
    blocks; reserved: bytes of it that the system takes for each block. One block
    may ask for what then is left, 227 KB on compute capability 9.0.
    """

    warps: int
    blocks: int
    registers: int
    shared: int
    reserved: int


DEVICES = {
    "sm_80": Device(64, 32, 65536, 164 << 10, 1 << 10),
    "sm_86": Device(48, 16, 65536, 100 << 10, 1 << 10),
    "sm_89": Device(48, 24, 65536, 100 << 10, 1 << 10),
    "sm_90": Device(64, 32, 65536, 228 << 10, 1 << 10),
}


@dataclass(frozen=True)
class Occupancy:
    """Resident blocks and warps, their share of the most, and what limits them.

    limits: blocks that each resource alone would allow; limiter: the names of the
    smallest.
    """

    blocks: int
    warps: int
    share: float
    limits: dict[str, int]
    limiter: tuple[str, ...]


def occupancy(
    threads: int, registers: int, shared: int = 0, device: str = "sm_90"
) -> Occupancy:
    """Blocks that are resident on one multiprocessor.

    threads: of a block, 1 to 1,024; registers: of a thread, 0 to 255; shared: bytes
    of a block, static and dynamic together. Blocks 0 means that the launch fails.
    Raises ValueError for values outside, or for a device that is not in `DEVICES`,
    TypeError for what is no integer.
    """
    if device not in DEVICES:
        raise ValueError(f"device: one of {', '.join(DEVICES)}, got {device!r}")
    for name, value, low, high in (
        ("threads", threads, 1, 1024),
        ("registers", registers, 0, 255),
        ("shared", shared, 0, 1 << 30),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name}: an integer, got {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name}: from {low} to {high}, got {value}")
    has = DEVICES[device]
    warps = -(-threads // WARP)
    limits = {
        "warps": has.warps // warps,
        "blocks": has.blocks,
        "registers": _by_registers(warps, registers, has),
        "shared memory": _by_shared(shared, has),
    }
    blocks = min(limits.values())
    limiter = tuple(name for name, most in limits.items() if most == blocks)
    resident = blocks * warps
    return Occupancy(blocks, resident, resident / has.warps, limits, limiter)


def _by_registers(warps: int, registers: int, has: Device) -> int:
    if registers == 0:
        return has.blocks
    a_warp = _up(registers * WARP, 256)
    return PARTS * (has.registers // PARTS // a_warp) // warps


def _by_shared(shared: int, has: Device) -> int:
    return has.shared // _up(shared + has.reserved, 128)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
