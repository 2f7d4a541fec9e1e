"""A source for nvcc, as NVRTC takes it.

nvcc compiles a file's device code with the headers of the host compiler; NVRTC has
none of them. So that a file that was written for nvcc compiles on a GPU as it does
for the simulator, NVRTC is given the names that the file uses of those headers.
"""

from __future__ import annotations

import re
import shlex

from cuda_labs.sim.host_headers import needless
from cuda_labs.sim.source import BUILT_IN, INCLUDE, RENAMED, blank, header_at
from cuda_labs.sim.unit import RARE, names_of_headers, taken_macros, taken_names

_NAMES = INCLUDE / "sim_names.h"
# What NVRTC has of the headers that are part of the simulator's every source.
_NVRTC_HAS = frozenset(
    shlex.split(
        "cuda_runtime.h cuda_runtime_api.h device_launch_parameters.h "
        "math_constants.h vector_types.h vector_functions.h"
    )
)
_INCLUDE_LINE = re.compile(r"^[ \t]*#[ \t]*include\b[^\n]*", re.M)
# Of <cmath> and <cstdlib>; <algorithm> is written out below.
_MATH = re.compile(
    r"\bstd\s*::\s*(abs|acosh?|asinh?|atan[2h]?|cbrt|ceil|copysign|cosh?|erfc?|exp2?"
    r"|expm1|fabs|fdim|floor|fma|fmax|fmin|fmod|frexp|hypot|ilogb|isfinite|isinf|isnan"
    r"|ldexp|lgamma|llrint|llround|log|log10|log1p|log2|logb|lrint|lround|modf"
    r"|nearbyint|nextafter|pow|remainder|remquo|rint|round|scalbn|signbit|sinh?|sqrt"
    r"|tanh?|tgamma|trunc)\b"
)
_ALGORITHM = """
#define SIM_BOTH template <class T> __host__ __device__ constexpr
SIM_BOTH const T& max(const T& a, const T& b) { return a < b ? b : a; }
SIM_BOTH const T& min(const T& a, const T& b) { return b < a ? b : a; }
SIM_BOTH const T& clamp(const T& v, const T& from, const T& to) {
  return v < from ? from : to < v ? to : v;
}
SIM_BOTH void swap(T& a, T& b) {
  T kept = static_cast<T&&>(a);
  a = static_cast<T&&>(b);
  b = static_cast<T&&>(kept);
}
#undef SIM_BOTH
"""
_TRAITS = (
    "#include <cuda/std/limits>\n#include <cuda/std/type_traits>\n"
    "namespace std { using namespace cuda::std; }\n"
)
# Up to CUB 2 these were its own.
_CUB = """#include <cub/block/block_reduce.cuh>
#include <cub/warp/warp_reduce.cuh>
#include <cub/version.cuh>
#if CUB_MAJOR_VERSION >= 3
#include <cuda/functional>
#include <cuda/std/functional>
namespace cub {
using Sum = ::cuda::std::plus<>;
using Max = ::cuda::maximum<>;
using Min = ::cuda::minimum<>;
}
#endif
"""


def for_nvrtc(source: str, filename: str = "kernel.cu") -> str:
    """`source`, with what nvcc would add to it and without what NVRTC cannot read.

    filename: what messages call the source; its lines keep their numbers. A source
    that NVRTC takes as it stands is returned as it stands.
    """
    bare = blank(source)
    rest = _INCLUDE_LINE.sub("", bare)
    text = source
    cub = bool(re.search(r"\bcub\s*::\s*(Sum|Max|Min)\b", rest))
    traits = bool(re.search(RARE["sim_traits.h"], rest))
    for match in reversed(list(_INCLUDE_LINE.finditer(bare))):
        name = header_at(source, match.start())
        instead = ""
        if name == "cub/cub.cuh":  # it holds host code
            cub |= not needless(name, bare)
        elif name == "thrust/complex.h" and not needless(name, bare):
            instead = "#include <cupy/complex/complex.h>"  # Thrust's, without the host
        elif RENAMED.get(name) == "sim_traits.h":
            traits = True
        elif name in _NVRTC_HAS or not (name in BUILT_IN or needless(name, bare)):
            continue
        text = text[: match.start()] + instead + text[match.end() :]
    before = _TRAITS * traits + _CUB * cub
    if re.search(r"\bstd\s*::\s*(max|min|clamp|swap)\b", rest):
        before += f"namespace std {{{_ALGORITHM}}}\n"
    if uses := sorted(set(_MATH.findall(rest))):
        before += f"namespace std {{ {' '.join(f'using ::{n};' for n in uses)} }}\n"
    defined = set(re.findall(r"#[ \t]*define[ \t]+(\w+)", bare))
    macros, types = names_of_headers()
    if ((macros | types) - defined) & set(re.findall(r"\w+", rest)):
        own = taken_names(source)
        hidden = "".join(f"#define {name} sim_own_{name}\n" for name in own)
        shown = "".join(f"#undef {name}\n" for name in [*own, *taken_macros(source)])
        before = hidden + _NAMES.read_text("utf-8") + shown + before
    if not before:
        return text
    return f'{before}#line 1 "{filename}"\n{text}'
