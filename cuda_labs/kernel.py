"""One call for a CUDA C kernel, on a CPU or on a GPU.

    k = Kernel(source, "vector_add")
    k((blocks,), (256,), (a, b, c, np.int32(n)))

With NumPy arrays the kernel runs on the simulator, with CuPy arrays on the
GPU. The source is the same, and so is the call.

A simulated kernel runs in a process of its own, so its mistakes end in an error
and touch nothing else. This contains accidents; it is no security sandbox.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs import nvrtc
from cuda_labs._gpu_kernel import GpuKernel, all_on_device
from cuda_labs._launch_values import (
    Dim,
    arguments_of,
    bytes_of,
    extents_of,
    order_of,
    seconds_of,
)
from cuda_labs.arguments import Parameter, is_device_array
from cuda_labs.errors import CompileError, KernelError
from cuda_labs.sim import launch
from cuda_labs.sim.profile import Profile

_NEEDED = {"source": "CUDA C", "name": "the name of a kernel"}


class Kernel:
    """A kernel of a CUDA C source.

    Args:
        source: CUDA C without host code.
        name: the kernel's name; a template instance is named as in C++,
            "scale<float>".
        checked: find errors while running (the default), or run as fast as
            the simulator can, for kernels that pass the checks: addresses,
            shifts and conversions out of range are then not noticed. A source
            that uses `volatile` is always checked, since only then a thread
            that waits lets others go on.
        options: "-DNAME=VALUE" and "-UNAME" for the preprocessor.
        arch: the one architecture that a source for GPUs alone is written for, such
            as "sm_90a" for wgmma; by default the GPU's own.
        workers: processes among which the simulator divides the blocks of a
            call, where nothing in the source lets blocks communicate (atomics,
            volatile, fences, variables, printf). The results do not depend on
            it. A profile is always made by one.

    Compilation waits for the first use.
    """

    def __init__(
        self,
        source: str,
        name: str,
        *,
        checked: bool = True,
        options: Sequence[str] = (),
        arch: str | None = None,
        workers: int = 1,
    ) -> None:
        for what, value in (("source", source), ("name", name)):
            if not isinstance(value, str):
                raise TypeError(f"{what}: a string, got {type(value).__name__}")
            if not value.strip():
                raise ValueError(f"{what}: {_NEEDED[what]} is needed, got nothing")
        if isinstance(options, str) or not isinstance(options, Sequence):
            raise TypeError(f"options: a sequence of strings, got {options!r}")
        if not all(isinstance(option, str) for option in options):
            raise TypeError(f"options: strings, got {options!r}")
        if arch is not None and not isinstance(arch, str):
            raise TypeError(f"arch: a string such as 'sm_90a', got {arch!r}")
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers: an int, got {workers!r}")
        if not 1 <= workers <= 64:
            raise ValueError(f"workers: from 1 to 64, got {workers}")
        self.source = source.removeprefix("\ufeff")
        self.name = name
        self.checked = checked
        self.options = tuple(options)
        self.arch = arch
        self.workers = workers
        self._loaded: dict[str, launch.Loaded] = {}
        self._device: dict[str, np.ndarray[Any, Any]] = {}
        self._gpu: GpuKernel | None = None

    @classmethod
    def from_file(
        cls, path: str | Path, name: str | None = None, **kwargs: Any
    ) -> Kernel:
        """The kernel `name` of a file; by default named like the file's folder."""
        path = Path(path)
        return cls(path.read_text(encoding="utf-8"), name or path.parent.name, **kwargs)

    def __repr__(self) -> str:
        lines = self.source.count("\n") + 1
        return f"Kernel({self.name!r}, {lines} lines of CUDA C)"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Types of the parameters, deduced by the compiler."""
        return self._simulated().parameters()

    def __call__(
        self,
        grid: Dim,
        block: Dim,
        args: Sequence[Any],
        shared_mem: int = 0,
        *,
        timeout: float = 10.0,
        order: str | int = "forward",
    ) -> None:
        """Run the kernel.

        Args:
            grid, block: up to three extents.
            args: arrays for pointers and NumPy scalars for values, of exactly
                the parameters' types. All arrays NumPy, or all CuPy.
            shared_mem: bytes of dynamic shared memory.
            timeout: seconds after which a simulated launch is ended.
            order: in which order the simulator starts a block's threads:
                "forward", "reversed", or a seed of 2 or more. The result of a
                correct kernel does not depend on it.

        Raises TypeError or ValueError for arguments that do not fit and for a
        launch beyond the limits of compute capability 9.0, `KernelError` when
        the launch fails; every argument then holds its value from before.

        On a GPU the launch is queued on CuPy's current stream. What goes wrong
        there CuPy raises, at a later call, and such an error stays: nothing runs
        on that GPU until the process ends.
        """
        args = arguments_of(args)
        extents = extents_of("grid", grid), extents_of("block", block)
        shared = bytes_of(shared_mem)
        if all_on_device(args):
            self._on_gpu()(*extents, args, shared)
            return
        loaded = self._simulated()
        loaded.run(
            *extents,
            args,
            shared,
            order=order_of(order),
            timeout=seconds_of(timeout),
            workers=self.workers,
        )

    def profile(
        self,
        grid: Dim,
        block: Dim,
        args: Sequence[Any],
        shared_mem: int = 0,
        *,
        timeout: float = 60.0,
        order: str | int = "forward",
    ) -> Profile:
        """Run on the simulator and report memory traffic and errors by line.

        Arguments as of a call, all arrays NumPy. A finding does not raise: it
        stands in `Profile.errors`, and after a fatal one, such as an access out
        of bounds, the arguments keep their values from before. Raises for
        arguments and launches that do not fit, as a call does.
        """
        args = arguments_of(args)
        extents = extents_of("grid", grid), extents_of("block", block)
        shared, limit = bytes_of(shared_mem), seconds_of(timeout)
        if any(is_device_array(a) for a in args):
            raise TypeError(
                "args: a profile is made by the simulator; pass NumPy arrays"
            )
        loaded = self._simulated("profile")
        try:
            reply = loaded.run(
                *extents,
                args,
                shared,
                order=order_of(order),
                timeout=limit,
            )
        except KernelError as error:
            return Profile.of_failure(error, self.source)
        return Profile.of_reply(reply, loaded.built, self.source)

    def compile(self, arch: str | None = None) -> nvrtc.Compiled:
        """Compile with NVIDIA's compiler: registers, shared, spills, PTX, log.

        arch: by default the kernel's own, else "sm_90". Needs no GPU and no
        driver; see `cuda_labs.nvrtc.build` for errors.
        """
        arch = arch or self.arch or "sm_90"
        return nvrtc.build(
            self.source, arch=arch, names=(self.name,), options=self.options
        )

    def get_global(self, name: str) -> np.ndarray[Any, Any]:
        """Bytes of a `__device__` or `__constant__` variable of the simulator.

        A writable uint8 array: `k.get_global("c").view(np.float32)[:] = ...`.
        It holds what the last successful launch left. Raises KeyError for a
        name that the source does not define.
        """
        return self._simulated().variable(name)

    def _is_checked(self) -> bool:
        return self.checked or "volatile" in self.source

    def _simulated(self, flavour: str = "") -> launch.Loaded:
        flavour = flavour or ("checked" if self._is_checked() else "fast")
        if flavour not in self._loaded:
            self._loaded[flavour] = launch.Loaded(
                self.source, self.name, flavour, self.options, self._device
            )
        return self._loaded[flavour]

    def _on_gpu(self) -> GpuKernel:
        if self._gpu is None:
            parameters = None
            # No host compiler, or a construct for GPUs only: nothing to check by.
            with contextlib.suppress(CompileError, ImportError):
                parameters = self.parameters
            self._gpu = GpuKernel(
                self.source, self.name, self.options, self.arch, parameters
            )
        return self._gpu
