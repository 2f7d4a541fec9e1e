"""Run a launch: its arguments into the shared file, the call, and back."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from cuda_labs import arguments as args_
from cuda_labs.arguments import Parameter
from cuda_labs.errors import CompileError
from cuda_labs.sim import build, elf, process, report, wire
from cuda_labs.sim.layout import (
    ALIGN,
    GUARD,
    Region,
    address,
    check_launch,
    raw,
    regions_of,
)
from cuda_labs.sim.source import blank
from cuda_labs.sim.variables import are_independent, constants

MODES = {"fast": 0, "checked": 1, "profile": 2}


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
        if not sys.platform.startswith("linux"):
            raise CompileError(
                f"the simulator runs on Linux, this is {sys.platform}: use a Linux "
                "container, or arrays of a GPU"
            )
        self.flavour = flavour
        self.built = build.kernel(source, name, flavour, options)
        self.device = device
        self._where: tuple[process.Process, int] | None = None
        self._parameters: tuple[Parameter, ...] | None = None
        self._bound = 0
        # Flushing is a mode of the processor for both widths; CuPy flushes
        # float alone, so a kernel that names double is left exact.
        named = " ".join((blank(source), name, *options))
        self.flush = not re.search(r"\bdouble[234]?\b", named)
        text = " ".join((source, *options))
        self.divisible = are_independent(text, self.built.image)
        self._constants = constants(text, self.built.image)

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
    ) -> wire.Reply:
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
            regions = regions_of(args)
            placed, values_at, device_at, size = self._place(regions)
            helper, number = self._load(size)
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
                except wire.Died as death:
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

    def _load(self, size: int = wire.FIRST_FREE) -> tuple[process.Process, int]:
        helper = process.current(size)
        if self._where is None or self._where[0] is not helper:
            number, bound, table = helper.load(
                self.built.path, self.built.image, self._constants
            )
            self._bound = bound
            self._where = (helper, number)
            self._parameters = tuple(
                Parameter(p != b"\0", b.decode(), bool(c), w, lanes, size)
                for p, b, c, _, w, lanes, size in wire.PARAMETER.iter_unpack(table)
            )
        return self._where

    def _place(self, regions: list[Region]) -> tuple[dict[int, int], int, int, int]:
        """Offsets of each array argument, of the values, of the variables."""
        at = wire.FIRST_FREE
        placed: dict[int, int] = {}
        for region in regions:
            at = (at + GUARD + ALIGN - 1) // ALIGN * ALIGN + region.phase
            region.at = at
            for position, array in region.arrays:
                placed[position] = at + address(array) - region.start
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
        table: list[tuple[int, bool]] = []
        at = values_at
        for i, (parameter, value) in enumerate(
            zip(self._parameters, args, strict=True)
        ):
            if parameter.pointer:
                table.append((placed.get(i, 0), True))
                if value is not None:
                    _window(helper, placed[i], value.nbytes)[:] = raw(value)
            else:
                data = args_.value_bytes(parameter, value)
                helper.arena.memory[at : at + len(data)] = data
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
                raw(value)[:] = _window(helper, placed[i], value.nbytes)

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


def _window(helper: process.Process, at: int, size: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(helper.arena.memory, np.uint8, size, at)


def _emit(text: str) -> None:
    if text:
        sys.stdout.write(text)
