"""Lay a launch's arguments out in the shared file, run it, and copy back.

Arrays that overlap in the caller's memory overlap there too, and an array
keeps its offset from the start of the allocation that it is a slice of, modulo
256 bytes: a slice that would be misaligned on a GPU is misaligned here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuda_labs import arguments as args_
from cuda_labs.arguments import Parameter
from cuda_labs.sim import build, elf, process, report
from cuda_labs.sim.source import are_independent

# Unmapped on either side of every buffer: an overrun by less is always seen.
GUARD = 64 << 10
ALIGN = 256
MODES = {"fast": 0, "checked": 1, "profile": 2}
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


class Loaded:
    """A kernel in the helper process, in one of its builds.

    device: the bytes of its `__device__` and `__constant__` variables, which
    all builds of a kernel share.
    """

    def __init__(
        self,
        source: str,
        name: str,
        flavour: str,
        options: tuple[str, ...],
        device: dict[str, np.ndarray[Any, Any]],
    ) -> None:
        self.flavour = flavour
        self.built = build.kernel(source, name, flavour, options)
        self.device = device
        self._where: tuple[process.Process, int] | None = None
        self._parameters: tuple[Parameter, ...] | None = None
        self._bound = 0
        # Flushing is a mode of the processor for both widths; CuPy flushes
        # float alone, so a kernel that names double is left exact.
        self.flush = "double" not in source
        self.divisible = are_independent(" ".join((source, *options)), self.built.image)

    def parameters(self) -> tuple[Parameter, ...]:
        """The kernel's parameters, as the compiler deduced them."""
        with process.lock:
            self._load()
        assert self._parameters is not None
        return self._parameters

    def run(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: tuple[Any, ...],
        shared_mem: int,
        *,
        order: int,
        timeout: float,
        workers: int = 1,
    ) -> process.Reply:
        """Check, copy, run and copy back; `KernelError` leaves all as it was.

        workers: processes that share the blocks, where these are independent.

        A profiled launch starts twice from the same arguments, or three times:
        its first block shows the kernel's loops, then the launch is counted,
        and once more when later blocks showed other loops.
        """
        with process.lock:
            helper, number = self._load()
            assert self._parameters is not None
            args_.check(self._parameters, args)
            check_launch(grid, block, shared_mem, self.built.static_shared, self._bound)
            regions = _regions(args)
            placed, values_at, device_at, size = self._place(regions)
            helper.reserve(size)
            buffers = [(r.at, r.end - r.start) for r in regions]
            runs = [False]
            if self.flavour == "profile":
                runs = [True, False, False]  # the last is rarely needed
            reply = None
            for learn in runs:
                if reply is not None and not reply.again:
                    break
                table = self._copy_in(helper, args, placed, values_at)
                self._device_in(helper, device_at)
                try:
                    reply = helper.launch(
                        number,
                        grid,
                        block,
                        shared_mem,
                        table,
                        buffers,
                        self.built.image,
                        device_at,
                        mode=MODES[self.flavour],
                        flush=self.flush,
                        order=order,
                        deadline=timeout,
                        learn=learn,
                        workers=workers if self.divisible else 1,
                    )
                except process.Died as death:
                    _emit(helper.printed(death.status))
                    raise report.explain(
                        death, self.built, args, placed, timeout, shared_mem
                    ) from None
                except BaseException:
                    helper.close()  # Ctrl-C: the launch must not run on
                    raise
            assert reply is not None
            self._copy_out(helper, args, placed)
            self._device_out(helper, device_at)
            _emit(helper.printed(reply.status))
            arrays = [
                (i, at, args[i].nbytes, args[i].itemsize) for i, at in placed.items()
            ]
            return reply._replace(arrays=arrays)

    def _load(self) -> tuple[process.Process, int]:
        helper = process.current()
        if self._where is None or self._where[0] is not helper:
            number, bound, table = helper.load(self.built.path, self.built.image)
            self._bound = bound
            self._where = (helper, number)
            self._parameters = tuple(
                Parameter(p != b"\0", b.decode(), bool(c), w, lanes, size)
                for p, b, c, _, w, lanes, size in process.PARAMETER.iter_unpack(table)
            )
        return self._where

    def _place(self, regions: list[Region]) -> tuple[dict[int, int], int, int, int]:
        """Offsets of each array argument, of the values, of the variables."""
        at = process.FIRST_FREE
        placed: dict[int, int] = {}
        for region in regions:
            at = (at + GUARD + ALIGN - 1) // ALIGN * ALIGN + region.phase
            region.at = at
            for position, array in region.arrays:
                placed[position] = at + _address(array) - region.start
            at += region.end - region.start
        values_at = (at + GUARD + ALIGN - 1) // ALIGN * ALIGN
        count = len(self._parameters or ())
        room = sum((p.size + 15) // 16 * 16 for p in self._parameters or ())
        device_at = values_at + room + 16 * count
        device = sum((v.size + 15) // 16 * 16 for v in self.built.image.device)
        return placed, values_at, device_at, device_at + device + GUARD

    def _copy_in(
        self,
        helper: process.Process,
        args: tuple[Any, ...],
        placed: dict[int, int],
        values_at: int,
    ) -> list[tuple[int, bool]]:
        assert self._parameters is not None
        assert helper.memory is not None
        table: list[tuple[int, bool]] = []
        at = values_at
        for i, (parameter, value) in enumerate(
            zip(self._parameters, args, strict=True)
        ):
            if parameter.pointer:
                table.append((placed.get(i, 0), True))
                if value is not None:
                    _window(helper, placed[i], value.nbytes)[:] = _raw(value)
            else:
                data = args_.value_bytes(parameter, value)
                helper.memory[at : at + len(data)] = data
                table.append((at, False))
                at += (parameter.size + 15) // 16 * 16
        return table

    def _copy_out(
        self, helper: process.Process, args: tuple[Any, ...], placed: dict[int, int]
    ) -> None:
        assert self._parameters is not None
        for i, (parameter, value) in enumerate(
            zip(self._parameters, args, strict=True)
        ):
            if parameter.pointer and value is not None and not parameter.constant:
                _raw(value)[:] = _window(helper, placed[i], value.nbytes)

    def variable(self, name: str) -> np.ndarray[Any, Any]:
        """Bytes of a `__device__` or `__constant__` variable, writable."""
        for v in self.built.image.device:
            if v.name in (name, f"_ZL{len(name)}{name}"):
                return self._store(v.name, v.offset, v.size)
        known = sorted(v.name for v in self.built.image.device)
        raise KeyError(f"no __device__ or __constant__ variable {name!r}: {known}")

    def _store(self, name: str, offset: int, size: int) -> np.ndarray[Any, Any]:
        if name not in self.device:
            data = elf.initial_bytes(self.built.path, offset, size)
            self.device[name] = np.frombuffer(data, np.uint8).copy()
        return self.device[name]

    def _device_in(self, helper: process.Process, at: int) -> None:
        for v in self.built.image.device:
            _window(helper, at, v.size)[:] = self._store(v.name, v.offset, v.size)
            at += (v.size + 15) // 16 * 16

    def _device_out(self, helper: process.Process, at: int) -> None:
        for v in self.built.image.device:
            self._store(v.name, v.offset, v.size)[:] = _window(helper, at, v.size)
            at += (v.size + 15) // 16 * 16


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


def _regions(args: tuple[Any, ...]) -> list[Region]:
    arrays = [(i, a) for i, a in enumerate(args) if isinstance(a, np.ndarray)]
    arrays = [(i, a) for i, a in arrays if a.ndim > 0 or a.dtype.names is None]
    found: list[Region] = []
    for i, a in sorted(arrays, key=lambda pair: _address(pair[1])):
        start, end = _address(a), _address(a) + a.nbytes
        if found and start < found[-1].end:
            found[-1].end = max(found[-1].end, end)
            found[-1].arrays.append((i, a))
        else:
            phase = (start - _address(_owner(a))) % ALIGN
            found.append(Region(start, end, phase, 0, [(i, a)]))
    return found


def _owner(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _raw(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _window(helper: process.Process, at: int, size: int) -> np.ndarray[Any, Any]:
    assert helper.memory is not None
    return np.frombuffer(helper.memory, np.uint8, size, at)


def _emit(text: str) -> None:
    if text:
        sys.stdout.write(text)
