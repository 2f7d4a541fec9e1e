"""Kernels of the kinds that people learn and work with: attention, normalisation,
tiled products, reductions, sorting, sparse and quantised arithmetic. Every one was
written for these tests, to use a feature of the language in its usual place; every
expected value is computed by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

F, N, H = np.float32, np.int32, np.float16
RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F)


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# name, source, arguments without the output, the output, launch
TEACHING: list[tuple[str, str, tuple[Any, ...], Any, dict[str, Any]]] = []


def add(name: str, source: str, args: tuple[Any, ...], expected: Any, **kw: Any):
    TEACHING.append((name, source, args, expected, kw))


def _block(b: int, stretch: int) -> np.ndarray:
    """Indices that block b of 3 takes of 3000 elements, a stretch at a time."""
    i = np.arange(3000)
    return i[i // stretch % 3 == b]


def _philox(n: int, seed: int) -> list[int]:
    words: list[int] = []
    for i in range(n):
        x, y, key = i, 0, seed
        for _ in range(10):
            product = 0xD256D193 * x
            x, y = product >> 32 ^ key ^ y, product % 2**32
            key = (key + 0x9E3779B9) % 2**32
        words += [x, y]
    return words


def _mandelbrot() -> list[int]:
    pixels: list[int] = []
    for y in range(16):
        for x in range(16):
            c, z, n = complex(-2 + 0.125 * x, -1 + 0.125 * y), 0j, 0
            while n < 50 and z.real**2 + z.imag**2 <= 4:
                z, n = z * z + c, n + 1
            pixels += [n, 2 * n, 16, 255]
    return pixels


# ---- attention ----

Q, K, V = normal(2, 48, 16), normal(2, 48, 16), normal(2, 48, 16)
S = Q.astype(float) @ K.astype(float).transpose(0, 2, 1) / 4
CAUSAL = np.where(np.tri(48, dtype=bool), S, -np.inf)
add(
    "flash attention, a thread a row, statistics in global memory",
    """
#include <cuda.h>
#include <cuda_runtime.h>
#define INFINITY __int_as_float(0x7f800000)
// Tiles of keys outside, rows of queries inside: the peak and the sum of a row wait
// in global memory from one tile to the next, and the last tile divides.
extern "C" __global__
void f(const float* queries, const float* keys, const float* values, const int rows,
       const int width, const int tile, const float scale, float* sums, float* peaks,
       float* out) {
    extern __shared__ float pool[];
    const int me = threadIdx.x, area = (tile * width);
    float* my_query = &pool[me * width];
    float* tile_keys = pool + area;
    float* tile_values = &pool[area * 2];
    float* my_scores = &pool[(area * 3) + (me * tile)];
    const int base = (blockIdx.x * gridDim.y + blockIdx.y) * rows;  // this head's rows

    for (int start = 0; start < rows; start += tile) {
        for (int i = me; i < area; i += blockDim.x) {
            tile_keys[i] = keys[(base + start) * width + i];
            tile_values[i] = values[(base + start) * width + i];
        }
        __syncthreads();
        for (int row = base + me; row < base + rows; row += tile) {
            for (int c = 0; c < width; c++)
                my_query[c] = queries[row * width + c] * scale;
            float peak = -INFINITY;
            for (int j = 0; j < tile; j++) {
                float score = 0;
                for (int c = 0; c < width; c++)
                    score += my_query[c] * tile_keys[(j * width) + c];
                my_scores[j] = score;
                if (score > peak) peak = score;
            }
            peak = max(peak, peaks[row]);
            const float shrink = __expf(peaks[row] - peak);
            float sum = shrink * sums[row];
            for (int j = 0; j < tile; j++)
                sum += my_scores[j] = __expf(my_scores[j] - peak);
            const float divide = start + tile < rows ? 1 : (1 / sum);
            for (int c = 0; c < width; c++) {
                float* o = &out[(row * width) + c];
                float mixed = shrink * *o;
                for (int j = 0; j < tile; j++)
                    mixed += my_scores[j] * tile_values[(j * width) + c];
                *o = divide * mixed;
            }
            peaks[row] = peak;
            sums[row] = sum;
        }
        __syncthreads();
    }
}""",
    (
        *(Q, K, V, N(48), N(16), N(16), F(0.25)),
        *(np.zeros(96, F), np.full(96, -np.inf, F)),
    ),
    softmax(S) @ V,
    grid=(1, 2),
    block=16,
    shared=4 * (3 * 16 * 16 + 16 * 16),
    rtol=2e-4,
)
add(
    "flash attention, causal, a warp a row of queries, online softmax",
    """
