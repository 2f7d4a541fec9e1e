"""Kernels on whole numbers: packed bytes, bit tricks, hashing, sorting, graphs,
dynamic programming. Written for these tests; NumPy or plain Python is the truth."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

F, N, U = np.float32, np.int32, np.uint32
RNG = np.random.default_rng(11)

# name, source, all arguments, what must stand in some of them, the launch
BITS: list[tuple[str, str, tuple[Any, ...], dict[int, Any], dict[str, Any]]] = []


def add(name: str, source: str, args: tuple[Any, ...], want: dict[int, Any], **kw: Any):
    BITS.append((name, source, args, want, kw))


W = RNG.integers(0, 2**32, 256, dtype=U)
V = RNG.integers(0, 2**32, 256, dtype=U)
IX = RNG.integers(-5000, 5000, 256).astype(N)
BYTES, BYTES2 = W.view(np.uint8).reshape(-1, 4), V.view(np.uint8).reshape(-1, 4)

add(
    "dot products of bytes, signed, unsigned and of char4",
    """
extern "C" __global__ void f(const unsigned* a, const unsigned* b, int* s,
                             unsigned* u, int* c, int* h) {
  const int i = threadIdx.x;
  s[i] = __dp4a((int)a[i], (int)b[i], -7);
  u[i] = __dp4a(a[i], b[i], 9u);
  c[i] = __dp4a(reinterpret_cast<const char4*>(a)[i],
                reinterpret_cast<const char4&>(b[i]), i);
  h[i] = __dp2a_lo((int)a[i], (int)b[i], 0) - __dp2a_hi((int)a[i], (int)b[i], 1);
}""",
    (W, V, *(np.zeros(256, t) for t in (N, U, N, N))),
    {
        2: (BYTES.view(np.int8).astype(N) * BYTES2.view(np.int8)).sum(1) - 7,
        3: (BYTES.astype(U) * BYTES2).sum(1) + 9,
        4: (BYTES.view(np.int8).astype(N) * BYTES2.view(np.int8)).sum(1)
        + np.arange(256),
        5: (
            W.view(np.int16).reshape(-1, 2).astype(N)
            * (BYTES2.view(np.int8)[:, :2].astype(N) - BYTES2.view(np.int8)[:, 2:])
        ).sum(1)
        - 1,
    },
)
add(
    "packed bytes: differences, saturation, comparison, selection",
    """
extern "C" __global__ void f(const unsigned* a, const unsigned* b, unsigned* out) {
  unsigned x = a[threadIdx.x], y = b[threadIdx.x], *o = out + 8 * threadIdx.x;
  *o++ = __vabsdiffu4(x, y);
  *o++ = __vsadu4(x, y);
  *o++ = __vaddus4(x, y);
  *o++ = __vsubss4(x, y);
  unsigned bigger = __vcmpgtu4(x, y);
  *o++ = (x & bigger) | (y & ~bigger);
  *o++ = __vmaxu4(x, y) ^ __vsetgtu4(x, y);
  *o++ = __vavgu4(x, y);
  *o++ = __vaddss2(x, y);
}""",
    (W, V, np.zeros(2048, U)),
    {
        2: np.stack(
            [
                np.abs(BYTES.astype(int) - BYTES2).astype(np.uint8).view(U)[:, 0],
                np.abs(BYTES.astype(int) - BYTES2).sum(1).astype(U),
                np.minimum(BYTES.astype(int) + BYTES2, 255)
                .astype(np.uint8)
                .view(U)[:, 0],
                np.clip(
                    BYTES.view(np.int8).astype(int) - BYTES2.view(np.int8), -128, 127
                )
                .astype(np.int8)
                .view(U)[:, 0],
                np.maximum(BYTES, BYTES2).view(U)[:, 0],
                (np.maximum(BYTES, BYTES2) ^ (BYTES > BYTES2)).view(U)[:, 0],
                ((BYTES.astype(int) + BYTES2 + 1) // 2).astype(np.uint8).view(U)[:, 0],
                np.clip(W.view(np.int16).astype(int) + V.view(np.int16), -32768, 32767)
                .astype(np.int16)
                .view(U),
            ],
            1,
        )
    },
)


def rotl(x: np.ndarray, k: int) -> np.ndarray:
    return (x << U(k)) | (x >> U(32 - k))


add(
    "rotations by funnel shifts, bytes by __byte_perm, halves of averages",
    """
