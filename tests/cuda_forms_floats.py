"""Kernels on images, fields, particles, layers and small linear systems, in the
manner of textbooks, samples and libraries. Written for these tests; the truth is
NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

F, N, U, H = np.float32, np.int32, np.uint32, np.float16
RNG = np.random.default_rng(12)

# name, source, all arguments, what must stand in some of them, the launch
FLOATS: list[tuple[str, str, tuple[Any, ...], dict[int, Any], dict[str, Any]]] = []


def add(name: str, source: str, args: tuple[Any, ...], want: dict[int, Any], **kw: Any):
    FLOATS.append((name, source, args, want, kw))


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F)


def bf16(x: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even."""
    bits = np.asarray(x, F).view(U).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> 16).astype(
        np.uint16
    )


def wide(b: np.ndarray) -> np.ndarray:
    return (b.astype(U) << U(16)).view(F)


X = normal(256)
HELPERS = """
inline __host__ __device__ float3 operator+(float3 a, float3 b) {
  return make_float3(a.x + b.x, a.y + b.y, a.z + b.z); }
inline __host__ __device__ float3 operator-(const float3& a, const float3& b) {
  return make_float3(a.x - b.x, a.y - b.y, a.z - b.z); }
inline __host__ __device__ float3 operator*(float s, float3 a) {
  return make_float3(s * a.x, s * a.y, s * a.z); }
inline __host__ __device__ void operator+=(float3& a, float3 b) {
  a.x += b.x; a.y += b.y; a.z += b.z; }
inline __host__ __device__ float dot(float3 a, float3 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z; }
inline __host__ __device__ float3 cross(float3 a, float3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline __device__ float3 normalize(float3 v) { return rsqrtf(dot(v, v)) * v; }
inline __device__ float3 make_float3(float4 a) { return make_float3(a.x, a.y, a.z); }
inline __device__ float clamp(float v, float lo, float hi) {
  return fmaxf(lo, fminf(v, hi)); }
"""
BODIES = np.concatenate([normal(100, 3), RNG.random((100, 1)).astype(F)], 1)


def pull() -> np.ndarray:
    x = BODIES[:, :3].astype(float)
    d = x[None] - x[:, None]
    r = (d**2).sum(-1, keepdims=True) + 0.01
    return (BODIES[None, :, 3:] * d / r**1.5).sum(1)


add(
    "bodies attract each other, positions in tiles",
    HELPERS
    + """
#define SOFT 0.01f
template <int TILE> __global__ void gravity(const float4* __restrict__ body,
                                            float3* __restrict__ pull, int n) {
  __shared__ float4 tile[TILE];
  const int i = blockIdx.x * TILE + threadIdx.x;
  const float3 me = i < n ? make_float3(body[i]) : float3{};
  float3 sum = make_float3(0.f, 0.f, 0.f);
  for (int from = 0; from < n; from += TILE) {
    const int j = from + threadIdx.x;
    tile[threadIdx.x] = j < n ? body[j] : make_float4(0, 0, 0, 0);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < TILE; ++k) {
      const float3 d = make_float3(tile[k]) - me;
      const float inverse = rsqrtf(dot(d, d) + SOFT);
      sum += (tile[k].w * inverse * inverse * inverse) * d;
    }
    __syncthreads();
  }
  if (i < n) pull[i] = sum;
}""",
    (BODIES, np.zeros((100, 3), F), N(100)),
    {1: pull()},
    kernel="gravity<32>",
    grid=4,
    block=32,
    rtol=2e-4,
    atol=2e-3,
)
SPHERES = np.concatenate([normal(7, 3) * 2, RNG.random((7, 1)).astype(F) + 0.5], 1)


def nearest_hit() -> list[int]:
    out: list[int] = []
    for y in range(16):
        for x in range(16):
            p = np.array([x - 8, y - 8]) / 2.0
            depth, hit = -np.inf, -1
            for k, (cx, cy, cz, r) in enumerate(SPHERES.astype(float)):
                d2 = (p[0] - cx) ** 2 + (p[1] - cy) ** 2
                if d2 < r * r and np.sqrt(r * r - d2) + cz > depth:
                    depth, hit = np.sqrt(r * r - d2) + cz, k
            out.append(hit)
    return out


