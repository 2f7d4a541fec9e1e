"""Kernels as people write them: each runs right, or is refused with a reason.

The forms follow the CUDA samples, textbooks and open-source code in style:
templates, macros, helpers, unions, volatile, masks, early returns, atomics.
Every expected value is computed here by NumPy or by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cuda_forms_teaching import TEACHING

from cuda_labs import Kernel, Unsupported

N = np.int32
F = np.float32


def f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


RNG = np.random.default_rng(0)
X = RNG.standard_normal(256).astype(F)
IX = RNG.integers(-1000, 1000, 256).astype(N)
U = IX.astype(np.uint32)
D = X.astype(np.float64)


@dataclass(frozen=True)
class Form:
    """A source, its launch, and the output that it must leave in `out`."""

    name: str
    source: str
    args: tuple[Any, ...]
    expected: Any
    grid: Any = 1
    block: Any = 256
    shared: int = 0
    kernel: str = "f"
    refused: str = ""
    rtol: float = 0.0
    atol: float = 0.0


FORMS: list[Form] = []


def form(name: str, params: str, body: str, args, expected, before="", **kw) -> None:
    source = f'{before}\nextern "C" __global__ void f({params}) {{\n{body}\n}}\n'
    FORMS.append(Form(name, source, args, expected, **kw))


def whole(name: str, source: str, args, expected, **kw) -> None:
    FORMS.append(Form(name, source, args, expected, **kw))


T = "int t = threadIdx.x;"
XY = "const float* x, float* out"

# ---- indices and launch shapes ----
form(
    "3-D blocks",
    "int* out",
    """
  int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[i] = threadIdx.x * 100 + threadIdx.y * 10 + threadIdx.z;""",
    (),
    [x * 100 + y * 10 + z for z in range(2) for y in range(3) for x in range(4)],
    block=(4, 3, 2),
)
form(
    "3-D grids",
    "int* out",
    """
  int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[b] = blockIdx.z * 100 + blockIdx.y * 10 + blockIdx.x;""",
    (),
    [z * 100 + y * 10 + x for z in range(2) for y in range(3) for x in range(4)],
    grid=(4, 3, 2),
    block=1,
)
form(
    "dim3 and uint3 variables",
    "int* out",
    """
  dim3 b = blockDim; uint3 i = threadIdx; const uint3& j = blockIdx;
  dim3 two(2, 3); dim3 one = 5;
  out[i.x] = b.x * 1000 + j.x + two.y * 10 + two.z + one.y;""",
    (),
    [4032] * 4,
    block=4,
)
form(
    "grid-stride loop",
    XY + ", int n",
    """
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += blockDim.x * gridDim.x) out[i] = 2.0f * x[i];""",
    (X, N(256)),
    2 * X,
    grid=3,
    block=32,
)
form(
    "size_t indices",
    XY + ", size_t n",
    """
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = x[n - 1 - i];""",
    (X, np.uint64(256)),
    X[::-1],
    grid=2,
    block=200,
)
form(
    "warp and lane numbers",
    "int* out",
    """
  const int lane = threadIdx.x & (warpSize - 1), warp = threadIdx.x / warpSize;
  out[threadIdx.x] = warp * 100 + lane;""",
    (),
    [t // 32 * 100 + t % 32 for t in range(96)],
    block=96,
)

# ---- the language ----
whole(
    "template kernel",
    """
template <typename T, int K> __global__ void f(const T* x, T* out) {
  int i = threadIdx.x; T s = 0;
  #pragma unroll
  for (int k = 0; k < K; ++k) s += x[(i + k) % 256];
  out[i] = s;
}""",
    (IX,),
    sum(np.roll(IX, -k) for k in range(5)),
    kernel="f<int, 5>",
)
whole(
    "specialised template",
    """
template <typename T> struct zero; template <> struct zero<float> {
  static __device__ float value() { return -1.0f; } };
template <typename T> __global__ void f(T* out) { out[threadIdx.x] = zero<T>::value(); }
""",
    (),
    np.full(8, -1, F),
    kernel="f<float>",
    block=8,
)
whole(
    "functor argument",
    """
struct Axpy { float a; __host__ __device__ float operator()(float x) const {
  return a * x + 1.0f; } };
template <class Op> __device__ __forceinline__ float apply(Op op, float v) {
  return op(v); }
extern "C" __global__ void f(const float* x, float* out, Axpy op) {
  out[threadIdx.x] = apply(op, x[threadIdx.x]);
}""",
    (X, np.array((2.0,), dtype=[("a", F)])[()]),
    F(2) * X + F(1),
)
form(
    "lambda",
    XY,
    """ auto g = [&](int i) { return x[i] * x[i]; };
  out[threadIdx.x] = g(threadIdx.x);""",
    (X,),
    X * X,
)
form(
    "macros",
    "const int* x, int* out",
    """ int i = IDX; out[i] = MIN2(x[i], LIMIT);""",
    (IX,),
    np.minimum(IX, 17),
    before="#define LIMIT 17\n#define IDX (threadIdx.x)\n"
    "#define MIN2(a, b) ((a) < (b) ? (a) : \\\n (b))",
)
form(
    "conditional compilation",
    "int* out",
    """
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  out[threadIdx.x] = 8;
#else
  out[threadIdx.x] = 1;