static __device__ __forceinline__ unsigned turned(unsigned v, int by) {
  return __funnelshift_l(v, v, by);
}
extern "C" __global__ void f(const unsigned* a, const unsigned* b, unsigned* out) {
  unsigned x = a[threadIdx.x], y = b[threadIdx.x];
  unsigned* o = &out[threadIdx.x * 6];
  o[0] = turned(x, 7) ^ turned(y, 13);
  o[1] = __byte_perm(x, 0, 0x0123);  // the other byte order
  o[2] = __byte_perm(x, y, 0x5410);
  o[3] = __funnelshift_r(x, y, 40) + __funnelshift_rc(x, y, 40);
  o[4] = __uhadd(x, y) - __urhadd(x, y);
  o[5] = __hadd((int)x, (int)y);
}""",
    (W, V, np.zeros(6 * 256, U)),
    {
        2: np.stack(
            [
                rotl(W, 7) ^ rotl(V, 13),
                W.byteswap(),
                (W & U(0xFFFF)) | (V << U(16)),
                ((W >> U(8)) | (V << U(24))) + V,
                ((W.astype(np.int64) + V) // 2 - (W.astype(np.int64) + V + 1) // 2)
                .astype(np.int64)
                .astype(U),
                ((W.view(N).astype(np.int64) + V.view(N)) >> 1).astype(U),
            ],
            1,
        )
    },
)
add(
    "Hamming distances, 64 bits at a time",
    """
typedef unsigned long long uint64_t;
typedef unsigned int uint32_t;
extern "C" __global__ void f(const uint64_t* codes, uint32_t* nearest, int n) {
  const uint64_t mine = codes[threadIdx.x];
  uint32_t best = 0xffffffffu;
  for (int j = 0; j < n; ++j) {
    if (j == (int)threadIdx.x) continue;
    const uint32_t d = __popcll(mine ^ codes[j]);
    best = min(best, d << 16 | (uint32_t)j);
  }
  nearest[threadIdx.x] = best & 0xffffu;
}""",
    (W.view(np.uint64), np.zeros(128, U), N(128)),
    {
        1: [
            min(
                (bin(int(a) ^ int(b)).count("1"), j)
                for j, b in enumerate(W.view(np.uint64))
                if j != i
            )[1]
            for i, a in enumerate(W.view(np.uint64))
        ]
    },
    block=128,
)
add(
    "bit reversal, leading zeros, the n-th set bit",
    """
extern "C" __global__ void f(const unsigned* a, int* out) {
  unsigned v = a[threadIdx.x];
  out[4 * threadIdx.x + 0] = __brev(threadIdx.x) >> 24;
  out[4 * threadIdx.x + 1] = 31 - __clz(v & -v);
  out[4 * threadIdx.x + 2] = (int)__fns(v, 0, 3);
  out[4 * threadIdx.x + 3] = __clzll((long long)v) - __ffsll((long long)v << 20);
}""",
    (W, np.zeros(1024, N)),
    {
        1: [
            w
            for i, v in enumerate(W.tolist())
            for w in (
                int(f"{i:08b}"[::-1], 2),
                (v & -v).bit_length() - 1,
                [b for b in range(32) if v >> b & 1][2],
                64 - v.bit_length() - (v & -v).bit_length() - 20,
            )
        ]
    },
)


def spread(v: int) -> int:
    return sum((v >> b & 1) << 3 * b for b in range(21))


add(
    "Morton codes of three coordinates",
    """