add(
    "rays through spheres in constant memory, a method of a structure",
    """
#define INF 2e10f
struct Sphere {
  float x, y, z, radius;
  __device__ float hit(float ox, float oy, float* edge) const {
    float dx = ox - x, dy = oy - y;
    if (dx * dx + dy * dy < radius * radius) {
      float dz = sqrtf(radius * radius - dx * dx - dy * dy);
      *edge = dz / sqrtf(radius * radius);
      return dz + z;
    }
    return -INF;
  }
};
__constant__ Sphere s[7];
extern "C" __global__ void f(int* out) {
  int x = threadIdx.x + blockIdx.x * blockDim.x;
  int y = threadIdx.y + blockIdx.y * blockDim.y;
  int offset = x + y * blockDim.x * gridDim.x;
  float ox = (x - 8) / 2.0f, oy = (y - 8) / 2.0f, top = -INF, edge;
  int found = -1;
  for (int i = 0; i < sizeof(s) / sizeof(s[0]); i++) {
    float t = s[i].hit(ox, oy, &edge);
    if (t > top) { top = t; found = i; }
  }
  out[offset] = found;
}""",
    (np.zeros(256, N),),
    {0: nearest_hit()},
    grid=(2, 2),
    block=(8, 8),
    set={"s": SPHERES},
)


def julia() -> list[int]:
    out = []
    for y in range(16):
        for x in range(16):
            z = complex(F(1.5) * F(8 - x) / 8, F(1.5) * F(8 - y) / 8)
            steps = 0
            while steps < 60 and abs(z := z * z + complex(-0.8, 0.156)) <= 30:
                steps += 1
            out.append(steps)
    return out


add(
    "a Julia set with complex numbers of one's own",
    """
template <typename Real> struct Complex {
  Real r, i;
  __device__ Complex(Real a, Real b) : r(a), i(b) {}
  __device__ Real magnitude2(void) const { return r * r + i * i; }
  __device__ Complex operator*(const Complex& a) const {
    return Complex(r * a.r - i * a.i, i * a.r + r * a.i); }
  friend __device__ Complex operator+(Complex a, const Complex& b) {
    a.r += b.r; a.i += b.i; return a; }
};
extern "C" __global__ void f(unsigned char* ptr) {
  const int x = blockIdx.x, y = blockIdx.y, offset = x + y * gridDim.x;
  Complex<double> c(-0.8, 0.156), a(1.5 * (8 - x) / 8, 1.5 * (8 - y) / 8);
  int k = 0;
  for (; k < 60; k++) { a = a * a + c; if (a.magnitude2() > 900) break; }
  ptr[offset] = k;
}""",
    (np.zeros(256, np.uint8),),
    {0: julia()},
    grid=(16, 16),
    block=1,
)
PIXELS = RNG.integers(0, 256, (20, 24, 4)).astype(np.uint8)


