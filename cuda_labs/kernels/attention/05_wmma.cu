// attention 5: the forward pass on tensor cores, from half or bfloat16.
//
// Index map   block (x, h) owns 64 queries of head h, warp w the 16 from 16 w;
//             lanes l and l + 16 own row l of their scores, half of it each.
// Shared      dynamic, sizeof(Tiles); 59,392 bytes for HEAD = 64
// Launch      block 128, grid (ceil(n / 64), heads); d in multiples of 8 and at
//             most HEAD, HEAD in multiples of 16.
// Traffic     as attention 2, with elements of 2 bytes and 16 bytes a load.
// Change      both products go to tensor cores, with float sums. No lane knows
//             which elements of a fragment it has, so scores pass through
//             shared memory, and a row's factor is written 16 times and loaded
//             as a fragment, to meet its row. CAUSAL = 1 masks as attention 3.
#include <mma.h>
#ifndef HEAD
#define HEAD 64
#endif
#ifndef TYPE
#define TYPE __half
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
using namespace nvcuda;
using Rows = wmma::fragment<wmma::matrix_a, 16, 16, 16, TYPE, wmma::row_major>;
using Keys = wmma::fragment<wmma::matrix_b, 16, 16, 16, TYPE, wmma::col_major>;
using Vals = wmma::fragment<wmma::matrix_b, 16, 16, 16, TYPE, wmma::row_major>;
using Sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;
constexpr int ROWS = 64, COLS = 64, WIDE = HEAD + 8;

struct alignas(32) Tiles {  // the added columns separate the banks of the rows
  TYPE q[ROWS][WIDE], k[COLS][WIDE], v[COLS][WIDE], p[ROWS][COLS + 8];
  float s[ROWS][COLS + 4], factor[ROWS][20];
};

__device__ void load(TYPE (&tile)[64][WIDE], const TYPE* from, int first,
                     int rows, int d) {
  for (int e = threadIdx.x; e < 64 * HEAD / 8; e += blockDim.x) {
    int r = e / (HEAD / 8), c = e % (HEAD / 8) * 8;
    const TYPE* at = from + (size_t)(first + r) * d + c;
    bool there = first + r < rows && c < d;
    *(uint4*)&tile[r][c] = there ? *(const uint4*)at : make_uint4(0, 0, 0, 0);
  }
}

extern "C" __global__ void attention(const TYPE* q, const TYPE* k,
                                     const TYPE* v, TYPE* o, float* lse, int n,
                                     int m, int d, float scale) {
  extern __shared__ Tiles shared[];
  Tiles& t = shared[0];
  const float none = __int_as_float(0xff800000);  // minus infinity
  int own = threadIdx.x / 32 * 16, row = own + threadIdx.x % 16;
  int side = threadIdx.x / 16 % 2, half = side * COLS / 2;
  int row0 = blockIdx.x * ROWS, i = row0 + row;
  size_t head = blockIdx.y;
  int seen = CAUSAL ? min(m, i + m - n + 1) : m;
  int end = CAUSAL ? min(m, min(row0 + ROWS, n) + m - n) : m;
  float most = none, sum = 0.0f, *copies = &t.factor[row][8 * side];
  alignas(16) float mine[COLS / 2]; alignas(16) TYPE eight[8];
  Sums out[HEAD / 16], s, factor;
  Rows x; Keys y; Vals z;
  for (int b = 0; b < HEAD / 16; ++b) wmma::fill_fragment(out[b], 0.0f);
  load(t.q, q + head * n * d, row0, n, d);
  for (int col0 = 0; col0 < end; col0 += COLS) {
    load(t.k, k + head * m * d, col0, m, d);
    load(t.v, v + head * m * d, col0, m, d);
    __syncthreads();
    for (int j = 0; j < COLS; j += 16) {
      wmma::fill_fragment(s, 0.0f);
      for (int c = 0; c < HEAD; c += 16) {
        wmma::load_matrix_sync(x, &t.q[own][c], WIDE);
        wmma::load_matrix_sync(y, &t.k[j][c], WIDE);
        wmma::mma_sync(s, x, y, s);
      }
      wmma::store_matrix_sync(&t.s[own][j], s, COLS + 4, wmma::mem_row_major);
    }
    __syncwarp();
    float larger = most;
    for (int a = 0; a < COLS / 2; ++a) {
      if (a % 4 == 0) *(float4*)&mine[a] = *(float4*)&t.s[row][half + a];
      mine[a] = col0 + half + a < seen ? mine[a] * scale : none;
      larger = fmaxf(larger, mine[a]);
    }
    larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, 16));
    float base = larger == none ? 0.0f : larger, shrink = expf(most - base);
    most = larger, sum *= shrink;
    for (int a = 0; a < COLS / 2; a += 8) {
      for (int e = 0; e < 8; ++e) {
        sum += mine[a + e] = expf(mine[a + e] - base);
        eight[e] = TYPE(mine[a + e]);
      }
      *(uint4*)&t.p[row][half + a] = *(uint4*)eight;
    }
    for (int e = 0; e < 8; e += 4)
      *(float4*)(copies + e) = make_float4(shrink, shrink, shrink, shrink);
    __syncwarp();
    wmma::load_matrix_sync(factor, t.factor[own], 20, wmma::mem_row_major);
    for (int b = 0; b < HEAD / 16; ++b)
      for (int e = 0; e < s.num_elements; ++e) out[b].x[e] *= factor.x[e];
    for (int j = 0; j < COLS; j += 16) {
      wmma::load_matrix_sync(x, &t.p[own][j], COLS + 8);
      for (int b = 0; b < HEAD / 16; ++b) {
        wmma::load_matrix_sync(z, &t.v[j][16 * b], WIDE);
        wmma::mma_sync(out[b], x, z, out[b]);
      }
    }
    __syncthreads();  // before the next tiles come
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 16);
  float share = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (int b = 0; b < HEAD / 16; ++b) {
    wmma::store_matrix_sync(t.factor[own], out[b], 20, wmma::mem_row_major);
    __syncwarp();
    for (int e = 0; e < 8; e += 4) *(float4*)&mine[e] = *(float4*)(copies + e);
    for (int e = 0; e < 8; ++e) eight[e] = TYPE(mine[e] * share);
    int c = 16 * b + 8 * side;
    if (i < n && c < d) *(uint4*)&o[(head * n + i) * d + c] = *(uint4*)eight;
    __syncwarp();
  }
  if (i < n && side == 0) lse[head * n + i] = most + logf(sum);
}