struct Point3 { unsigned short x, y, z, pad; };
__host__ __device__ inline unsigned long long spread(unsigned long long v) {
  v &= 0x1fffff;
  v = (v | v << 32) & 0x1f00000000ffffull;
  v = (v | v << 16) & 0x1f0000ff0000ffull;
  v = (v | v << 8) & 0x100f00f00f00f00full;
  v = (v | v << 4) & 0x10c30c30c30c30c3ull;
  return (v | v << 2) & 0x1249249249249249ull;
}
extern "C" __global__ void f(const Point3* __restrict__ p,
                             unsigned long long* __restrict__ code) {
  const auto& [x, y, z, pad] = p[threadIdx.x];
  code[threadIdx.x] = spread(x) | spread(y) << 1 | spread(z) << 2;
}""",
    (
        W[:128]
        .view(np.uint16)
        .reshape(-1, 4)
        .view([("x", "u2"), ("y", "u2"), ("z", "u2"), ("pad", "u2")]),
        np.zeros(64, np.uint64),
    ),
    {
        1: [
            spread(int(x)) | spread(int(y)) << 1 | spread(int(z)) << 2
            for x, y, z, _ in W[:128].view(np.uint16).reshape(-1, 4)
        ]
    },
    block=64,
)
add(
    "checksums from a table that the compiler computes",
    """
struct Table { unsigned v[256]; };
__host__ __device__ constexpr Table made() {
  Table t{};
  for (unsigned i = 0; i < 256; ++i) {
    unsigned c = i;
    for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    t.v[i] = c;
  }
  return t;
}
__constant__ Table table = made();
extern "C" __global__ void f(const unsigned char* text, int length, unsigned* crc) {
  const unsigned char* p = text + threadIdx.x * length;
  unsigned c = ~0u;
  while (length--) c = table.v[(c ^ *p++) & 0xff] ^ (c >> 8);
  crc[threadIdx.x] = ~c;
}""",
    (W.view(np.uint8), N(16), np.zeros(64, U)),
    {
        2: [
            zlib.crc32(W.view(np.uint8)[16 * i : 16 * i + 16].tobytes())
            for i in range(64)
        ]
    },
    block=64,
)


add(
    "powers modulo a prime of 61 bits",
    """
using u64 = unsigned long long;
__device__ u64 times(u64 a, u64 b) {
  constexpr u64 p = (1ull << 61) - 1;
  u64 lo = a * b, hi = __umul64hi(a, b);
  u64 r = (lo & p) + ((lo >> 61) | (hi << 3));
  return r >= p ? r - p : r;
}
extern "C" __global__ void f(const unsigned* base, const unsigned* power, u64* out) {
  u64 r = 1, b = base[threadIdx.x];
  for (u64 e = (u64)power[threadIdx.x] << 20 | 5; e; e >>= 1, b = times(b, b))
    if (e & 1) r = times(r, b);
  out[threadIdx.x] = r;
}""",
    (W, V, np.zeros(256, np.uint64)),
    {2: [pow(int(w), int(v) << 20 | 5, 2**61 - 1) for w, v in zip(W, V, strict=True)]},
)
KEYS = RNG.permutation(4000)[:200].astype(U) + U(1)
add(
    "a hash table: keys claimed with atomicCAS, values summed",
    """
#define EMPTY 0u
#define SLOTS 512
struct __align__(8) Slot { unsigned key, sum; };
__device__ __forceinline__ unsigned mixed(unsigned k) {
  k ^= k >> 16; k *= 0x7feb352du; k ^= k >> 15; k *= 0x846ca68bu;
  return k ^ k >> 16;
}
extern "C" __global__ void f(const unsigned* keys, int n, Slot* table, int* asked,
                             int* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  for (unsigned s = mixed(keys[i]) % SLOTS;; s = (s + 1) & (SLOTS - 1)) {
    unsigned before = atomicCAS(&table[s].key, EMPTY, keys[i]);
    if (before == EMPTY || before == keys[i]) {
      atomicAdd(&table[s].sum, (unsigned)i);
      break;
    }
  }
  (void)asked; atomicAdd(out, 1);
}""",
    (
        np.tile(KEYS, 2),
        N(400),
        np.zeros(512, [("key", U), ("sum", U)]),
        np.zeros(1, N),
        np.zeros(1, N),
    ),
    {4: [400]},
    grid=4,
    block=128,
)
add(
    "looking up what was hashed in a launch of its own block",
    """