#endif""",
    (),
    [8] * 4,
    block=4,
)
form(
    "switch and do-while",
    "const int* x, int* out",
    """
  int v = x[threadIdx.x], n = 0;
  switch (v & 3) { case 0: n = 10; break; case 1: n = 20; default: n += 5; }
  do { ++n; v >>= 1; } while (v > 0);
  out[threadIdx.x] = n;""",
    (np.arange(64, dtype=N),),
    [{0: 10, 1: 25}.get(v & 3, 5) + max(1, int(v).bit_length()) for v in range(64)],
    block=64,
)
form(
    "goto and labels",
    "int* out",
    """ int i = 0;
again: if (++i < 7) goto again;
  out[threadIdx.x] = i;""",
    (),
    [7] * 4,
    block=4,
)
form(
    "constexpr tables",
    "int* out",
    """
  constexpr int table[4] = {3, 1, 4, 1}; static const int other[2] = {5, 9};
  out[threadIdx.x] = table[threadIdx.x % 4] * other[threadIdx.x % 2];""",
    (),
    [15, 9, 20, 9] * 2,
    block=8,
)
form(
    "namespaces, enums and using",
    "int* out",
    """
  using I = int; enum { A = 3 }; I v = lib::twice(A) + (I)lib::Color::blue;
  out[threadIdx.x] = v;""",
    (),
    [8] * 2,
    block=2,
    before="namespace lib { enum class Color { red, green, blue };\n"
    "__device__ constexpr int twice(int v) { return 2 * v; } }",
)
form(
    "device recursion",
    "int* out",
    " out[threadIdx.x] = fib(threadIdx.x);",
    (),
    [0, 1, 1, 2, 3, 5, 8, 13, 21, 34],
    block=10,
    before="__device__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }",
)
form(
    "local arrays",
    "const float* x, float* out",
    """
  float r[8];
  #pragma unroll
  for (int k = 0; k < 8; ++k) r[k] = x[threadIdx.x * 8 + k];
  for (int a = 0; a < 8; ++a) for (int b = 0; b + 1 < 8 - a; ++b)
    if (r[b] > r[b + 1]) { float s = r[b]; r[b] = r[b + 1]; r[b + 1] = s; }
  for (int k = 0; k < 8; ++k) out[threadIdx.x * 8 + k] = r[k];""",
    (X,),
    np.sort(X.reshape(32, 8)),
    block=32,
)
form(
    "variadic templates and if constexpr",
    "int* out",
    """
  out[threadIdx.x] = total(1, 2, 3, (int)threadIdx.x);""",
    (),
    [6, 7, 8],
    block=3,
    before="template <class T> __device__ T total(T v) { return v; }\n"
    "template <class T, class... R> __device__ T total(T v, R... r) {\n"
    "  if constexpr (sizeof...(r) > 0) return v + total(r...); else return v; }",
)
whole(
    "several kernels in a file",
    """
extern "C" __global__ void g(int* out) { out[threadIdx.x] = 1; }
extern "C" __global__ void __launch_bounds__(128, 2) f(int* out) {
  out[threadIdx.x] = 2; }
extern "C" __global__ void h(int* out) { out[threadIdx.x] = 3; }""",
    (),
    [2] * 4,
    block=4,
)
whole(
    "restrict, const and grid constants",
    """
extern "C" __global__ void f(const float* __restrict__ const x,
    float* __restrict__ out, const __grid_constant__ int n) {
  const auto i = threadIdx.x; if (i < n) out[i] = __ldg(&x[i]) + __ldg(x + n - 1 - i);
}""",
    (X, N(256)),
    X + X[::-1],
)
whole(
    "structures by pointer",
    """
struct __align__(8) P { float x; int k; };
extern "C" __global__ void f(const P* p, float* out) {
  P q = p[threadIdx.x]; out[threadIdx.x] = q.x * q.k; }""",
    (np.array([(1.5, 2), (2.5, 3)], dtype=[("x", F), ("k", N)]),),
    f32([3, 7.5]),
    block=2,
)
form(
    "char buffers",
    "const char* s, char* out",
    " char c = s[threadIdx.x]; out[threadIdx.x] = c >= 'a' && c <= 'z' ? c - 32 : c;",
    (np.frombuffer(b"Cuda labs", np.int8),),
    np.frombuffer(b"CUDA LABS", np.int8),
    block=9,
)
form(
    "64-bit integers",
    "const long long* x, long long* out",
    " out[threadIdx.x] = x[threadIdx.x] * 3000000001LL;",
    (IX.astype(np.int64),),
    IX.astype(np.int64) * 3000000001,
)
form(
    "unsigned wrap-around",
    "const unsigned* x, unsigned* out",
    " out[threadIdx.x] = x[threadIdx.x] * 2654435761u - 5u;",
    (U,),
    U * np.uint32(2654435761) - np.uint32(5),
)
form(
    "pointer arithmetic and reinterpret_cast",
    XY,
    """
  const float2* p = reinterpret_cast<const float2*>(x) + threadIdx.x;
  float* q = out + 2 * threadIdx.x; *q++ = p->y; *q = p->x;""",
    (X,),
    X.reshape(-1, 2)[:, ::-1],
    block=128,
)