#define LANES 32
template <typename T, int kLanes = LANES>
__device__ __forceinline__ T largest(T mine) {
#pragma unroll
  for (int hop = 1; hop < kLanes; hop <<= 1)
    mine = fmaxf(mine, __shfl_xor_sync(0xffffffff, mine, hop));
  return mine;
}
template <typename T, int kLanes = LANES>
__device__ __forceinline__ T total(T mine) {
#pragma unroll
  for (int hop = 1; hop < kLanes; hop <<= 1)
    mine += __shfl_xor_sync(0xffffffff, mine, hop);
  return mine;
}
// Lane j scores key j of a tile, then lane c gathers component c of the output.
template <int kWidth, int kRows, bool kCausal>
__global__ void __launch_bounds__(kRows * LANES)
attend(const float* __restrict__ queries, const float* __restrict__ keys,
       const float* __restrict__ values, float* __restrict__ out, int count,
       float scale) {
  __shared__ float tile_k[LANES][kWidth + 1], tile_v[LANES][kWidth];
  const int lane = threadIdx.x % LANES;
  const int row = blockIdx.x * kRows + threadIdx.x / LANES;
  const bool live = row < count;
  const size_t head = (size_t)blockIdx.y * count * kWidth;
  keys += head; values += head;
  float query[kWidth], gathered = 0.f, peak = -FLT_MAX, weight = 0.f;
#pragma unroll
  for (int c = 0; c < kWidth; ++c)
    query[c] = live ? scale * queries[head + (size_t)row * kWidth + c] : 0.f;
  const int end = kCausal ? min(count, (int)(blockIdx.x + 1) * kRows) : count;
  for (int first = 0; first < end; first += LANES) {
    __syncthreads();
    for (int i = threadIdx.x; i < LANES * kWidth; i += kRows * LANES) {
      const bool inside = first + i / kWidth < count;
      tile_k[i / kWidth][i % kWidth] = inside ? keys[first * kWidth + i] : 0.f;
      tile_v[i / kWidth][i % kWidth] = inside ? values[first * kWidth + i] : 0.f;
    }
    __syncthreads();
    const bool seen = first + lane < count && (!kCausal || first + lane <= row);
    float score = -FLT_MAX;
    if (seen) {
      score = 0.f;
#pragma unroll
      for (int c = 0; c < kWidth; ++c) score += query[c] * tile_k[lane][c];
    }
    const float before = peak;
    peak = fmaxf(before, largest(score));
    const float share = seen ? __expf(score - peak) : 0.f;
    const float fade = __expf(before - peak);
    weight = weight * fade + total(share);
    gathered *= fade;
    for (int j = 0; j < LANES; ++j) {
      const float from_j = __shfl_sync(0xffffffff, share, j);
      if (lane < kWidth) gathered += from_j * tile_v[j][lane];
    }
  }
  if (live && lane < kWidth) out[head + row * kWidth + lane] = gathered / weight;
}""",
    (Q, K, V, N(48), F(0.25)),
    softmax(CAUSAL) @ V,
    kernel="attend<16, 4, true>",
    grid=(12, 2),
    block=128,
    rtol=3e-4,
)
add(
    "decoding: one query, split keys, partial results merged by the last block",
    """