typedef unsigned long long Entry;  // key above, value below
__device__ void insert(Entry* table, unsigned key, unsigned value, unsigned size) {
  Entry mine = (Entry)key << 32 | value;
  unsigned at = key * 2654435761u;
  do {
    at = (at + 1) % size;
    Entry old = atomicCAS(&table[at], ~0ull, mine);
    if (old == ~0ull || (unsigned)(old >> 32) == key) return;
  } while (true);
}
extern "C" __global__ void f(const unsigned* keys, unsigned* found) {
  __shared__ Entry table[509];
  for (int i = threadIdx.x; i < 509; i += blockDim.x) table[i] = ~Entry(0);
  __syncthreads();
  insert(table, keys[threadIdx.x], threadIdx.x, 509);
  __syncthreads();
  const unsigned key = keys[blockDim.x - 1 - threadIdx.x];
  unsigned at = key * 2654435761u;
  while ((unsigned)(table[at = (at + 1) % 509] >> 32) != key) {}
  found[threadIdx.x] = (unsigned)table[at];
}""",
    (KEYS, np.zeros(200, U)),
    {1: np.arange(200)[::-1]},
    block=200,
)
add(
    "a radix sort by four bits, ranks by ballots",
    """
template <int BITS, int THREADS>
struct RadixSort {
  struct Storage { unsigned keys[THREADS]; int warp[1 << BITS][THREADS / 32]; };
  static __device__ unsigned sort(unsigned key, Storage& s) {
    const int t = threadIdx.x, lane = t & 31, w = t >> 5;
    const unsigned below = (1u << lane) - 1;
    for (int shift = 0; shift < 32; shift += BITS) {
      const unsigned digit = key >> shift & ((1u << BITS) - 1);
      unsigned same = ~0u;
#pragma unroll
      for (int b = 0; b < BITS; ++b) {
        const unsigned vote = __ballot_sync(~0u, digit >> b & 1);
        same &= digit >> b & 1 ? vote : ~vote;
      }
      for (int i = t; i < (THREADS / 32) << BITS; i += THREADS)
        (&s.warp[0][0])[i] = 0;
      __syncthreads();
      if ((same & below) == 0) s.warp[digit][w] = __popc(same);
      __syncthreads();
      if (t == 0)
        for (int i = 0, sum = 0; i < (THREADS / 32) << BITS; ++i) {
          int& cell = (&s.warp[0][0])[i], count = cell;
          cell = sum; sum += count;
        }
      __syncthreads();
      s.keys[s.warp[digit][w] + __popc(same & below)] = key;
      __syncthreads();
      key = s.keys[t];
      __syncthreads();
    }
    return key;
  }
};
extern "C" __global__ void f(unsigned* keys) {
  using Sort = RadixSort<4, 256>;
  __shared__ typename Sort::Storage storage;
  keys[threadIdx.x] = Sort::sort(keys[threadIdx.x], storage);
}""",
    (W,),
    {0: np.sort(W)},
)
add(
    "a bitonic sort with a comparison as a template argument",
    """
struct Less { template <class T> __device__ bool operator()(T a, T b) const {
  return a < b; } };
struct Greater { template <class T> __device__ bool operator()(T a, T b) const {
  return b < a; } };
template <typename T> __device__ inline void exchange(T& a, T& b) {
  T c = a; a = b; b = c; }
template <typename T, class Before, unsigned LENGTH>
__global__ void __launch_bounds__(LENGTH / 2) bitonic(T* data, Before before) {
  __shared__ T s[LENGTH];
  const unsigned t = threadIdx.x;
  s[t] = data[t]; s[t + LENGTH / 2] = data[t + LENGTH / 2];
  for (unsigned size = 2; size <= LENGTH; size <<= 1)
    for (unsigned stride = size / 2; stride > 0; stride >>= 1) {
      __syncthreads();
      unsigned at = 2 * t - (t & (stride - 1));
      bool up = (at & size) == 0;
      if (before(s[at + stride], s[at]) == up) exchange(s[at], s[at + stride]);
    }
  __syncthreads();
  data[t] = s[t]; data[t + LENGTH / 2] = s[t + LENGTH / 2];
}""",
    (RNG.permutation(256).astype(np.int16), np.zeros(1, np.uint8)[0]),
    {0: np.arange(256)[::-1]},
    kernel="bitonic<short, Greater, 256>",
    block=128,
)
LONG = RNG.integers(0, 1000, 2048).astype(N)
add(
    "decoupled look-back, status and sum in one word, read with __ldcv",
    """
