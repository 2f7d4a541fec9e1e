"""Kernels in the manner of teaching repositories: attention, normalisation, tiled
products, reductions, sorting, sparse and quantised arithmetic. Written for these
tests; every expected value is computed by NumPy."""

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


def _block(b: int) -> np.ndarray:
    """Indices that block b of 3 with 256 threads takes of 3000 elements."""
    i = np.arange(3000)
    return i[i // 256 % 3 == b]


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
extern "C" __global__
void f(const float* Q, const float* K, const float* V, const int N, const int d,
       const int Tc, const int Tr, const int Bc, const int Br,
       const float softmax_scale, float* l, float* m, float* O) {
    int tx = threadIdx.x;
    int bx = blockIdx.x; int by = blockIdx.y;  // batch and head
    int qkv_offset = (bx * gridDim.y * N * d) + (by * N * d);
    int lm_offset = (bx * gridDim.y * N) + (by * N);

    extern __shared__ float sram[];
    int tile_size = Bc * d;
    float* Qi = sram;
    float* Kj = &sram[tile_size];
    float* Vj = &sram[tile_size * 2];
    float* S = &sram[tile_size * 3];

    for (int j = 0; j < Tc; j++) {
        for (int x = 0; x < d; x++) {
            Kj[(tx * d) + x] = K[qkv_offset + (tile_size * j) + (tx * d) + x];
            Vj[(tx * d) + x] = V[qkv_offset + (tile_size * j) + (tx * d) + x];
        }
        __syncthreads();
        for (int i = 0; i < Tr; i++) {
            for (int x = 0; x < d; x++)
                Qi[(tx * d) + x] = Q[qkv_offset + (tile_size * i) + (tx * d) + x];
            float row_m_prev = m[lm_offset + (Br * i) + tx];
            float row_l_prev = l[lm_offset + (Br * i) + tx];
            float row_m = -INFINITY;
            for (int y = 0; y < Bc; y++) {
                float sum = 0;
                for (int x = 0; x < d; x++) sum += Qi[(tx * d) + x] * Kj[(y * d) + x];
                sum *= softmax_scale;
                S[(Bc * tx) + y] = sum;
                if (sum > row_m) row_m = sum;
            }
            float row_l = 0;
            for (int y = 0; y < Bc; y++) {
                S[(Bc * tx) + y] = __expf(S[(Bc * tx) + y] - row_m);
                row_l += S[(Bc * tx) + y];
            }
            float row_m_new = max(row_m_prev, row_m);
            float row_l_new = (__expf(row_m_prev - row_m_new) * row_l_prev)
                            + (__expf(row_m - row_m_new) * row_l);
            for (int x = 0; x < d; x++) {
                float pv = 0;
                for (int y = 0; y < Bc; y++) pv += S[(Bc * tx) + y] * Vj[(y * d) + x];
                float* o = &O[qkv_offset + (tile_size * i) + (tx * d) + x];
                *o = (1 / row_l_new) * ((row_l_prev * __expf(row_m_prev - row_m_new)
                   * *o) + (__expf(row_m - row_m_new) * pv));
            }
            m[lm_offset + (Br * i) + tx] = row_m_new;
            l[lm_offset + (Br * i) + tx] = row_l_new;
        }
        __syncthreads();
    }
}""",
    (
        *(Q, K, V, N(48), N(16), N(3), N(3), N(16), N(16), F(0.25)),
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
#define WARP_SIZE 32
template <typename T, int kWarpSize = WARP_SIZE>
__device__ __forceinline__ T warp_max(T v) {
#pragma unroll
  for (int mask = kWarpSize >> 1; mask >= 1; mask >>= 1)
    v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, mask));
  return v;
}
template <typename T, int kWarpSize = WARP_SIZE>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int mask = kWarpSize >> 1; mask >= 1; mask >>= 1)
    v += __shfl_xor_sync(0xffffffff, v, mask);
  return v;
}
template <int HeadDim, int kWarps, bool kCausal>
__global__ void __launch_bounds__(kWarps * WARP_SIZE)
flash(const float* __restrict__ q, const float* __restrict__ k,
      const float* __restrict__ v, float* __restrict__ o, int seqlen, float scale) {
  __shared__ float s_k[WARP_SIZE][HeadDim + 1], s_v[WARP_SIZE][HeadDim];
  const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
  const int row = blockIdx.x * kWarps + warp;
  const size_t base = (size_t)blockIdx.y * seqlen * HeadDim;
  float r_q[HeadDim], acc = 0.f, m_i = -FLT_MAX, l_i = 0.f;
#pragma unroll
  for (int c = 0; c < HeadDim; ++c)
    r_q[c] = row < seqlen ? q[base + (size_t)row * HeadDim + c] * scale : 0.f;
  const int last = kCausal ? min(seqlen, (int)(blockIdx.x + 1) * kWarps) : seqlen;
  for (int start = 0; start < last; start += WARP_SIZE) {
    for (int i = threadIdx.x; i < WARP_SIZE * HeadDim; i += blockDim.x) {
      const int r = i / HeadDim, c = i % HeadDim;
      s_k[r][c] = start + r < seqlen ? k[base + (start + r) * HeadDim + c] : 0.f;
      s_v[r][c] = start + r < seqlen ? v[base + (start + r) * HeadDim + c] : 0.f;
    }
    __syncthreads();
    const int col = start + lane;
    float s = 0.f;
#pragma unroll
    for (int c = 0; c < HeadDim; ++c) s += r_q[c] * s_k[lane][c];
    const bool valid = col < seqlen && (!kCausal || col <= row);
    s = valid ? s : -FLT_MAX;
    const float m_new = fmaxf(m_i, warp_max(s));
    const float p = valid ? __expf(s - m_new) : 0.f;
    const float alpha = __expf(m_i - m_new);
    l_i = l_i * alpha + warp_sum(p);
    acc *= alpha;
    m_i = m_new;
    for (int j = 0; j < WARP_SIZE; ++j) {
      const float p_j = __shfl_sync(0xffffffff, p, j);
      if (lane < HeadDim) acc += p_j * s_v[j][lane];
    }
    __syncthreads();
  }
  if (row < seqlen && lane < HeadDim) o[base + row * HeadDim + lane] = acc / l_i;
}""",
    (Q, K, V, N(48), F(0.25)),
    softmax(CAUSAL) @ V,
    kernel="flash<16, 4, true>",
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
struct __align__(8) MD { float m; float d; };
__device__ __forceinline__ MD combine(MD a, MD b) {
  bool a_bigger = a.m > b.m;
  MD big = a_bigger ? a : b, small = a_bigger ? b : a;
  MD r; r.m = big.m; r.d = big.d + small.d * __expf(small.m - big.m); return r;
}
template <const int NUM_THREADS>
__global__ void online(const float* x, float* y, int C) {
  constexpr int NUM_WARPS = (NUM_THREADS + 31) / 32;
  __shared__ MD shared[NUM_WARPS];
  const float* row = x + blockIdx.x * C;
  MD v{-3.402823e38f, 0.0f};
  for (int i = threadIdx.x; i < C; i += NUM_THREADS) v = combine(v, MD{row[i], 1.0f});
  #pragma unroll
  for (int o = 16; o >= 1; o >>= 1) {
    MD u; u.m = __shfl_xor_sync(0xffffffff, v.m, o);
    u.d = __shfl_xor_sync(0xffffffff, v.d, o);
    v = combine(v, u);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  MD total = shared[0];
  for (int w = 1; w < NUM_WARPS; w++) total = combine(total, shared[w]);
  for (int i = threadIdx.x; i < C; i += NUM_THREADS)
    y[blockIdx.x * C + i] = __expf(row[i] - total.m) * __fdividef(1.0f, total.d);
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
extern "C" __global__ void f(const float* inp, float* out, int N, int C) {
    namespace cg = cooperative_groups;
    cg::thread_block block = cg::this_thread_block();
    cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
    int idx = blockIdx.x * warp.meta_group_size() + warp.meta_group_rank();
    if (idx >= N) { return; }
    const float* x = inp + idx * C;
    float maxval = -INFINITY, sumval = 0.0f;
    for (int i = warp.thread_rank(); i < C; i += warp.size()) {
        float bigger = fmaxf(maxval, x[i]);
        sumval = sumval * expf(maxval - bigger) + expf(x[i] - bigger);
        maxval = bigger;
    }
    float global_max = cg::reduce(warp, maxval, cg::greater<float>{});
    sumval *= expf(maxval - global_max);
    float norm = 1.f / cg::reduce(warp, sumval, cg::plus<float>{});
    for (int i = warp.thread_rank(); i < C; i += warp.size())
        __stcs(out + idx * C + i, __ldcs(x + i) == 0.f ? 0.f
               : expf(x[i] - global_max) * norm);
}""",
    (ROWS, N(6), N(100)),
    softmax(ROWS.astype(float)),
    grid=2,
    block=128,
    rtol=1e-5,
)
add(
    "layer norm with a block reduction in two shared words",
    """
template <typename T> __inline__ __device__ T warpReduceSum(T val) {
  for (int offset = warpSize / 2; offset > 0; offset /= 2)
    val += __shfl_down_sync(0xffffffff, val, offset);
  return val;
}
template <typename T> __inline__ __device__ T blockReduceSum(T val) {
  static __shared__ T shared[32];
  int lane = threadIdx.x % warpSize, wid = threadIdx.x / warpSize;
  val = warpReduceSum<T>(val);
  if (lane == 0) shared[wid] = val;
  __syncthreads();
  val = (threadIdx.x < blockDim.x / warpSize) ? shared[lane] : T(0);
  if (wid == 0) val = warpReduceSum<T>(val);
  return val;
}
template <typename T> __global__ void layer_norm(const T* __restrict__ x,
    const T* __restrict__ g, const T* __restrict__ b, T* __restrict__ y, int n, T eps) {
  __shared__ T s_mean, s_inv;
  T sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * n + i];
  sum = blockReduceSum<T>(sum);
  if (threadIdx.x == 0) s_mean = sum / n;
  __syncthreads();
  T sq = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    T d = x[blockIdx.x * n + i] - s_mean; sq += d * d;
  }
  sq = blockReduceSum<T>(sq);
  if (threadIdx.x == 0) s_inv = rsqrt(sq / n + eps);
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    y[blockIdx.x * n + i] = (x[blockIdx.x * n + i] - s_mean) * s_inv * g[i] + b[i];
}""",
    (ROWS, normal(100), normal(100), N(100), F(1e-5)),
    None,
    kernel="layer_norm<float>",
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
#define LDST128BITS(value) (reinterpret_cast<float4*>(&(value))[0])
#define HALF2(value) (reinterpret_cast<half2*>(&(value))[0])
extern "C" __global__ void f(half* x, int n, half* y) {
  half pack[8];
  int i = threadIdx.x * 8;
  LDST128BITS(pack[0]) = LDST128BITS(x[blockIdx.x * n + i]);
  float s = 0.f;
  #pragma unroll
  for (int j = 0; j < 8; j += 2) {
    float2 v = __half22float2(HALF2(pack[j])); s += v.x * v.x + v.y * v.y; }
  for (int m = 16; m >= 1; m >>= 1) s += __shfl_xor_sync(0xffffffff, s, m);
  half2 inv = __float2half2_rn(rsqrtf(s / (float)n));
  #pragma unroll
  for (int j = 0; j < 8; j += 2) HALF2(pack[j]) = __hmul2(HALF2(pack[j]), inv);
  LDST128BITS(y[blockIdx.x * n + i]) = LDST128BITS(pack[0]);
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
    "tiled product as in the samples, block size by template",
    """
template <int BLOCK_SIZE> __global__ void MatrixMulCUDA(float *C, float *A,
    float *B, int wA, int wB, float *D) {
  int bx = blockIdx.x, by = blockIdx.y, tx = threadIdx.x, ty = threadIdx.y;
  int aBegin = wA * BLOCK_SIZE * by, aEnd = aBegin + wA - 1, aStep = BLOCK_SIZE;
  int bBegin = BLOCK_SIZE * bx, bStep = BLOCK_SIZE * wB;
  float Csub = 0;
  for (int a = aBegin, b = bBegin; a <= aEnd; a += aStep, b += bStep) {
    __shared__ float As[BLOCK_SIZE][BLOCK_SIZE];
    __shared__ float Bs[BLOCK_SIZE][BLOCK_SIZE];
    As[ty][tx] = A[a + wA * ty + tx];
    Bs[ty][tx] = B[b + wB * ty + tx];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < BLOCK_SIZE; ++k) Csub += As[ty][k] * Bs[k][tx];
    __syncthreads();
  }
  D[wB * BLOCK_SIZE * by + BLOCK_SIZE * bx + wB * ty + tx] = Csub + C[0];
}""",
    (np.zeros(1, F), A, B, N(32), N(64)),
    A.astype(float) @ B,
    kernel="MatrixMulCUDA<16>",
    grid=(4, 4),
    block=(16, 16),
    rtol=1e-4,
    atol=1e-5,
)
add(
    "register tiles, float4 loads, double-buffered shared memory",
    """
