"""Where a launch's arrays lie in the shared file, and what a launch may ask for.

Arrays that overlap in the caller's memory overlap there too, and an array
keeps its offset from the start of the allocation that it is a slice of, modulo
256 bytes: a slice that would be misaligned on a GPU is misaligned here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Unmapped on either side of every buffer: an overrun by less is always seen.
GUARD = 64 << 10
ALIGN = 256
SHARED_LIMIT = 227 * 1024
THREAD_LIMIT = 1024


@dataclass
class Region:
    """Overlapping arrays of the caller, and where they lie in the file."""

    start: int
    end: int
    phase: int
    at: int = 0
    arrays: list[tuple[int, np.ndarray[Any, Any]]] = field(default_factory=list)


def check_launch(
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared_mem: int,
    static_shared: int,
    bound: int = 0,
) -> None:
    """Raise ValueError for a launch that compute capability 9.0 refuses.

    bound: threads that the kernel's `__launch_bounds__` allows; 0 for none.
    """
    limits = (
        ("grid", grid, (2**31 - 1, 65535, 65535)),
        ("block", block, (1024, 1024, 64)),
    )
    for name, extent, most in limits:
        for axis, value, limit in zip("xyz", extent, most, strict=True):
            if not 1 <= value <= limit:
                raise ValueError(f"{name}.{axis}: from 1 to {limit}, got {value}")
    threads = block[0] * block[1] * block[2]
    if threads > THREAD_LIMIT:
        raise ValueError(f"block: {threads} threads; at most {THREAD_LIMIT}")
    if bound and threads > bound:
        raise ValueError(
            f"block: {threads} threads; the kernel's __launch_bounds__ allow {bound}"
        )
    if not 0 <= shared_mem <= SHARED_LIMIT - static_shared:
        raise ValueError(
            f"shared_mem: from 0 to {SHARED_LIMIT - static_shared} bytes beside "
            f"{static_shared} of static shared memory, got {shared_mem}"
        )


def regions_of(args: tuple[Any, ...]) -> list[Region]:
    """The arrays among the arguments, those that overlap together."""
    arrays = [(i, a) for i, a in enumerate(args) if isinstance(a, np.ndarray)]
    arrays = [(i, a) for i, a in arrays if a.ndim > 0 or a.dtype.names is None]
    found: list[Region] = []
    for i, a in sorted(arrays, key=lambda pair: address(pair[1])):
        start, end = address(a), address(a) + a.nbytes
        if found and start < found[-1].end:
            found[-1].end = max(found[-1].end, end)
            found[-1].arrays.append((i, a))
        else:
            phase = (start - address(_owner(a))) % ALIGN
            found.append(Region(start, end, phase, 0, [(i, a)]))
    return found


def _owner(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address(array: np.ndarray[Any, Any]) -> int:
    """Where the array lies in this process."""
    return int(array.__array_interface__["data"][0])


def raw(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bytes of a contiguous array, as a view."""
    return array.reshape(-1).view(np.uint8)