#define PARTIAL (1ull << 62)
#define COMPLETE (2ull << 62)
using word = unsigned long long;
__device__ word status[16];
__device__ unsigned ticket;
extern "C" __global__ void f(const int* x, int* out) {
  __shared__ int tile, before, warp_sum[4];
  if (threadIdx.x == 0) tile = atomicAdd(&ticket, 1u);
  __syncthreads();
  const int lane = threadIdx.x % 32, w = threadIdx.x / 32;
  const int at = tile * blockDim.x + threadIdx.x;
  int v = x[at];
  for (int d = 1; d < 32; d *= 2) {
    int u = __shfl_up_sync(0xffffffff, v, d);
    if (lane >= d) v += u;
  }
  if (lane == 31) warp_sum[w] = v;
  __syncthreads();
  int total = 0;
  for (int k = 0; k < 4; ++k) { if (k < w) v += warp_sum[k]; total += warp_sum[k]; }
  if (threadIdx.x == 0) {
    atomicExch(&status[tile], (tile ? PARTIAL : COMPLETE) | total);
    int sum = 0;
    for (int p = tile - 1; p >= 0; ) {
      word s = __ldcv(&status[p]);
      if (!(s >> 62)) { __nanosleep(20); continue; }
      sum += (int)s;
      if (s & COMPLETE) break;
      --p;
    }
    atomicExch(&status[tile], COMPLETE | (sum + total));
    before = sum;
  }
  __syncthreads();
  out[at] = before + v;
}""",
    (LONG, np.zeros(2048, N)),
    {1: np.cumsum(LONG)},
    grid=16,
    block=128,
)
add(
    "a histogram aggregated over equal keys of a warp",
    """
extern "C" __global__ void f(const unsigned char* x, int n, int* count) {
  for (int base = blockIdx.x * blockDim.x; base < n; base += gridDim.x * blockDim.x) {
    const int i = base + threadIdx.x;
    const unsigned active = __ballot_sync(0xffffffffu, i < n);
    if (i < n) {
      const unsigned peers = __match_any_sync(active, x[i] / 8);
      if (__ffs(peers) - 1 == (int)(threadIdx.x & 31))
        atomicAdd(count + x[i] / 8, __popc(peers));
    }
  }
}""",
    (W.view(np.uint8)[:1000], N(1000), np.zeros(32, N)),
    {2: np.bincount(W.view(np.uint8)[:1000] // 8, minlength=32)},
    grid=3,
    block=96,
)
HEADS = (RNG.random(256) < 0.2).astype(N)


def segmented() -> list[int]:
    sums: list[int] = []
    for i in range(256):
        fresh = i % 32 == 0 or HEADS[i]
        sums.append(int(IX[i]) + (0 if fresh else sums[-1]))
    return sums


add(
    "sums of segments within a warp, heads as a mask",
    """
extern "C" __global__ void f(const int* x, const int* head, int* out) {
  const int t = threadIdx.x, lane = t & 31;
  unsigned heads = __ballot_sync(0xffffffff, head[t]) | 1u;
  int start = 31 - __clz(heads & (0xffffffffu >> (31 - lane)));
  int v = x[t];
  for (int d = 1; d < 32; d <<= 1) {
    int u = __shfl_up_sync(0xffffffff, v, d);
    if (lane - d >= start) v += u;
  }
  out[t] = v;
}""",
    (IX, HEADS, np.zeros(256, N)),
    {2: segmented()},
)
LIFE = RNG.integers(0, 2, (24, 40)).astype(np.uint8)
AROUND = sum(
    np.roll(LIFE, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b
)
add(
    "the game of life on a torus, several cells a thread",
    """