def weighted() -> np.ndarray:
    p = PIXELS.astype(int)
    grey = (77 * p[..., 0] + 150 * p[..., 1] + 29 * p[..., 2] + 128) >> 8
    blue = np.clip(p[..., 2] + (p[..., 2] - grey) // 2, 0, 255)
    return np.stack([255 - p[..., 0], grey, blue, p[..., 3]], -1)


add(
    "a picture of uchar4: grey, inverted, saturated",
    """
typedef unsigned char byte;
__device__ byte clipped(int v, int low = 0, int high = 255) {
  return (byte)(v < low ? low : v > high ? high : v); }
extern "C" __global__ void f(const uchar4* in, uchar4* out, int width, int height) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x,
            y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  uchar4 p = in[y * width + x];
  const byte grey = (77 * p.x + 150 * p.y + 29 * p.z + 128) >> 8;
  p.x = ~p.x;
  p.z = clipped(p.z + ((p.z - grey) >> 1));
  p.y = grey;
  out[y * width + x] = p;
}""",
    (PIXELS, np.zeros_like(PIXELS), N(24), N(20)),
    {1: weighted()},
    grid=(2, 3),
    block=(16, 8),
)
GREY = RNG.integers(0, 256, (21, 30)).astype(np.uint8)
PAD = np.pad(GREY, 1, mode="edge")
WINDOW = np.stack(
    [PAD[1 + a : 22 + a, 1 + b : 31 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)]
)
add(
    "a median of nine by a network of exchanges in macros",
    """
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define SORT2(a, b)          \\
  do {                       \\
    int low_ = MIN(v##a, v##b); \\
    v##b = v##a + v##b - low_;  \\
    v##a = low_;             \\
  } while (0)
#define SORT3(a, b, c) SORT2(a, b); SORT2(b, c); SORT2(a, b)
#define LOAD(k, dx, dy) int v##k = pixel(dx, dy)
extern "C" __global__ void f(const unsigned char* in, unsigned char* out, int w,
                             int h) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x >= w) return;
  auto pixel = [=](int dx, int dy) -> int {
    return in[min(max(y + dy, 0), h - 1) * w + min(max(x + dx, 0), w - 1)]; };
  LOAD(0, -1, -1); LOAD(1, 0, -1); LOAD(2, 1, -1);
  LOAD(3, -1, 0); LOAD(4, 0, 0); LOAD(5, 1, 0);
  LOAD(6, -1, 1); LOAD(7, 0, 1); LOAD(8, 1, 1);
  SORT3(0, 1, 2); SORT3(3, 4, 5); SORT3(6, 7, 8);
  SORT2(0, 3); SORT2(3, 6); SORT2(5, 8); SORT2(2, 5);
  SORT3(1, 4, 7);
  SORT2(2, 4); SORT2(4, 6); SORT2(2, 4);
  out[y * w + x] = (unsigned char)v4;
}""",
    (GREY, np.zeros_like(GREY), N(30), N(21)),
    {1: np.median(WINDOW, 0).astype(int)},
    grid=(2, 21),
    block=16,
)
TAPS = np.array([1, 4, 6, 4, 1], F) / F(16)
WIDE = normal(6, 100)
add(
    "a convolution of rows with an apron and taps in constant memory",
    """
#define RADIUS 2
#define TILE 32
#define TILE_W (TILE + 2 * RADIUS)
#ifndef IMUL
#define IMUL(a, b) __mul24(a, b)
#endif
__constant__ float taps[2 * RADIUS + 1];
template <int I> __device__ float gathered(const float* data) {
  return data[-I] * taps[RADIUS - I] + gathered<I - 1>(data); }
template <> __device__ float gathered<-RADIUS - 1>(const float*) { return 0; }
extern "C" __global__ void f(const float* src, float* dst, int w) {
  __shared__ float data[TILE_W];
  const int start = IMUL(blockIdx.x, TILE), row = IMUL(blockIdx.y, w);
  for (int i = threadIdx.x; i < TILE_W; i += blockDim.x) {
    const int x = start + i - RADIUS;
    data[i] = x >= 0 && x < w ? src[row + x] : 0;
  }
  __syncthreads();
  const int x = start + threadIdx.x;
  if (x < w) dst[row + x] = gathered<RADIUS>(data + RADIUS + threadIdx.x);
}""",
    (WIDE, np.zeros_like(WIDE), N(100)),
    {1: [np.convolve(r.astype(float), TAPS[::-1], "same") for r in WIDE]},
    grid=(4, 6),
    block=32,
    rtol=1e-4,
    atol=1e-5,
    set={"taps": TAPS},
)


def bilateral() -> np.ndarray:
    g = np.pad(GREY.astype(float), 2, mode="edge")
    num, den = np.zeros((21, 30)), np.zeros((21, 30))
    for a in range(-2, 3):
        for b in range(-2, 3):
            v = g[2 + a : 23 + a, 2 + b : 32 + b]
            weight = np.exp(-(a * a + b * b) / 4.5 - (v - GREY) ** 2 / 1800)
            num, den = num + weight * v, den + weight
    return num / den


add(
    "a bilateral filter, half a tile of threads, weights by lambda",
    """
template <class Weight>
__device__ float filtered(const unsigned char* p, int x, int y, int w, int h,
                          Weight weight) {
  float num = 0, den = 0;
  const float here = p[y * w + x];
  for (int b = -2; b <= 2; ++b)
    for (int a = -2; a <= 2; ++a) {
      const float v = p[min(max(y + b, 0), h - 1) * w + min(max(x + a, 0), w - 1)];
      const float k = weight(a, b, v - here);
      num = fmaf(k, v, num);
      den += k;
    }
  return __fdividef(num, den);
}
extern "C" __global__ void f(const unsigned char* p, float* out, dim3 size) {
  const auto weight = [](int a, int b, float d) {
    return __expf(-(a * a + b * b) / 4.5f - d * d / 1800.0f); };
  for (int y = threadIdx.y; y < size.y; y += blockDim.y)
    for (int x = threadIdx.x; x < size.x; x += blockDim.x)
      out[y * size.x + x] = filtered(p, x, y, size.x, size.y, weight);
}""",
    (GREY, np.zeros((21, 30), F), np.array((30, 21, 1), U).view("u4,u4,u4")[0]),
    {1: bilateral()},
    block=(16, 4),
    rtol=1e-5,
)
INTEGRAL = RNG.integers(0, 256, (32, 32)).astype(np.uint8)
add(
    "an integral image: rows by shuffles, columns through a transposed tile",
    """
__device__ __forceinline__ int scanned(int v) {
#pragma unroll
  for (int d = 1; d < warpSize; d <<= 1) {
    const int u = __shfl_up_sync(0xffffffffu, v, d);
    v += threadIdx.x >= d ? u : 0;
  }
  return v;
}
extern "C" __global__ void f(const unsigned char* in, int* out) {
  __shared__ int tile[32][32 + 1];
  const int x = threadIdx.x, y = threadIdx.y;
  tile[x][y] = scanned(in[y * 32 + x]);
  __syncthreads();
  const int v = scanned(tile[y][x]);
  __syncthreads();
  tile[x][y] = v;
  __syncthreads();
  out[y * 32 + x] = tile[y][x];
}""",
    (INTEGRAL, np.zeros((32, 32), N)),
    {1: INTEGRAL.astype(int).cumsum(0).cumsum(1)},
    block=(32, 32),
)


def hotspot(steps: int) -> np.ndarray:
    t, p = HEAT.astype(float), POWER.astype(float)
    for _ in range(steps):
        q = np.pad(t, 1, mode="edge")
        t = t + 0.1 * (
            p + q[2:, 1:-1] + q[:-2, 1:-1] + q[1:-1, 2:] + q[1:-1, :-2] - 4 * t
        )
    return t


HEAT, POWER = normal(16, 16), normal(16, 16)
add(
    "heat on a chip, steps within a block, two tiles that change places",
    """
struct Coefficients { float rate; int steps; };
extern "C" __global__ void f(const float* power, float* temp, const Coefficients c) {
  __shared__ float a[16][16], b[16][16];
  float(*now)[16] = a;
  float(*next)[16] = b;
  const int x = threadIdx.x, y = threadIdx.y;
  const float p = power[y * 16 + x];
  now[y][x] = temp[y * 16 + x];
  const int n = y ? y - 1 : 0, s = y < 15 ? y + 1 : 15, w = max(x - 1, 0),
            e = min(x + 1, 15);
  for (int i = 0; i < c.steps; ++i) {
    __syncthreads();
    next[y][x] = now[y][x] + c.rate * (p + now[s][x] + now[n][x] + now[y][e] +
                                       now[y][w] - 4.0f * now[y][x]);
    float(*swap)[16] = now; now = next; next = swap;
  }
  temp[y * 16 + x] = now[y][x];
}""",
    (POWER, HEAT, np.array((0.1, 5), [("rate", F), ("steps", N)])[()]),
    {1: hotspot(5)},
    block=(16, 16),
    rtol=1e-4,
    atol=1e-5,
)
FIELD = normal(10, 12, 16)


def laplacian() -> np.ndarray:
    r = np.zeros_like(FIELD)
    v = FIELD
    r[1:-1, 1:-1, 1:-1] = (
        v[2:, 1:-1, 1:-1]
        + v[:-2, 1:-1, 1:-1]
        + v[1:-1, 2:, 1:-1]
        + v[1:-1, :-2, 1:-1]
        + v[1:-1, 1:-1, 2:]
        + v[1:-1, 1:-1, :-2]
        - 6 * v[1:-1, 1:-1, 1:-1]
    )
    return r


add(
    "a stencil in three dimensions, planes passing through registers",
    """
#define IDX(x, y, z) ((size_t)(z) * ny * nx + (y) * nx + (x))
__global__ void __launch_bounds__(64, 4)
stencil(float const* __restrict__ in, float* __restrict__ out, int nx, int ny, int nz)
{
  int const x = blockIdx.x * blockDim.x + threadIdx.x;
  int const y = blockIdx.y * blockDim.y + threadIdx.y;
  bool const inside = x > 0 && x < nx - 1 && y > 0 && y < ny - 1;
  __shared__ float s[4 + 2][16 + 2];
  int const tx = threadIdx.x + 1, ty = threadIdx.y + 1;
  float behind, here = in[IDX(x, y, 0)], ahead = in[IDX(x, y, 1)];
  for (int z = 1; z < nz - 1; ++z) {
    behind = here; here = ahead; ahead = in[IDX(x, y, z + 1)];
    __syncthreads();
    s[ty][tx] = here;
    if (threadIdx.y == 0 && y > 0) s[0][tx] = in[IDX(x, y - 1, z)];
    if (threadIdx.y == 3 && y < ny - 1) s[5][tx] = in[IDX(x, y + 1, z)];
    if (threadIdx.x == 0 && x > 0) s[ty][0] = in[IDX(x - 1, y, z)];
    if (threadIdx.x == 15 && x < nx - 1) s[ty][17] = in[IDX(x + 1, y, z)];
    __syncthreads();
    if (inside)
      out[IDX(x, y, z)] = behind + ahead + s[ty - 1][tx] + s[ty + 1][tx] +
                          s[ty][tx - 1] + s[ty][tx + 1] - 6 * here;
  }
}""",
    (FIELD, np.zeros_like(FIELD), N(16), N(12), N(10)),
    {1: laplacian()},
    kernel="stencil",
    grid=(1, 3),
    block=(16, 4),
    rtol=1e-4,
    atol=1e-5,
)
LEFT, RIGHT = normal(40, 24), normal(24, 36)
add(
    "a product of tiles by layouts, traits and partial specialisation",
    """
namespace gemm {
struct RowMajor {}; struct ColumnMajor {};
template <class Layout> struct Strides;
template <> struct Strides<RowMajor> {
  int ld; __device__ int operator()(int r, int c) const { return r * ld + c; } };
template <> struct Strides<ColumnMajor> {
  int ld; __device__ int operator()(int r, int c) const { return c * ld + r; } };
template <int M_, int N_, int K_> struct Shape {
  static int const kM = M_, kN = N_, kK = K_; };
template <class T, class Layout> struct TensorRef {
  T* data; Strides<Layout> at;
  __device__ T& operator()(int r, int c) const { return data[at(r, c)]; } };
template <class T, int R, int C> struct Fragment {
  T v[R * C];
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < R * C; ++i) v[i] = T(0); }
  __device__ T& at(int r, int c) { return v[r * C + c]; } };
template <class A, class B> struct Same { enum { value = false }; };
template <class A> struct Same<A, A> { enum { value = true }; };
template <class Block, class Thread, class LA, class LB, class T = float>
struct Mainloop {
  static constexpr int kThreads = Block::kM / Thread::kM * (Block::kN / Thread::kN);
  struct SharedStorage { T a[Block::kK][Block::kM + 1]; T b[Block::kK][Block::kN]; };
  __device__ void operator()(TensorRef<T const, LA> a, TensorRef<T const, LB> b,
      int m, int n, int k, int row, int col, SharedStorage& s,
      Fragment<T, Thread::kM, Thread::kN>& acc) {
    int const tr = threadIdx.x / (Block::kN / Thread::kN) * Thread::kM;
    int const tc = threadIdx.x % (Block::kN / Thread::kN) * Thread::kN;
    for (int k0 = 0; k0 < k; k0 += Block::kK) {
      for (int i = threadIdx.x; i < Block::kM * Block::kK; i += kThreads) {
        int r = Same<LA, RowMajor>::value ? i / Block::kK : i % Block::kM;
        int c = Same<LA, RowMajor>::value ? i % Block::kK : i / Block::kM;
        s.a[c][r] = row + r < m && k0 + c < k ? a(row + r, k0 + c) : T(0);
      }
      for (int i = threadIdx.x; i < Block::kN * Block::kK; i += kThreads) {
        int r = i / Block::kN, c = i % Block::kN;
        s.b[r][c] = col + c < n && k0 + r < k ? b(k0 + r, col + c) : T(0);
      }
      __syncthreads();
#pragma unroll
      for (int kk = 0; kk < Block::kK; ++kk)
#pragma unroll
        for (int i = 0; i < Thread::kM; ++i)
#pragma unroll
          for (int j = 0; j < Thread::kN; ++j)
            acc.at(i, j) += s.a[kk][tr + i] * s.b[kk][tc + j];
      __syncthreads();
    }
  }
};
template <class Loop, class Block, class Thread, class LA, class LB, class Epilogue>
__global__ void kernel(float const* a, int lda, float const* b, int ldb, float* c,
                       int m, int n, int k, Epilogue end) {
  __shared__ typename Loop::SharedStorage storage;
  Fragment<float, Thread::kM, Thread::kN> acc;
  acc.clear();
  int const row = blockIdx.y * Block::kM, col = blockIdx.x * Block::kN;
  Loop{}({a, {lda}}, {b, {ldb}}, m, n, k, row, col, storage, acc);
  for (int i = 0; i < Thread::kM; ++i)
    for (int j = 0; j < Thread::kN; ++j) {
      int r = row + threadIdx.x / (Block::kN / Thread::kN) * Thread::kM + i;
      int q = col + threadIdx.x % (Block::kN / Thread::kN) * Thread::kN + j;
      if (r < m && q < n) c[r * n + q] = end(acc.at(i, j), c[r * n + q]);
    }
}
struct Linear { float alpha, beta; __device__ float operator()(float x, float y) const
  { return beta == 0 ? alpha * x : fmaf(alpha, x, beta * y); } };
using B = Shape<16, 16, 8>; using Th = Shape<2, 4, 1>;
using L = Mainloop<B, Th, ColumnMajor, RowMajor>;
}""",
    (
        LEFT.T.copy(),
        N(40),
        RIGHT,
        N(36),
        np.ones((40, 36), F),
        *(N(40), N(36), N(24)),
        np.array((2.0, -1.0), [("a", F), ("b", F)])[()],
    ),
    {4: 2 * LEFT.astype(float) @ RIGHT - 1},
    kernel="gemm::kernel<gemm::L, gemm::B, gemm::Th, gemm::ColumnMajor, "
    "gemm::RowMajor, gemm::Linear>",
    grid=(3, 3),
    block=32,
    rtol=1e-4,
    atol=1e-4,
)
PACKED = bf16(normal(512))
SCALES = bf16(normal(512))
add(
    "sixteen bytes at a time: an aligned structure of bfloat16",
    """
#include <cuda_bf16.h>
template <class T> struct alignas(16) Packed128 {
  static constexpr int size = sizeof(int4) / sizeof(T);
  T payload[size];
  Packed128() = default;
  __device__ explicit Packed128(int4 bits) {
    static_assert(sizeof(bits) == sizeof(payload), "sizes agree");
    memcpy(&payload, &bits, sizeof(bits)); }
  __device__ T& operator[](int i) { return payload[i]; }
  __device__ const T& operator[](int i) const { return payload[i]; }
  __device__ int4 bits() const { int4 b; memcpy(&b, &payload, sizeof b); return b; }
};
template <class T> __device__ Packed128<T> load128cs(const T* p) {
  return Packed128<T>{__ldcs(reinterpret_cast<const int4*>(p))}; }
template <class T> __device__ void store128(T* p, Packed128<T> v) {
  *reinterpret_cast<int4*>(p) = v.bits(); }
typedef __nv_bfloat16 floatX;
typedef Packed128<floatX> x128;
extern "C" __global__ void f(const floatX* a, const floatX* b, floatX* out, int n) {
  int i = (blockIdx.x * blockDim.x + threadIdx.x) * x128::size;
  if (i >= n) return;
  x128 p = load128cs(a + i), q = load128cs(b + i), r;
  for (int k = 0; k < x128::size; ++k) r[k] = (floatX)((float)p[k] + (float)q[k]);
  store128(out + i, r);
}""",
    (PACKED, SCALES, np.zeros(512, np.uint16), N(512)),
    {2: bf16(wide(PACKED) + wide(SCALES))},
    grid=2,
    block=48,
)
ROWS, GAIN, SHIFT = normal(12, 128), normal(128), normal(128)
MEAN = ROWS.astype(float).mean(1, keepdims=True)
NORMED = (ROWS - MEAN) / np.sqrt(ROWS.astype(float).var(1, keepdims=True) + 1e-5)
add(
    "layer normalisation, a warp a row, float4 in a union",
    """
union Four { float4 v; float a[4]; struct { float x, y, z, w; }; };
struct Plus { template <class T> __device__ T operator()(T a, T b) const {
  return a + b; } };
template <typename T, typename Op> __device__ T warp_all(T v, Op op) {
  for (int mask = 16; mask > 0; mask >>= 1)
    v = op(v, __shfl_xor_sync(0xffffffff, v, mask, 32));
  return v;
}
template <int PER> __global__ void norm(const float4* x, const float4* gain,
                                        const float4* shift, float4* out, int rows) {
  const int row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  Four part[PER];
  float sum = 0.f;
#pragma unroll
  for (int k = 0; k < PER; ++k) {
    part[k].v = x[(row * PER + k) * 32 + threadIdx.x];
    sum += part[k].x + part[k].y + part[k].z + part[k].w;
  }
  const Plus plus;
  const float mean = warp_all(sum, plus) / (PER * 128);
  sum = 0.f;
  for (auto& p : part)
    for (float e : p.a) sum += (e - mean) * (e - mean);
  const float scale = rsqrtf(warp_all(sum, plus) / (PER * 128) + 1e-5f);
  for (int k = 0; k < PER; ++k) {
    Four g, b, r = part[k];
    g.v = gain[k * 32 + threadIdx.x];
    b.v = __ldg(shift + k * 32 + threadIdx.x);
    for (int i = 0; i < 4; ++i) r.a[i] = (r.a[i] - mean) * scale * g.a[i] + b.a[i];
    out[(row * PER + k) * 32 + threadIdx.x] = r.v;
  }
}""",
    (ROWS, GAIN, SHIFT, np.zeros_like(ROWS), N(12)),
    {3: NORMED * GAIN + SHIFT},
    kernel="norm<1>",
    grid=4,
    block=(32, 3),
    rtol=1e-4,
    atol=1e-5,
)
HALVES = normal(256).astype(H)


def gelu(x: np.ndarray) -> np.ndarray:
    x = x.astype(float)
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


add(
    "an activation on half2, eight at a time through a reinterpreted uint4",
    """
#include <cuda_fp16.h>
__device__ __half2 gelu2(__half2 x) {
  float2 v = __half22float2(x);
  auto one = [](float a) {
    return 0.5f * a * (1.0f + tanhf(0.7978845608f * (a + 0.044715f * a * a * a))); };
  return __floats2half2_rn(one(v.x), one(v.y));
}
extern "C" __global__ void f(const __half* in, __half* out, float* most) {
  const uint4 raw = reinterpret_cast<const uint4*>(in)[threadIdx.x];
  uint4 done;
  const __half2* p = reinterpret_cast<const __half2*>(&raw);
  __half2* q = reinterpret_cast<__half2*>(&done);
  __half2 best = __half2half2(__ushort_as_half(0xfc00));
#pragma unroll
  for (int i = 0; i < 4; ++i) { q[i] = gelu2(p[i]); best = __hmax2(best, q[i]); }
  reinterpret_cast<uint4*>(out)[threadIdx.x] = done;
  for (int d = 16; d; d >>= 1) best = __hmax2(best, __shfl_xor_sync(~0u, best, d));
  if (threadIdx.x == 0)
    *most = __half2float(__hgt(__low2half(best), __high2half(best))
                             ? best.x : __high2half(best));
}""",
    (HALVES, np.zeros(256, H), np.zeros(1, F)),
    {1: gelu(HALVES), 2: [gelu(HALVES).max()]},
    block=32,
    rtol=1e-3,
    atol=1e-4,
)
HEADS_ = normal(5, 2, 16)
ANGLE = np.arange(5)[:, None] * 10000.0 ** (-np.arange(8) / 8)
TURN = np.cos(ANGLE) + 1j * np.sin(ANGLE)
PAIRS = HEADS_.astype(float).reshape(5, 2, 8, 2)
SPUN = (PAIRS[..., 0] + 1j * PAIRS[..., 1]) * TURN[:, None]
add(
    "rotary positions, pairs as float2",
    """
extern "C" __global__ void f(float* x, int heads, int width) {
  const int position = blockIdx.x, pair = threadIdx.x;
  const float power = (float)pair / (width / 2);
  float s, c;
  sincosf(position * powf(10000.0f, -power), &s, &c);
  float2* row = reinterpret_cast<float2*>(x + position * heads * width);
  for (int h = 0; h < heads; ++h) {
    float2 v = row[h * width / 2 + pair];
    row[h * width / 2 + pair] = make_float2(v.x * c - v.y * s, v.x * s + v.y * c);
  }
}""",
    (HEADS_, N(2), N(16)),
    {0: np.stack([SPUN.real, SPUN.imag], -1)},
    grid=5,
    block=8,
    rtol=1e-4,
    atol=1e-5,
)
QUARTER = np.zeros(8, [("d", H), ("qs", np.uint8, 16)])
QUARTER["d"] = normal(8).astype(H)
QUARTER["qs"] = RNG.integers(0, 256, (8, 16))
NIBBLES = np.concatenate([QUARTER["qs"] & 15, QUARTER["qs"] >> 4], 1).astype(int) - 8
EIGHTH = np.zeros(8, [("d", H), ("qs", np.int8, 32)])
EIGHTH["d"] = normal(8).astype(H)
EIGHTH["qs"] = RNG.integers(-127, 128, (8, 32))
add(
    "four-bit blocks times eight-bit blocks, words put together from bytes",
    """
#include <cuda_fp16.h>
#define QK 32
typedef unsigned char uint8_t;
typedef signed char int8_t;
typedef unsigned short uint16_t;
typedef struct { half d; uint8_t qs[QK / 2]; } block_q4;
typedef struct { half d; int8_t qs[QK]; } block_q8;
static_assert(sizeof(block_q4) == 18, "no padding");
static_assert(sizeof(block_q8) == 34, "no padding");
static __device__ __forceinline__ int word_b2(const void* x, const int i32) {
  const uint16_t* x16 = (const uint16_t*)x;
  int x32 = x16[2 * i32 + 0] << 0;
  x32 |= x16[2 * i32 + 1] << 16;
  return x32;
}
static __device__ float dot_block(const block_q4* x, const block_q8* y, int part) {
  const int v = word_b2(x->qs, part);
  const int low = __vsubss4((v >> 0) & 0x0F0F0F0F, 0x08080808);
  const int high = __vsubss4((v >> 4) & 0x0F0F0F0F, 0x08080808);
  int sum = __dp4a(low, word_b2(y->qs, part), 0);
  sum = __dp4a(high, word_b2(y->qs, part + 4), sum);
  return __half2float(x->d) * __half2float(y->d) * sum;
}
extern "C" __global__ void f(const void* __restrict__ vx, const void* vy, float* out) {
  const block_q4* x = (const block_q4*)vx;
  const block_q8* y = (const block_q8*)vy;
  float v = dot_block(x + threadIdx.x / 4, y + threadIdx.x / 4, threadIdx.x % 4);
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1)
    v += __shfl_xor_sync(0xffffffff, v, mask, 32);
  if (threadIdx.x == 0) *out = v;
}""",
    (QUARTER.view(np.uint8), EIGHTH.view(np.uint8), np.zeros(1, F)),
    {
        2: [
            (
                QUARTER["d"].astype(float)
                * EIGHTH["d"]
                * (NIBBLES * EIGHTH["qs"]).sum(1)
            ).sum()
        ]
    },
    block=32,
    rtol=1e-5,
)
