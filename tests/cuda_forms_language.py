"""The language in unusual places, threads that work together, numerical recipes.
Written for these tests; NumPy or plain Python is the truth."""

from __future__ import annotations

from fractions import Fraction as Q
from math import erfc
from typing import Any

import numpy as np

F, D, N, U, H = np.float32, np.float64, np.int32, np.uint32, np.float16
RNG = np.random.default_rng(13)

# name, source, all arguments, what must stand in some of them, the launch
LANGUAGE: list[tuple[str, str, tuple[Any, ...], dict[int, Any], dict[str, Any]]] = []


def add(name: str, source: str, args: tuple[Any, ...], want: dict[int, Any], **kw: Any):
    LANGUAGE.append((name, source, args, want, kw))


IX = RNG.integers(-1000, 1000, 256).astype(N)
X = RNG.standard_normal(256).astype(F)
A, B = RNG.standard_normal((2, 256))
T = np.arange(256)
CG = """#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;
"""

add(
    "a table of device functions, called through pointers",
    """
typedef int (*Operation)(int, int);
static __device__ int plus(int a, int b) { return a + b; }
static __device__ int minus(int a, int b) { return a - b; }
static __device__ __noinline__ int times(int a, int b) { return a * b; }
static __device__ int larger(int a, int b) { return a > b ? a : b; }
__device__ Operation table[4] = {plus, minus, times, larger};
__device__ int twice(Operation op, int v) { return op(op(v, 3), v); }
extern "C" __global__ void f(const int* x, int* out) {
  Operation op = table[threadIdx.x % 4];
  out[threadIdx.x] = twice(op, x[threadIdx.x]) + (op == &times ? 1000000 : 0);
}""",
    (IX, np.zeros(256, N)),
    {
        1: np.choose(
            T % 4,
            [2 * IX + 3, IX - 3 - IX, (IX * 3) * IX + 1000000, np.maximum(IX, 3)],
        )
    },
)
add(
    "virtual functions of objects made by each thread",
    """
struct Shape {
  __device__ virtual float area() const = 0;
  __device__ float twice() const { return 2 * area(); }
};
struct Square : public Shape {
  float side; __device__ explicit Square(float s) : side(s) {}
  __device__ float area() const override { return side * side; }
};
struct Oblong final : Square {
  float other; __device__ Oblong(float a, float b) : Square(a), other(b) {}
  __device__ float area() const override { return Square::area() * other / side; }
};
template <class Me> struct Named {  // the same without a table
  __device__ int id() const { return static_cast<const Me*>(this)->number(); } };
struct Seven : Named<Seven> { __device__ int number() const { return 7; } };
extern "C" __global__ void f(const float* x, float* out) {
  float v = fabsf(x[threadIdx.x]) + 1;
  Square s(v); Oblong o(v, 3.0f);
  const Shape& shape = threadIdx.x & 1 ? static_cast<Shape&>(s) : o;
  out[threadIdx.x] = shape.twice() + Seven().id();
}""",
    (X, np.zeros(256, F)),
    {1: 2 * (np.abs(X) + 1) * np.where(T & 1, np.abs(X) + 1, 3) + 7},
    rtol=1e-6,
)
add(
    "states by goto, cases that fall through, a loop unrolled by a switch",
    """
extern "C" __global__ void f(const int* x, int n, int* out) {
  int sum = 0, i = 0, v = x[threadIdx.x];
  const int* p = x;
  int rounds = (n + 3) / 4;
  switch (n % 4) {
    case 0: do { sum += *p++;
    [[fallthrough]];
    case 3: sum += *p++;
    case 2: sum += *p++;
    case 1: sum += *p++;
    } while (--rounds > 0);
  }
even:
  if (v % 2) goto odd;
  v /= 2;
  if (v == 0 || ++i > 20) goto done;
  goto even;
odd:
  v -= v > 0 ? 1 : -1;
  i += 100;
  if (v) goto even;
done:
  switch (v ? 1 : i % 3) { case 2: i += 2; case 1: i += 1; break; default: i = -i; }
  out[threadIdx.x] = sum + i;
}""",
    (IX, N(43), np.zeros(256, N)),
    {2: []},
)


def states(v: int) -> int:
    i = 0
    while True:
        if v % 2 == 0:
            v = int(v / 2)
            if v == 0:
                break
            i += 1
            if i > 20:
                break
        else:
            v -= 1 if v > 0 else -1
            i += 100
            if v == 0:
                break
    way = 1 if v else i % 3
    return i + 3 if way == 2 else i + 1 if way == 1 else -i


