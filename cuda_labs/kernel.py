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
from cuda_labs.arguments import Parameter
from cuda_labs.errors import CompileError, KernelError
from cuda_labs.sim import launch
from cuda_labs.sim.profile import Profile

Dim = int | Sequence[int]


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
        if not isinstance(source, str) or not source.strip():
            raise ValueError("source: CUDA C is needed, got nothing")
        if not isinstance(name, str) or not name.strip():
            raise ValueError("name: the kernel's name is needed")
        if isinstance(options, str):
            raise TypeError("options: a sequence of strings, got one string")
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers: an int, got {workers!r}")
        if not 1 <= workers <= 64:
            raise ValueError(f"workers: from 1 to 64, got {workers}")
        self.source = source
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
        return cls(path.read_text(), name or path.parent.name, **kwargs)

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
        """
        args = tuple(args)
        extents = _extents("grid", grid), _extents("block", block)
        if isinstance(shared_mem, bool) or not isinstance(
            shared_mem, (int, np.integer)
        ):
            raise TypeError(f"shared_mem: bytes as an int, got {shared_mem!r}")
        if all_on_device(args):
            self._on_gpu()(*extents, args, int(shared_mem))
            return
        loaded = self._simulated()
        loaded.run(
            *extents,
            args,
            int(shared_mem),
            order=_order(order),
            timeout=_seconds(timeout),
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
        extents = _extents("grid", grid), _extents("block", block)
        loaded = self._simulated("profile")
        try:
            reply = loaded.run(
                *extents,
                tuple(args),
                shared_mem,
                order=_order(order),
                timeout=_seconds(timeout),
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


def _extents(name: str, value: Dim) -> tuple[int, int, int]:
    extents = tuple(value) if isinstance(value, Sequence) else (value,)
    whole = all(
        isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in extents
    )
    if not whole or not 1 <= len(extents) <= 3:
        raise TypeError(f"{name}: one to three integers, got {value!r}")
    x, y, z = (*(int(v) for v in extents), 1, 1)[:3]
    return x, y, z


def _seconds(timeout: float) -> float:
    if not 0 < timeout <= 86400:
        raise ValueError(f"timeout: seconds, more than 0, got {timeout}")
    return float(timeout)


def _order(order: str | int) -> int:
    if order in ("forward", "reversed"):
        return int(order == "reversed")
    if isinstance(order, int) and not isinstance(order, bool) and order >= 2:
        return order % 2**63
    raise ValueError(f"order: 'forward', 'reversed' or a seed from 2, got {order!r}")
