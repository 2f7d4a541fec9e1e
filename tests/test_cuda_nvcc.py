"""Files for nvcc: what they take of the host's headers, here and with NVRTC."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, ladders, nvrtc
from cuda_labs._nvcc import for_nvrtc
from cuda_labs.sim.source import INCLUDE

NAMES = (INCLUDE / "sim_names.h").read_text("utf-8")
needs_nvrtc = pytest.mark.skipif(
    not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}"
)


def body(text: str) -> str:
    head = 'extern "C" __global__ void f(float* x) {\n  int t = threadIdx.x;\n'
    return f"{head}  {text}\n}}\n"


BIG = float(np.finfo(np.float32).max)
FILES = {
    "infinity": ("#include <math.h>\n" + body("x[t] = -INFINITY;"), [-math.inf] * 4),
    "not a number": (body("x[t] = isnan(NAN) ? t : -1;"), [0, 1, 2, 3]),
    "constants": (
        "__constant__ float ends[2] = {-INFINITY, FLT_MAX};\n"
        + body("x[t] = ends[t % 2];"),
        [-math.inf, BIG] * 2,
    ),
    "pi": ("#include <cmath>\n" + body("x[t] = t * M_PI;"), math.pi * np.arange(4)),
    "a pi of its own": ("#define M_PI 3.0f\n" + body("x[t] = M_PI;"), [3] * 4),
    "a pi where there is none": (
        "#ifndef M_PI\n#define M_PI 3.0f\n#endif\n" + body("x[t] = M_PI;"),
        [math.pi] * 4,
    ),
    "a variable of that name": (
        "const float INFINITY = 3.0f;\n" + body("x[t] = INFINITY;"),
        [3] * 4,
    ),
    "integers": (
        "#include <stdint.h>\n#include <limits.h>\n"
        + body("uint8_t a = (uint8_t)(300 + t); x[t] = a + (INT_MAX > 0);"),
        [45, 46, 47, 48],
    ),
    "a type of its own": (
        "typedef unsigned long long uint64_t;\n" + body("uint64_t a = 3; x[t] = a;"),
        [3] * 4,
    ),
    "algorithm": (
        "#include <algorithm>\n"
        + body("float a = std::max(1.5f, (float)t), b = 9; std::swap(a, b);\n"
               "  x[t] = std::min(a, 8.0f) + std::clamp(b, 0.0f, 2.0f);"),
        [9.5, 9.5, 10, 10],
    ),
    "mathematics": (
        "#include <cstdlib>\n" + body("x[t] = std::sqrt((float)t) + std::abs(-1.5f);"),
        np.sqrt(np.arange(4)) + 1.5,
    ),
    "limits": (
        "#include <limits>\n#include <type_traits>\n"
        "static_assert(std::is_same<float, float>::value, \"\");\n"
        + body("x[t] = std::max(std::numeric_limits<float>::lowest(), 0.0f - t);"),
        [0, -1, -2, -3],
    ),
    "cub": (
        "#include <cub/cub.cuh>\n#include <cstdio>\n"
        + body("typedef cub::BlockReduce<float, 4> Block;\n"
               "  __shared__ Block::TempStorage room;\n"
               "  float sum = Block(room).Reduce(x[t] + t, cub::Sum());\n"
               "  if (t == 0) x[3] = sum;"),
        [0, 0, 0, 6],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_for_nvcc_runs(name: str) -> None:
    source, truth = FILES[name]
    x = np.zeros(4, np.float32)
    Kernel(source, "f")(1, 4, (x,))
    np.testing.assert_allclose(x, np.asarray(truth, np.float32), rtol=1e-6)


@needs_nvrtc
@pytest.mark.parametrize("name", FILES)
def test_nvrtc_takes_it_too(name: str) -> None:
    assert "f" in nvrtc.build(FILES[name][0]).kernels


def truths() -> dict[str, float]:
    """Each macro's value, from NumPy and Python."""
    found: dict[str, float] = {"CHAR_BIT": 8, "SIZE_MAX": np.iinfo(np.uint64).max}
    of_c = {
        "SCHAR": np.byte, "CHAR": np.byte, "UCHAR": np.ubyte, "SHRT": np.short,
        "USHRT": np.ushort, "INT": np.intc, "UINT": np.uintc, "LONG": np.long,
        "ULONG": np.ulong, "LLONG": np.longlong, "ULLONG": np.ulonglong,
    }  # fmt: skip
    for bits in (8, 16, 32, 64):
        of_c[f"INT{bits}"] = getattr(np, f"int{bits}")
        of_c[f"UINT{bits}"] = getattr(np, f"uint{bits}")
    for name, kind in of_c.items():
        found[f"{name}_MAX"] = np.iinfo(kind).max
        if np.iinfo(kind).min:
            found[f"{name}_MIN"] = np.iinfo(kind).min
    for name, real in (("FLT", np.float32), ("DBL", np.float64)):
        info = np.finfo(real)
        found[f"{name}_MAX"] = float(info.max)
        found[f"{name}_MIN"] = float(info.smallest_normal)
        found[f"{name}_EPSILON"] = float(info.eps)
        found[f"{name}_DIG"] = info.precision
        found[f"{name}_MANT_DIG"] = info.nmant + 1
    found |= {
        "M_E": math.e, "M_LOG2E": math.log2(math.e), "M_LOG10E": math.log10(math.e),
        "M_LN2": math.log(2), "M_LN10": math.log(10), "M_PI": math.pi,
        "M_PI_2": math.pi / 2, "M_PI_4": math.pi / 4, "M_1_PI": 1 / math.pi,
        "M_2_PI": 2 / math.pi, "M_2_SQRTPI": 2 / math.sqrt(math.pi),
        "M_SQRT2": math.sqrt(2), "M_SQRT1_2": math.sqrt(0.5),
        "INFINITY": math.inf, "HUGE_VAL": math.inf, "HUGE_VALF": math.inf,
        "NAN": math.nan,
    }  # fmt: skip
    return found


