"""Headers of which a kernel's source needs nothing.

Files with kernels begin with the headers of the host code that stood beside them,
and with device libraries that only another kernel of the file used.
"""

from __future__ import annotations

import re
import shlex

# Of the C and C++ libraries: what device code may use of them has no need of them.
_LIBRARY = frozenset(
    shlex.split(
        "stdlib.h cstdlib time.h ctime ctype.h cctype errno.h cerrno stdbool.h "
        "inttypes.h cinttypes unistd.h sys/time.h algorithm array atomic bitset "
        "chrono cmath complex exception fstream functional initializer_list iomanip "
        "iostream istream iterator list map memory mutex new numeric optional ostream "
        "queue random set sstream stdexcept string string_view thread tuple "
        "unordered_map unordered_set utility vector"
    )
)
# Of device and host libraries, and what tells that the source uses one.
_USE = (
    (r"cuda_fp8\.h(?:pp)?", r"\b__nv_fp8"),
    (r"cuda_fp6\.h(?:pp)?", r"\b__nv_fp6"),
    (r"cuda_fp4\.h(?:pp)?", r"\b__nv_fp4"),
    (r"cub/.*", r"\bcub\b"),
    (r"thrust/.*", r"\bthrust\b"),
    (r"pycuda-complex\.hpp", r"\bpycuda\b"),
    (r"cupy/carray\.cuh", r"\bC(?:Array|Indexer)\b"),
    (r"cupy/atomics\.cuh", r"\batomic(?:Add|Max|Min)\b"),
    (r"curand\w*\.h", r"\bcurand"),
    (r"cublas\w*\.h", r"\bcublas|\bCUBLAS_"),
    (r"cu(?:dnn|sparse|solver|fft)\w*\.h", r"\bcu(?:dnn|sparse|solver|fft)[A-Z_]"),
    (r"nccl\.h", r"\bnccl[A-Z]"),
    (
        r"(?:torch|ATen|c10|pybind11)/.*",
        r"\b(?:torch|at|c10|pybind11|py)\s*::|\b(?:AT|C10|TORCH|PYBIND11)_",
    ),
)
_INCLUDE_LINE = re.compile(r"^[ \t]*#[ \t]*include\b[^\n]*", re.M)


def needless(name: str, bare: str) -> bool:
    """Whether a source can do without the header `name`.

    bare: the source without comments and literals.
    """
    if name in _LIBRARY:
        return True
    rest = _INCLUDE_LINE.sub("", bare)
    return any(
        re.fullmatch(header, name) and not re.search(use, rest) for header, use in _USE
    )