__device__ unsigned int finished[64];
extern "C" __global__ void f(const float* q, const float* k, const float* v, int n,
    float* part, float* out) {
  const int D = 16, head = blockIdx.y, split = blockIdx.x, lane = threadIdx.x;
  const int per = (n + gridDim.x - 1) / gridDim.x;
  const int from = split * per, to = min(n, from + per);
  k += head * n * D; v += head * n * D; q += head * D; out += head * D;
  float m = -1e30f, l = 0.f, acc = 0.f;
  for (int j = from; j < to; j++) {
    float s = lane < D ? q[lane] * k[j * D + lane] : 0.f;
    for (int w = 16; w; w >>= 1) s += __shfl_xor_sync(~0u, s, w);
    s *= rsqrtf((float)D);
    float m2 = fmaxf(m, s), a = expf(m - m2), p = expf(s - m2);
    l = l * a + p; m = m2;
    if (lane < D) acc = acc * a + p * v[j * D + lane];
  }
  float* mine = part + (head * gridDim.x + split) * (D + 2);
  if (lane < D) mine[lane] = acc;
  if (lane == 0) { mine[D] = m; mine[D + 1] = l; }
  __threadfence();
  __syncthreads();
  __shared__ bool last;
  if (lane == 0) last = atomicAdd(&finished[head], 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  float M = -1e30f, L = 0.f, A = 0.f;
  volatile float* all = part + head * gridDim.x * (D + 2);
  for (int s = 0; s < gridDim.x; s++) {
    float ms = all[s * (D + 2) + D], m2 = fmaxf(M, ms);
    float a = expf(M - m2), b = expf(ms - m2);
    L = L * a + all[s * (D + 2) + D + 1] * b;
    if (lane < D) A = A * a + all[s * (D + 2) + lane] * b;
    M = m2;
  }
  if (lane < D) out[lane] = A / L;
  if (lane == 0) finished[head] = 0;
}""",
    (Q[:, 5].copy(), K, V, N(48), np.zeros(2 * 5 * 18, F)),
    (softmax(S) @ V)[:, 5],
    grid=(5, 2),
    block=32,
    rtol=1e-4,
)

# ---- softmax and normalisation ----

ROWS = normal(6, 100) * F(3)
add(
    "online softmax: maximum and sum in one structure",
    """
struct __align__(8) Seen { float top; float mass; };
__device__ __forceinline__ Seen merged(Seen p, Seen q) {
  const bool swap = p.top < q.top;
  Seen high = swap ? q : p, low = swap ? p : q;
  high.mass += low.mass * __expf(low.top - high.top);
  return high;
}
template <const int THREADS>
__global__ void online(const float* table, float* result, int width) {
  constexpr int WARPS = (THREADS + 31) / 32;
  __shared__ Seen by_warp[WARPS];
  const int me = threadIdx.x, start = blockIdx.x * width;
  Seen mine{-3.402823e38f, 0.0f};
  for (int c = me; c < width; c += THREADS)
    mine = merged(mine, Seen{table[start + c], 1.0f});
  #pragma unroll
  for (int hop = 1; hop < 32; hop *= 2) {
    Seen other;
    other.mass = __shfl_xor_sync(0xffffffff, mine.mass, hop);
    other.top = __shfl_xor_sync(0xffffffff, mine.top, hop);
    mine = merged(mine, other);
  }
  if ((me & 31) == 31) by_warp[me >> 5] = mine;
  __syncthreads();
  Seen all = by_warp[WARPS - 1];
  for (int w = 0; w < WARPS - 1; w++) all = merged(all, by_warp[w]);
  for (int c = me; c < width; c += THREADS)
    result[start + c] = __fdividef(__expf(table[start + c] - all.top), all.mass);
}""",
    (ROWS, N(100)),
    softmax(ROWS.astype(float)),
    kernel="online<64>",
    grid=6,
    block=64,
    rtol=1e-5,
)
add(
    "softmax with cooperative groups, a warp a row",
    """
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#define INFINITY __int_as_float(0x7f800000)
extern "C" __global__ void f(const float* table, float* result, int rows, int width) {
    namespace groups = cooperative_groups;
    groups::thread_block everyone = groups::this_thread_block();
    groups::thread_block_tile<32> lanes = groups::tiled_partition<32>(everyone);
    const int row = lanes.meta_group_rank() + lanes.meta_group_size() * blockIdx.x;
    if (row >= rows) { return; }
    table += row * width; result += row * width;
    // The largest of the row first; then the powers, kept where the answer goes.
    float top = -INFINITY, mass = 0.0f;
    for (int c = lanes.thread_rank(); c < width; c += lanes.size())
        top = fmaxf(top, __ldcs(table + c));
    top = groups::reduce(lanes, top, groups::greater<float>{});
    for (int c = lanes.thread_rank(); c < width; c += lanes.size())
        mass += result[c] = expf(table[c] - top);
    mass = groups::reduce(lanes, mass, groups::plus<float>{});
    for (int c = lanes.thread_rank(); c < width; c += lanes.size())
        __stcs(result + c, mass == 0.f ? 0.f : result[c] / mass);
}""",
    (ROWS, N(6), N(100)),
    softmax(ROWS.astype(float)),
    grid=2,
    block=128,
    rtol=1e-5,
)
add(
    "layer norm: a block reduction in shared words of a template",
    """
template <typename T> __inline__ __device__ T over_warp(T mine) {
  for (int gap = warpSize / 2; gap > 0; gap /= 2)
    mine += __shfl_down_sync(0xffffffff, mine, gap);
  return mine;
}
// Every thread gets the sum: one word a warp, added up by all in the same order.
template <typename T> __inline__ __device__ T over_block(T mine) {
  static __shared__ T words[32];
  mine = over_warp<T>(mine);
  __syncthreads();  // the words of the call before may still be read
  if (threadIdx.x % warpSize == 0) words[threadIdx.x / warpSize] = mine;
  __syncthreads();
  T all = T(0);
  for (int w = 0; w < blockDim.x / warpSize; ++w) all += words[w];
  return all;
}
template <typename T> __global__ void standardise(const T* __restrict__ in,
    const T* __restrict__ slope, const T* __restrict__ shift, T* __restrict__ out,
    int width, T tiny) {
  __shared__ T centre, stretch;
  in += blockIdx.x * width; out += blockIdx.x * width;
  T part = 0;
  for (int c = threadIdx.x; c < width; c += blockDim.x) part += in[c];
  part = over_block<T>(part);
  if (threadIdx.x == 0) centre = part / width;
  __syncthreads();
  part = 0;
  for (int c = threadIdx.x; c < width; c += blockDim.x)
    part += (in[c] - centre) * (in[c] - centre);
  part = over_block<T>(part);
  if (threadIdx.x == blockDim.x - 1) stretch = rsqrt(tiny + part / width);
  __syncthreads();
  for (int c = threadIdx.x; c < width; c += blockDim.x)
    out[c] = shift[c] + slope[c] * stretch * (in[c] - centre);
}""",
    (ROWS, normal(100), normal(100), N(100), F(1e-5)),
    None,
    kernel="standardise<float>",
    grid=6,
    block=64,
    rtol=1e-4,
)
_g, _b = TEACHING[-1][2][1], TEACHING[-1][2][2]
_centred = ROWS.astype(float) - ROWS.astype(float).mean(1, keepdims=True)
_unit = _centred / np.sqrt((_centred**2).mean(1, keepdims=True) + 1e-5)
TEACHING[-1] = (*TEACHING[-1][:3], _unit * _g + _b, TEACHING[-1][4] | {"atol": 1e-5})
add(
    "RMS norm on half, eight at a time",
    """
#include <cuda_fp16.h>
#define SIXTEEN_BYTES(place) (reinterpret_cast<float4*>(&(place))[0])
#define PAIR(place) (*reinterpret_cast<half2*>(&(place)))
extern "C" __global__ void f(half* in, int width, half* out) {
  const int start = blockIdx.x * width + 8 * threadIdx.x;
  half mine[8];
  SIXTEEN_BYTES(mine[0]) = SIXTEEN_BYTES(in[start]);
  float squares = 0.f;
  #pragma unroll
  for (int p = 0; p < 4; ++p) {
    const float2 two = __half22float2(PAIR(mine[2 * p]));
    squares = fmaf(two.x, two.x, fmaf(two.y, two.y, squares));
  }
  for (int hop = 1; hop <= 16; hop <<= 1)
    squares += __shfl_xor_sync(0xffffffff, squares, hop);
  const half2 factor = __float2half2_rn(rsqrtf(squares / (float)width));
  #pragma unroll
  for (int p = 0; p < 4; ++p)
    PAIR(mine[2 * p]) = __hmul2(factor, PAIR(mine[2 * p]));
  SIXTEEN_BYTES(out[start]) = SIXTEEN_BYTES(mine[0]);
}""",
    ((normal(3, 256)).astype(H), N(256)),
    None,
    grid=3,
    block=32,
    rtol=3e-3,
)
_x = TEACHING[-1][2][0].astype(float)
TEACHING[-1] = (
    *TEACHING[-1][:3],
    _x / np.sqrt((_x**2).mean(1, keepdims=True)),
    TEACHING[-1][4],
)
LABELS = np.array([3, 99, 0, 41, 7, 50], N)
add(
    "cross entropy: log-sum-exp and a gathered logit",
    """
extern "C" __global__ void f(const float* logits, const int* targets, int C,
                             float* losses) {
  extern __shared__ double buf[];
  const float* x = logits + blockIdx.x * C; int t = threadIdx.x;
  double m = -1e300;
  for (int i = t; i < C; i += blockDim.x) m = max(m, (double)x[i]);
  buf[t] = m; __syncthreads();
  for (int s = blockDim.x >> 1; s > 0; s >>= 1) {
    if (t < s) buf[t] = fmax(buf[t], buf[t + s]); __syncthreads(); }
  m = buf[0]; __syncthreads();
  double sum = 0.0;
  for (int i = t; i < C; i += blockDim.x) sum += exp(x[i] - m);
  buf[t] = sum; __syncthreads();
  for (int s = blockDim.x >> 1; s > 0; s >>= 1) {
    if (t < s) buf[t] += buf[t + s]; __syncthreads(); }
  if (t == 0) losses[blockIdx.x] = log(buf[0]) + m - x[targets[blockIdx.x]];
}""",
    (ROWS, LABELS, N(100)),
    -np.log(softmax(ROWS.astype(float))[np.arange(6), LABELS]),
    grid=6,
    block=32,
    shared=256,
    rtol=1e-6,
)

# ---- products of matrices ----

A, B = normal(64, 32), normal(32, 64)
add(
    "tiled product: tiles declared in the loop, their side by template",
    """
template <int SIDE> __global__ void tiled(const float *left, const float *right,
    int inner, int across, float *product) {
  const int row = blockIdx.y * SIDE + threadIdx.y;
  const int column = blockIdx.x * SIDE + threadIdx.x;
  float sum = 0;
  for (int c = threadIdx.x, r = threadIdx.y; c - (int)threadIdx.x < inner;
       c += SIDE, r += SIDE) {
    __shared__ float from_left[SIDE][SIDE];
    __shared__ float from_right[SIDE][SIDE];
    from_left[threadIdx.y][threadIdx.x] = left[row * inner + c];
    from_right[threadIdx.y][threadIdx.x] = right[r * across + column];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SIDE; ++i)
      sum += from_left[threadIdx.y][i] * from_right[i][threadIdx.x];
    __syncthreads();
  }
  product[row * across + column] = sum;
}""",
    (A, B, N(32), N(64)),
    A.astype(float) @ B,
    kernel="tiled<16>",
    grid=(4, 4),
    block=(16, 16),
    rtol=1e-4,
    atol=1e-5,
)
add(
    "register tiles, float4 loads, double-buffered shared memory",
    """