def values(truth: dict[str, float], whole: bool) -> str:
    kind = "unsigned long long" if whole else "double"
    lines = "".join(f"x[{i}] = ({kind}){name};\n" for i, name in enumerate(truth))
    return f'extern "C" __global__ void f({kind}* x) {{\n{lines}}}'


@pytest.mark.parametrize("whole", [True, False])
def test_every_macro_has_its_value(whole: bool) -> None:
    every = truths()
    assert set(every) == set(re.findall(r"^#define (\w+)", NAMES, re.M))
    exact = re.compile(r"(CHAR|SHRT|INT\d*|LONG|SIZE)_M|_BIT|_DIG")
    truth = {n: v for n, v in every.items() if bool(exact.search(n)) is whole}
    x = np.zeros(len(truth), np.uint64 if whole else np.float64)
    source = values(truth, whole)
    Kernel(source, "f")(1, 1, (x,))
    if whole:
        assert x.tolist() == [int(v) % 2**64 for v in truth.values()]
    else:
        expected = [float(v) for v in truth.values()]
        np.testing.assert_allclose(x, expected, rtol=3e-16, atol=0)


@needs_nvrtc
@pytest.mark.parametrize("kind", ["unsigned long long", "float", "double"])
def test_nvrtcs_macros_have_the_same_values(kind: str) -> None:
    every = truths()
    if kind in ("float", "double"):
        some = {n: v for n, v in every.items() if math.isfinite(v) and n[:2] != "UL"}
        some = {n: v for n, v in some.items() if re.match(r"M_|FLT_|DBL_", n)}
        some = {n: v for n, v in some.items() if kind == "double" or n[:3] != "DBL"}
        text = "".join(
            f'static_assert(({kind}){n} == ({kind}){float(v)!r}, "");\n'
            for n, v in some.items()
        )
        text += f'static_assert(({kind})INFINITY > ({kind})FLT_MAX, "");\n'
        text += 'static_assert(NAN != NAN && HUGE_VAL > DBL_MAX, "");\n'
    else:
        some = {n: v for n, v in every.items() if re.search(r"[RTGE]\d*_M[AI]|_BIT", n)}
        some = {n: v for n, v in some.items() if n[:3] not in ("FLT", "DBL")}
        text = "".join(
            f'static_assert(({kind}){n} == ({kind}){int(v) % 2**64}ull, "");\n'
            for n, v in some.items()
        )
    assert len(some) >= 18
    nvrtc.build(text + body("x[t] = 1;"))
    with pytest.raises(CompileError, match="static assertion"):
        nvrtc.build(f'static_assert(({kind})INT_MAX == ({kind})1, "");\n{text}')


@needs_nvrtc
def test_every_function_of_the_prelude_is_there() -> None:
    from cuda_labs._nvcc import _MATH

    names = re.findall(r"\w+", _MATH.pattern.split("(", 1)[1])
    names = [n for n in names if re.fullmatch(r"[a-z]+[0-9]*p?", n) and n not in "bs"]
    wanted = [n for n in names if _MATH.fullmatch(f"std::{n}")]
    assert len(wanted) > 40
    nvrtc.build("".join(f"using std::{n};\n" for n in wanted) + body("x[t] = 1;"))


def test_a_source_that_nvrtc_takes_is_left_alone() -> None:
    for operation in ladders.operations():
        for rung in ladders.rungs(operation, gpu_only=True):
            source = ladders.load(operation, rung).kernel.source
            assert for_nvrtc(source) == source


@needs_nvrtc
def test_lines_keep_their_numbers() -> None:
    source = "#include <stdlib.h>\n" + body("x[t] = INFINITY + missing;")
    with pytest.raises(CompileError, match=r"kernel\.cu\(4\).*missing"):
        nvrtc.build(source)
    with pytest.raises(CompileError, match=r"line 4: .*missing"):
        _ = Kernel(source, "f").parameters