# ---- vector types ----
form(
    "float4 loads and stores",
    "const float4* x, float4* out",
    """
  float4 v = x[threadIdx.x]; v.x += 1.0f; v.w *= 2.0f;
  out[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);""",
    (X,),
    (X.reshape(-1, 4) * f32([1, 1, 1, 2]) + f32([1, 0, 0, 0]))[:, ::-1],
    block=64,
)
form(
    "vector initialisers",
    "float4* out",
    """
  float4 a = {1, 2, 3, 4}, b{5, 6}, c = {}, d = float4{7};
  out[0] = a; out[1] = b; out[2] = c; out[3] = d;""",
    (),
    f32([[1, 2, 3, 4], [5, 6, 0, 0], [0, 0, 0, 0], [7, 0, 0, 0]]),
    block=1,
)
form(
    "operator overloads on float3",
    "float3* out",
    """
  float3 a = make_float3(1, 2, 3); out[threadIdx.x] = a + a * 2.0f;""",
    (),
    f32([[3, 6, 9]] * 2),
    block=2,
    before="__device__ float3 operator+(float3 a, float3 b) {\n"
    " return make_float3(a.x + b.x, a.y + b.y, a.z + b.z); }\n"
    "__device__ float3 operator*(float3 a, float s) {\n"
    " return make_float3(a.x * s, a.y * s, a.z * s); }",
)
form(
    "int2, uchar4, double2",
    "const int2* x, uchar4* c, double2* out",
    """
  int2 v = x[threadIdx.x]; c[threadIdx.x] = make_uchar4(v.x, v.y, 1, 255);
  out[threadIdx.x] = make_double2(v.y, c[threadIdx.x].w);""",
    (IX, np.zeros(512, np.uint8)),
    np.stack([IX[1::2], np.full(128, 255)], 1).astype(float),
    block=128,
)
form(
    "float4 in shared memory",
    "const float4* x, float4* out",
    """
  __shared__ float4 s[64]; s[threadIdx.x] = x[threadIdx.x]; __syncthreads();
  out[threadIdx.x] = s[63 - threadIdx.x];""",
    (X,),
    X.reshape(-1, 4)[::-1],
    block=64,
)
form(
    "half arithmetic",
    "const __half* x, __half* out",
    """
  __half2 v = reinterpret_cast<const __half2*>(x)[threadIdx.x];
  v = __hfma2(v, __float2half2_rn(2.0f), __half2half2(__float2half(0.5f)));
  reinterpret_cast<__half2*>(out)[threadIdx.x] = v;""",
    (X.astype(np.float16),),
    X.astype(np.float16) * np.float16(2) + np.float16(0.5),
    block=128,
    before="#include <cuda_fp16.h>",
    rtol=1e-3,
)
form(
    "bfloat16 as uint16",
    "const __nv_bfloat16* x, float* out",
    " out[threadIdx.x] = __bfloat162float(x[threadIdx.x]);",
    ((X.view(np.uint32) >> 16).astype(np.uint16),),
    (X.view(np.uint32) & np.uint32(0xFFFF0000)).view(F),
    before="#include <cuda_bf16.h>",
)

