"""NVIDIA's own compiler, without a GPU and without a driver.

`build` runs NVRTC from its Python wheel and reports what ptxas says of each
kernel: registers, static shared memory, stack and spills. The compiler is
optional: everything else in the package works when its wheels are missing.
Flags and log: NVIDIA, *NVRTC* (CUDA Toolkit documentation), "Supported
Compile Options".
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from cuda_labs._headers import INSTALL, hint, include_paths
from cuda_labs._nvcc import for_nvrtc
from cuda_labs.errors import CompileError, CompilerMissing

__all__ = [
    "INSTALL",
    "Compiled",
    "Resources",
    "available",
    "build",
    "hint",
    "include_paths",
    "version",
]


@dataclass(frozen=True)
class Resources:
    """What one kernel needs of a multiprocessor, as ptxas reports it.

    registers: 32-bit registers a thread; shared: bytes of static shared
    memory a block; stack, spill_stores, spill_loads: bytes a thread in local
    memory; constant: bytes of constant banks; barriers: named barriers.
    """

    registers: int
    shared: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    constant: int = 0
    barriers: int = 0


@dataclass(frozen=True)
class Compiled:
    """A compiled translation unit: PTX, cubin, log and each kernel's resources.

    `kernels` maps the name in the object file to its `Resources`; `lowered`
    maps each requested template instance to that name.
    """

    arch: str
    ptx: str = field(repr=False)
    cubin: bytes = field(repr=False)
    log: str = field(repr=False)
    kernels: dict[str, Resources]
    lowered: dict[str, str]

    def resources(self, name: str | None = None) -> Resources:
        """Resources of `name`, or of the only kernel when none is given.

        Raises KeyError for a kernel that the source does not define and
        ValueError when no name is given and there are several kernels.
        """
        if name is None:
            if len(self.kernels) != 1:
                raise ValueError(f"name: choose one of {sorted(self.kernels)}")
            return next(iter(self.kernels.values()))
        key = self.lowered.get(name, name)
        if key not in self.kernels:
            raise KeyError(f"no kernel {name!r}; there are {sorted(self.kernels)}")
        return self.kernels[key]


def available() -> bool:
    """Whether NVRTC can be loaded here."""
    try:
        version()
    except CompilerMissing:
        return False
    return True


def version() -> tuple[int, int]:
    """(major, minor) of the NVRTC found. Raises `CompilerMissing`."""
    nvrtc = _load()
    try:
        code, major, minor = nvrtc.nvrtcVersion()
    except Exception as error:  # the bindings are there, the library is not
        raise CompilerMissing(f"NVRTC's library is missing: {INSTALL}") from error
    _ok(nvrtc, code, "nvrtcVersion", "")
    return int(major), int(minor)


def build(
    source: str,
    *,
    arch: str = "sm_90",
    names: Sequence[str] = (),
    options: Sequence[str] = (),
    filename: str = "kernel.cu",
) -> Compiled:
    """Compile CUDA C for `arch`.

    Args:
        source: CUDA C. What nvcc adds to it of the host's headers (INFINITY, uint8_t,
            std::max ...), and NVRTC does not, it is given.
        arch: a real architecture, "sm_80", "sm_90", "sm_90a", ...
        names: template instances to emit, such as "scale<float>".
        options: further flags.
        filename: what messages and line information call the source.

    Raises `CompilerMissing` without NVRTC, `CompileError` with the compiler's
    log when the source is rejected, ValueError for an unusable arch.
    """
    if not isinstance(arch, str):
        raise TypeError(f"arch: a string such as 'sm_90', got {arch!r}")
    if not re.fullmatch(r"sm_\d{2,3}[af]?", arch):
        raise ValueError(f"arch: such as 'sm_90', got {arch!r}")
    version()
    nvrtc = _load()
    code, program = nvrtc.nvrtcCreateProgram(
        for_nvrtc(source, filename).encode(), filename.encode(), 0, [], []
    )
    _ok(nvrtc, code, "nvrtcCreateProgram", "")
    try:
        for name in names:
            (code,) = nvrtc.nvrtcAddNameExpression(program, name.encode())
            _ok(nvrtc, code, f"name expression {name!r}", "")
        flags = [f"--gpu-architecture={arch}", "-lineinfo", "--std=c++17"]
        flags += ["--ptxas-options=-v"]
        flags += [f"--include-path={path}" for path in include_paths()]
        flags += list(options)
        (code,) = nvrtc.nvrtcCompileProgram(
            program, len(flags), [flag.encode() for flag in flags]
        )
        log = _text(nvrtc, "ProgramLog", program).strip()
        _ok(nvrtc, code, filename, log)
        ptx = _text(nvrtc, "PTX", program)
        cubin = _bytes(nvrtc, "CUBIN", program)
        lowered: dict[str, str] = {}
        for name in names:
            code, symbol = nvrtc.nvrtcGetLoweredName(program, name.encode())
            _ok(nvrtc, code, f"name expression {name!r}", log)
            lowered[name] = symbol.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Compiled(arch, ptx, cubin, log, _resources(log), lowered)


def _load() -> ModuleType:
    try:
        return importlib.import_module("cuda.bindings.nvrtc")
    except ImportError as error:
        raise CompilerMissing(f"NVRTC is not installed: {INSTALL}") from error


def _ok(nvrtc: Any, code: Any, what: str, log: str) -> None:
    if int(code) == 0:
        return
    _, reason = nvrtc.nvrtcGetErrorString(code)
    message = f"{what}: {reason.decode()}"
    if log:
        message += "\n" + log
    raise CompileError(message + hint(log), log)


def _bytes(nvrtc: Any, what: str, program: Any) -> bytes:
    code, size = getattr(nvrtc, f"nvrtcGet{what}Size")(program)
    _ok(nvrtc, code, what, "")
    buffer = b" " * size
    (code,) = getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    _ok(nvrtc, code, what, "")
    return buffer


def _text(nvrtc: Any, what: str, program: Any) -> str:
    return _bytes(nvrtc, what, program).rstrip(b"\0").decode(errors="replace")


_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_AMOUNTS = {
    "registers": re.compile(r"Used (\d+) registers"),
    "barriers": re.compile(r"used (\d+) barriers"),
    "shared": re.compile(r"(\d+) bytes smem"),
    "stack": re.compile(r"(\d+) bytes stack frame"),
    "spill_stores": re.compile(r"(\d+) bytes spill stores"),
    "spill_loads": re.compile(r"(\d+) bytes spill loads"),
}
_CONSTANT = re.compile(r"(\d+) bytes cmem\[\d+\]")


def _resources(log: str) -> dict[str, Resources]:
    """Read ptxas -v: one section follows each "Compiling entry function"."""
    parts = _ENTRY.split(log)
    found: dict[str, Resources] = {}
    for name, section in zip(parts[1::2], parts[2::2], strict=True):
        amounts = {"registers": 0}
        for key, pattern in _AMOUNTS.items():
            match = pattern.search(section)
            if match:
                amounts[key] = int(match.group(1))
        amounts["constant"] = sum(int(n) for n in _CONSTANT.findall(section))
        found[name] = Resources(**amounts)
    return found