#define AT(row, column, wide) ((row) * (wide) + (column))
#define QUAD(place) (reinterpret_cast<float4*>(&(place))[0])
extern "C" __global__ void __launch_bounds__(64)
f(float* __restrict__ left, float* __restrict__ right, const int height,
  const int width, const int inner, float* __restrict__ product) {
  const int SIDE = 32, DEEP = 8, OWN = 4;
  __shared__ float turned[2][DEEP][SIDE], straight[2][DEEP][SIDE];
  float next_l[4], next_r[4], u[OWN], v[OWN], sums[OWN][OWN] = {0.0};
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
  const int l_row = me % SIDE, l_deep = me / SIDE * 4;
  const int r_deep = me % DEEP, r_column = me / DEEP * 4;
  const int top = blockIdx.y * SIDE, edge = blockIdx.x * SIDE;
  // In one round: fetch a tile, multiply the one before it, put the new one down.
  for (int round = 0, rounds = inner / DEEP; round <= rounds; round++) {
    const int put = round & 1, take = put ^ 1, deep = round * DEEP;
    if (round < rounds) {
      QUAD(next_l[0]) = QUAD(left[AT(top + l_row, deep + l_deep, inner)]);
      QUAD(next_r[0]) = QUAD(right[AT(deep + r_deep, edge + r_column, width)]);
    }
    if (round > 0) {
      #pragma unroll
      for (int d = 0; d < DEEP; d++) {
        QUAD(u[0]) = QUAD(turned[take][d][threadIdx.y * OWN]);
        QUAD(v[0]) = QUAD(straight[take][d][threadIdx.x * OWN]);
        #pragma unroll
        for (int i = 0; i < OWN; i++)
          #pragma unroll
          for (int j = 0; j < OWN; j++) sums[i][j] += u[i] * v[j];
      }
    }
    if (round < rounds) {
      QUAD(straight[put][r_deep][r_column]) = QUAD(next_r[0]);
      for (int d = 0; d < 4; d++) turned[put][l_deep + d][l_row] = next_l[d];
    }
    __syncthreads();
  }
  {
    const int row = top + threadIdx.y * OWN, column = edge + threadIdx.x * OWN;
    for (int i = 0; i < OWN && row + i < height; i++)
      QUAD(product[AT(row + i, column, width)]) = QUAD(sums[i][0]);
  }
}""",
    (A, B, N(64), N(64), N(32)),
    A.astype(float) @ B,
    grid=(2, 2),
    block=(8, 8),
    rtol=1e-4,
    atol=1e-5,
)
add(
    "asynchronous copies, two stages ahead",
    """