# ---- shared memory ----
form(
    "static tile",
    XY,
    T
    + """ __shared__ float s[256]; s[t] = x[t];
  __syncthreads(); out[t] = s[255 - t];""",
    (X,),
    X[::-1],
)
form(
    "dynamic shared memory",
    XY,
    T
    + """ extern __shared__ float s[]; s[t] = x[t];
  __syncthreads(); out[t] = s[(t + 1) % blockDim.x];""",
    (X,),
    np.roll(X, -1),
    shared=1024,
)
whole(
    "dynamic shared memory at file scope",
    """
extern __shared__ float pool[];
extern "C" __global__ void f(const float* x, float* out) {
  int t = threadIdx.x; float* a = pool; float* b = pool + blockDim.x;
  a[t] = x[t]; b[t] = -x[t]; __syncthreads(); out[t] = a[255 - t] + 2.0f * b[t];
}""",
    (X,),
    X[::-1] - 2 * X,
    shared=2048,
)
whole(
    "dynamic shared memory of a template",
    """
template <class T> struct Shared { __device__ operator T*() {
  extern __shared__ __align__(sizeof(double)) unsigned char raw[]; return (T*)raw; } };
template <class T> __global__ void f(const T* x, T* out) {
  T* s = Shared<T>(); s[threadIdx.x] = x[threadIdx.x]; __syncthreads();
  out[threadIdx.x] = s[threadIdx.x ^ 1]; }""",
    (D,),
    D.reshape(-1, 2)[:, ::-1].ravel(),
    kernel="f<double>",
    shared=2048,
)
form(
    "union in shared memory",
    "const float* x, unsigned* out",
    T
    + """
  __shared__ union { float f[256]; unsigned u[256]; } s;
  s.f[t] = x[t]; __syncthreads(); out[t] = s.u[255 - t];""",
    (X,),
    X.view(np.uint32)[::-1],
)
form(
    "structure in shared memory",
    XY,
    T
    + """
  struct Cell { float v; int k; }; __shared__ Cell s[256];
  s[t] = Cell{x[t], t}; __syncthreads(); Cell c = s[t ^ 3]; out[t] = c.v + c.k;""",
    (X,),
    X[np.arange(256) ^ 3] + (np.arange(256) ^ 3).astype(F),
)
form(
    "two-dimensional padded tile",
    XY,
    """
  __shared__ float tile[16][17]; int x0 = threadIdx.x, y0 = threadIdx.y;
  tile[y0][x0] = x[y0 * 16 + x0]; __syncthreads(); out[y0 * 16 + x0] = tile[x0][y0];""",
    (X,),
    X.reshape(16, 16).T,
    block=(16, 16),
)
whole(
    "shared memory in a device function",
    """
__device__ float last(float v) { __shared__ float s; if (threadIdx.x == 255) s = v;
  __syncthreads(); return s; }
extern "C" __global__ void f(const float* x, float* out) {
  out[threadIdx.x] = last(x[threadIdx.x]); }""",
    (X,),
    np.full(256, X[255]),
)
whole(
    "shared array in a template",
    """
template <int K> __global__ void f(const float* x, float* out) {
  __shared__ float s[K]; int t = threadIdx.x; s[t] = x[t]; __syncthreads();
  out[t] = s[K - 1 - t]; }""",
    (X,),
    X[::-1],
    kernel="f<256>",
)
form(
    "half and char tiles",
    "const unsigned char* x, unsigned char* out",
    T
    + """
  __shared__ unsigned char s[256]; s[t] = x[t]; __syncthreads(); out[t] = s[t ^ 7];""",
    (U.astype(np.uint8),),
    U.astype(np.uint8)[np.arange(256) ^ 7],
)

