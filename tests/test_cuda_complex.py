"""Complex numbers: CuPy's and Thrust's, and CUDA's own pairs."""

from __future__ import annotations

import importlib.util
import shlex
from typing import Any

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, Unsupported, nvrtc

FLAVOURS = pytest.mark.parametrize("checked", [True, False])
TYPES = pytest.mark.parametrize(
    ("name", "dtype"), [("float", np.complex64), ("double", np.complex128)]
)


def points(dtype: Any, n: int = 400, seed: int = 41) -> Any:
    """Points of the plane, near to 0 and far from it, and some on the axes."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-2, 0.7, n)
    z = size * np.exp(1j * rng.uniform(-np.pi, np.pi, n))
    z[:4] = [0.5, -0.25, 0.75j, 2.5]
    return z.astype(dtype)


UNARY = shlex.split(
    "exp log log10 sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh "
    "conj log2 log1p expm1"
)
NUMPY = {
    "acos": "arccos",
    "asin": "arcsin",
    "atan": "arctan",
    "acosh": "arccosh",
    "asinh": "arcsinh",
    "atanh": "arctanh",
}


@TYPES
@pytest.mark.parametrize("function", UNARY)
def test_functions_are_right_over_the_plane(
    function: str, name: str, dtype: Any
) -> None:
    z = points(dtype)
    source = f"""#include <cupy/complex.cuh>
    extern "C" __global__ void f(const complex<{name}>* z, complex<{name}>* w) {{
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      w[i] = {function}(z[i]);
    }}"""
    w = np.zeros_like(z)
    Kernel(source, "f")(4, 100, (z, w))
    want = getattr(np, NUMPY.get(function, function))(z.astype(np.complex128))
    eps = np.finfo(dtype).eps
    # Near a branch cut either side is right.
    cut = np.abs(np.abs(w.imag - want.imag) - 2 * np.pi) < 1e-3
    want.imag[cut] = w.imag[cut]
    assert np.max(np.abs(w - want) / (np.abs(want) + 0.05)) < 30 * eps


ARITHMETIC = """
#include <cupy/complex.cuh>
#include <cupy/math_constants.h>
template <typename T>
__global__ void all(const complex<T>* x, const complex<T>* y, complex<T>* w, T* r,
                    complex<T> shift) {
  int i = threadIdx.x;
  complex<T> a = x[i], b(y[i]), s = 0.0;
  s += a * b; s -= b / a; s *= 2; s /= T(4); s += T(1);
  s = 3.0f * s - s * T(0.5) + T(1) / s + (-b) - 2.0f;
  s += shift;
  w[i] = s;
  a.real(T(7)); a.imag(b.imag());
  r[8 * i] = abs(s); r[8 * i + 1] = arg(s); r[8 * i + 2] = norm(s);
  r[8 * i + 3] = real(a) + imag(a) + a.real();
  r[8 * i + 4] = (b == b) + 2 * (b != a) + 4 * (complex<T>(3) == T(3));
  r[8 * i + 5] = isnan(complex<T>(T(CUDART_NAN_F), 1)) + isfinite(b);
  complex<T> p = pow(b, T(2)) + pow(T(2), b) + pow(b, a) + thrust::polar(T(2), T(1));
  r[8 * i + 6] = p.real();
  r[8 * i + 7] = p.imag();
}
"""


@FLAVOURS
@TYPES
def test_arithmetic_is_numpys(name: str, dtype: Any, checked: bool) -> None:
    x, y = points(dtype, 64), points(dtype, 64, 42)
    w, r = np.zeros(64, dtype), np.zeros((64, 8), x.real.dtype)
    shift = dtype(0.5 - 2j)
    k = Kernel(ARITHMETIC, f"all<{name}>", checked=checked)
    k(1, 64, (x, y, w, r, shift))
    a, b = x.astype(np.complex128), y.astype(np.complex128)
    s = (a * b - b / a) * 2 / 4 + 1
    s = 3 * s - s * 0.5 + 1 / s - b - 2 + shift
    a = 7 + 1j * b.imag
    p = b**2 + 2**b + b**a + 2 * np.exp(1j)
    truth = np.stack(
        [
            *(abs(s), np.angle(s), abs(s) ** 2, 14 + b.imag, 7 + 0 * b.imag),
            *(2 + 0 * b.imag, p.real, p.imag),
        ],
        1,
    )
    tolerance: dict[str, Any] = (
        {"rtol": 3e-3, "atol": 2e-3} if name == "float" else {"rtol": 1e-9}
    )
    np.testing.assert_allclose(w, s, **tolerance)
    np.testing.assert_allclose(r, truth, **tolerance)


TURNED = """
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/float16.cuh>
#include <cupy/math_constants.h>
// Each block turns 32 numbers round in shared memory and scales them.
extern "C" __global__ void f(const complex<float>* z, complex<float>* w) {
  __shared__ complex<float> tile[32];
  int i = threadIdx.x, at = blockIdx.x * 32;
  tile[i] = z[at + i];
  __syncthreads();
  w[at + i] = tile[31 - i] * complex<float>(0, 2);
  if (w[at + i].real() == CUDART_INF_F) w[at + i] = 0;
}
"""


@pytest.mark.parametrize("order", ["forward", "reversed", 5])
def test_numbers_in_shared_memory_are_moved_whole(order: Any) -> None:
    z = points(np.complex64, 128)
    w = np.zeros_like(z)
    p = Kernel(TURNED, "f").profile(4, 32, (z, w), order=order)
    assert not p.errors, str(p)
    np.testing.assert_array_equal(
        w, z.reshape(4, 32)[:, ::-1].ravel() * np.complex64(2j)
    )
    load = p.lines[TURNED.splitlines().index("  tile[i] = z[at + i];") + 1]
    assert load.sectors_per_request == 8  # 32 lanes, 8 bytes each


def test_thrusts_header_alone_puts_no_name_into_the_open() -> None:
    source = """#include <thrust/complex.h>
    struct complex { int a; };
    extern "C" __global__ void f(thrust::complex<double>* z) {
      complex c = {3};
      z[threadIdx.x] = thrust::exp(z[threadIdx.x]) * double(c.a);
    }"""
    z = points(np.complex128, 32)
    w = z.copy()
    Kernel(source, "f")(1, 32, (w,))
    np.testing.assert_allclose(w, 3 * np.exp(z), rtol=1e-13)


def test_arguments_are_complex_numbers_or_pairs() -> None:
    k = Kernel(TURNED, "f")
    z, pairs = points(np.complex64, 32), np.zeros((32, 2), np.float32)
    k(1, 32, (z, pairs))
    np.testing.assert_array_equal(pairs[:, 0], (z[::-1] * np.complex64(2j)).real)
    with pytest.raises(TypeError, match="parameter 2"):
        k(1, 32, (z, np.zeros(32, np.complex128)))


def test_a_whole_number_beside_one_is_an_error_as_on_a_gpu() -> None:
    source = """#include <cupy/complex.cuh>
    extern "C" __global__ void f(complex<float>* z) { z[0] = 2 * z[0]; }"""
    with pytest.raises(CompileError, match=r"^line 2: .*opera(tor|nds)"):
        Kernel(source, "f")(1, 1, (np.zeros(1, np.complex64),))


def test_a_source_may_add_to_std_what_nvrtc_lacks() -> None:
    source = """#include <cupy/complex.cuh>
    #include <cupy/cuda_workaround.h>
    namespace std {
    template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
    template <bool B> using chosen_t = typename enable_if<B, int>::type;
    template <class T> struct is_void {
      static __device__ int twice(int v) { return 2 * v; }
      static constexpr int value = 5;
    };
    }
    template <class T> __global__ void f(T* x) {
      std::chosen_t<true> n = std::is_void<T>::value;
      if constexpr (std::is_same_v<T, thrust::complex<float>>) x[0] = conj(x[0]);
      else x[0] = n;
    }"""
    z, x = points(np.complex64, 8)[:1], np.zeros(1, np.float32)
    w = z.copy()
    Kernel(source, "f<complex<float>>")(1, 1, (w,))
    Kernel(source, "f<float>")(1, 1, (x,))
    assert w[0] == np.conj(z[0])
    assert x[0] == 5


def test_an_unused_header_of_pycudas_may_stand() -> None:
    line = "#include <pycuda-complex.hpp>\n"
    text = 'extern "C" __global__ void f(float* x) { x[0] = 1; }'
    x = np.zeros(1, np.float32)
    Kernel(line + text, "f")(1, 1, (x,))
    assert x[0] == 1
    with pytest.raises(Unsupported, match=r"line 1: .*pycuda-complex"):
        Kernel(line + text + "\ntypedef pycuda::complex<float> C;", "f")(1, 1, (x,))


def test_cupys_own_arrays_are_refused() -> None:
    source = "#include <cupy/carray.cuh>\n__global__ void f(CArray<float, 1> a) {}"
    with pytest.raises(Unsupported, match=r"line 1: .*#include <cupy/carray.cuh>"):
        Kernel(source, "f")(1, 1, ())


PAIRS = """
#include <cuComplex.h>
__device__ cuDoubleComplex wide(cuComplex z) { return cuComplexFloatToDouble(z); }
extern "C" __global__ void f(const cuFloatComplex* x, const cuFloatComplex* y,
                             cuFloatComplex* w, cuDoubleComplex* v) {
  int i = threadIdx.x;
  cuFloatComplex a = x[i], b = y[i];
  cuComplex s = cuCaddf(cuCmulf(a, b), cuCdivf(a, b));
  w[i] = cuCsubf(s, make_cuFloatComplex(cuCabsf(a), cuCimagf(cuConjf(b))));
  v[i] = cuCfma(wide(a), make_cuDoubleComplex(0.0, cuCreal(wide(b))), wide(b));
}
"""


@FLAVOURS
def test_pairs_with_functions_on_them(checked: bool) -> None:
    x, y = points(np.complex64, 64), points(np.complex64, 64, 42)
    w, v = np.zeros_like(x), np.zeros(64, np.complex128)
    Kernel(PAIRS, "f", checked=checked)(1, 64, (x, y, w, v))
    a, b = x.astype(np.complex128), y.astype(np.complex128)
    np.testing.assert_allclose(w, a * b + a / b - abs(a) + 1j * b.imag, rtol=1e-4)
    np.testing.assert_allclose(v, a * (1j * b.real) + b, rtol=1e-13)


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
def test_nvidias_compiler_takes_them_too() -> None:
    assert nvrtc.build(PAIRS).ptx.count(".entry") == 1
    if importlib.util.find_spec("cupy") is not None:
        assert nvrtc.build(TURNED).ptx.count(".entry") == 1
        assert nvrtc.build(ARITHMETIC, names=("all<float>",)).ptx.count(".entry") == 1
