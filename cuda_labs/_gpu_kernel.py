"""A kernel on a GPU: built and launched by CuPy."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs import arguments, nvrtc
from cuda_labs._nvcc import for_nvrtc
from cuda_labs.arguments import Parameter
from cuda_labs.errors import CompileError, CompilerMissing

Extents = tuple[int, int, int]
_NO_SUCH_PARAMETER = 1  # CUDA_ERROR_INVALID_VALUE


class GpuKernel:
    """CuPy's kernel, whose arguments are checked before a launch.

    source, name, options, arch: as in `Kernel`; parameters: what the arguments must
    be, or None where nothing on this machine can tell. Then their bytes, which the
    driver knows, are compared (CUDA Driver API, `cuFuncGetParamInfo`).
    """

    def __init__(
        self,
        source: str,
        name: str,
        options: Sequence[str],
        arch: str | None,
        parameters: tuple[Parameter, ...] | None,
    ) -> None:
        self._cupy = _cupy()
        self._built = source, name, tuple(options), arch
        self._functions: dict[int, Any] = {}  # by device
        self._parameters = parameters
        function = self._function(_device(self._cupy, ()))
        self._sizes = None if parameters is not None else _sizes(function)

    def __call__(
        self, grid: Extents, block: Extents, args: tuple[Any, ...], shared_mem: int
    ) -> None:
        """Queue a launch; TypeError or ValueError for arguments that do not fit."""
        if self._parameters is not None:
            arguments.check(self._parameters, args)
        elif self._sizes is not None:
            arguments.check_sizes(self._sizes, args)
        function = self._function(_device(self._cupy, args))
        if shared_mem:
            function.max_dynamic_shared_size_bytes = shared_mem
        function(grid, block, tuple(map(_passed, args)), shared_mem=shared_mem)

    def _function(self, device: int) -> Any:
        if device not in self._functions:
            self._functions[device] = _function(self._cupy, *self._built)
        return self._functions[device]


def all_on_device(args: Sequence[Any]) -> bool:
    """Whether a launch is one for a GPU.

    Raises TypeError for arrays of both kinds in one launch.
    """
    if not any(arguments.is_device_array(a) for a in args):
        return False
    if any(isinstance(a, np.ndarray) and a.ndim for a in args):
        raise TypeError("args: NumPy and CuPy arrays in one launch")
    return True


def _cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise CompilerMissing(
            "arrays of a GPU need CuPy, which is not installed: pip install "
            "cupy-cuda13x (NumPy arrays go to the simulator)"
        ) from error


def _device(cupy: Any, args: Sequence[Any]) -> int:
    """The number of the current GPU; ValueError for an array on another."""
    current = int(cupy.cuda.Device().id)
    for position, value in enumerate(args, start=1):
        if arguments.is_device_array(value):
            number = getattr(getattr(value, "device", None), "id", current)
            if number != current:
                raise ValueError(
                    f"parameter {position}: an array on GPU {number}, while GPU "
                    f"{current} is current; launch in `with cupy.cuda.Device({number})`"
                )
    return current


def _passed(value: Any) -> Any:
    """An argument in a form that every CuPy hands on as its bytes.

    Some versions pass None as an address that is not 0, and a structured scalar or an
    integer beyond 63 bits not at all (CuPy, issue 9046; `cupy.cuda.function`).
    """
    if value is None:
        return np.uint64(0)
    if isinstance(value, np.void):
        return np.asarray(value)
    if type(value) is int and value >= 1 << 63:
        return np.uint64(value)
    return value


def _function(
    cupy: Any, source: str, name: str, options: Sequence[str], arch: str | None
) -> Any:
    """CuPy's function; compiled here when it is for one architecture alone."""
    if arch is None:
        folders = (f"-I{path}" for path in nvrtc.include_paths())
        module = cupy.RawModule(
            code=for_nvrtc(source),
            options=("-std=c++17", *folders, *options),
            name_expressions=[name],
        )
        try:
            return module.get_function(name)
        except Exception as error:
            if type(error).__name__ != "CompileException":
                raise
            log = str(error)
            raise CompileError(f"{name}: {log}{nvrtc.hint(log)}", log) from error
    compiled = nvrtc.build(
        source,
        arch=arch,
        names=(name,),
        options=("--ftz=true", *options),  # as CuPy does
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(compiled.cubin)
        # CuPy loads the file at once, and never looks at it again on this device.
        module = cupy.RawModule(path=str(path))
        return module.get_function(compiled.lowered[name])


def _sizes(function: Any) -> tuple[int, ...] | None:
    """Bytes of each parameter, or None where the driver cannot be asked."""
    try:
        driver = importlib.import_module("cuda.bindings.driver")
        handle = driver.CUfunction(int(function.kernel.ptr))
        sizes: list[int] = []
        while True:
            code, _, size = driver.cuFuncGetParamInfo(handle, len(sizes))
            if int(code):
                break
            sizes.append(int(size))
    except (ImportError, AttributeError, RuntimeError):
        return None
    return tuple(sizes) if int(code) == _NO_SUCH_PARAMETER else None