#include <cuda_pipeline.h>
extern "C" __global__ void f(const float4* left, const float* right, int inner,
                             int across, float* product) {
  constexpr int RING = 3, DEEP = 8, SIDE = 16;
  __shared__ alignas(16) float l[RING][SIDE][DEEP], r[RING][DEEP][SIDE];
  const int me = threadIdx.x, row = blockIdx.y * SIDE, column = blockIdx.x * SIDE;
  const int rounds = inner / DEEP;
  // A round past the end commits an empty batch, so that the count stays right.
  auto request = [&](int round) {
    const int slot = round % RING, deep = round * DEEP;
    if (round < rounds && me < SIDE * DEEP) {
      const int y = me / SIDE, x = me % SIDE;
      __pipeline_memcpy_async(&r[slot][y][x],
                              &right[(deep + y) * across + column + x], sizeof(float));
      if (me < SIDE * DEEP / 4)
        __pipeline_memcpy_async(&l[slot][me / 2][me % 2 * 4],
                                &left[((row + me / 2) * inner + deep) / 4 + me % 2],
                                sizeof(float4));
    }
    __pipeline_commit();
  };
  for (int round = 0; round < RING - 1; ++round) request(round);
  float sum = 0;
  for (int round = 0; round < rounds; ++round) {
    __pipeline_wait_prior(RING - 2);
    __syncthreads();
    const int slot = round % RING;
    for (int d = 0; d < DEEP; ++d)
      sum += l[slot][me / SIDE][d] * r[slot][d][me % SIDE];
    request(round + RING - 1);
  }
  product[(row + me / SIDE) * across + column + me % SIDE] = sum;
}""",
    (A, B, N(32), N(64)),
    A.astype(float) @ B,
    grid=(4, 4),
    block=256,
    rtol=1e-4,
    atol=1e-5,
)
add(
    "a group copies its tile asynchronously",
    """
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
namespace cg = cooperative_groups;
extern "C" __global__ void f(const float* in, int count, float* out) {
  extern __shared__ float tile[];
  auto block = cg::this_thread_block();
  float sum = 0;
  for (int base = 0; base < count; base += 64) {
    cg::memcpy_async(block, tile, in + base, sizeof(float) * min(64, count - base));
    cg::wait(block);
    for (int i = 0; i < min(64, count - base); i++) sum += tile[i] * (i + 1);
    block.sync();
  }
  out[block.thread_rank()] = sum + block.thread_rank();
}""",
    (A, N(150)),
    (A.ravel()[:150].astype(float) * (np.arange(150) % 64 + 1)).sum() + np.arange(32),
    block=32,
    shared=256,
    rtol=1e-5,
)
AH, BH = (
    RNG.integers(-3, 4, (32, 32)).astype(H),
    RNG.integers(-3, 4, (32, 32)).astype(H),
)
add(
    "wmma product from shared memory, two warps",
    """
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void f(const half* left, const half* right, int height,
                             int width, int inner, float* product) {
  constexpr int SIDE = 16, PITCH = 24;
  __shared__ half strip[2 * SIDE][PITCH];
  const int top = threadIdx.x / 32 * SIDE, edge = blockIdx.x * SIDE;
  wmma::fragment<wmma::matrix_a, SIDE, SIDE, SIDE, half, wmma::row_major> l;
  wmma::fragment<wmma::matrix_b, SIDE, SIDE, SIDE, half, wmma::row_major> r;
  wmma::fragment<wmma::accumulator, SIDE, SIDE, SIDE, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int deep = 0; deep < inner; deep += SIDE, __syncthreads()) {
    for (int i = threadIdx.x; i < height * SIDE; i += 64)
      strip[i / SIDE][i % SIDE] = left[i / SIDE * inner + deep + i % SIDE];
    __syncthreads();
    wmma::load_matrix_sync(r, right + deep * width + edge, width);
    wmma::load_matrix_sync(l, &strip[top][0], PITCH);
    wmma::mma_sync(sum, l, r, sum);
  }
  wmma::store_matrix_sync(product + top * width + edge, sum, width,
                          wmma::mem_row_major);
}""",
    (AH, BH, N(32), N(32), N(32)),
    AH.astype(int) @ BH.astype(int),
    grid=2,
    block=64,
)
I8A, I8B = (RNG.integers(-128, 128, (8, 32)).astype(np.int8) for _ in range(2))
add(
    "quantised products with dp4a",
    """
extern "C" __global__ void f(const int8_t* a, const int8_t* b, int K, int32_t* c) {
  const int* pa = reinterpret_cast<const int*>(a + threadIdx.y * K);
  const int* pb = reinterpret_cast<const int*>(b + threadIdx.x * K);
  int acc = 0;
#pragma unroll 4
  for (int k = 0; k < K / 4; k++) acc = __dp4a(pa[k], pb[k], acc);
  c[threadIdx.y * blockDim.x + threadIdx.x] = acc;
}""",
    (I8A, I8B, N(32)),
    I8A.astype(int) @ I8B.astype(int).T,
    block=(8, 8),
)
add(
    "matrix times vector, a warp a row, float4",
    """