LANGUAGE[-1][3][2] = [int(IX[:43].sum()) + states(int(v)) for v in IX]
add(
    "functions made by macros with ##, over several lines",
    """
#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
#define STRING(x) #x
#define DEFINE_KERNEL_HELPER(name, type, expression) \\
  static __device__ __forceinline__ type             \\
  CONCAT(name, _of)(type a, type b)                  \\
  {                                                  \\
    /* one line */ return (expression);              \\
  }
DEFINE_KERNEL_HELPER(sum, int, a + b)
DEFINE_KERNEL_HELPER(middle, float, (a + b) / 2.0f)
#define FOR_EACH_WAY(DO) DO(0, 3) DO(1, 5) DO(2, 7)
#define ONE_CASE(k, v) case k: return v * scale;
__device__ int picked(int k, int scale = sizeof(STRING(abc)) - 1) {
  switch (k) { FOR_EACH_WAY(ONE_CASE) }
  return -1;
}
#undef ONE_CASE
#if !defined(CHUNK) && (defined __CUDA_ARCH__ || 0)
#  define CHUNK 0x10'00
#elif 1
#  error "not reached"
#endif
extern "C" __global__ void f(const int* x, float* out) {
  const int t = threadIdx.x;
  out[t] = middle_of(sum_of(x[t], CHUNK), picked(t % 4));
}""",
    (IX, np.zeros(256, F)),
    {1: (IX + 4096 + np.array([9, 15, 21, -1])[T % 4]) / 2},
)
add(
    "fields of bits, arrays by reference, structures by value",
    """
struct Packed { unsigned kind : 3, level : 5; int delta : 9; unsigned rest : 15; };
struct Box { int low[3], high[3]; };
struct Task { Box box; double scale; Packed p; };
template <size_t K> __device__ int total(const int (&v)[K]) {
  int s = 0;
  for (int e : v) s += e;
  return s + (int)K * 1000;
}
extern "C" __global__ void f(Task task, const unsigned* raw, int* out) {
  Packed p = *reinterpret_cast<const Packed*>(raw + threadIdx.x);
  p.level += 7; p.delta -= 1;
  Task mine = task;
  mine.box.low[threadIdx.x % 3] += p.kind;
  int grid[2][3] = {{1, 2, 3}, {4, 5}};
  int(*row)[3] = &grid[threadIdx.x & 1];
  out[threadIdx.x] = total(mine.box.low) + total(*row) + p.level * 16 + p.delta +
                     (int)(mine.scale * mine.p.kind) + (int)sizeof(Task);
}""",
    (
        np.array(
            [(([1, 2, 3], [4, 5, 6]), 2.5, 6)],
            [("box", [("l", N, 3), ("h", N, 3)]), ("s", D), ("p", np.uint64)],
        )[0],
        IX.view(U),
        np.zeros(256, N),
    ),
    {
        2: 6
        + (IX.view(U) & 7).astype(int)
        + 6000
        + np.where(T & 1, 9, 6)
        + ((IX.view(U) >> 3) + 7 & 31).astype(int) * 16
        + (((IX.view(U) >> 8 & 511).astype(int) - 1 + 256) % 512 - 256)
        + 15
        + 40
    },
)
add(
    "generic lambdas, folds, constexpr functions, deduced types",
    """
template <class... Fs> __device__ int all_of(int v, Fs... fs) {
  return (fs(v) + ... + 0); }
__host__ __device__ constexpr int fibonacci(int n) {
  int a = 0, b = 1;
  for (int i = 0; i < n; ++i) { int c = a + b; a = b; b = c; }
  return a;
}
template <int... I> struct Sequence {
  static constexpr int values[] = {fibonacci(I)...};
  static constexpr int count = sizeof...(I); };
template <auto Value> struct Constant { static constexpr auto value = Value; };
template <class T, class = void> struct width { static constexpr int v = -1; };
template <class T> struct width<T, decltype((void)T::value)> {
  static constexpr int v = sizeof(T::value); };
extern "C" __global__ void f(const int* x, int* out) {
  using S = Sequence<3, 5, 8, 13>;
  const int t = threadIdx.x;
  int calls = 0;
  auto shift = [by = t % 5, &calls](long long v) mutable -> decltype(v) {
    ++calls; return v >> by++; };
  int r = (int)shift(x[t]);
  r += (int)shift((long long)x[t] << 33 >> 20);
  r += all_of(t, [](int v) { return v * 2; }, [=](int v) { return v ^ r; });
  if constexpr (S::count == 4) r += S::values[t & 3];
  r += Constant<'a'>::value + width<Constant<true>*>::v + width<Constant<7ull>>::v;
  out[t] = r + calls;
}""",
    (IX, np.zeros(256, N)),
    {
        1: [
            (r := (int(v) >> t % 5) + (int(v) * 2**13 >> (t % 5 + 1)))
            + 2 * t
            + (t ^ r)
            + [2, 5, 21, 233][t & 3]
            + 97
            - 1
            + 8
            + 2
            for t, v in enumerate(IX)
        ]
    },
)
add(
    "dynamic shared memory cut into arrays of three types",
    """
extern __shared__ __align__(16) unsigned char arena[];
template <typename T> __device__ T* carve(unsigned& used, unsigned count) {
  used = (used + alignof(T) - 1) / alignof(T) * alignof(T);
  T* p = reinterpret_cast<T*>(arena + used);
  used += count * sizeof(T);
  return p;
}
extern "C" __global__ void f(const double* a, const int* x, double* out) {
  const unsigned n = blockDim.x * blockDim.y * blockDim.z;
  const unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x +
                     threadIdx.x;
  unsigned used = 0;
  char* sign = carve<char>(used, n);
  double* value = carve<double>(used, n);
  short2* pair = carve<short2>(used, n / 2);
  volatile float* const scale = carve<volatile float>(used, 1);
  sign[t] = x[t] < 0 ? -1 : 1;
  value[t] = a[t];
  if (t % 2 == 0) pair[t / 2] = make_short2(x[t], x[t + 1]);
  if (t == n - 1) *scale = 0.5f;
  __syncthreads();
  const unsigned o = n - 1 - t;
  out[t] = value[o] * sign[o] + (o % 2 ? pair[o / 2].y : pair[o / 2].x) * *scale;
}""",
    (A, IX, np.zeros(256)),
    {2: (A * np.where(IX < 0, -1, 1) + IX * 0.5)[::-1]},
    block=(4, 8, 8),
    shared=256 + 2048 + 512 + 4,
)
add(
    "volatile shared memory, the last warp in step",
    """
template <unsigned SIZE>
__device__ void warp_reduce(volatile int* s, unsigned t) {
#define STEP(k)                         \\
  if (SIZE >= 2 * (k)) {                \\
    int sum_ = s[t] + s[t + (k)];       \\
    __syncwarp();                       \\
    s[t] = sum_;                        \\
    __syncwarp();                       \\
  }
  STEP(32) STEP(16) STEP(8) STEP(4) STEP(2) STEP(1)
#undef STEP
}
template <unsigned SIZE>
__global__ void reduce6(const int* in, int* out, unsigned n) {
  extern __shared__ int data[];
  unsigned t = threadIdx.x, i = blockIdx.x * (SIZE * 2) + t;
  unsigned grid = SIZE * 2 * gridDim.x;
  data[t] = 0;
  while (i < n) { data[t] += in[i] + (i + SIZE < n ? in[i + SIZE] : 0); i += grid; }
  __syncthreads();
  if (SIZE >= 128) { if (t < 64) data[t] += data[t + 64]; __syncthreads(); }
  if (t < 32) warp_reduce<SIZE>(data, t);
  if (t == 0) out[blockIdx.x] = data[0];
}""",
    (np.tile(IX, 3), np.zeros(2, N), U(700)),
    {1: [np.tile(IX, 3)[:700][np.arange(700) // 256 % 2 == b].sum() for b in (0, 1)]},
    kernel="reduce6<128>",
    grid=2,
    block=128,
    shared=512 + 128,
)
add(
    "a generic group that is a block, a tile or a part of a tile",
    CG
    + """
__device__ int sum_of(cg::thread_group g, int* temp, int v) {
  int lane = g.thread_rank();
  for (int i = g.size() / 2; i > 0; i /= 2) {
    temp[lane] = v;
    g.sync();
    if (lane < i) v += temp[lane + i];
    g.sync();
  }
  return v;
}
extern "C" __global__ void f(const int* x, int* out) {
  __shared__ int temp[128];
  cg::thread_block block = cg::this_thread_block();
  int t = block.thread_rank();
  int whole = sum_of(block, temp, x[t]);
  if (t == 0) out[0] = whole;
  cg::sync(block);
  cg::thread_group tile = cg::tiled_partition(block, 16);
  int part = sum_of(tile, temp + t / 16 * 16, x[t]);
  if (tile.thread_rank() == 0) out[1 + t / 16] = part;
  cg::thread_group four = cg::tiled_partition(tile, 4);
  part = sum_of(four, temp + t / 4 * 4, x[t]);
  if (four.thread_rank() == 0) out[9 + t / 4] = part;
}""",
    (IX[:128].copy(), np.zeros(41, N)),
    {
        1: np.concatenate(
            [
                [IX[:128].sum()],
                IX[:128].reshape(8, 16).sum(1),
                IX[:128].reshape(32, 4).sum(1),
            ]
        )
    },
    block=128,
)
LABEL = RNG.integers(0, 5, 256).astype(N)


def by_label() -> np.ndarray:
    out = np.zeros((256, 4), N)
    for t in range(256):
        warp = np.arange(t // 32 * 32, t // 32 * 32 + 32)
        mine = warp[LABEL[warp] == LABEL[t]]
        firsts = sorted(warp[LABEL[warp] == k][0] for k in set(LABEL[warp]))
        out[t] = (
            IX[mine].sum(),
            firsts.index(mine[0]),
            len(firsts),
            IX[mine[mine < t]].sum(),
        )
    return out


add(
    "labelled partitions: sums, ranks of groups, scans",
    CG
    + """
extern "C" __global__ void f(const int* x, const int* label, int4* out) {
  const auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  const int t = cg::this_thread_block().thread_rank();
  auto mine = cg::labeled_partition(warp, label[t]);
  int4 r;
  r.x = cg::reduce(mine, x[t], cg::plus<int>());
  r.y = mine.meta_group_rank();
  r.z = mine.meta_group_size();
  r.w = cg::exclusive_scan(mine, x[t]);
  out[t] = r;
}""",
    (IX, LABEL, np.zeros((256, 4), N)),
    {2: by_label()},
)
add(
    "tiles of tiles and their numbers",
    CG
    + """
template <class Tile> __device__ int code(const Tile& g) {
  return g.meta_group_rank() * 1000 + g.meta_group_size() * 50 + g.thread_rank(); }
extern "C" __global__ void f(int* out) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<32, cg::thread_block> warp = cg::tiled_partition<32>(block);
  auto part = cg::tiled_partition<4>(warp);
  cg::thread_block_tile<8> eight = cg::tiled_partition<8>(block);
  out[block.thread_rank()] = code(part) + 10000 * code(eight);
}""",
    (np.zeros(64, N),),
    {
        0: [
            t % 32 // 4 * 1000 + 400 + t % 4 + 10000 * (t // 8 * 1000 + 400 + t % 8)
            for t in range(64)
        ]
    },
    block=64,
)
add(
    "a structure of five floats passed between lanes",
    CG
    + """
struct Moments { float n, mean, m2, low, high; };
__device__ Moments merged(const Moments& a, const Moments& b) {
  const float n = a.n + b.n, d = b.mean - a.mean;
  return {n, a.mean + d * b.n / n, a.m2 + b.m2 + d * d * a.n * b.n / n,
          fminf(a.low, b.low), fmaxf(a.high, b.high)};
}
extern "C" __global__ void f(const float* x, Moments* out) {
  auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  const float v = x[threadIdx.x];
  Moments m{1.0f, v, 0.0f, v, v};
  for (int d = warp.size() / 2; d > 0; d /= 2) m = merged(m, warp.shfl_xor(m, d));
  cg::invoke_one(warp, [&] { out[threadIdx.x / 32] = m; });
}""",
    (X, np.zeros((8, 5), F).view(np.uint8)),
    {
        1: np.stack(
            [
                np.full(8, 32),
                X.reshape(8, 32).astype(float).mean(1),
                X.reshape(8, 32).astype(float).var(1) * 32,
                X.reshape(8, 32).min(1),
                X.reshape(8, 32).max(1),
            ],
            1,
        )
    },
    rtol=1e-4,
    atol=1e-6,
    seen=F,
)
add(
    "coalesced threads: votes, matches and scans by rank",
    CG
    + """
extern "C" __global__ void f(const int* x, int* out) {
  const int t = threadIdx.x;
  out[t] = -1;
  if (x[t] % 3 == 0) {
    const auto g = cg::coalesced_threads();
    const int votes = g.ballot(x[t] > 0);
    const int same = g.match_any(x[t] & 1);
    out[t] = __popc(votes) * 1000 + __popc(same) * 20 + g.any(x[t] > 900) +
             2 * g.all(x[t] > -900) + 100000 * (cg::inclusive_scan(g, 1) - 1) +
             4 * (g.shfl_down(t, 1) > t);
  }
}""",
    (IX, np.full(256, 5, N)),
    {
        1: [
            -1
            if v % 3
            else (
                lambda g: (
                    (IX[g] > 0).sum() * 1000
                    + ((IX[g] & 1) == (v & 1)).sum() * 20
                    + (IX[g] > 900).any()
                    + 2 * (IX[g] > -900).all()
                    + 100000 * list(g).index(t)
                    + 4 * (t != g[-1])
                )
            )(
                np.array(
                    [
                        u
                        for u in range(t // 32 * 32, t // 32 * 32 + 32)
                        if IX[u] % 3 == 0
                    ]
                )
            )
            for t, v in enumerate(IX)
        ]
    },
)
add(
    "a lock in a structure around a sum of doubles, and atomics on doubles",
    """
struct Lock {
  int* mutex;
  __device__ Lock(int* m) : mutex(m) {}
  __device__ void lock() { while (atomicCAS(mutex, 0, 1) != 0); __threadfence(); }
  __device__ void unlock() { __threadfence(); atomicExch(mutex, 0); }
};
__device__ double atomic_max(double* at, double v) {
  unsigned long long* bits = (unsigned long long*)at;
  unsigned long long old = *bits, assumed;
  do {
    assumed = old;
    if (__longlong_as_double(assumed) >= v) break;
    old = atomicCAS(bits, assumed, __double_as_longlong(v));
  } while (assumed != old);
  return __longlong_as_double(old);
}
extern "C" __global__ void f(const double* a, const double* b, int* mutex, double* c) {
  __shared__ double cache[64];
  double temp = 0;
  for (int i = threadIdx.x + blockIdx.x * blockDim.x; i < 256;
       i += blockDim.x * gridDim.x) temp += a[i] * b[i];
  cache[threadIdx.x] = temp;
  atomic_max(&c[1], temp);
  atomicAdd(&c[2], temp);
  for (int i = blockDim.x / 2; i != 0; i /= 2) {
    __syncthreads();
    if (threadIdx.x < i) cache[threadIdx.x] += cache[threadIdx.x + i];
  }
  if (threadIdx.x == 0) {
    Lock l(mutex);
    l.lock();
    c[0] += cache[0];
    l.unlock();
  }
}""",
    (A, B, np.zeros(1, N), np.zeros(3)),
    {3: [A @ B, (A * B).reshape(2, 128).sum(0).max(), A @ B]},
    grid=2,
    block=64,
    rtol=1e-12,
)
SIGNAL = (RNG.standard_normal(64) + 1j * RNG.standard_normal(64)).astype(np.complex64)
add(
    "a Fourier transform in shared memory, twiddles by sincospif",
    """
typedef float2 cpx;
__device__ __forceinline__ cpx operator*(cpx a, cpx b) {
  return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
__device__ inline cpx operator+(cpx a, cpx b) { return {a.x + b.x, a.y + b.y}; }
__device__ inline cpx operator-(cpx a, cpx b) { return {a.x - b.x, a.y - b.y}; }
template <int LOG> __global__ void fft(cpx* data) {
  constexpr int n = 1 << LOG;
  __shared__ cpx s[n];
  for (int i = threadIdx.x; i < n; i += n / 2)
    s[__brev(i) >> (32 - LOG)] = data[i];
  for (int half = 1; half < n; half *= 2) {
    __syncthreads();
    const int k = threadIdx.x & (half - 1), at = 2 * threadIdx.x - k;
    cpx w;
    sincospif(-(float)k / half, &w.y, &w.x);
    const cpx a = s[at], b = w * s[at + half];
    s[at] = a + b; s[at + half] = a - b;
  }
  __syncthreads();
  data[threadIdx.x] = s[threadIdx.x];
  data[threadIdx.x + n / 2] = s[threadIdx.x + n / 2];
}""",
    (SIGNAL,),
    {0: np.fft.fft(SIGNAL)},
    kernel="fft<6>",
    block=32,
    rtol=1e-4,
    atol=1e-4,
)
SPD = RNG.standard_normal((16, 16))
SPD = SPD @ SPD.T + 16 * np.eye(16)
add(
    "Cholesky's factor, a column at a time",
    """
#define L(r, c) a[(r) * (n) + (c)]
extern "C" __global__ void f(double* __restrict a, int n) {
  const int t = threadIdx.x;
  for (int k = 0; k < n; ++k) {
    if (t == 0) L(k, k) = sqrt(L(k, k));
    __syncthreads();
    for (int r = k + 1 + t; r < n; r += blockDim.x) L(r, k) /= L(k, k);
    __syncthreads();
    for (int i = t; i < (n - k - 1) * (n - k - 1); i += blockDim.x) {
      const int r = k + 1 + i / (n - k - 1), c = k + 1 + i % (n - k - 1);
      if (c <= r) L(r, c) -= L(r, k) * L(c, k);
    }
    __syncthreads();
  }
  for (int i = t; i < n * n; i += blockDim.x) if (i % n > i / n) a[i] = 0;
}""",
    (SPD, N(16)),
    {0: np.linalg.cholesky(SPD)},
    block=40,
    rtol=1e-10,
    atol=1e-12,
)
DIAGONAL = RNG.random((3, 32)) + np.array([[0], [3], [0]])
DIAGONAL[0, 0] = DIAGONAL[2, -1] = 0
MATRIX = np.diag(DIAGONAL[1]) + np.diag(DIAGONAL[0, 1:], -1)
MATRIX += np.diag(DIAGONAL[2, :-1], 1)
add(
    "a tridiagonal system by cyclic reduction between lanes",
    """
extern "C" __global__ void f(const double* below, const double* on,
                             const double* above, const double* rhs, double* x) {
  const unsigned all = 0xffffffff;
  const int i = threadIdx.x;
  double a = below[i], b = on[i], c = above[i], d = rhs[i];
  for (int s = 1; s < 32; s *= 2) {
    double a0 = __shfl_up_sync(all, a, s), b0 = __shfl_up_sync(all, b, s),
           c0 = __shfl_up_sync(all, c, s), d0 = __shfl_up_sync(all, d, s);
    double a1 = __shfl_down_sync(all, a, s), b1 = __shfl_down_sync(all, b, s),
           c1 = __shfl_down_sync(all, c, s), d1 = __shfl_down_sync(all, d, s);
    const double p = i >= s ? -a / b0 : 0.0, q = i + s < 32 ? -c / b1 : 0.0;
    a = p * a0; c = q * c1;
    b += p * c0 + q * a1;
    d += p * d0 + q * d1;
  }
  x[i] = d / b;
}""",
    (*DIAGONAL.copy(), A[:32].copy(), np.zeros(32)),
    {4: np.linalg.solve(MATRIX, A[:32])},
    block=32,
    rtol=1e-10,
)


def orbit(v: float) -> float:
    x, y, h = v, 0.0, 0.01
    for _ in range(50):
        k = []
        for c in (0, 0.5, 0.5, 1):
            dx, dy = (k[-1][0], k[-1][1]) if k else (0, 0)
            u, w = x + c * h * dx, y + c * h * dy
            k.append((w, -np.sin(u) - 0.1 * w))
        x += h / 6 * (k[0][0] + 2 * k[1][0] + 2 * k[2][0] + k[3][0])
        y += h / 6 * (k[0][1] + 2 * k[1][1] + 2 * k[2][1] + k[3][1])
    return x


add(
    "pendulums by Runge and Kutta, the equation as a template argument",
    """
struct Pendulum { double damping;
  __device__ double2 operator()(double2 s) const {
    return make_double2(s.y, -sin(s.x) - damping * s.y); } };
__device__ double2 axpy(double a, double2 x, double2 y) {
  return make_double2(fma(a, x.x, y.x), fma(a, x.y, y.y)); }
template <class Field>
__device__ double2 rk4(const Field& f, double2 s, double h) {
  const double2 k1 = f(s), k2 = f(axpy(h / 2, k1, s)), k3 = f(axpy(h / 2, k2, s)),
                k4 = f(axpy(h, k3, s));
  s = axpy(h / 6, k1, s); s = axpy(h / 3, k2, s);
  s = axpy(h / 3, k3, s); return axpy(h / 6, k4, s);
}
extern "C" __global__ void f(const double* start, double* out, int steps, double h) {
  double2 s{start[threadIdx.x]};
  for (int i = 0; i < steps; ++i) s = rk4(Pendulum{0.1}, s, h);
  out[threadIdx.x] = s.x;
}""",
    (A[:64].copy(), np.zeros(64), N(50), D(0.01)),
    {1: [orbit(v) for v in A[:64]]},
    block=64,
    rtol=1e-9,
)
add(
    "quicksort by recursion with a stack of its own for each thread",
    """
template <class T> __device__ void swap(T& a, T& b) { T c(a); a = b; b = c; }
__device__ void sort(short* v, int low, int high, int depth) {
  if (high - low < 4 || depth > 12) {
    for (int i = low + 1; i <= high; ++i)
      for (int j = i; j > low && v[j] < v[j - 1]; --j) swap(v[j], v[j - 1]);
    return;
  }
  const short pivot = v[(low + high) / 2];
  int i = low, j = high;
  do {
    while (v[i] < pivot) i++;
    while (pivot < v[j]) j--;
    if (i <= j) swap(v[i++], v[j--]);
  } while (i <= j);
  if (low < j) sort(v, low, j, depth + 1);
  if (i < high) sort(v, i, high, depth + 1);
}
extern "C" __global__ void f(short* data) {
  short mine[32];
  short* const row = data + threadIdx.x * 32;
  for (int i = 0; i < 32; ++i) mine[i] = row[i];
  sort(mine, 0, 31, 0);
  for (int i = 0; i < 32; ++i) row[i] = mine[i];
}""",
    (IX.astype(np.int16),),
    {0: np.sort(IX.reshape(8, 32), 1)},
    block=8,
)
add(
    "directed rounding: bounds of sums, quotients and roots",
    """
extern "C" __global__ void f(const float* x, const float* y, float* out, int* count) {
  const float a = x[threadIdx.x], b = y[threadIdx.x];
  float* o = out + 8 * threadIdx.x;
  o[0] = __fadd_rd(a, b); o[1] = __fadd_ru(a, b);
  o[2] = __fmul_rz(a, b); o[3] = __fdiv_ru(a, b);
  o[4] = __fsqrt_rd(fabsf(a)); o[5] = __fmaf_rz(a, b, a);
  o[6] = __int2float_rz(__float2int_rn(a * 3e8f));
  o[7] = __double2float_ru((double)a / 3);
  atomicAdd(count, o[0] < o[1]);
}""",
    (X, A.astype(F), np.zeros((256, 8), F), np.zeros(1, N)),
    {},
)


def directed() -> np.ndarray:
    def down(q: Q) -> Any:
        v = F(float(q))
        return v if Q(float(v)) <= q else np.nextafter(v, F(-np.inf))

    def up(q: Q) -> Any:
        return -down(-q)

    def zero(q: Q) -> Any:
        return down(q) if q > 0 else up(q)

    rows = []
    for p, r in zip(X, A.astype(F), strict=True):
        a, b = Q(float(p)), Q(float(r))
        root = F(np.sqrt(abs(D(p))))
        if Q(float(root)) ** 2 > abs(a):
            root = np.nextafter(root, F(0))
        whole = int(np.rint(D(F(p * F(3e8)))))
        rows.append(
            [
                *(down(a + b), up(a + b), zero(a * b), up(a / b), root),
                *(zero(a * b + a), zero(Q(whole)), up(Q(float(p) / 3.0))),
            ]
        )
    return np.array(rows, F)


LANGUAGE[-1][3].update(
    {2: directed(), 3: [(directed()[:, 0] < directed()[:, 1]).sum()]}
)
add(
    "functions that only CUDA's library has",
    """
extern "C" __global__ void f(const double* x, double* out, float* single) {
  const double v = x[threadIdx.x];
  double* o = out + 6 * threadIdx.x;
  o[0] = erf(erfinv(tanh(v))); o[1] = normcdf(normcdfinv(normcdf(v)));
  o[2] = rcbrt(1 + fabs(v)); o[3] = sinpi(v) * sinpi(v) + cospi(v) * cospi(v);
  o[4] = norm3d(v, 2.0, -1.0); o[5] = erfcx(fabs(v) * 4) * exp(-16 * v * v);
  float s, c;
  sincospif((float)threadIdx.x / 2, &s, &c);
  single[threadIdx.x] = s + 3 * c + (umax(0xf0000000u, 7u) > 0 ? 10 : 20) +
                        exp10(1.0f) + (float)pow(2.0f, (int)(threadIdx.x % 3));
}""",
    (A, np.zeros((256, 6)), np.zeros(256, F)),
    {
        2: np.rint(np.sin(np.pi * T / 2) + 3 * np.cos(np.pi * T / 2))
        + 20
        + 2.0 ** (T % 3)
    },
    rtol=1e-6,
)


def special() -> np.ndarray:
    tail = np.array([erfc(abs(v) * 4) for v in A])
    below = np.array([erfc(-v / np.sqrt(2)) / 2 for v in A])
    return np.stack(
        [
            *(np.tanh(A), below, (1 + np.abs(A)) ** (-1 / 3), np.ones(256)),
            *(np.sqrt(A**2 + 5), tail),
        ],
        1,
    )


LANGUAGE[-1][3][1] = special()
PAIR, OTHER = (RNG.standard_normal(512).astype(H) for _ in range(2))
add(
    "pairs of halves: comparisons, masks, saturation, complex products",
    """
#include <cuda_fp16.h>
extern "C" __global__ void f(const half2* a, const half2* b, half2* out, unsigned* m) {
  const half2 x = a[threadIdx.x], y = b[threadIdx.x];
  half2* o = &out[threadIdx.x * 4];
  o[0] = __hge2(x, y);
  o[1] = __hfma2_relu(x, y, __float2half2_rn(-0.25f));
  o[2] = __hcmadd(x, y, half2(0.0f, 1.0f));
  o[3] = __hmul2_sat(x, y);
  m[threadIdx.x] = __hlt2_mask(x, y) + (__hbgt2(x, y) ? 1u : 0u) + (x == x) +
                   __hadd(5, 8);  // of integers: their average
}""",
    (PAIR, OTHER, np.zeros(2048, H), np.zeros(256, U)),
    {},
    atol=5e-3,
)
P2, O2 = PAIR.reshape(-1, 2).astype(float), OTHER.reshape(-1, 2).astype(float)
Z = (P2[:, 0] + 1j * P2[:, 1]) * (O2[:, 0] + 1j * O2[:, 1]) + 1j
LANGUAGE[-1][3].update(
    {
        2: np.stack(
            [
                (P2 >= O2).astype(float),
                np.maximum(P2 * O2 - 0.25, 0),
                np.stack([Z.real, Z.imag], 1),
                np.clip(P2 * O2, 0, 1),
            ],
            1,
        ),
        3: ((P2 < O2) @ np.array([0xFFFF, 0xFFFF0000]) + (P2 > O2).all(1) + 7) % 2**32,
    }
)
add(
    "a union with a constructor's work: pieces of a vector, copied whole",
    """
union Pack { uint4 all; unsigned part[4]; uint2 half[2]; };
struct Vec { union { float4 v; struct { float x, y, z, w; }; float a[4]; }; };
__device__ Vec turned(Vec v) { Vec r = v; r.v = make_float4(v.w, v.x, v.y, v.z);
  return r; }
__constant__ float2 corners[3] = {1, 2, 3, 4, 5, 6};
extern "C" __global__ void f(const uint4* in, const Vec* vin, uint4* out, Vec* vout) {
  Pack p{in[threadIdx.x]}, q = p;
  for (int i = 0; i < 4; ++i) q.part[i] = p.part[3 - i] + i;
  Pack r;
  r = q;
  r.half[0] = q.half[1];
  out[threadIdx.x] = r.all;
  Vec v = turned(vin[threadIdx.x]);
  v.a[1] += corners[threadIdx.x % 3].y;
  vout[threadIdx.x] = v;
}""",
    (IX.view(U), X.view(np.uint8), np.zeros(256, U), np.zeros(1024, np.uint8)),
    {
        2: (IX.view(U).reshape(-1, 4)[:, ::-1] + np.arange(4, dtype=U))[
            :, [2, 3, 2, 3]
        ],
        3: X.reshape(-1, 4)[:, [3, 0, 1, 2]]
        + np.array([0, 1, 0, 0]) * np.array([2, 4, 6])[np.arange(64) % 3][:, None],
    },
    block=64,
    rtol=1e-6,
    seen=F,
)
add(
    "sixty-four bit indices and pointers that move backwards",
    """
extern "C" __global__ void f(const long long* x, long long* out, size_t n, long step) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (size_t)gridDim.x * blockDim.x) {
    const long long* p = x + (n - 1);
    p -= (ptrdiff_t)i;
    const unsigned long long big = (1ull << 40) + i;
    out[i] = *p * step + (long long)(big % 1000003u) - (p - x);
  }
}""",
    (np.arange(256) * 7919, np.zeros(256, np.int64), np.uint64(256), np.int64(-3)),
    {1: [(255 - i) * 7919 * -3 + ((1 << 40) + i) % 1000003 - (255 - i) for i in T]},
    grid=2,
    block=50,
)