#define WRAP(v, n) (((v) + (n)) % (n))
#define AT(dx, dy) now[WRAP(y + (dy), h) * w + WRAP(x + (dx), w)]
enum class State : unsigned char { dead, alive };
extern "C" __global__ void f(const State* now, State* next, int w, int h) {
  for (int y = blockIdx.y * blockDim.y + threadIdx.y; y < h;
       y += blockDim.y * gridDim.y)
    for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < w;
         x += blockDim.x * gridDim.x) {
      int n = 0;
#pragma unroll 3
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx)
          n += (dx || dy) && AT(dx, dy) == State::alive;
      switch (n) {
        case 2: next[y * w + x] = now[y * w + x]; break;
        case 3: next[y * w + x] = State::alive; break;
        default: next[y * w + x] = State::dead;
      }
    }
}""",
    (LIFE, np.zeros_like(LIFE), N(40), N(24)),
    {1: (AROUND == 3) | ((AROUND == 2) & (LIFE == 1))},
    grid=(2, 3),
    block=(8, 4),
)
EDGES = RNG.integers(0, 100, (70, 2)).astype(N)


def components() -> list[int]:
    label = list(range(100))
    for _ in range(100):
        for a, b in EDGES:
            label[a] = label[b] = min(label[a], label[b])
    return label


add(
    "connected components by hooking with atomicCAS",
    """
__device__ int root(volatile int* parent, int v) {
  while (parent[v] != v) v = parent[v];
  return v;
}
extern "C" __global__ void f(const int2* edges, int m, int* parent, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) parent[i] = i;
  __syncthreads();
  for (int i = threadIdx.x; i < m; i += blockDim.x) {
    int2 e = edges[i];
    bool done;
    do {
      int a = root(parent, e.x), b = root(parent, e.y);
      done = a == b;
      if (!done) {
        int high = max(a, b), low = min(a, b);
        done = atomicCAS(&parent[high], high, low) == high;
      }
    } while (!done);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    int r = root(parent, i);
    __syncthreads();
    parent[i] = r;
    __syncthreads();
  }
}""",
    (EDGES, N(70), np.zeros(100, N), N(100)),
    {2: components()},
    block=50,
)


def distances() -> list[int]:
    far = [-1] * 100
    far[0] = 0
    for step in range(100):
        for a, b in np.concatenate([EDGES, EDGES[:, ::-1]]):
            if far[a] == step and far[b] < 0:
                far[b] = step + 1
    return far


BOTH = np.concatenate([EDGES, EDGES[:, ::-1]])
BOTH = BOTH[np.argsort(BOTH[:, 0], kind="stable")]
STARTS = np.searchsorted(BOTH[:, 0], np.arange(101)).astype(N)
add(
    "breadth-first search, one block, the frontier in shared memory",
    """
extern "C" __global__ void f(const int* starts, const int* to, int n, int* level) {
  __shared__ int queue[2][128];
  __shared__ int count[2];
  for (int i = threadIdx.x; i < n; i += blockDim.x) level[i] = i ? -1 : 0;
  if (threadIdx.x == 0) { queue[0][0] = 0; count[0] = 1; count[1] = 0; }
  __syncthreads();
  for (int step = 0; count[step & 1] > 0; ++step) {
    int *in = queue[step & 1], *out = queue[~step & 1];
    for (int i = threadIdx.x; i < count[step & 1]; i += blockDim.x)
      for (int e = starts[in[i]]; e < starts[in[i] + 1]; ++e)
        if (atomicCAS(&level[to[e]], -1, step + 1) == -1)
          out[atomicAdd(&count[~step & 1], 1)] = to[e];
    __syncthreads();
    if (threadIdx.x == 0) count[step & 1] = 0;
    __syncthreads();
  }
}""",
    (STARTS, BOTH[:, 1].copy(), N(100), np.zeros(100, N)),
    {3: distances()},
    block=32,
)
FIRST, SECOND = (RNG.integers(0, 4, n).astype(np.int8) for n in (40, 32))


def alignment() -> int:
    score, best = np.zeros((41, 33), int), 0
    for i in range(40):
        for j in range(32):
            match = 3 if FIRST[i] == SECOND[j] else -2
            score[i + 1, j + 1] = max(
                0, score[i, j] + match, score[i, j + 1] - 2, score[i + 1, j] - 2
            )
            best = max(best, score[i + 1, j + 1])
    return best


add(
    "local alignment along antidiagonals, a lane a column",
    """
