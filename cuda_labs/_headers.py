"""Where NVIDIA's device headers lie: in wheels, or in a CUDA Toolkit."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
from pathlib import Path

INSTALL = (
    "pip install cuda-bindings nvidia-cuda-nvrtc "
    "nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl"
)
# One header of each package that kernels include from.
HEADERS = ("cuda_fp16.h", "crt/mma.h", "nv/target")
USUAL = Path("/usr/local/cuda")
_MISSING = re.compile(r'open source file "(crt/|nv/|cuda|cooperative_groups|mma\.h)')


def include_paths() -> list[Path]:
    """Folders with NVIDIA's device headers: of the wheels, then of a toolkit.

    The toolkit is that of CUDA_PATH or CUDA_HOME. The wheels come in parts: where one
    is still missing, the toolkit whose nvcc is on the PATH, and then the one in its
    usual place, is asked as well. Last comes what CuPy brings, where it is installed.
    """
    found: list[Path] = []
    try:
        roots = list(importlib.import_module("nvidia").__path__)
    except ImportError:
        roots = []
    for root in roots:
        for folder in sorted(Path(root).glob("*/include")):
            found += _folders(folder)
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if os.environ.get(variable):
            found += _folders(Path(os.environ[variable]) / "include")
    nvcc = shutil.which("nvcc")
    toolkits = [Path(nvcc).resolve().parents[1]] if nvcc else []
    for toolkit in (*toolkits, USUAL):
        if all(any((path / name).is_file() for path in found) for name in HEADERS):
            break
        found += _folders(toolkit / "include")
    return list(dict.fromkeys(found + _of_cupy()))


def hint(log: str) -> str:
    """What to install, where a compiler's log says that a header is not there."""
    if not _MISSING.search(log):
        return ""
    return f"\nNVIDIA's headers come with: {INSTALL}"


def _of_cupy() -> list[Path]:
    """The folder of the headers of its own that CuPy lets kernels include."""
    try:
        spec = importlib.util.find_spec("cupy")
    except ValueError:  # a module that was made by hand
        return []
    roots = (spec.submodule_search_locations or ()) if spec else ()
    return [path for root in roots for path in _folders(Path(root, "_core", "include"))]


def _folders(include: Path) -> list[Path]:
    """The folder and, as of CUDA 13, the one within it that has nv/ and cuda/."""
    return [path for path in (include, include / "cccl") if path.is_dir()]