# ---- reductions, scans, histograms ----
form(
    "tree reduction",
    XY,
    T
    + """ __shared__ float s[256]; s[t] = x[t];
  for (int k = blockDim.x / 2; k > 0; k >>= 1) { __syncthreads();
    if (t < k) s[t] += s[t + k]; }
  if (t == 0) *out = s[0];""",
    (X,),
    [X.sum(dtype=float)],
    rtol=1e-5,
)
form(
    "volatile warp reduction with masks",
    "const int* x, int* out",
    T
    + """
  __shared__ volatile int s[64]; s[t] = x[t] + x[t + 64]; __syncthreads();
  if (t < 32) { s[t] += s[t + 32]; __syncwarp();
    for (int k = 16; k > 0; k >>= 1) { int v = s[t] + s[t + k]; __syncwarp();
      s[t] = v; __syncwarp(); } }
  if (t == 0) out[0] = s[0];""",
    (IX,),
    [IX[:128].sum()],
    block=64,
)
form(
    "volatile, lanes in step, no masks",
    "const int* x, int* out",
    T
    + """
  __shared__ int s[64]; s[t] = x[t]; __syncthreads();
  if (t < 32) { volatile int* v = s; v[t] += v[t + 32]; v[t] += v[t + 16];
    v[t] += v[t + 8]; v[t] += v[t + 4]; v[t] += v[t + 2]; v[t] += v[t + 1]; }
  if (t == 0) out[0] = s[0];""",
    (IX,),
    [IX[:64].sum()],
    block=64,
)
form(
    "shuffle reduction of a block",
    "const int* x, int* out",
    T
    + """
  __shared__ int s[32]; int v = x[t];
  for (int k = 16; k > 0; k /= 2) v += __shfl_down_sync(0xffffffff, v, k);
  if ((t & 31) == 0) s[t >> 5] = v;
  __syncthreads();
  v = t < blockDim.x / 32 ? s[t] : 0;
  if (t < 32) { for (int k = 16; k; k >>= 1) v += __shfl_xor_sync(~0u, v, k);
    if (t == 0) out[0] = v; }""",
    (IX,),
    [IX.sum()],
)
form(
    "warp scan",
    "const int* x, int* out",
    T
    + """ int v = x[t], lane = t & 31;
  for (int k = 1; k < 32; k *= 2) { int u = __shfl_up_sync(-1, v, k);
    if (lane >= k) v += u; }
  out[t] = v;""",
    (IX,),
    np.cumsum(IX.reshape(8, 32), axis=1),
)
form(
    "Hillis-Steele scan with two buffers",
    "const int* x, int* out",
    T
    + """
  __shared__ int s[2][256]; int in = 0; s[0][t] = x[t]; __syncthreads();
  for (int k = 1; k < 256; k <<= 1) {
    s[1 - in][t] = s[in][t] + (t >= k ? s[in][t - k] : 0);
    in = 1 - in; __syncthreads(); }
  out[t] = s[in][t];""",
    (IX,),
    np.cumsum(IX),
)
form(
    "Blelloch scan",
    "const int* x, int* out",
    T
    + """ __shared__ int s[256]; s[t] = x[t];
  int d = 1;
  for (int n = 128; n > 0; n >>= 1, d <<= 1) { __syncthreads(); if (t < n) {
    int a = d * (2 * t + 1) - 1, b = d * (2 * t + 2) - 1; s[b] += s[a]; } }
  if (t == 0) s[255] = 0;
  for (int n = 1; n < 256; n <<= 1) { d >>= 1; __syncthreads(); if (t < n) {
    int a = d * (2 * t + 1) - 1, b = d * (2 * t + 2) - 1;
    int v = s[a]; s[a] = s[b]; s[b] += v; } }
  __syncthreads(); out[t] = s[t];""",
    (IX,),
    np.cumsum(IX) - IX,
)
form(
    "privatised histogram",
    "const unsigned char* x, int n, unsigned* out",
    T
    + """
  __shared__ unsigned h[256]; h[t] = 0; __syncthreads();
  for (int i = blockIdx.x * 256 + t; i < n; i += 512) atomicAdd(&h[x[i]], 1u);
  __syncthreads(); atomicAdd(out + t, h[t]);""",
    (np.tile(U.astype(np.uint8), 9), N(2304)),
    np.bincount(np.tile(U.astype(np.uint8), 9), minlength=256),
    grid=2,
)
whole(
    "last block finishes (threadFenceReduction)",
    """
__device__ unsigned done = 0;
extern "C" __global__ void f(const int* x, volatile int* part, int* out) {
  __shared__ bool last; __shared__ int s[64]; int t = threadIdx.x;
  s[t] = x[blockIdx.x * 64 + t]; __syncthreads();
  for (int k = 32; k; k >>= 1) { if (t < k) s[t] += s[t + k]; __syncthreads(); }
  if (t == 0) { part[blockIdx.x] = s[0]; __threadfence();
    last = atomicInc(&done, gridDim.x) == gridDim.x - 1; }
  __syncthreads();
  if (last && t == 0) { int v = 0; for (int i = 0; i < gridDim.x; ++i) v += part[i];
    out[0] = v; done = 0; }
}""",
    (IX, np.zeros(4, N)),
    [IX.sum()],
    grid=4,
    block=64,
)

# ---- atomics ----
form(
    "atomics of every kind",
    "int* out",
    """
  int t = threadIdx.x + 1;
  atomicAdd(out, t); atomicSub(out + 1, t); atomicMin(out + 2, -t);
  atomicMax(out + 3, t);
  atomicAnd(out + 4, ~t); atomicOr(out + 5, t); atomicXor(out + 6, t);
  atomicInc((unsigned*)out + 7, 4u); atomicDec((unsigned*)out + 8, 4u);
  atomicExch(out + 9, 77);""",
    (),
    [36, -36, -8, 8, 0, 15, 8, 3, 2, 77],
    block=8,
)
form(
    "atomicCAS loop on double",
    "const double* x, double* out",
    """
  unsigned long long* a = (unsigned long long*)out; unsigned long long old = *a, seen;
  do { seen = old; old = atomicCAS(a, seen, __double_as_longlong(x[threadIdx.x]
    + __longlong_as_double(seen))); } while (seen != old);""",
    (D,),
    [D.sum()],
    rtol=1e-12,
)
form(
    "atomicMax on float by bits",
    "const float* x, int* out",
    """
  int v = __float_as_int(fabsf(x[threadIdx.x])); atomicMax(out, v);""",
    (X,),
    [np.abs(X).max().view(N)],
)
form(
    "spin lock",
    "int* lock, int* out",
    """
  for (bool done = false; !done;) {
    if (atomicCAS(lock, 0, 1) == 0) { __threadfence(); out[0] += 1; __threadfence();
      atomicExch(lock, 0); done = true; } }""",
    (np.zeros(1, N),),
    [256],
)
form(
    "flag with volatile",
    "int* flag, int* out",
    """
  volatile int* v = flag;
  if (threadIdx.x == 0) { while (*v == 0); out[0] = *v; }
  else if (threadIdx.x == 5) { *v = 9; }""",
    (np.zeros(1, N),),
    [9],
    block=8,
)
whole(
    "decoupled look-back",
    """
extern "C" __global__ void f(const int* x, volatile int* state, int* ticket, int* out) {
  __shared__ int b; __shared__ int before;
  if (threadIdx.x == 0) b = atomicAdd(ticket, 1);
  __syncthreads();
  if (threadIdx.x == 0) { int s = 0; for (int i = 0; i < 32; ++i) s += x[b * 32 + i];
    int p = 0; if (b > 0) while ((p = state[b - 1]) == -1) ;
    before = p; __threadfence(); state[b] = p + s; }
  __syncthreads();
  if (threadIdx.x == 0) { int r = before; for (int i = 0; i < 32; ++i)
    out[b * 32 + i] = r += x[b * 32 + i]; }
}""",
    (np.abs(IX), np.full(8, -1, N), np.zeros(1, N)),
    np.cumsum(np.abs(IX)),
    grid=8,
    block=32,
)

