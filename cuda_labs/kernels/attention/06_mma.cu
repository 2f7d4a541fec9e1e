// attention 6: tensor cores by their own instruction, scores in registers.
//
// Index map   block (x, h) owns 128 queries of head h, warp w the 32 from 32 w,
//             as two bands of 16. Of a band lane l holds the rows l / 4 and
//             l / 4 + 8, and of every 8 columns 2 (l % 4) and the next.
// Shared      dynamic, 768 HEAD bytes: q, and two stages of 64 keys and values
// Launch      block 128, grid (ceil(n / 128), heads); d in multiples of 8, at
//             most HEAD, HEAD 64 or 128; pointers of 16 bytes. sm_80 or later.
// Traffic     q and o once, k and v once for every 128 queries, 2 bytes each.
// Change      mma.sync says which elements a lane holds, and the result of one
//             product lies as the left factor of the next must: scores never
//             leave the registers, and a row meets in two shuffles. cp.async
//             fetches the next keys and values meanwhile. A 16-byte chunk lies
//             at its number xor its row's, as in matmul 7, and exp(x) is
//             computed as 2 to the power of x log2 e.
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
#define STAGES 2
#define LOG2E 1.44269504f
#define LN2 0.69314718f

__device__ unsigned address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}
__device__ void cp_async(unsigned to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(inside ? 16 : 0) : "memory");  // else 16 zeros
}
__device__ void wait_for_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
// Four 8 x 8 matrices; lane l gives the address of row l % 8 of number l / 8.
__device__ void ldmatrix(unsigned (&r)[4], unsigned from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from)
               : "memory");
}
__device__ void ldmatrix_trans(unsigned (&r)[4], unsigned from) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                    unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ unsigned pair(float x, float y) {
  auto both = PAIR(x, y);
  return *reinterpret_cast<unsigned*>(&both);
}
// Bytes from the start of a tile to chunk q of row r.
__device__ unsigned in(int r, int q) { return 2 * HEAD * r + 16 * (q ^ r % 8); }

template <int COUNT>
__device__ void load(unsigned to, const number* from, int first, int rows,
                     int d) {
  for (int e = threadIdx.x; e < COUNT * HEAD / 8; e += 128) {
    int r = e / (HEAD / 8), q = e % (HEAD / 8);
    bool there = first + r < rows && 8 * q < d;
    const number* at = from + (size_t)(first + r) * d + 8 * q;
    cp_async(to + in(r, q), there ? at : from, there);
  }
}

extern "C" __global__ void __launch_bounds__(128)
    attention(const number* q, const number* k, const number* v, number* o,
              float* lse, int n, int m, int d, float scale) {
  extern __shared__ __align__(128) char tiles[];
  unsigned tq = address(tiles), stage = tq + 256 * HEAD;
  const float none = __int_as_float(0xff800000);  // minus infinity
  int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 32;
  // With a mask the last queries have most to do: they come first.
  int row0 = 128 * (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  size_t head = blockIdx.y;
  k += head * m * d, v += head * m * d;
  int end = CAUSAL ? min(m, min(row0 + 128, n) + m - n) : m;
  scale *= LOG2E;
  float out[2][HEAD / 8][4] = {}, sum[2][2] = {}, most[2][2];
  for (int i = 0; i < 4; ++i) most[i / 2][i % 2] = none;
  load<128>(tq, q + head * n * d, row0, n, d);
  load<64>(stage, k, 0, m, d);
  load<64>(stage + 128 * HEAD, v, 0, m, d);
  for (int col0 = 0; col0 < end; col0 += 64) {
    unsigned tk = stage + col0 / 64 % STAGES * 256 * HEAD, tv = tk + 128 * HEAD;
    wait_for_all();   // of this thread's copies
    __syncthreads();  // every thread's; and the other stage has been used
    if (col0 + 64 < end) {
      unsigned next = stage + (col0 / 64 + 1) % STAGES * 256 * HEAD;
      load<64>(next, k, col0 + 64, m, d);
      load<64>(next + 128 * HEAD, v, col0 + 64, m, d);
    }
    float s[2][8][4] = {};
    unsigned x[2][4], y[4];
#pragma unroll
    for (int h = 0; h < HEAD / 16; ++h) {
      for (int a = 0; a < 2; ++a)
        ldmatrix(x[a], tq + in(own + 16 * a + lane % 16, 2 * h + lane / 16));
      for (int j = 0; j < 4; ++j) {
        int r = 16 * j + lane / 16 * 8 + lane % 8;
        ldmatrix(y, tk + in(r, 2 * h + lane / 8 % 2));
        for (int a = 0; a < 2; ++a) {
          mma(s[a][2 * j], x[a], y[0], y[1]);
          mma(s[a][2 * j + 1], x[a], y[2], y[3]);
        }
      }
    }
    bool whole = col0 + 64 <= (CAUSAL ? min(m, row0 + own + m - n + 1) : m);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int a = i / 2, h = i % 2, row = row0 + own + 16 * a + 8 * h + lane / 4;
      int seen = CAUSAL ? min(m, row + m - n + 1) : m;
      float larger = most[a][h], base, shrink;
      for (int e = 0; e < 16; ++e) {
        float& w = s[a][e / 2][2 * h + e % 2];
        bool sees = whole || col0 + e / 2 * 8 + 2 * (lane % 4) + e % 2 < seen;
        w = sees ? w * scale : none;
        larger = fmaxf(larger, w);
      }
      for (int w = 1; w < 4; w *= 2)
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, w));
      base = larger == none ? 0.0f : larger;
      shrink = exp2f(most[a][h] - base);
      most[a][h] = larger;
      sum[a][h] *= shrink;
      for (int e = 0; e < HEAD / 4; ++e) out[a][e / 2][2 * h + e % 2] *= shrink;
      for (int e = 0; e < 16; ++e) {
        float& w = s[a][e / 2][2 * h + e % 2];
        sum[a][h] += w = exp2f(w - base);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      for (int i = 0; i < 8; ++i) {  // two tiles of 8 columns are one of 16
        float* w = &s[i / 4][2 * j + i % 4 / 2][i % 2 * 2];
        x[i / 4][i % 4] = pair(w[0], w[1]);
      }
      for (int c = 0; c < HEAD / 16; ++c) {
        ldmatrix_trans(y, tv + in(16 * j + lane % 16, 2 * c + lane / 16));
        for (int a = 0; a < 2; ++a) {
          mma(out[a][2 * c], x[a], y[0], y[1]);
          mma(out[a][2 * c + 1], x[a], y[2], y[3]);
        }
      }
    }
  }
  wait_for_all();  // where no query sees a key, nobody has waited
  for (int i = 0; i < 4; ++i) {
    int a = i / 2, h = i % 2, row = row0 + own + 16 * a + 8 * h + lane / 4;
    float total = sum[a][h];
    for (int w = 1; w < 4; w *= 2)
      total += __shfl_xor_sync(0xffffffffu, total, w);
    float share = total == 0.0f ? 0.0f : 1.0f / total;
    if (row >= n) continue;
    for (int b = 0; b < HEAD / 8; ++b) {
      int c = 8 * b + 2 * (lane % 4);
      float* w = &out[a][b][2 * h];
      unsigned* to = reinterpret_cast<unsigned*>(o + (head * n + row) * d + c);
      if (c < d) *to = pair(w[0] * share, w[1] * share);
    }
    if (lane % 4 == 0) lse[head * n + row] = (most[a][h] + log2f(total)) * LN2;
  }
}