extern "C" __global__ void f(const char* a, int n, const char* b, int* out) {
  const int lane = threadIdx.x;
  const unsigned all = 0xffffffffu;
  int left = 0, above = 0, corner = 0, best = 0;
  for (int step = 0; step < n + 31; ++step) {
    const int row = step - lane;
    int fresh = 0;
    if (row >= 0 && row < n) {
      const int match = a[row] == b[lane] ? 3 : -2;
      fresh = __viaddmax_s32_relu(corner, match, max(above, left) - 2);
      best = max(best, fresh);
    }
    const int from_left = __shfl_up_sync(all, fresh, 1);
    const int old_left = left;
    above = fresh;
    corner = old_left;
    left = lane ? from_left : 0;
  }
  best = __reduce_max_sync(all, best);
  if (lane == 0) *out = best;
}""",
    (FIRST, N(40), SECOND, np.zeros(1, N)),
    {3: [alignment()]},
    block=32,
)


def queens(n: int, row: int = 0, cols: int = 0, d1: int = 0, d2: int = 0) -> int:
    if row == n:
        return 1
    return sum(
        queens(n, row + 1, cols | 1 << c, (d1 | 1 << c) << 1, (d2 | 1 << c) >> 1)
        for c in range(n)
        if not (cols | d1 | d2) >> c & 1
    )


add(
    "queens by recursion on bits, totals by warps",
    """