# ---- votes, masks, divergence ----
form(
    "votes",
    "const int* x, int* out",
    T
    + """ unsigned b = __ballot_sync(~0u, x[t] > 0);
  out[t] = __popc(b) + 100 * __any_sync(~0u, x[t] > 990)
    + 1000 * __all_sync(~0u, b);""",
    (IX,),
    np.repeat(
        [
            (g > 0).sum() + 100 * (g > 990).any() + 1000 * (g > 0).any()
            for g in IX.reshape(8, 32)
        ],
        32,
    ),
)
form(
    "warp-aggregated filter",
    "const int* x, int* count, int* out",
    T
    + """
  bool keep = x[t] > 0; unsigned m = __ballot_sync(~0u, keep);
  int lane = t & 31, base = 0, leader = __ffs(m) - 1;
  if (lane == leader) base = atomicAdd(count, __popc(m));
  base = __shfl_sync(~0u, base, leader < 0 ? 0 : leader);
  if (keep) out[base + __popc(m & ((1u << lane) - 1))] = x[t];""",
    (IX, np.zeros(1, N)),
    IX[IX > 0],
)
form(
    "collective under a branch with its mask",
    "const int* x, int* out",
    T
    + """
  unsigned m = __ballot_sync(~0u, t % 3 == 0);
  if (t % 3 == 0) { int s = 0; for (unsigned r = m; r; r &= r - 1)
      s += __shfl_sync(m, x[t], __ffs(r) - 1);
    out[t] = s; } else out[t] = -1;""",
    (IX,),
    [
        IX[t // 32 * 32 : t // 32 * 32 + 32][
            np.arange(t // 32 * 32, t // 32 * 32 + 32) % 3 == 0
        ].sum()
        if t % 3 == 0
        else -1
        for t in range(256)
    ],
)
form(
    "active mask",
    "int* out",
    T
    + """
  if (t & 1) out[t] = __popc(__activemask()); else out[t] = __activemask() == M;
  """,
    (),
    [1, 16] * 16,
    block=32,
    before="#define M 0x55555555",
)
form(
    "match and reduce",
    "const int* x, int* out",
    T
    + """ int k = x[t] & 3;
  unsigned m = __match_any_sync(~0u, k);
  out[t] = __reduce_add_sync(m, x[t]) + __reduce_max_sync(~0u, t);""",
    (IX,),
    [
        IX[w : w + 32][(IX[w : w + 32] & 3) == (IX[w + lane] & 3)].sum() + w + 31
        for w in range(0, 256, 32)
        for lane in range(32)
    ],
)
form(
    "early return before a barrier",
    XY + ", int n",
    T
    + """
  if (t >= n) return;
  __shared__ float s[256]; s[t] = x[t]; __syncthreads(); out[t] = s[n - 1 - t];""",
    (X, N(100)),
    X[:100][::-1],
)
form(
    "barrier with a predicate",
    "const int* x, int* out",
    T
    + """
  int n = __syncthreads_count(x[t] > 0), a = __syncthreads_and(x[t] < 1000);
  out[t] = n * 4 + a * 2 + __syncthreads_or(x[t] > 5000);""",
    (IX,),
    [(IX > 0).sum() * 4 + 2] * 256,
)
form(
    "barriers in a divergent loop",
    "const int* x, int* out",
    T
    + """
  __shared__ int go; int n = 0; if (t == 0) go = 1; __syncthreads();
  while (go) { __syncthreads(); n += 1; if (t == 0 && n == 5) go = 0; __syncthreads(); }
  out[t] = n;""",
    (IX,),
    [5] * 64,
    block=64,
)
form(
    "butterfly with width",
    "const float* x, float* out",
    T
    + """ float v = x[t];
  for (int k = 4; k; k >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, k, 8));
  out[t] = v;""",
    (X,),
    np.repeat(X.reshape(-1, 8).max(1), 8),
)

# ---- mathematics ----
form(
    "math functions",
    XY,
    """ float v = fabsf(x[threadIdx.x]) + 0.5f;
  out[threadIdx.x] = expf(-v) + logf(v) * rsqrtf(v) + __fdividef(sinf(v), v)
    + powf(v, 1.5f) + fmaf(v, v, tanhf(v)) + floorf(v) + max(v, 2.0f);""",
    (X,),
    (
        lambda v: (
            np.exp(-v)
            + np.log(v) / np.sqrt(v)
            + np.sin(v) / v
            + v**1.5
            + v * v
            + np.tanh(v)
            + np.floor(v)
            + np.maximum(v, 2)
        )
    )(np.abs(D) + 0.5),
    rtol=3e-6,
)
form(
    "C++ overloads",
    "const double* x, double* out",
    """ double v = x[threadIdx.x];
  out[threadIdx.x] = abs(v) + exp(v) + pow(2.0, v) + min(v, 0.5) + sqrt(v * v);""",
    (D,),
    2 * np.abs(D) + np.exp(D) + 2.0**D + np.minimum(D, 0.5),
    rtol=1e-14,
)
form(
    "bit functions",
    "const unsigned* x, int* out",
    """ unsigned v = x[threadIdx.x];
  out[threadIdx.x] = __popc(v) + 100 * __clz(v) + 10000 * __ffs(v)
    + (__brev(__brev(v)) == v) + 2 * (int)(__umulhi(v, 4u) == v >> 30);""",
    (U,),
    [
        bin(v).count("1")
        + 100 * (32 - int(v).bit_length())
        + 10000 * ((int(v) & -int(v)).bit_length())
        + 3
        for v in U.tolist()
    ],
)
form(
    "division and remainder",
    "const int* x, int* out",
    """ int v = x[threadIdx.x];
  out[threadIdx.x] = v / 7 * 100 + v % 7;""",
    (IX,),
    np.trunc(IX / 7).astype(N) * 100 + np.fmod(IX, 7),
)

# ---- cooperative groups and tensor cores ----
CG = "#include <cooperative_groups.h>\nnamespace cg = cooperative_groups;\n"
form(
    "cooperative block and tiles",
    "const int* x, int* out",
    """
  cg::thread_block b = cg::this_thread_block();
  auto tile = cg::tiled_partition<16>(b);
  int v = x[b.thread_rank()];
  for (int k = tile.size() / 2; k > 0; k /= 2) v += tile.shfl_down(v, k);
  v = tile.shfl(v, 0);
  __shared__ int s[16];
  if (tile.thread_rank() == 0) s[tile.meta_group_rank()] = v;
  b.sync();
  out[b.thread_rank()] = s[15 - tile.meta_group_rank()] + tile.meta_group_size();""",
    (IX,),
    np.repeat(IX.reshape(16, 16).sum(1)[::-1] + 16, 16),
    before=CG,
)
form(
    "cooperative reduce and scan",
    "const int* x, int* out",
    """
  auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  int t = threadIdx.x, s = cg::reduce(warp, x[t], cg::plus<int>());
  int m = cg::reduce(warp, x[t], cg::greater<int>());
  out[t] = s + 7 * m + 3 * cg::inclusive_scan(warp, x[t]);""",
    (IX,),
    np.concatenate(
        [g.sum() + 7 * g.max() + 3 * np.cumsum(g) for g in IX.reshape(8, 32)]
    ),
    before="#include <cooperative_groups.h>\n#include <cooperative_groups/reduce.h>\n"
    "#include <cooperative_groups/scan.h>\nnamespace cg = cooperative_groups;\n",
)
form(
    "tile votes and matches",
    "const int* x, int* out",
    """
  auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  int t = threadIdx.x; bool p = x[t] > 0;
  out[t] = tile.ballot(p) + 1000 * tile.any(p) + 10000 * tile.all(p)
    + 100000 * __popc(tile.match_any(p));""",
    (IX,),
    [
        sum(int(g[j] > 0) << j for j in range(8))
        + 1000 * bool((g > 0).any())
        + 10000 * bool((g > 0).all())
        + 100000 * int(((g > 0) == (v > 0)).sum())
        for g in IX.reshape(-1, 8)
        for v in g
    ],
    before=CG,
)
form(
    "coalesced threads aggregate an atomic",
    "const int* x, int* count, int* out",
    """
  int t = threadIdx.x;
  if (x[t] > 0) {
    auto g = cg::coalesced_threads(); int base = 0;
    if (g.thread_rank() == 0) base = atomicAdd(count, g.size());
    base = g.shfl(base, 0);
    out[base + g.thread_rank()] = x[t];
  }""",
    (IX, np.zeros(1, N)),
    IX[IX > 0],
    before=CG,
)
WMMA = """
#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void f(const {t}* a, const {t}* b, {s}* out) {{
  fragment<matrix_a, {m}, {n}, {k}, {e}, row_major> fa;
  fragment<matrix_b, {m}, {n}, {k}, {e}, col_major> fb;
  fragment<accumulator, {m}, {n}, {k}, {s}> fc;
  load_matrix_sync(fa, a, {k}); load_matrix_sync(fb, b, {k});
  fill_fragment(fc, 1); mma_sync(fc, fa, fb, fc);
  for (int i = 0; i < fc.num_elements; ++i) fc.x[i] *= 2;
  store_matrix_sync(out, fc, {n}, mem_row_major);
}}"""
SMALL = RNG.integers(-4, 5, 1024)
for shape, element, kind, total in [
    ((16, 16, 16), "__half", np.float16, "float"),
    ((32, 8, 16), "__half", np.float16, "__half"),
    ((8, 32, 16), "signed char", np.int8, "int"),
    ((16, 16, 8), "precision::tf32", np.float32, "float"),
    ((8, 8, 4), "double", np.float64, "double"),
]:
    m_, n_, k_ = shape
    a_, b_ = SMALL[: m_ * k_].astype(kind), SMALL[-n_ * k_ :].astype(kind)
    source = WMMA.format(
        t="float" if "tf32" in element else element,
        e=element,
        s=total,
        m=m_,
        n=n_,
        k=k_,
    )
    product = a_.reshape(m_, k_).astype(int) @ b_.reshape(n_, k_).T.astype(int)
    whole(f"wmma {element} {shape}", source, (a_, b_), 2 * product + 2, block=32)

# ---- as teaching repositories write them ----
for name_, source_, args_, expected_, launch_ in TEACHING:
    whole(name_, source_, args_, expected_, **launch_)

# ---- what is refused, with its reason ----
form(
    "inline PTX",
    "int* out",
    'asm("mov.u32 %0, %laneid;" : "=r"(out[0]));',
    (),
    None,
    refused="inline PTX",
)
form("dynamic parallelism", "int* out", "f<<<1, 1>>>(out);", (), None, refused="launch")
form(
    "textures",
    "cudaTextureObject_t x, float* out",
    "out[0] = tex2D<float>(x, 0, 0);",
    (),
    None,
    refused="texture",
)
form(
    "device malloc",
    "int* out",
    "int* p = (int*)malloc(4); *p = 1; out[0] = *p;",
    (),
    None,
    refused="malloc",
)
form(
    "block primitives of a library",
    "const int* x, int* out",
    "typedef cub::BlockScan<int, 256> R; __shared__ typename R::TempStorage s;\n"
    "int v; R(s).InclusiveSum(x[threadIdx.x], v); out[threadIdx.x] = v;",
    (IX,),
    None,
    before="#include <cub/cub.cuh>",
    refused="more of CUB",
)
form(
    "asynchronous copies in PTX",
    "const float* x, float* out",
    """__shared__ float s[32];
  unsigned a = (unsigned)__cvta_generic_to_shared(s + threadIdx.x);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(a), "l"(x));""",
    (X,),
    None,
    refused="inline PTX",
)


UNORDERED = {"warp-aggregated filter", "coalesced threads aggregate an atomic"}


def test_the_list_is_long_enough_and_refuses_little() -> None:
    assert len(FORMS) >= 100
    assert len({form.name for form in FORMS}) == len(FORMS)
    assert sum(bool(form.refused) for form in FORMS) <= len(FORMS) // 10


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.name)
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "fast"])
def test_form(form: Form, checked: bool) -> None:
    k = Kernel(form.source, form.kernel, checked=checked)
    if form.refused:
        with pytest.raises(Unsupported, match=form.refused):
            _ = k.parameters
        return
    expected = np.asarray(form.expected)
    out_type = [p for p in k.parameters if p.pointer][-1]
    for order in ("forward", "reversed"):
        kind = {"f": f"f{out_type.width}", "h": "f2", "c": "i1"}.get(
            out_type.base, f"{out_type.base}{out_type.width}"
        )
        out = np.zeros(expected.size, kind)
        args = [a.copy() if isinstance(a, np.ndarray) else a for a in form.args]
        k(form.grid, form.block, _ordered(k, args, out), form.shared, order=order)
        if form.name in UNORDERED:  # warps arrive in any order
            out.sort()
            expected = np.sort(expected)
        np.testing.assert_allclose(
            out, expected.ravel(), rtol=form.rtol, atol=form.atol, err_msg=order
        )


def _ordered(k: Kernel, args: list[Any], out: np.ndarray) -> list[Any]:
    """Arguments with `out` in the place of the last pointer."""
    last = max(i for i, p in enumerate(k.parameters) if p.pointer)
    return [*args[:last], out, *args[last:]]
