// attention 7: warpgroups multiply out of shared memory, ahead of the softmax.
//
// Index map   block (x, h) owns 128 queries of head h, each of two warpgroups
//             64. Lane l of its warp w holds the rows 16 w + l / 4 and 8
//             further, and of every 8 columns 2 (l % 4) and the next.
// Shared      dynamic, 1,024 HEAD + 1,024 bytes: q, three stages of 64 keys and
//             values, and what aligns them
// Launch      block 256, grid (ceil(n / 128), heads); d in multiples of 8, at
//             most HEAD, HEAD 64 or 128; pointers of 16 bytes. sm_90a alone.
// Traffic     as attention 6
// Change      wgmma takes k and v where they lie and the probabilities from
//             registers, and runs on by itself: the scores of the next tile
//             are made while these become probabilities. Descriptors are those
//             of matmul 8.
#ifdef BF16
#include <cuda_bf16.h>
typedef __nv_bfloat16 number;
#define TYPE "bf16"
#define PAIR __floats2bfloat162_rn
#else
#include <cuda_fp16.h>
typedef __half number;
#define TYPE "f16"
#define PAIR __floats2half2_rn
#endif
#ifndef HEAD
#define HEAD 64
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#define STAGES 3
#define LOG2E 1.44269504f
#define LN2 0.69314718f
typedef unsigned long long word;
__device__ unsigned address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}
#define PTX(text) asm volatile(text ::: "memory")
__device__ void cp_async(unsigned to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(inside ? 16 : 0) : "memory");  // else 16 zeros
}
__device__ void wait_for_all() { PTX("cp.async.wait_all;"); }
// What threads have written is there for wgmma, which goes another way.
__device__ void fence_async() { PTX("fence.proxy.async.shared::cta;"); }
__device__ void wgmma_fence() { PTX("wgmma.fence.sync.aligned;"); }
__device__ void wgmma_commit() { PTX("wgmma.commit_group.sync.aligned;"); }
__device__ void wgmma_wait() { PTX("wgmma.wait_group.sync.aligned 0;"); }
#define F4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F32 F4(0), F4(4), F4(8), F4(12), F4(16), F4(20), F4(24), F4(28)
#define WGMMA "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE \
  " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18," \
  "%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