template <int N_> struct Board {
  static constexpr unsigned full = (1u << N_) - 1;
  static __device__ int solve(unsigned columns, unsigned left, unsigned right) {
    if (columns == full) return 1;
    int found = 0;
    for (unsigned open = full & ~(columns | left | right); open; ) {
      const unsigned bit = open & (0u - open);
      open ^= bit;
      found += solve(columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
  }
};
extern "C" __global__ void f(int* out) {
  constexpr int n = 7;
  int found = 0;
  const unsigned a = 1u << threadIdx.x % n, b = 1u << threadIdx.x / n;
  if (threadIdx.x < n * n && !(b & (a | a << 1 | a >> 1)))
    found = Board<n>::solve(a | b, ((a << 1) | b) << 1, ((a >> 1) | b) >> 1);
  found = __reduce_add_sync(0xffffffff, found);
  if (threadIdx.x % 32 == 0) atomicAdd(out, found);
}""",
    (np.zeros(1, N),),
    {0: [queens(7)]},
    block=64,
)


def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        n, steps = (3 * n + 1 if n % 2 else n // 2), steps + 1
    return steps


add(
    "Collatz: a loop that each thread leaves in its own time",
    """
__device__ int steps_of(unsigned long long n) {
  int k = 0;
  do {
    if (n <= 1) return k;
    n = n & 1 ? 3 * n + 1 : n >> 1;
  } while (++k < 1000);
  return -1;
}
extern "C" __global__ void f(int* out, int* longest) {
  int k = steps_of(threadIdx.x + 1ull);
  out[threadIdx.x] = k;
  atomicMax(longest, k << 8 | threadIdx.x);
}""",
    (np.zeros(200, N), np.zeros(1, N)),
    {
        0: [collatz(n) for n in range(1, 201)],
        1: [max(collatz(n + 1) << 8 | n for n in range(200))],
    },
    block=200,
)
TEXT = b"a kernel in a kernel is a kernel; a grid is no kernel at all, nor is a ker"
add(
    "finding a word: comments with code, raw strings, characters",
    r"""
// for (int i = 0; i < 10; ++i) { __syncthreads(); } /* not code either
/* extern __shared__ float nothing[]; // asm("nop"); <<<1, 2>>> "*/
#define WORD(text) reinterpret_cast<const char*>(text)
__constant__ char pattern[] = "kernel";
__device__ const char* const notes = R"(a "raw" string // with asm( and <<< in it)";
extern "C" __global__ void f(const char* text, int n, int* hits, int* odd) {
  const int m = sizeof(pattern) - 1, i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i + m > n) return;
  bool equal = true;
  for (int k = 0; equal && k < m; ++k) equal = text[i + k] == pattern[k];
  if (equal) atomicAdd(hits, 1);
  if (text[i] == ';' || text[i] == '\'' || text[i] == '"' || text[i] == notes[2])
    atomicOr(odd, 1 << i % 31); // '"' is a character
}""",
    (np.frombuffer(TEXT, np.int8), N(len(TEXT)), np.zeros(1, N), np.zeros(1, N)),
    {
        2: [TEXT.count(b"kernel")],
        3: [sum({1 << i % 31 for i, c in enumerate(TEXT[:-5]) if c in b";'\""})],
    },
    grid=3,
    block=32,
)
add(
    "base 64: a table in constant memory, bytes gathered in a word",
    """
__constant__ char digits[64 + 1] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "abcdefghijklmnopqrstuvwxyz"
    "0123456789+/";
extern "C" __global__ void f(const uchar3* in, char4* out) {
  uchar3 b = in[threadIdx.x];
  unsigned w = b.x << 16 | b.y << 8 | b.z;
  out[threadIdx.x] = make_char4(digits[w >> 18], digits[w >> 12 & 63],
                                digits[w >> 6 & 63], digits[w & 63]);
}""",
    (W.view(np.uint8)[:300], np.zeros(400, np.int8)),
    {1: np.frombuffer(base64.b64encode(W.view(np.uint8)[:300].tobytes()), np.int8)},
    block=100,
)


def xorwow(seed: int, n: int) -> list[int]:
    x, y, z, w, v, d = seed, 362436069, 521288629, 88675123, 5783321, 6615241
    out = []
    for _ in range(n):
        t = x ^ x >> 2
        x, y, z, w = y, z, w, v
        v = (v ^ v << 4 ^ t ^ t << 1) % 2**32
        d = (d + 362437) % 2**32
        out.append((d + v) % 2**32)
    return out


add(
    "a generator of random words, state kept in a structure",
    """
struct State { unsigned d, v[5]; };
__device__ unsigned next(State* s) {
  unsigned t = s->v[0] ^ (s->v[0] >> 2);
  s->v[0] = s->v[1]; s->v[1] = s->v[2]; s->v[2] = s->v[3]; s->v[3] = s->v[4];
  s->v[4] = (s->v[4] ^ (s->v[4] << 4)) ^ (t ^ (t << 1));
  s->d += 362437;
  return s->v[4] + s->d;
}
extern "C" __global__ void seed(State* states) {}
extern "C" __global__ void f(State* states, unsigned* out, int n) {
  const int id = threadIdx.x + blockIdx.x * blockDim.x;
  State local = states[id];
  for (int k = 0; k < n; ++k) out[id * n + k] = next(&local);
  states[id] = local;
}""",
    (
        np.array(
            [
                (6615241, (s, 362436069, 521288629, 88675123, 5783321))
                for s in range(1, 65)
            ],
            dtype=[("d", U), ("v", U, 5)],
        ),
        np.zeros(64 * 6, U),
        N(6),
    ),
    {1: [w for s in range(1, 65) for w in xorwow(s, 6)]},
    grid=2,
    block=32,
)
add(
    "long long shuffles and a maximum with its place in 64 bits",
    """
extern "C" __global__ void f(const int* x, int n, unsigned long long* best,
                             long long* sums) {
  long long v = (long long)x[threadIdx.x] * 3000000000LL;
  for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(~0u, v, d);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  unsigned key = (unsigned)x[threadIdx.x] ^ 0x80000000u;
  unsigned long long mine = (unsigned long long)key << 32 | ~threadIdx.x;
  for (int d = 16; d; d >>= 1) {
    unsigned long long other = __shfl_down_sync(~0u, mine, d);
    mine = mine > other ? mine : other;
  }
  if (!(threadIdx.x & 31)) atomicMax(best, mine);
}""",
    (IX, N(256), np.zeros(1, np.uint64), np.zeros(8, np.int64)),
    {
        2: [(int(IX.max()) + 2**31) << 32 | (2**32 - 1 - int(IX.argmax()))],
        3: IX.reshape(8, 32).sum(1, dtype=np.int64) * 3000000000,
    },
)