#define QUAD(place) (reinterpret_cast<const float4*>(&(place))[0])
extern "C" __global__ void f(const float* matrix, const float* vector, int rows,
                             int width, float* result) {
  const int row = blockDim.y * blockIdx.x + threadIdx.y;
  if (row >= rows) return;
  const int rounds = max((width + 127) / 128, 1);
  float dot = 0.0f;
  for (int r = 0, c = 4 * threadIdx.x; r < rounds; ++r, c += 128) {
    if (c >= width) break;
    const float4 m = QUAD(matrix[row * width + c]), v = QUAD(vector[c]);
    dot += (m.x * v.x + m.z * v.z) + (m.y * v.y + m.w * v.w);
  }
  for (int hop = warpSize / 2; hop != 0; hop /= 2)
    dot += __shfl_xor_sync(0xffffffff, dot, hop, 32);
  if (!threadIdx.x) result[row] = dot;
}""",
    (A, B[:, 0].copy(), N(64), N(32)),
    A.astype(float) @ B[:, 0],
    grid=16,
    block=(32, 4),
    rtol=1e-4,
    atol=1e-5,
)

# ---- reductions, sorting, sparse and irregular work ----

LONG = RNG.integers(-1000, 1000, 3000).astype(N)
FOLD = """
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
template <class T> struct Scratch {
  __device__ inline operator T *() {
    extern __shared__ int words[];
    return (T *)words;
  }
};
// Paired: a block takes stretches of two elements a thread, else of one.
template <class T, unsigned int kThreads, bool kPaired>
__global__ void fold(const T *in, unsigned int count, T *sums) {
  cg::thread_block everyone = cg::this_thread_block();
  T *slots = Scratch<T>();
  const unsigned int me = everyone.thread_rank();
  T mine = 0;
  if (kPaired) {
    unsigned int at = 2 * kThreads * blockIdx.x + me;
    while (at + kThreads < count) {
      mine += in[at] + in[at + kThreads];
      at += 2 * kThreads * gridDim.x;
    }
    if (at < count) mine += in[at];
  } else {
    unsigned int at = kThreads * blockIdx.x + me;
    while (at < count) { mine += in[at]; at += kThreads * gridDim.x; }
  }
  slots[me] = mine;
#pragma unroll
  for (unsigned int half = kThreads / 2; half > 16; half /= 2) {
    cg::sync(everyone);
    if ((kThreads >= 64) && (me < half)) slots[me] = mine = slots[me + half] + mine;
  }
  if (me >= 32) return;
  cg::thread_block_tile<32> lanes = cg::tiled_partition<32>(everyone);
  for (int gap = 1; gap < lanes.size(); gap *= 2) mine += lanes.shfl_down(mine, gap);
  if (lanes.thread_rank() == 0) sums[blockIdx.x] = mine;
}"""
for _paired in (False, True):
    add(
        "reduction by templates and a conversion operator, "
        + ("two loads a step" if _paired else "one load a step"),
        FOLD,
        (LONG, np.uint32(3000)),
        [LONG[_block(b, 512 if _paired else 256)].sum() for b in range(3)],
        kernel=f"fold<int, 256, {str(_paired).lower()}>",
        grid=3,
        block=256,
        shared=1024,
    )
add(
    "dot product: two elements a thread, half2 and float accumulation",
    """
#include <cuda_fp16.h>
#define PAIR(place) (reinterpret_cast<const half2*>(&(place))[0])
template <const int THREADS = 128> __global__ void
inner(const half* left, const half* right, int count, float* sum) {
  constexpr int WARPS = (THREADS + 31) / 32;
  __shared__ float by_warp[WARPS];
  const int lane = threadIdx.x & 31, at = 2 * (blockIdx.x * THREADS + threadIdx.x);
  half both = __float2half(0.0f);
  if (at < count) {
    const half2 l = PAIR(left[at]), r = PAIR(right[at]);
    both = __hadd(__hmul(l.y, r.y), __hmul(l.x, r.x));
  }
  float mine = __half2float(both);
  for (int hop = 1; hop < 32; hop += hop) mine += __shfl_xor_sync(~0u, mine, hop);
  if (lane == 0) by_warp[threadIdx.x >> 5] = mine;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  mine = lane < WARPS ? by_warp[lane] : 0.0f;
  for (int hop = 1; hop < WARPS; hop += hop)
    mine += __shfl_xor_sync(0xffffffff, mine, hop);
  if (lane == 0) atomicAdd(sum, mine);
}""",
    (AH.ravel(), BH.ravel(), N(1024)),
    [(AH.astype(int) * BH.astype(int)).sum()],
    kernel="inner<>",
    grid=4,
    block=128,
)
add(
    "argmax: value and index move together",
    """
struct Best { float value; int index; };
__device__ Best better(Best a, Best b) {
  if (b.value > a.value || (b.value == a.value && b.index < a.index)) return b;
  return a; }
extern "C" __global__ void f(const float* x, int n, int* where) {
  __shared__ Best shared[8];
  Best best = { -3.4e38f, 0x7fffffff };
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    best = better(best, Best{x[i], i});
  unsigned mask = __activemask();
  for (int d = 16; d > 0; d >>= 1) {
    Best other = { __shfl_down_sync(mask, best.value, d),
                   __shfl_down_sync(mask, best.index, d) };
    best = better(best, other);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < blockDim.x / 32; ++w) best = better(best, shared[w]);
    *where = best.index;
  }
}""",
    (ROWS.ravel(), N(600)),
    [ROWS.argmax()],
    block=256,
)
KEYS = RNG.permutation(256).astype(np.uint32)
add(
    "bitonic sort in shared memory",
    """
__device__ inline void arrange(uint &low, uint &high, uint rising) {
  if ((low > high) == rising) { const uint kept = low; low = high; high = kept; }
}
// A thread looks after one pair of every step: i and i + gap, i without the gap's bit.
extern "C" __global__ void f(const uint* in, uint count, uint rising, uint* out) {
  __shared__ uint keys[256];
  for (uint i = threadIdx.x; i < count; i += blockDim.x) keys[i] = in[i];
  for (uint run = 2; run <= count; run *= 2)
    for (uint gap = run / 2; gap != 0; gap /= 2) {
      __syncthreads();
      const uint i = threadIdx.x / gap * 2 * gap + threadIdx.x % gap;
      arrange(keys[i], keys[i + gap], rising ^ ((i & run) != 0));
    }
  __syncthreads();
  for (uint i = threadIdx.x; i < count; i += blockDim.x) out[i] = keys[i];
}""",
    (KEYS, np.uint32(256), np.uint32(1)),
    np.arange(256),
    block=128,
)
_counts = RNG.integers(0, 70, 9)
_ptr = np.concatenate([[0], np.cumsum(_counts)]).astype(N)
_col, _val = RNG.integers(0, 40, _ptr[-1]).astype(N), normal(int(_ptr[-1]))
_dense = np.zeros((9, 40))
for _r in range(9):
    for _e in range(_ptr[_r], _ptr[_r + 1]):
        _dense[_r, _col[_e]] += _val[_e]
add(
    "sparse matrix in rows times a vector, a part of a warp a row",
    """