#define OFFSET(row, col, ld) ((row) * (ld) + (col))
#define FETCH_FLOAT4(pointer) (reinterpret_cast<float4*>(&(pointer))[0])
extern "C" __global__ void __launch_bounds__(64)
f(float* __restrict__ a, float* __restrict__ b, const int M, const int N, const int K,
  float* __restrict__ c) {
  const int BM = 32, BN = 32, BK = 8, TM = 4, TN = 4;
  __shared__ float s_a[2][BK][BM], s_b[2][BK][BN];
  float r_load_a[4], r_load_b[4], r_comp_a[TM], r_comp_b[TN], r_c[TM][TN] = {0.0};
  const int tid = threadIdx.y * blockDim.x + threadIdx.x;
  const int load_a_m = tid >> 1, load_a_k = (tid & 1) << 2;
  const int load_b_k = tid >> 3, load_b_n = (tid & 7) << 2;
  const int gm = blockIdx.y * BM + load_a_m, gn = blockIdx.x * BN + load_b_n;
  {
    FETCH_FLOAT4(r_load_a[0]) = FETCH_FLOAT4(a[OFFSET(gm, load_a_k, K)]);
    FETCH_FLOAT4(r_load_b[0]) = FETCH_FLOAT4(b[OFFSET(load_b_k, gn, N)]);
    for (int i = 0; i < 4; i++) s_a[0][load_a_k + i][load_a_m] = r_load_a[i];
    FETCH_FLOAT4(s_b[0][load_b_k][load_b_n]) = FETCH_FLOAT4(r_load_b[0]);
  }
  for (int bk = 1; bk <= (K + BK - 1) / BK; bk++) {
    int cur = (bk - 1) & 1, nxt = bk & 1;
    __syncthreads();
    if (bk < K / BK) {
      FETCH_FLOAT4(r_load_a[0]) = FETCH_FLOAT4(a[OFFSET(gm, bk * BK + load_a_k, K)]);
      FETCH_FLOAT4(r_load_b[0]) = FETCH_FLOAT4(b[OFFSET(bk * BK + load_b_k, gn, N)]);
    }
    #pragma unroll
    for (int tk = 0; tk < BK; tk++) {
      FETCH_FLOAT4(r_comp_a[0]) = FETCH_FLOAT4(s_a[cur][tk][threadIdx.y * TM]);
      FETCH_FLOAT4(r_comp_b[0]) = FETCH_FLOAT4(s_b[cur][tk][threadIdx.x * TN]);
      #pragma unroll
      for (int tm = 0; tm < TM; tm++)
        #pragma unroll
        for (int tn = 0; tn < TN; tn++) r_c[tm][tn] += r_comp_a[tm] * r_comp_b[tn];
    }
    if (bk < K / BK) {
      for (int i = 0; i < 4; i++) s_a[nxt][load_a_k + i][load_a_m] = r_load_a[i];
      FETCH_FLOAT4(s_b[nxt][load_b_k][load_b_n]) = FETCH_FLOAT4(r_load_b[0]);
    }
  }
  for (int i = 0; i < TM; i++)
    FETCH_FLOAT4(c[OFFSET(blockIdx.y * BM + threadIdx.y * TM + i,
                 blockIdx.x * BN + threadIdx.x * TN, N)]) = FETCH_FLOAT4(r_c[i][0]);
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
extern "C" __global__ void f(const float4* a, const float* b, int K, int N, float* c) {
  constexpr int STAGES = 3, BK = 8, T = 16;
  __shared__ alignas(16) float As[STAGES][T][BK], Bs[STAGES][BK][T];
  const int tid = threadIdx.x, row = tid / T, col = tid % T;
  auto load = [&](int stage, int k0) {
    if (tid < T * BK / 4) {
      int r = tid / (BK / 4), q = tid % (BK / 4);
      __pipeline_memcpy_async(&As[stage][r][4 * q],
        &a[((blockIdx.y * T + r) * K + k0) / 4 + q], sizeof(float4));
    }
    if (tid < BK * T)
      __pipeline_memcpy_async(&Bs[stage][tid / T][tid % T],
        &b[(k0 + tid / T) * N + blockIdx.x * T + tid % T], sizeof(float));
    __pipeline_commit();
  };
  for (int s = 0; s < STAGES - 1; ++s) load(s, s * BK);
  float acc = 0;
  for (int t = 0; t < K / BK; ++t) {
    __pipeline_wait_prior(STAGES - 2);
    __syncthreads();
    for (int k = 0; k < BK; ++k) acc += As[t % STAGES][row][k] * Bs[t % STAGES][k][col];
    if (t + STAGES - 1 < K / BK) load((t + STAGES - 1) % STAGES, (t + STAGES - 1) * BK);
    else __pipeline_commit();
  }
  c[(blockIdx.y * T + row) * N + blockIdx.x * T + col] = acc;
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
AH, BH = RNG.integers(-3, 4, (32, 32)).astype(H), RNG.integers(-3, 4, (32, 32)).astype(H)
add(
    "wmma product from shared memory, two warps",
    """
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void f(const half* A, const half* B, int M, int N, int K,
                             float* C) {
  constexpr int WM = 16, WN = 16, WK = 16;
  __shared__ half s_a[32][WK + 8];
  const int warp = threadIdx.x / 32;
  wmma::fragment<wmma::accumulator, WM, WN, WK, float> c_frag;
  wmma::fill_fragment(c_frag, 0.0f);
  for (int k = 0; k < K; k += WK) {
    for (int i = threadIdx.x; i < 32 * WK; i += blockDim.x)
      s_a[i / WK][i % WK] = A[(i / WK) * K + k + i % WK];
    __syncthreads();
    wmma::fragment<wmma::matrix_a, WM, WN, WK, half, wmma::row_major> a_frag;
    wmma::fragment<wmma::matrix_b, WM, WN, WK, half, wmma::row_major> b_frag;
    wmma::load_matrix_sync(a_frag, &s_a[warp * WM][0], WK + 8);
    wmma::load_matrix_sync(b_frag, B + k * N + blockIdx.x * WN, N);
    wmma::mma_sync(c_frag, a_frag, b_frag, c_frag);
    __syncthreads();
  }
  wmma::store_matrix_sync(C + warp * WM * N + blockIdx.x * WN, c_frag, N,
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
#define FLOAT4(value) (reinterpret_cast<const float4*>(&(value))[0])
extern "C" __global__ void f(const float* a, const float* x, int M, int K, float* y) {
  int lane = threadIdx.x, m = blockIdx.x * blockDim.y + threadIdx.y;
  if (m < M) {
    float sum = 0.0f;
    const int NUM_WARPS = (K + 31) / 32 / 4;
    for (int w = 0; w < max(NUM_WARPS, 1); ++w) {
      int k = (w * 32 + lane) * 4;
      if (k < K) {
        float4 reg_a = FLOAT4(a[m * K + k]), reg_x = FLOAT4(x[k]);
        sum += reg_a.x * reg_x.x + reg_a.y * reg_x.y + reg_a.z * reg_x.z
             + reg_a.w * reg_x.w;
      }
    }
    for (int mask = 16; mask >= 1; mask /= 2)
      sum += __shfl_xor_sync(0xffffffff, sum, mask, 32);
    if (lane == 0) y[m] = sum;
  }
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
add(
    "the samples' last reduction: templates for block size and power of two",
    """
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
template <class T> struct SharedMemory {
  __device__ inline operator T *() { extern __shared__ int __smem[];
    return (T *)__smem; } };
template <class T, unsigned int blockSize, bool nIsPow2>
__global__ void reduce6(const T *g_idata, unsigned int n, T *g_odata) {
  cg::thread_block cta = cg::this_thread_block();
  T *sdata = SharedMemory<T>();
  unsigned int tid = threadIdx.x, gridSize = blockSize * gridDim.x;
  T mySum = 0;
  if (nIsPow2) {
    unsigned int i = blockIdx.x * blockSize * 2 + threadIdx.x;
    gridSize = gridSize << 1;
    while (i < n) { mySum += g_idata[i];
      if ((i + blockSize) < n) mySum += g_idata[i + blockSize]; i += gridSize; }
  } else {
    unsigned int i = blockIdx.x * blockSize + threadIdx.x;
    while (i < n) { mySum += g_idata[i]; i += gridSize; }
  }
  sdata[tid] = mySum;
  cg::sync(cta);
  if ((blockSize >= 256) && (tid < 128)) { sdata[tid] = mySum = mySum + sdata[tid + 128]; }
  cg::sync(cta);
  if ((blockSize >= 128) && (tid < 64)) { sdata[tid] = mySum = mySum + sdata[tid + 64]; }
  cg::sync(cta);
  cg::thread_block_tile<32> tile32 = cg::tiled_partition<32>(cta);
  if (cta.thread_rank() < 32) {
    if (blockSize >= 64) mySum += sdata[tid + 32];
    for (int offset = tile32.size() / 2; offset > 0; offset /= 2)
      mySum += tile32.shfl_down(mySum, offset);
  }
  if (cta.thread_rank() == 0) g_odata[blockIdx.x] = mySum;
}""",
    (LONG, np.uint32(3000)),
    [LONG[_block(b)].sum() for b in range(3)],
    kernel="reduce6<int, 256, false>",
    grid=3,
    block=256,
    shared=1024,
)
add(
    "dot product: two elements a thread, half2 and float accumulation",
    """
#include <cuda_fp16.h>
#define HALF2(value) (reinterpret_cast<const half2*>(&(value))[0])
template <const int NUM_THREADS = 128> __global__ void
dot(const half* a, const half* b, int n, float* y) {
  int idx = (blockIdx.x * NUM_THREADS + threadIdx.x) * 2;
  constexpr int NUM_WARPS = (NUM_THREADS + 31) / 32;
  __shared__ float reduce_smem[NUM_WARPS];
  half2 ra = HALF2(a[idx]), rb = HALF2(b[idx]);
  half prod = idx < n ? __hadd(__hmul(ra.x, rb.x), __hmul(ra.y, rb.y))
                      : __float2half(0.0f);
  float s = __half2float(prod);
  for (int mask = 16; mask; mask >>= 1) s += __shfl_xor_sync(0xffffffff, s, mask);
  if ((threadIdx.x & 31) == 0) reduce_smem[threadIdx.x >> 5] = s;
  __syncthreads();
  s = (threadIdx.x & 31) < NUM_WARPS ? reduce_smem[threadIdx.x & 31] : 0.0f;
  if (threadIdx.x < 32)
    for (int mask = NUM_WARPS >> 1; mask; mask >>= 1) s += __shfl_xor_sync(~0u, s, mask);
  if (threadIdx.x == 0) atomicAdd(y, s);
}""",
    (AH.ravel(), BH.ravel(), N(1024)),
    [(AH.astype(int) * BH.astype(int)).sum()],
    kernel="dot<>",
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
__device__ inline void Comparator(uint &a, uint &b, uint dir) {
  if ((a > b) == dir) { uint t = a; a = b; b = t; } }
extern "C" __global__ void f(const uint* in, uint arrayLength, uint dir, uint* out) {
  __shared__ uint s_key[256];
  s_key[threadIdx.x] = in[threadIdx.x];
  s_key[threadIdx.x + 128] = in[threadIdx.x + 128];
  for (uint size = 2; size < arrayLength; size <<= 1) {
    uint ddd = dir ^ ((threadIdx.x & (size / 2)) != 0);
    for (uint stride = size / 2; stride > 0; stride >>= 1) {
      __syncthreads();
      uint pos = 2 * threadIdx.x - (threadIdx.x & (stride - 1));
      Comparator(s_key[pos], s_key[pos + stride], ddd);
    }
  }
  for (uint stride = arrayLength / 2; stride > 0; stride >>= 1) {
    __syncthreads();
    uint pos = 2 * threadIdx.x - (threadIdx.x & (stride - 1));
    Comparator(s_key[pos], s_key[pos + stride], dir);
  }
  __syncthreads();
  out[threadIdx.x] = s_key[threadIdx.x];
  out[threadIdx.x + 128] = s_key[threadIdx.x + 128];
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
    "sparse matrix in rows times a vector, a warp a row",
    """
template <unsigned THREADS_PER_ROW> __global__ void csr(const int* __restrict__ ptr,
    const int* __restrict__ col, const float* __restrict__ val,
    const float* __restrict__ x, int rows, float* __restrict__ y) {
  const int row = (blockIdx.x * blockDim.x + threadIdx.x) / THREADS_PER_ROW;
  const int lane = threadIdx.x & (THREADS_PER_ROW - 1);
  float sum = 0;
  if (row < rows)
    for (int e = ptr[row] + lane; e < ptr[row + 1]; e += THREADS_PER_ROW)
      sum += __ldg(val + e) * __ldg(&x[col[e]]);
  for (unsigned k = THREADS_PER_ROW / 2; k; k /= 2)
    sum += __shfl_down_sync(0xffffffffu, sum, k, THREADS_PER_ROW);
  if (row < rows && lane == 0) y[row] = sum;
}""",
    (_ptr, _col, _val, B.ravel()[:40].copy(), N(9)),
    _dense @ B.ravel()[:40],
    kernel="csr<8>",
    grid=3,
    block=32,
    rtol=1e-4,
    atol=1e-5,
)
add(
    "hash table: linear probing with compare-and-swap, then looked up",
    """
#define EMPTY 0xffffffffu
struct KeyValue { unsigned key, value; };
__device__ unsigned hash(unsigned k) { k ^= k >> 16; k *= 0x85ebca6bu; k ^= k >> 13;
  return k & 511u; }
extern "C" __global__ void f(KeyValue* table, const unsigned* keys, unsigned* out) {
  unsigned key = keys[threadIdx.x], slot = hash(key);
  while (true) {
    unsigned prev = atomicCAS(&table[slot].key, EMPTY, key);
    if (prev == EMPTY || prev == key) { table[slot].value = key * 3u; break; }
    slot = (slot + 1) & 511u;
  }
  __syncthreads();
  unsigned want = keys[255 - threadIdx.x]; slot = hash(want);
  while (((volatile KeyValue*)table)[slot].key != want) slot = (slot + 1) & 511u;
  out[threadIdx.x] = table[slot].value;
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
extern "C" __global__ void f(const float* x, int seq_len, int half_dim, float* out) {
  int idx = blockIdx.x * blockDim.x + threadIdx.x;
  int pos = idx / half_dim, i = idx % half_dim;
  if (pos >= seq_len) return;
  float2 v = reinterpret_cast<const float2*>(x)[idx];
  float inv = powf(10000.f, -(float)i / half_dim), s, c;
  __sincosf(pos * inv, &s, &c);
  reinterpret_cast<float2*>(out)[idx] = { v.x * c - v.y * s, v.x * s + v.y * c };
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
#define EPS2 0.01f
__device__ float3 bodyBodyInteraction(float4 bi, float4 bj, float3 ai) {
  float3 r;
  r.x = bj.x - bi.x; r.y = bj.y - bi.y; r.z = bj.z - bi.z;
  float distSqr = r.x * r.x + r.y * r.y + r.z * r.z + EPS2;
  float distSixth = distSqr * distSqr * distSqr;
  float s = bj.w * (1.0f / sqrtf(distSixth));
  ai.x += r.x * s; ai.y += r.y * s; ai.z += r.z * s;
  return ai;
}
__device__ float3 tile_calculation(float4 myPosition, float3 accel) {
  extern __shared__ float4 shPosition[];
  for (int i = 0; i < blockDim.x; i++)
    accel = bodyBodyInteraction(myPosition, shPosition[i], accel);
  return accel;
}
extern "C" __global__ void f(const void* devX, int N, float3* A) {
  extern __shared__ float4 shPosition[];
  const float4* globalX = (const float4*)devX;
  float3 acc = {0.0f, 0.0f, 0.0f};
  int gtid = blockIdx.x * blockDim.x + threadIdx.x;
  float4 myPosition = globalX[gtid];
  for (int i = 0, tile = 0; i < N; i += blockDim.x, tile++) {
    shPosition[threadIdx.x] = globalX[tile * blockDim.x + threadIdx.x];
    __syncthreads();
    acc = tile_calculation(myPosition, acc);
    __syncthreads();
  }
  A[gtid] = acc;
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
#define RADIUS 1
#define TILE 8
__constant__ int mask[2 * RADIUS + 1][2 * RADIUS + 1] = {{1, 2, 1}, {2, 4, 2}, {1, 2, 1}};
extern "C" __global__ void f(const unsigned char* in, int h, int w, unsigned char* out) {
  __shared__ unsigned char tile[TILE + 2 * RADIUS][TILE + 2 * RADIUS];
  int x = blockIdx.x * TILE + threadIdx.x - RADIUS;
  int y = blockIdx.y * TILE + threadIdx.y - RADIUS;
  tile[threadIdx.y][threadIdx.x] =
      x >= 0 && x < w && y >= 0 && y < h ? in[y * w + x] : 0;
  __syncthreads();
  int tx = threadIdx.x - RADIUS, ty = threadIdx.y - RADIUS;
  if (tx < 0 || ty < 0 || tx >= TILE || ty >= TILE || x >= w || y >= h) return;
  int sum = 0;
  for (int dy = -RADIUS; dy <= RADIUS; dy++)
    for (int dx = -RADIUS; dx <= RADIUS; dx++)
      sum += mask[dy + RADIUS][dx + RADIUS] * tile[ty + dy + RADIUS][tx + dx + RADIUS];
  out[y * w + x] = (unsigned char)(sum / 16);
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
template <class T, int TILE_DIM, int BLOCK_ROWS>
__device__ void store(T* odata, T (*tile)[TILE_DIM + 1], int x, int y, int height) {
  for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
    odata[(y + j) * height + x] = tile[threadIdx.x][threadIdx.y + j];
}
extern "C" __global__ void f(const double* idata, int width, int height, double* odata) {
  constexpr int TILE_DIM = 16, BLOCK_ROWS = 4;
  __shared__ double tile[TILE_DIM][TILE_DIM + 1];
  int x = blockIdx.x * TILE_DIM + threadIdx.x, y = blockIdx.y * TILE_DIM + threadIdx.y;
  for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
    tile[threadIdx.y + j][threadIdx.x] = idata[(y + j) * width + x];
  __syncthreads();
  store<double, TILE_DIM, BLOCK_ROWS>(odata, tile, blockIdx.y * TILE_DIM + threadIdx.x,
                                      blockIdx.x * TILE_DIM + threadIdx.y, height);
}""",
    (A.astype(float), N(32), N(64)),
    A.T,
    grid=(2, 4),
    block=(16, 4),
)
add(
    "counter-based random numbers with 64-bit products",
    """
struct Philox { uint2 c; uint k; };
__device__ uint2 philox2x32(uint2 ctr, uint key) {
  #pragma unroll
  for (int r = 0; r < 10; ++r) {
    uint hi = __umulhi(0xD256D193u, ctr.x), lo = 0xD256D193u * ctr.x;
    ctr = make_uint2(hi ^ key ^ ctr.y, lo);
    key += 0x9E3779B9u;
  }
  return ctr;
}
extern "C" __global__ void f(uint seed, uint* out) {
  uint i = blockIdx.x * blockDim.x + threadIdx.x;
  uint2 r = philox2x32(make_uint2(i, 0u), seed);
  reinterpret_cast<uint2*>(out)[i] = r;
}""",
    (np.uint32(42),),
    _philox(40, 42),
    grid=5,
    block=8,
)
add(
    "a picture of a fractal in uchar4",
    """
template <typename T> struct Complex { T re, im;
  __device__ Complex(T r, T i) : re(r), im(i) {}
  __device__ T norm2() const { return re * re + im * im; }
  __device__ Complex operator*(const Complex& o) const {
    return Complex(re * o.re - im * o.im, im * o.re + re * o.im); }
  __device__ Complex operator+(const Complex& o) const {
    return Complex(re + o.re, im + o.im); } };
extern "C" __global__ void f(int dim, uchar4* ptr) {
  int x = blockIdx.x, y = blockIdx.y, offset = x + y * gridDim.x, n = 0;
  Complex<double> c(-2.0 + 0.125 * x, -1.0 + 0.125 * y), z(0.0, 0.0);
  while (n < 50 && z.norm2() <= 4.0) { z = z * z + c; ++n; }
  ptr[offset] = make_uchar4(n, 2 * n, dim, 255);
}""",
    (N(16),),
    _mandelbrot(),
    grid=(16, 16),
    block=1,
)