// d (+)= a b: 64 x 16 and 16 x 64, in both of which k runs fastest.
__device__ void wgmma_qk(float (&d)[32], word a, word b, int add) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0;\n" WGMMA
               "%32, %33, p, 1, 1, 0, 0;}" : F32 : "l"(a), "l"(b), "r"(add));
}
// d += a b: a from registers, b with n running fastest.
__device__ void wgmma_pv(float (&d)[32], const unsigned* a, word b) {
  asm volatile(WGMMA "{%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
               : F32 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// In units of 16 bytes: start, leading and stride offset; swizzle of 128 bytes.
__device__ word descriptor(unsigned at) {
  return 1ull << 62 | 64ull << 32 | 1ull << 16 | (at & 0x3ffff) / 16;
}
__device__ unsigned pair(float x, float y) {
  auto both = PAIR(x, y);
  return *reinterpret_cast<unsigned*>(&both);
}

// Rows of 128 bytes, swizzled; columns from 64 on in a tile of their own.
template <int COUNT>
__device__ void load(unsigned to, const number* from, int first, int rows,
                     int d) {
  for (int e = threadIdx.x; e < COUNT * HEAD / 8; e += 256) {
    int r = e / (HEAD / 8), q = e % (HEAD / 8);
    bool there = first + r < rows && 8 * q < d;
    const number* at = from + (size_t)(first + r) * d + 8 * q;
    unsigned place = q / 8 * 128 * COUNT + 128 * r + 16 * (q % 8 ^ r % 8);
    cp_async(to + place, there ? at : from, there);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    attention(const number* q, const number* k, const number* v, number* o,
              float* lse, int n, int m, int d, float scale) {
  extern __shared__ char tiles[];
  unsigned tq = (address(tiles) + 1023) / 1024 * 1024, stage = tq + 256 * HEAD;
  const float none = __int_as_float(0xff800000);  // minus infinity
  int lane = threadIdx.x % 32, group = threadIdx.x / 128;
  // With a mask the last queries have most to do: they come first.
  int row0 = 128 * (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  int first = row0 + threadIdx.x / 32 * 16;  // of the warp
  size_t head = blockIdx.y;
  k += head * m * d, v += head * m * d;
  int end = CAUSAL ? min(m, min(row0 + 128, n) + m - n) : m;
  scale *= LOG2E;
  float out[HEAD / 64][32] = {}, s[32], next[32] = {};
  float sum[2] = {}, most[2] = {none, none};
  unsigned p[16];
  load<128>(tq, q + head * n * d, row0, n, d);
  load<64>(stage, k, 0, m, d);
  load<64>(stage + 128 * HEAD, v, 0, m, d);
  // While the scores of tile t + 1 are made, those of tile t are used.
  for (int t = -1; 64 * t < end; ++t) {
    unsigned tk = stage + (t + 1) % STAGES * 256 * HEAD;
    wait_for_all();  // of this thread's copies
    fence_async();
    __syncthreads();  // every thread's; and tile t - 1 has been used
    int later = 64 * (t + 2);
    if (later < end) {
      unsigned to = stage + (t + 2) % STAGES * 256 * HEAD;
      load<64>(to, k, later, m, d);
      load<64>(to + 128 * HEAD, v, later, m, d);
    }
    wgmma_fence();
    if (64 * (t + 1) < end) {
#pragma unroll
      for (int h = 0; h < HEAD / 16; ++h) {
        unsigned at = 8192 * (h / 4) + 32 * (h % 4);
        wgmma_qk(next, descriptor(tq + at + 8192 * (h / 4 + group)),
                 descriptor(tk + at), h > 0);
      }
    }
    wgmma_commit();
    if (t >= 0) {
      int col0 = 64 * t;  // of the tile whose scores are there
      bool whole = col0 + 64 <= (CAUSAL ? min(m, first + m - n + 1) : m);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int row = first + 8 * h + lane / 4;
        int seen = CAUSAL ? min(m, row + m - n + 1) : m;
        float larger = most[h];
        for (int e = 0; e < 16; ++e) {
          float& w = s[e / 2 * 4 + 2 * h + e % 2];
          bool sees = whole || col0 + e / 2 * 8 + 2 * (lane % 4) + e % 2 < seen;
          w = sees ? w * scale : none;
          larger = fmaxf(larger, w);
        }
        for (int w = 1; w < 4; w *= 2)
          larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, w));
        float base = larger == none ? 0.0f : larger;
        float shrink = exp2f(most[h] - base);
        most[h] = larger;
        sum[h] *= shrink;
        for (int e = 0; e < HEAD / 4; ++e)
          out[e / 16][e % 16 / 2 * 4 + 2 * h + e % 2] *= shrink;
        for (int e = 0; e < 16; ++e) {
          float& w = s[e / 2 * 4 + 2 * h + e % 2];
          sum[h] += w = exp2f(w - base);
        }
      }
      unsigned tv = stage + t % STAGES * 256 * HEAD + 128 * HEAD;
      for (int i = 0; i < 16; ++i) p[i] = pair(s[2 * i], s[2 * i + 1]);
      wgmma_fence();
#pragma unroll
      for (int j = 0; j < 4; ++j)
        for (int c = 0; c < HEAD / 64; ++c)
          wgmma_pv(out[c], p + 4 * j, descriptor(tv + 8192 * c + 2048 * j));
      wgmma_commit();
    }
    wgmma_wait();
    for (int i = 0; i < 32; ++i) s[i] = next[i];
  }
  wait_for_all();  // where no query sees a key, nobody has waited
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float total = sum[h];
    for (int w = 1; w < 4; w *= 2)
      total += __shfl_xor_sync(0xffffffffu, total, w);
    float share = total == 0.0f ? 0.0f : 1.0f / total;
    int row = first + 8 * h + lane / 4;
    if (row >= n) continue;
    for (int b = 0; b < HEAD / 8; ++b) {
      float* w = &out[b / 8][b % 8 * 4 + 2 * h];
      int c = 8 * b + 2 * (lane % 4);
      unsigned* to = reinterpret_cast<unsigned*>(o + (head * n + row) * d + c);
      if (c < d) *to = pair(w[0] * share, w[1] * share);
    }
    if (lane % 4 == 0) lse[head * n + row] = (most[h] + log2f(total)) * LN2;
  }
}