template <unsigned TEAM> __global__ void sparse(const int* __restrict__ starts,
    const int* __restrict__ places, const float* __restrict__ entries,
    const float* __restrict__ vector, int rows, float* __restrict__ result) {
  const int row = blockIdx.x * (blockDim.x / TEAM) + threadIdx.x / TEAM;
  const unsigned member = threadIdx.x % TEAM;
  float dot = 0;
  if (row < rows) {
    const int stop = starts[row + 1];
    for (int e = starts[row] + member; e < stop; e += TEAM)
      dot = fmaf(__ldg(&vector[places[e]]), __ldg(entries + e), dot);
  }
  for (unsigned gap = TEAM >> 1; gap; gap >>= 1)
    dot += __shfl_down_sync(0xffffffffu, dot, gap, TEAM);
  if (!member && row < rows) result[row] = dot;
}""",
    (_ptr, _col, _val, B.ravel()[:40].copy(), N(9)),
    _dense @ B.ravel()[:40],
    kernel="sparse<8>",
    grid=3,
    block=32,
    rtol=1e-4,
    atol=1e-5,
)
add(
    "hash table: linear probing with compare-and-swap, then looked up",
    """
#define VACANT 0xffffffffu
#define PLACES 512u
struct Place { unsigned tenant, luggage; };
__device__ unsigned preferred(unsigned guest) { return guest * 2654435769u >> 23; }
extern "C" __global__ void f(Place* hotel, const unsigned* guests, unsigned* out) {
  const unsigned guest = guests[threadIdx.x];
  unsigned at = preferred(guest);
  while (true) {
    const unsigned found = atomicCAS(&hotel[at].tenant, VACANT, guest);
    if (found != VACANT && found != guest) { at = (at + 1) % PLACES; continue; }
    hotel[at].luggage = 3u * guest;
    break;
  }
  __syncthreads();
  const unsigned sought = guests[blockDim.x - 1 - threadIdx.x];
  at = preferred(sought);
  while (((volatile Place*)hotel)[at].tenant != sought) at = (at + 1) % PLACES;
  out[threadIdx.x] = hotel[at].luggage;
}""",
    (np.full(4096, 255, np.uint8), KEYS),
    3 * KEYS[::-1],
    block=256,
)
add(
    "histogram aggregated by matching lanes",
    """
extern "C" __global__ void f(const int* x, int n, int* bins) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n + 31) / 32 * 32;
       i += blockDim.x * gridDim.x) {
    int bin = i < n ? x[i] & 15 : -1;
    unsigned peers = __match_any_sync(0xffffffffu, bin);
    if (bin >= 0 && (threadIdx.x & 31) == __ffs(peers) - 1)
      atomicAdd(bins + bin, __popc(peers));
  }
}""",
    (LONG, N(3000)),
    np.bincount(LONG & 15, minlength=16),
    grid=2,
    block=96,
)

# ---- elementwise, physics and pictures ----

add(
    "GELU, two bfloat16 at a time",
    """
#include <cuda_bf16.h>
extern "C" __global__ void f(const __nv_bfloat162* x, float2* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float2 v = __bfloat1622float2(x[i]);
  auto gelu = [](float t) { const float k = 0.7978845608f;
    return 0.5f * t * (1.0f + tanhf(k * (t + 0.044715f * t * t * t))); };
  y[i] = make_float2(gelu(v.x), gelu(v.y));
}""",
    ((ROWS.view(np.uint32) >> 16).astype(np.uint16).ravel(),),
    None,
    grid=10,
    block=30,
    rtol=2e-5,
)
_t = (ROWS.view(np.uint32) & np.uint32(0xFFFF0000)).view(F).astype(float)
_gelu = 0.5 * _t * (1 + np.tanh(0.7978845608 * (_t + 0.044715 * _t**3)))
TEACHING[-1] = (*TEACHING[-1][:3], _gelu, TEACHING[-1][4] | {"atol": 1e-6})
add(
    "rotary embedding on pairs",
    """
extern "C" __global__ void f(const float* in, int places, int pairs, float* out) {
  const int at = blockDim.x * blockIdx.x + threadIdx.x;
  if (at >= places * pairs) return;
  float sine, cosine;
  __sincosf(at / pairs * powf(10000.f, -(float)(at % pairs) / pairs), &sine, &cosine);
  const float2 old = reinterpret_cast<const float2*>(in)[at];
  reinterpret_cast<float2*>(out)[at] = { cosine * old.x - sine * old.y,
                                         sine * old.x + cosine * old.y };
}""",
    (ROWS.ravel()[:576].copy(), N(36), N(8)),
    None,
    grid=10,
    block=32,
    rtol=1e-4,
)
_z = ROWS.ravel()[:576].astype(float).view(complex).reshape(36, 8)
_angle = np.arange(36)[:, None] * 10000.0 ** (-np.arange(8) / 8)
TEACHING[-1] = (
    *TEACHING[-1][:3],
    (_z * np.exp(1j * _angle)).view(float),
    TEACHING[-1][4] | {"atol": 1e-4},
)
BODIES = normal(64, 4)
BODIES[:, 3] = np.abs(BODIES[:, 3]) + F(0.1)
add(
    "n bodies, float4 tiles",
    """
#define SOFTENING 0.01f
__device__ float3 pulled(float4 here, float4 there, float3 so_far) {
  float3 way;
  way.x = there.x - here.x; way.y = there.y - here.y; way.z = there.z - here.z;
  const float inverse =
      rsqrtf(SOFTENING + way.x * way.x + way.y * way.y + way.z * way.z);
  const float strength = there.w * inverse * inverse * inverse;
  return make_float3(so_far.x + strength * way.x, so_far.y + strength * way.y,
                     so_far.z + strength * way.z);
}
__device__ float3 pulled_by_all(float4 here, float3 so_far) {
  extern __shared__ float4 others[];
  for (int j = 0; j < blockDim.x; j++) so_far = pulled(here, others[j], so_far);
  return so_far;
}
extern "C" __global__ void f(const void* bodies, int count, float3* result) {
  extern __shared__ float4 others[];
  const int me = blockDim.x * blockIdx.x + threadIdx.x;
  const float4* all = (const float4*)bodies;
  const float4 here = all[me];
  float3 sum = {0.0f, 0.0f, 0.0f};
  for (int j = threadIdx.x; j < count; j += blockDim.x) {
    others[threadIdx.x] = all[j];
    __syncthreads();
    sum = pulled_by_all(here, sum);
    __syncthreads();
  }
  result[me] = sum;
}""",
    (BODIES, N(64)),
    None,
    grid=2,
    block=32,
    shared=512,
    rtol=1e-3,
)
_r = (BODIES[None, :, :3] - BODIES[:, None, :3]).astype(float)
_s = BODIES[None, :, 3] / ((_r**2).sum(-1) + 0.01) ** 1.5
TEACHING[-1] = (
    *TEACHING[-1][:3],
    (_r * _s[..., None]).sum(1),
    TEACHING[-1][4] | {"atol": 1e-4},
)
IMAGE = RNG.integers(0, 256, (20, 24)).astype(np.uint8)
add(
    "convolution with constant weights and a halo",
    """
#define HALO 1
#define INNER 8
#define OUTER (INNER + 2 * HALO)
__constant__ int weights[2 * HALO + 1][2 * HALO + 1] =
    {{1, 2, 1}, {2, 4, 2}, {1, 2, 1}};
// A thread for every pixel of the patch; those on its rim only load.
extern "C" __global__ void f(const unsigned char* in, int height, int width,
                             unsigned char* out) {
  __shared__ unsigned char patch[OUTER][OUTER];
  const int i = threadIdx.y, j = threadIdx.x;
  const int row = blockIdx.y * INNER + i - HALO, column = blockIdx.x * INNER + j - HALO;
  const bool outside = row < 0 || column < 0 || row >= height || column >= width;
  patch[i][j] = outside ? 0 : in[row * width + column];
  __syncthreads();
  const bool rim = min(i, j) < HALO || max(i, j) >= INNER + HALO;
  if (rim || outside) return;
  int sum = 0;
  for (int k = 0; k < (2 * HALO + 1) * (2 * HALO + 1); k++) {
    const int down = k / (2 * HALO + 1), right = k % (2 * HALO + 1);
    sum += weights[down][right] * patch[i + down - HALO][j + right - HALO];
  }
  out[row * width + column] = (unsigned char)(sum / 16);
}""",
    (IMAGE, N(20), N(24)),
    None,
    grid=(3, 3),
    block=(10, 10),
)
_wide = np.pad(IMAGE.astype(int), 1)
_sum = sum(
    (4 >> abs(dy) >> abs(dx)) * _wide[1 + dy : 21 + dy, 1 + dx : 25 + dx]
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
)
TEACHING[-1] = (*TEACHING[-1][:3], _sum // 16, TEACHING[-1][4])
add(
    "transposition through a tile passed as a pointer to rows",
    """
template <class T, int SIDE, int STEP>
__device__ void put_turned(T (*square)[SIDE + 1], T* corner, int pitch) {
  for (int r = threadIdx.y; r < SIDE; r += STEP)
    corner[r * pitch + threadIdx.x] = square[threadIdx.x][r];
}
extern "C" __global__ void f(const double* in, int width, int height, double* out) {
  constexpr int SIDE = 16, STEP = 4;
  __shared__ double square[SIDE][SIDE + 1];
  const int top = blockIdx.y * SIDE, left = blockIdx.x * SIDE;
  for (int r = threadIdx.y; r < SIDE; r += STEP)
    square[r][threadIdx.x] = in[(top + r) * width + left + threadIdx.x];
  __syncthreads();
  put_turned<double, SIDE, STEP>(square, out + left * height + top, height);
}""",
    (A.astype(float), N(32), N(64)),
    A.T,
    grid=(2, 4),
    block=(16, 4),
)
add(
    "counter-based random numbers by high and low products",
    """
struct Stream { uint2 words; uint key; };
__device__ void stir(Stream& s) {
  const uint high = __umulhi(s.words.x, 0xD256D193u);
  s.words = make_uint2(s.words.y ^ s.key ^ high, s.words.x * 0xD256D193u);
  s.key += 0x9E3779B9u;
}
extern "C" __global__ void f(uint seed, uint* out) {
  const uint me = blockIdx.x * blockDim.x + threadIdx.x;
  Stream mine = { make_uint2(me, 0u), seed };
  #pragma unroll
  for (int turn = 0; turn < 10; ++turn) stir(mine);
  reinterpret_cast<uint2*>(out)[me] = mine.words;
}""",
    (np.uint32(42),),
    _philox(40, 42),
    grid=5,
    block=8,
)
add(
    "a picture of a fractal in uchar4",
    """
template <typename Real> struct Point {
  Real across, up;
  __device__ Point(Real a, Real u) : across(a), up(u) {}
  __device__ bool within(Real r) const { return across * across + up * up <= r * r; }
  __device__ Point operator+(const Point& by) const {
    return Point(across + by.across, up + by.up);
  }
  __device__ Point operator*(const Point& by) const {
    const Real u = across * by.up + up * by.across;
    return Point(across * by.across - up * by.up, u);
  }
};
extern "C" __global__ void f(int side, uchar4* picture) {
  const Point<double> start(0.125 * blockIdx.x - 2.0, 0.125 * blockIdx.y - 1.0);
  Point<double> at(0.0, 0.0);
  int steps = 0;
  for (; steps < 50 && at.within(2.0); ++steps) at = at * at + start;
  picture[blockIdx.y * side + blockIdx.x] = make_uchar4(steps, 2 * steps, side, 255);
}""",
    (N(16),),
    _mandelbrot(),
    grid=(16, 16),
    block=1,
)
